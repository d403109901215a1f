"""Layout `folder`: one folder per case, a file pattern per named channel.

    ROOT/CASE/<channels.NAME>      (patterns may name subfolders: anat/{id}_T1w.nii.gz)

A case folder is a folder, at any depth, in which the pattern of a channel or of the label matches; its name is the case
id. The root itself may be one. A pattern may match a folder of DICOM slices. Each case is its own patient, except that
BIDS folders `sub-X_ses-Y` and `sub-X/ses-Y` belong to patient `sub-X`, and that `data.patient` may say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts.layout import Found, Layout
from segcct.datasets.layouts.patterns import data_patterns, drawn, filled, matching, only, split_of
from segcct.files.file_names import folder_name

_BIDS = re.compile(r"(?:^|/)(sub-[0-9A-Za-z]+)[/_-]ses-")


def find(data: DataSection, tree: FolderTree) -> Found:
    """Every case folder below `data.root`."""
    return find_folders(data, tree, partial(_patient, data.root))


def find_folders(data: DataSection, tree: FolderTree, patient_of: Callable[[Path], str]) -> Found:
    """Every case folder below `data.root`, with the patient that it belongs to."""
    found = Found()
    lone = []
    for folder, is_case in _case_folders(data, tree):
        name, patient = folder_name(folder), patient_of(folder)
        make = partial(make_case, tree, folder, name, patient, data, split_of(folder.relative_to(data.root)))
        if is_case:
            found.add(name, patient, make)
        else:
            lone.append((folder, (name, patient, make)))
    filled_ones = {parent for case in found.cases for file in case.files() for parent in file.parents}
    for folder, case in lone:
        if folder not in filled_ones:  # a folder of case folders is not a case
            found.add(*case)
    return found


def make_case(tree: FolderTree, folder: Path, case_id: str, patient: str, data: DataSection, split: str | None) -> Case:
    """The case whose files match the config's patterns in `folder`; without a label file, without a label.

    Raises:
        DataError: a channel or intensity mask is missing, or a pattern matches several files.
    """

    def one(what: str, pattern: str) -> tuple[Path, ...]:
        return (only(matching(tree, folder, pattern, case_id), what, filled(pattern, case_id), folder),)

    channels = {name: one(f"channel {name}", pattern) for name, pattern in data.channels.items()}
    label = None
    if data.label is not None and matching(tree, folder, data.label, case_id):
        label = one("label", data.label)
    mask = None if data.intensity.mask is None else one("intensity mask", data.intensity.mask)
    return Case(case_id, patient, channels, label, mask, split)


def example(data: DataSection, case_id: str = "CASE_001") -> str:
    """One case folder with the files the config's patterns ask for."""
    patterns = [*data_patterns(data), *([data.intensity.mask] if data.intensity.mask else [])]
    return drawn(data.root, {case_id: [filled(pattern, case_id) for pattern in patterns], "...": []})


def _case_folders(data: DataSection, tree: FolderTree) -> Iterator[tuple[Path, bool]]:
    """Folders with a file of a channel; and, marked False, those with nothing but a label."""
    for folder, below, _ in tree.folders():
        name = folder_name(folder)
        if any(matching(tree, folder, pattern, name) for pattern in data.channels.values()):
            below.clear()
            yield folder, True
        elif data.label is not None and matching(tree, folder, data.label, name):
            yield folder, False


def _patient(root: Path, folder: Path) -> str:
    """The subject whose session a folder is or lies in; else its own name."""
    match = _BIDS.search("/".join([folder_name(root), *folder.relative_to(root).parts]))
    return match[1] if match else folder_name(folder)


LAYOUT = Layout("folder", find, example)
