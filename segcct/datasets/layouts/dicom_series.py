"""Layout `dicom`: series of DICOM images with segmentations (DICOM-SEG) or structure sets (RTSTRUCT), as TCIA has them.

    ROOT/PATIENT/STUDY/SERIES/*.dcm        (any folders; each series in a folder of its own)

Objects are recognized by their attributes, not by the names of their files. A channel in the config is a modality and,
where that is not enough, a colon and a pattern of the series description: `CT`, `MR:*t2*`. The label is `SEG` or
`RTSTRUCT`, in the same way. A case is a study; its label is the object that refers to its series. The case id is the
folder of the patient, the topmost one with a single PatientID, and that of the study where a patient has several.

Structures become classes by name: `data.structures` gives a class a pattern of segment labels or region names; without
one, a class takes the structures of its own name. Where classes overlap, the one later in the scheme is kept. A label
that holds none of the structures is empty; if no label of the dataset holds any, that is an error.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts.case_reading import scheme_of
from segcct.datasets.layouts.layout import Found, Layout, Naming
from segcct.datasets.layouts.patterns import drawn
from segcct.datasets.layouts.study_ids import study_ids
from segcct.errors import DataError, LabelError
from segcct.files.file_names import VOLUME_SUFFIXES
from segcct.images.dicom.catalog import ImageSeries, series_and_labels
from segcct.images.dicom.label_objects import LabelObject, read_label_object
from segcct.images.volume import Volume
from segcct.plurals import counted, listed

_SEPARATORS = re.compile(r"[\s_.-]+")
_SHOWN = 12


def find(data: DataSection, tree: FolderTree) -> Found:
    """Every study below `data.root` that has a channel."""
    if data.intensity.mask is not None:
        what = "layout dicom has no masks for intensity normalization"
        raise DataError(what, found=data.intensity.mask, remedy="Choose another data.intensity.rule, such as clip")
    found = Found()
    studies, objects, problems = _read(tree, labels=data.label is not None)
    found.errors += problems
    found.unread += problems
    wanted = {
        study: [one for one in series if any(_is(one, pattern) for pattern in data.channels.values())]
        for study, series in studies.items()
    }
    wanted = {study: series for study, series in wanted.items() if series}
    labels = [one for one in objects if data.label and _matches(one.kind, one.description, data.label)]
    ids = study_ids(wanted, data.root)
    for study, series in wanted.items():
        own = [one for one in labels if (one.series & {each.series for each in series} or one.study == study)]
        case_id, patient, split = ids[study]
        found.add(case_id, patient, partial(_case, case_id, patient, split, series, own, data))
    taken = {file for case in found.cases for file in case.label or ()}
    for one in labels:
        if one.file not in taken and not found.errors:
            what = f"the images that a {one.kind} refers to are missing"
            found.notices.append(DataError(what, file=one.file, remedy="Add the series that it was drawn on"))
    used = [one for one in labels if one.file in taken]
    found.notices += _left_out(used, data)
    _note_empty_labels(found, used, data)
    return found


def example(data: DataSection) -> str:
    """The folders of one patient."""
    series = {f"{name} series ({pattern})": pattern for name, pattern in data.channels.items()}
    names = [f"SERIES/*.dcm  {what}" for what in series] + ([f"SERIES/*.dcm  {data.label}"] if data.label else [])
    return drawn(data.root, {"PATIENT/STUDY": names, "...": []})


def recognize(root: Path, names: Sequence[str]) -> Naming | None:
    """Folders with DICOM images and a segmentation or structure set that refers to them."""
    if any(name.lower().endswith(VOLUME_SUFFIXES) for name in names):  # masks in another format, next to the series
        return None
    if not any((root / name).is_dir() for name in names):
        return None
    studies, objects, _ = _read(FolderTree(root, strict=False), labels=True)
    series = [one for each in studies.values() for one in each]
    used = [one for label in objects for one in series if one.series in label.series]
    if not used:
        return None
    modality = Counter(one.modality for one in used).most_common(1)[0][0]
    kind, labeled = Counter(one.kind for one in objects).most_common(1)[0]
    times = _structures([one for one in objects if one.kind == kind])
    rare = [name for name, count in times.items() if count < labeled]
    doubts = []
    if labeled > len(studies):
        doubts.append(f"a study has more than one {kind}")
    if rare:
        doubts.append(f"not every {kind} has these structures: {listed(rare, 6)}; remove what is not a class")
    if len({one.kind for one in objects}) > 1:
        doubts.append(f"there are SEG and RTSTRUCT: {kind} is taken")
    return Naming(
        layout="dicom",
        channels={modality.lower() or "image": modality},
        label=kind,
        why=f"DICOM series with {kind}",
        classes={name: value for value, name in enumerate(list(times)[:255], start=1)},
        classes_from=f"the {kind}",
        doubts=tuple(doubts),
    )


def _structures(labels: Sequence[LabelObject]) -> dict[str, int]:
    """Structure, as it is spelled first -> how many of the labels hold it."""
    spelled: dict[str, str] = {}
    for name in (name for one in labels for name in one.names):
        spelled.setdefault(_plain(name), name)
    times = Counter(plain for one in labels for plain in {_plain(name) for name in one.names})
    return {name: times[plain] for plain, name in spelled.items()}


def draw_label(files: Sequence[Path], data: DataSection, grid: Volume) -> np.ndarray:
    """(X, Y, Z) values of the scheme on the grid of the images.

    Raises:
        LabelError: a structure belongs to several classes.
        VolumeError, GeometryError, PackageError: as `draw_segments` and `draw_contours`.
    """
    from segcct.images.dicom.contours import draw_contours
    from segcct.images.dicom.segments import draw_segments

    drawn = np.zeros(grid.shape, dtype=np.uint16)
    summaries = [read_label_object(file) for file in files]
    values = class_values([name for one in summaries for name in one.names], data, files[0])
    scheme = scheme_of(data).classes
    rank = np.zeros(max(scheme.values()) + 1, dtype=np.uint16)
    rank[list(scheme.values())] = np.arange(1, len(scheme) + 1)
    for one in summaries:
        draw = draw_segments if one.kind == "SEG" else draw_contours
        own = {name: value for name, value in values.items() if name in one.names}
        if not own:
            continue
        label = draw(one.file, grid, own)
        over = rank[label] > rank[drawn]  # of two classes in a voxel, the later one in the scheme
        drawn[over] = label[over]
    return drawn


def class_values(names: Sequence[str], data: DataSection, file: Path) -> dict[str, int]:
    """Name of a structure -> value of its class, in the order of the classes; structures of no class are left out.

    Capitals do not count, and spaces, `_`, `-` and `.` are the same. Raises `LabelError`.
    """
    scheme, patterns = scheme_of(data), data.structures or {}
    unknown = [name for name in patterns if name not in scheme.classes]
    if unknown:
        what = "data.structures names classes that the scheme does not have"
        raise LabelError(what, found=", ".join(unknown), expected=", ".join(scheme.classes))
    classes = {name: _classes_of(name, data) for name in names}
    several = next((name for name, each in classes.items() if len(each) > 1), None)
    if several is not None:
        raise LabelError(
            "a structure belongs to several classes",
            file=file,
            found=f"{several}: {', '.join(classes[several])}",
            remedy="Make the patterns in data.structures more specific",
        )
    return {name: value for each, value in scheme.classes.items() for name in names if each in classes[name]}


def _classes_of(name: str, data: DataSection) -> list[str]:
    """The classes that a structure belongs to: one, if all is well."""
    patterns = data.structures or {}
    wanted = {each: patterns.get(each, each).split("|") for each in scheme_of(data).classes}
    return [
        each
        for each, some in wanted.items()
        if any(fnmatchcase(_plain(name), _plain(pattern).replace("[", "[[]")) for pattern in some)
    ]


def _left_out(labels: Sequence[LabelObject], data: DataSection) -> list[DataError]:
    """A notice of the structures that belong to no class, so that an unexpected name is not overlooked."""
    times = Counter(name for one in labels for name in set(one.names))
    others = [f"{name} (in {count})" for name, count in times.most_common() if not _classes_of(name, data)]
    if not others:
        return []
    remedy = "Nothing, or add a pattern to data.structures for those that belong to a class"
    return [DataError("structures of no class are left out", file=data.root, found=listed(others, 8), remedy=remedy)]


def _note_empty_labels(found: Found, labels: Sequence[LabelObject], data: DataSection) -> None:
    """A notice of the cases whose labels hold none of the structures; an error where no case has any: then the names in
    the config are probably wrong."""
    names = {name for one in labels for name in one.names}
    wanted = {name for name in names if _classes_of(name, data)}
    full = {one.file for one in labels if wanted.intersection(one.names)}
    labeled = [case for case in found.cases if case.label]
    empty = [case.id for case in labeled if full.isdisjoint(case.label or ())]
    if labeled and len(empty) == len(labeled):
        patterns = data.structures or {}
        found.label_error = LabelError(
            "no structure of the labels is a class",
            file=labels[0].file,
            found=listed(sorted(names), _SHOWN) or "no structures",
            expected=", ".join(patterns.get(name, name) for name in scheme_of(data).classes),
            remedy='Set data.structures, such as {CLASS: "NAME*"}, or data.labels',
        )
    elif empty:
        what = f"{counted(len(empty), 'case')} without any of the structures: empty labels"
        remedy = "Nothing, if these patients have none, or add a pattern to data.structures"
        found.notices.append(DataError(what, file=data.root, found=listed(empty), remedy=remedy))


def _read(tree: FolderTree, *, labels: bool) -> tuple[dict[str, list[ImageSeries]], list[LabelObject], list[DataError]]:
    """Study -> its series of images; the labels; the errors."""
    studies: dict[str, list[ImageSeries]] = defaultdict(list)
    objects: list[LabelObject] = []
    problems: list[DataError] = []
    for folder, _, names in tree.folders():
        series, here, wrong = series_and_labels(folder, names, labels=labels)
        objects += here
        problems += wrong
        if series is not None:
            studies[series.study or str(folder)].append(series)
    return studies, objects, problems


def _case(
    case_id: str,
    patient: str,
    split: str | None,
    series: Sequence[ImageSeries],
    labels: Sequence[LabelObject],
    data: DataSection,
) -> Case:
    """The case of a study. Raises `DataError` where a channel is not one series, or the label is not clear."""
    referred = {uid for one in labels for uid in one.series}
    channels: dict[str, tuple[Path, ...]] = {}
    for name, pattern in data.channels.items():
        fitting = [one for one in series if _is(one, pattern)]
        if len(fitting) > 1:
            referred_to = [one for one in fitting if one.series in referred]
            fitting = referred_to or [one for one in fitting if one.is_scan] or fitting
        if len(fitting) != 1:
            raise DataError(
                f"channel {name} is {'missing' if not fitting else 'not one series'}",
                file=series[0].folder.parent,
                found=listed([_described(one, data.root) for one in fitting or series], 6),
                expected=f"one series that is {pattern}",
                remedy=f"Name it in data.channels by its description, such as {name}: {pattern.partition(':')[0]}:*...*"
                if fitting
                else "Add the series, or correct the channel in the config",
            )
        channels[name] = (fitting[0].folder,)
    used = {one.series for one in series if (one.folder,) in channels.values()}
    own = [one for one in labels if one.series & used or not one.series]
    repeated = [name for name, count in Counter(name for one in own for name in set(one.names)).items() if count > 1]
    if repeated:
        raise DataError(
            f"{counted(len(own), own[0].kind)} of one case hold the same structure",
            file=own[0].file,
            found=f"{repeated[0]} in {listed([one.description or one.file.name for one in own], 4)}",
            expected=f"one {own[0].kind}, or several with different structures",
            remedy=f"Name the one to use in data.label by its description, such as {own[0].kind}:*...*",
        )
    return Case(case_id, patient, channels, tuple(one.file for one in own) or None, None, split)


def _is(series: ImageSeries, pattern: str) -> bool:
    return _matches(series.modality, series.description, pattern)


def _matches(modality: str, description: str, pattern: str) -> bool:
    """Whether an object is what the config names: `MODALITY`, or `MODALITY:description`."""
    wanted, colon, about = pattern.lower().replace("[", "[[]").partition(":")
    return fnmatchcase(modality.lower(), wanted) and (not colon or fnmatchcase(description.lower(), about))


def _described(series: ImageSeries, root: Path) -> str:
    kind = f"{series.modality}:{series.description}" if series.description else series.modality
    return f"{kind} in {series.folder.relative_to(root)}"


def _plain(name: str) -> str:
    return _SEPARATORS.sub(" ", name.lower()).strip()


LAYOUT = Layout("dicom", find, example, recognize, draw_label=draw_label)
