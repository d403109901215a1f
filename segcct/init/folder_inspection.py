"""A folder of scans and masks inspected: its layout, channels, labels and grids, and the settings that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.label_schemes import whole_values
from segcct.datasets.layouts import Found, get_layout, scan_cases
from segcct.datasets.layouts.case_ids import clashes, with_ids
from segcct.datasets.layouts.file_roles import ambiguous_labels, channel_names
from segcct.datasets.layouts.layout import Naming
from segcct.datasets.unread_files import find_unread
from segcct.errors import DataError, SegcctError, items
from segcct.files.file_names import EXACT_IMAGE_SUFFIXES, IMAGE_SUFFIXES
from segcct.images.raster import mask_values
from segcct.images.volume import Volume
from segcct.init.choices import Choice, choose_intensity, choose_labels, choose_orientation, choose_size
from segcct.init.config_text import Findings
from segcct.init.recognition import in_bands, recognize
from segcct.init.split_proposal import choose_split, patient_hint, split_doubts
from segcct.init.voxels import Facts, Orientation, read_headers, read_sample
from segcct.plurals import counted

_LABEL_VALUES = 20
"""Most values of a file that is taken for a label by its voxels."""


def inspect_folder(folder: str | Path) -> Findings:
    """Look at a folder of scans and masks.

    Raises:
        DataError: no such folder, or nothing in it that segcct reads as scans.
    """
    folder = Path(folder)
    tree = FolderTree(folder)
    naming, draft, found = _by_names(folder, tree)
    cases = found.cases
    facts = read_headers(cases, draft)
    if not facts.grids:
        reasons = items(facts.trouble, most=3)
        looked_at = counted(len(facts.trouble), "scan")
        raise DataError(f"none of the {looked_at} that were looked at can be read:{reasons}", file=tree.root)
    orientation = choose_orientation(naming, facts)
    axes: Orientation = "native" if "native" in orientation.settings.values() else "canonical"
    read_sample(cases, draft, facts, axes)
    intensity = choose_intensity(naming, facts)
    choices = {
        "layout": Choice({"layout": naming.layout}, naming.why),
        "scheme": choose_labels(naming, facts),
        "orientation": orientation,
        "image_size": choose_size(naming, facts, axes, intensity),
        "intensity": intensity,
        "split": choose_split(cases, tree),
    }
    settings = draft.model_dump(exclude_defaults=True)
    for choice in choices.values():
        settings |= choice.settings
    data = DataSection.model_validate(settings)
    doubts = [*naming.doubts, *_trouble([*found.errors, *found.notices, *facts.trouble])]
    doubts += [doubt for choice in choices.values() for doubt in choice.doubts]
    if get_layout(naming.layout).spatial_dims == 2:
        doubts.append(f"every image counts as a patient: {patient_hint([case.id for case in cases])}")
    found = scan_cases(data, tree)
    labeled = sum(case.label is not None for case in cases)
    if facts.labels_read < labeled:
        number = f"{facts.labels_read} of {counted(labeled, 'case')}"
        doubts.append(f"label values were read in {number}; segcct check reads them all")
    doubts += split_doubts(found.cases, data)
    unread = find_unread(data, found, tree).describe()
    return Findings(
        data=data,
        facts=(*_seen(naming, cases, facts), *(f"not read: {line}" for line in unread)),
        reasons={key: choice.why for key, choice in choices.items() if choice.settings},
        doubts=tuple(dict.fromkeys(doubts)),
    )


def data_section_of(folder: Path) -> DataSection:
    """How the scans of a folder are read, as `segcct init` would, by their names; labels keep their own values, in the
    scheme that the names promise, or the classes that the dataset names. Folders below it that cannot be read count as
    empty.

    Raises:
        DataError: as `inspect_folder`.
    """
    naming, draft, _ = _by_names(folder, FolderTree(folder, strict=False))
    if naming.scheme is not None:
        return draft.model_copy(update={"scheme": naming.scheme})
    if naming.classes:
        return draft.model_copy(update={"scheme": "custom", "labels": dict(naming.classes)})
    return draft


def _by_names(root: Path, tree: FolderTree) -> tuple[Naming, DataSection, Found]:
    """The naming of the files in a folder, the section that follows from it, and the cases."""
    if not root.is_dir():
        raise DataError("no such folder", file=root, remedy="Give the folder that holds the scans")
    naming = recognize(root, tree.files())
    naming, draft, found = _with_paths(naming, _draft(root, naming), tree)
    if not found.cases:
        raise found.errors[0]
    if naming.label is None:
        naming, draft = _label_by_voxels(naming, draft, found.cases[0])
        found = scan_cases(draft, tree)
    return naming, draft, found


def _with_paths(naming: Naming, draft: DataSection, tree: FolderTree) -> tuple[Naming, DataSection, Found]:
    """Ids with the folders above in front, where cases would have one id without them and none with them."""
    found = scan_cases(draft, tree)
    by_path = draft.model_copy(update={"case_id": "path"})
    if not (clashing := clashes(found.all_cases, draft)) or clashes(with_ids(found.all_cases, by_path), by_path):
        return naming, draft, found
    doubt = (
        f"case ids hold the folders above (data.case_id: path), for {counted(len(clashing), 'id')} would stand for "
        f"several cases, such as {clashing[0].found}; if they are of one patient, say so by data.patient"
    )
    naming = replace(naming, case_id="path", doubts=(*naming.doubts, doubt))
    return naming, by_path, scan_cases(by_path, tree)


def _draft(root: Path, naming: Naming) -> DataSection:
    settings: dict[str, object] = {
        "layout": naming.layout,
        "root": root,
        "channels": dict(naming.channels),
        "label": naming.label,
        "scheme": "binary",
        "intensity": {"rule": "none"},
    }
    if naming.classes and get_layout(naming.layout).draw_label is not None:  # drawn by their names
        settings |= {"scheme": "custom", "labels": dict(naming.classes)}
    if naming.case_id != "name":
        settings["case_id"] = naming.case_id
    if naming.patient is not None:
        settings["patient"] = naming.patient
    return DataSection.model_validate(settings)


def _label_by_voxels(naming: Naming, draft: DataSection, case: Case) -> tuple[Naming, DataSection]:
    """Where no name says label: a channel of few whole values, mostly 0, is one. Of several the first is taken, and
    none of them is a channel."""
    if naming.by_convention or len(naming.channels) < 2:
        return naming, draft
    found = {}
    for name, pattern in naming.channels.items():
        if values := _label_values(case.channels[name][0]):
            found[pattern] = values
    rest = {name: pattern for name, pattern in naming.channels.items() if pattern not in found}
    if not found or not rest:
        return naming, draft
    label, values = next(iter(found.items()))
    doubt = f"{label} is taken for the label because it holds {values} whole values; no name says so"
    doubts = (*naming.doubts, doubt, *ambiguous_labels(list(found)))
    naming = replace(naming, channels=channel_names([*rest.values()]), label=label, doubts=doubts)
    if naming.layout == "pictures" and len(rest) == 1:
        naming = in_bands(naming, case.channels[next(iter(rest))][0])
    return naming, _draft(draft.root, naming)


def _label_values(file: Path) -> int:
    """How many values a file holds that may be a label; 0 for one that is none, or cannot be read."""
    of_image = file.name.lower().endswith(IMAGE_SUFFIXES)
    if of_image and not file.name.lower().endswith(EXACT_IMAGE_SUFFIXES):
        return 0
    try:
        voxels = whole_values(mask_values(file) if of_image else Volume.load(file).array)
    except SegcctError:  # no volume, in colors, or values that are no classes
        return 0
    values = np.unique(voxels[::2, ::2, ::2])
    return len(values) if len(values) <= _LABEL_VALUES and np.mean(voxels == 0) >= 0.5 else 0


def _trouble(errors: Sequence[SegcctError]) -> list[str]:
    """What could not be found or read, the first few of it."""
    more = [f"{counted(len(errors) - 3, 'more problem')}; segcct check lists them all"] if len(errors) > 3 else []
    return [str(error) for error in errors[:3]] + more


def _seen(naming: Naming, cases: Sequence[Case], facts: Facts) -> list[str]:
    """Counts, shapes, spacing, ranges and label values."""
    patients = len({case.patient for case in cases})
    labeled = sum(case.label is not None for case in cases)
    lines = [f"{counted(len(cases), 'case')} of {counted(patients, 'patient')}, {labeled} with a label: {naming.why}"]
    lines.append("channels: " + ", ".join(f"{name} ({pattern})" for name, pattern in naming.channels.items()))
    lines.append(f"label: {naming.label or 'none'}" + (f"; mask: {naming.mask}" if naming.mask else ""))
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
        fractions = ", ".join(f"{value:g} ({count / total:.2%})" for value, count in sorted(facts.values.items())[:20])
        more = f" and {len(facts.values) - 20} more" if len(facts.values) > 20 else ""
        lines.append(f"label values: {fractions}{more} (read in {facts.labels_read})")
    return lines


def _range(rows: Sequence[Sequence[float]], form: str) -> str:
    """`240 x 240 x 155`, or with a range per axis where the rows differ."""
    columns = []
    for column in zip(*rows, strict=True):
        low, high = form.format(min(column)), form.format(max(column))
        columns.append(low if low == high else f"{low}-{high}")
    return " x ".join(columns)
