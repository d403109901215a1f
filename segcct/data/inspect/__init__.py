"""`segcct init DIR`: what kind of dataset is this, and what config would train on it?

Names first, then headers, then a sample of the voxels. Meanings are never guessed from values: a scheme is named only
where the file names are a known dataset's own and the values agree, or where there is one value beside 0. What was not
clear is said, on the terminal and in the config.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np

from segcct.config import DataSection
from segcct.data.case import Case
from segcct.data.inspect.choices import (
    Choice,
    choose_intensity,
    choose_labels,
    choose_orientation,
    choose_size,
)
from segcct.data.inspect.config_text import config_text
from segcct.data.inspect.dividing import choose_split, split_doubts
from segcct.data.inspect.findings import Findings, count
from segcct.data.inspect.grouping import in_case_folders, in_parallel_folders, side_by_side
from segcct.data.inspect.known import KNOWN
from segcct.data.inspect.naming import Naming
from segcct.data.inspect.roles import ARRAYS, DICOM, PICTURES, VOLUMES, channel_names
from segcct.data.inspect.voxels import Facts, read_headers, read_sample
from segcct.data.labels import whole_values
from segcct.data.layouts import find_cases, scan_cases
from segcct.data.layouts.patterns import files_below
from segcct.errors import DataError, SegcctError
from segcct.images.raster import open_image
from segcct.volume import Volume

__all__ = ["Findings", "config_text", "inspect_folder", "recognise"]

_LABEL_VALUES = 20
"""Most values of a file that is taken for a label by its voxels."""


def inspect_folder(folder: str | Path) -> Findings:
    """Look at a folder of scans and masks.

    Raises:
        DataError: no such folder, or nothing in it that segcct reads as scans.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError("no such folder", file=root, remedy="Give the folder that holds the scans")
    naming = recognise(root, files_below(root))
    draft = _draft(root, naming)
    found = scan_cases(draft)
    if not found.cases:
        raise found.errors[0]
    cases = found.cases
    if naming.label is None:
        naming, draft = _label_by_voxels(naming, draft, cases[0])
        cases = scan_cases(draft).cases

    facts = read_headers(cases, draft)
    orientation = choose_orientation(naming, facts)
    native = orientation.settings["orientation"] == "native"
    read_sample(cases, draft, facts, "native" if native else "canonical")
    intensity = choose_intensity(naming, facts)
    choices = {
        "layout": Choice({"layout": naming.layout}, naming.why),
        "scheme": choose_labels(naming, facts),
        "orientation": orientation,
        "image_size": choose_size(naming, facts, "native" if native else "canonical", intensity),
        "intensity": intensity,
        "split": choose_split(cases, root),
    }
    settings = draft.model_dump(exclude_defaults=True)
    for choice in choices.values():
        settings |= choice.settings
    data = DataSection.model_validate(settings)
    doubts = [*naming.doubts, *_trouble(found.errors + found.notices, facts)]
    doubts += [doubt for choice in choices.values() for doubt in choice.doubts]
    if naming.layout == "pictures":
        doubts.append("every picture counts as a patient: if some are of one patient or volume, say so by data.patient")
    doubts += _sampling_doubts(cases, facts) + list(split_doubts(find_cases(data, strict=False), data))
    return Findings(
        data=data,
        facts=tuple(_seen(naming, cases, facts)),
        reasons={key: choice.why for key, choice in choices.items() if choice.settings},
        doubts=tuple(dict.fromkeys(doubts)),
    )


def recognise(root: Path, names: Sequence[str]) -> Naming:
    """The layout and patterns that the file names show. Raises `DataError` when they show none."""
    names = _with_series(names)
    for known in KNOWN:
        naming = known(root, names)
        if naming is not None:
            return naming
    volumes = [name for name in names if name.lower().endswith(VOLUMES) or "." not in PurePosixPath(name).name]
    pictures = [name for name in names if name.lower().endswith(PICTURES)]
    if len(volumes) >= len(pictures):
        folders = in_case_folders(volumes, root.resolve().name) if volumes else None
        one_folder = len({PurePosixPath(name).parent for name in volumes}) == 1
        naming = (
            in_parallel_folders(volumes, "paired")
            or (side_by_side(volumes, "paired") if one_folder else None)
            or (folders if folders and not folders.doubts else None)
            or side_by_side(volumes, "paired")
            or folders
        )
    else:
        naming = in_parallel_folders(pictures, "pictures") or side_by_side(pictures, "pictures")
        naming = naming and replace(naming, channels=_bands(root, pictures, naming))
    if naming is None or not naming.channels:
        raise _unknown(root, names)
    return naming


def _with_series(names: Sequence[str]) -> list[str]:
    """Names without files of no interest; a folder of DICOM slices counts as one file."""
    wanted = VOLUMES + PICTURES + ARRAYS
    kept = [name for name in names if name.lower().endswith((*wanted, ".json", "info.cfg"))]
    series = {str(PurePosixPath(name).parent) for name in names if name.lower().endswith(DICOM)} - {"."}
    return sorted({*kept, *series})


def _bands(root: Path, pictures: Sequence[str], naming: Naming) -> dict[str, str]:
    """One picture pattern becomes the bands red, green and blue when the pictures are in colour."""
    from segcct.data.layouts.patterns import compiled

    if len(naming.channels) > 1:
        return dict(naming.channels)
    (pattern,) = naming.channels.values()
    first = next(name for name in pictures if compiled(pattern, anywhere=True).match(name))
    with open_image(root / first, root / first) as picture:
        grey = picture.mode in ("1", "L", "LA", "I", "F") or picture.mode.startswith("I;")
    return dict(naming.channels) if grey else dict.fromkeys(("red", "green", "blue"), pattern)


def _unknown(root: Path, names: Sequence[str]) -> DataError:
    loose = [name for name in files_below(root) if name.lower().endswith(DICOM) and "/" not in name]
    if loose:
        return DataError(
            "DICOM slices lie directly in the dataset folder",
            file=root,
            found=f"{len(loose)} such as {loose[0]}",
            expected="a folder per case with the slices in a folder inside it, and the mask beside that",
            remedy="Move the slices, as in CASE/ct/*.dcm and CASE/seg.nrrd",
        )
    kinds = Counter(PurePosixPath(name).suffix for name in names)
    return DataError(
        "scans and masks could not be told apart by their names",
        file=root,
        found=", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)) or "no image files",
        expected="scans and masks in folders of their own (images/, masks/), side by side (A.png, A_mask.png), "
        "a folder per case, or the files of BraTS, ACDC, BTCV or nnU-Net",
        remedy="Arrange them so, or write the config by hand (configs/ has examples)",
    )


def _draft(root: Path, naming: Naming) -> DataSection:
    return DataSection.model_validate(
        {
            "layout": naming.layout,
            "root": root,
            "channels": dict(naming.channels),
            "label": naming.label,
            "scheme": "binary",
            "intensity": {"rule": "none"},
        }
    )


def _label_by_voxels(naming: Naming, draft: DataSection, case: Case) -> tuple[Naming, DataSection]:
    """Where no name says label: a channel of few whole values, mostly 0, is one."""
    if naming.layout not in ("folder", "paired") or len(naming.channels) < 2:
        return naming, draft
    for name, pattern in naming.channels.items():
        try:
            voxels = whole_values(Volume.load(case.channels[name][0]).array)
        except SegcctError:  # no volume, or values that are no classes
            continue
        values = np.unique(voxels[::2, ::2, ::2])
        if len(values) > _LABEL_VALUES or np.mean(voxels == 0) < 0.5:
            continue
        rest = [other for other in naming.channels.values() if other != pattern]
        doubt = f"{pattern} is taken for the label because it holds {len(values)} whole values; no name says so"
        naming = replace(naming, channels=channel_names(rest), label=pattern, doubts=(*naming.doubts, doubt))
        return naming, _draft(draft.root, naming)
    return naming, draft


def _trouble(errors: Sequence[SegcctError], facts: Facts) -> list[str]:
    """What could not be found or read, the first few of it."""
    said = [str(error) for error in (*errors, *facts.trouble)]
    more = [f"{len(said) - 3} more files or cases have problems; segcct check lists them"] if len(said) > 3 else []
    return said[:3] + more


def _sampling_doubts(cases: Sequence[Case], facts: Facts) -> list[str]:
    labelled = sum(case.label is not None for case in cases)
    if facts.labels_read >= labelled:
        return []
    return [f"label values were read in {facts.labels_read} of {labelled} cases; segcct check reads them all"]


def _seen(naming: Naming, cases: Sequence[Case], facts: Facts) -> list[str]:
    """Counts, shapes, spacing, ranges and label values."""
    patients = len({case.patient for case in cases})
    labelled = sum(case.label is not None for case in cases)
    lines = [f"{count(len(cases), 'case')} of {count(patients, 'patient')}, {labelled} with a label: {naming.why}"]
    lines.append("channels: " + ", ".join(f"{name} ({pattern})" for name, pattern in naming.channels.items()))
    lines.append(f"label: {naming.label or 'none'}" + (f"; mask: {naming.mask}" if naming.mask else ""))
    if facts.grids:
        lines.append(f"shape: {_range([grid.shape for grid in facts.grids], '{:.0f}')}")
        spacings = [grid.spacing_mm for grid in facts.grids if grid.spacing_mm is not None]
        lines.append(f"spacing: {_range(spacings, '{:.3g}')} mm" if spacings else "spacing: the files hold none")
        codes = Counter("".join(nib.aff2axcodes(g.affine)) for g in facts.grids if g.spacing_mm is not None)
        lines += ["axes: " + ", ".join(f"{code} in {count}" for code, count in codes.most_common())] if codes else []
    for name, many in facts.channels.items():
        low, high = min(one.low for one in many), max(one.high for one in many)
        constants = sorted({f"{one.background:g}" for one in many if one.background is not None})
        around = f", background {', '.join(constants[:4])}" if constants else ", no constant background"
        lines.append(f"{name}: {low:g} to {high:g}{around} (read in {len(many)})")
    if facts.values:
        total = sum(facts.values.values())
        shares = ", ".join(f"{value:g} ({count / total:.2%})" for value, count in sorted(facts.values.items())[:20])
        more = f" and {len(facts.values) - 20} more" if len(facts.values) > 20 else ""
        lines.append(f"label values: {shares}{more} (read in {facts.labels_read})")
    return lines


def _range(rows: Sequence[Sequence[float]], form: str) -> str:
    """`240 x 240 x 155`, or with a range per axis where the rows differ."""
    columns = []
    for column in zip(*rows, strict=True):
        low, high = form.format(min(column)), form.format(max(column))
        columns.append(low if low == high else f"{low}-{high}")
    return " x ".join(columns)
