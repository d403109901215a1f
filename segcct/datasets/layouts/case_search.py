"""The cases below a folder, by its layout: sorted by id, with their patients; and the errors for what is no case."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

from segcct.config import DataSection
from segcct.config.expressions import search_patient
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts.case_ids import clashes, with_ids
from segcct.datasets.layouts.layout import Found, Layout
from segcct.datasets.layouts.layout_lookup import get_layout
from segcct.errors import DataError
from segcct.files.file_names import absolute, composed
from segcct.plurals import counted, listed

_MOST_AROUND = 10_000
"""Files and folders around the root that are looked through for the dataset's folder."""


def find_cases(data: DataSection, *, strict: bool = True) -> list[Case]:
    """The cases below `data.root`, sorted by id; without labels where there are none.

    Args:
        data: root, layout, patterns.
        strict: raise for the first case that lacks a channel; else leave such cases out.

    Raises:
        DataError: the root is missing or holds no case (with a drawing of the expected folder); when strict, a case is
            incomplete or its id not unique; `data.patient` finds no patient in an id.
        LabelError: no label can be used.
    """
    found = scan_cases(data)
    if found.label_error is not None:
        raise found.label_error
    if strict and found.errors:
        raise _first_of(found.errors)
    return found.cases


@dataclass(frozen=True)
class NewCases:
    """The cases to predict below a root."""

    cases: list[Case]
    """Sorted by id. One that lacks a channel is among them; reading it raises its error."""
    unread: list[DataError]
    """An error for each folder, and for each file of an unknown case, that cannot be read."""


def find_new_cases(data: DataSection) -> NewCases:
    """The cases to predict below `data.root`: as `find_cases`, or, in a folder that is not laid out as the dataset was,
    its files that are named as the dataset's are.

    Raises:
        DataError: the root is missing, or no case below it is complete; an id is not unique; `data.patient` finds no
            patient in an id.
    """
    find_loose = get_layout(data.layout).find_loose
    tree = FolderTree(data.root, strict=False)
    found = _found(data, tree)
    if find_loose is not None and not found.cases and not found.errors:
        found = find_loose(data)
    if tree.unread and not found.cases:
        raise tree.unread[0]
    found = _sorted(found, data)
    return NewCases(_with_incomplete(found, data), [*tree.unread, *found.unread])


def single_case(data: DataSection, file: Path) -> Case | None:
    """The case of one file that holds every channel, as some layouts have them; None where a file is a volume or a
    single channel. Raises `DataError` for a file that lacks a channel."""
    single = get_layout(data.layout).single
    return None if single is None else single(data, file)


def _with_incomplete(found: Found, data: DataSection) -> list[Case]:
    """The cases, also those that lack something. Raises the first error where no case is complete, or an error is
    neither that of a case with an id of its own nor that of a file which cannot be read."""
    channel, pattern = next(iter(data.channels.items()))

    def first_file(error: DataError) -> Path:
        """Where the first channel is or should be, for ids by path."""
        place = Path(error.file or data.root)
        return place / pattern if place.is_dir() else place

    lacking = with_ids(
        [
            Case(case_id, patient, {channel: (first_file(error),)}, error=error)
            for case_id, patient, error in found.incomplete
        ],
        data,
    )
    times = Counter(composed(case.id) for case in (*found.cases, *lacking))
    lacking = [_with_patient(case, data) for case in lacking if times[composed(case.id)] == 1]
    known = {*found.unread, *(case.error for case in lacking)}
    others = [error for error in found.errors if error not in known]
    if others or not found.cases:
        raise _first_of(others or found.errors)
    return sorted([*found.cases, *(replace(case, channels={}) for case in lacking)], key=lambda case: case.id)


def _first_of(errors: Sequence[DataError]) -> DataError:
    """The first error, which says how many there are besides."""
    first, *others = errors
    if not others:
        return first
    more = f"{counted(len(others), 'more problem')}: `segcct check` lists them all"
    told = copy(first)  # `first` stays as it is for those who list all errors
    told.remedy = f"{first.remedy}. {more}" if first.remedy else more
    return told


def scan_cases(data: DataSection, tree: FolderTree | None = None) -> Found:
    """The complete cases below `data.root`, sorted by id, an error for each incomplete one, and notices.

    Args:
        data: root, layout, patterns.
        tree: what lies below the root, where it has been listed already.

    Raises:
        DataError: the root is missing or holds nothing of the layout.
    """
    return _sorted(_found(data, tree), data)


def _found(data: DataSection, tree: FolderTree | None = None) -> Found:
    layout = get_layout(data.layout)
    if not data.root.is_dir():
        raise _nothing_there(data, f"the dataset folder {'is a file' if data.root.exists() else 'does not exist'}")
    return layout.find(data, tree or FolderTree(data.root))


def _sorted(found: Found, data: DataSection) -> Found:
    """The cases, sorted by id, with their patients; ids that are not unique become errors. Raises where nothing was
    found."""
    if not found.cases and not found.errors:
        raise _nothing_there(data, f"no case of layout {data.layout} in the dataset folder")
    cases = with_ids(found.cases, data)
    times = Counter(composed(case.id) for case in cases)
    errors = [*found.errors, *clashes(cases, data)]
    cases = [_with_patient(case, data) for case in cases if times[composed(case.id)] == 1]
    cases.sort(key=lambda case: case.id)
    return replace(found, cases=cases, errors=errors, all_cases=found.cases)


def _with_patient(case: Case, data: DataSection) -> Case:
    if data.patient is None:
        return case
    match = search_patient(data.patient, case.id)
    if match is None or not match[1]:
        raise DataError(
            "data.patient finds no patient in a case id",
            file=case.files()[0],
            found=case.id,
            expected=f"a match of {data.patient}",
            remedy="Correct the expression: every case needs a patient, so that no patient is in two splits",
        )
    return replace(case, patient=match[1])


def _nothing_there(data: DataSection, what: str) -> DataError:
    layout = get_layout(data.layout)
    found = listed(FolderTree(data.root).files(), 5) or "an empty folder" if data.root.is_dir() else None
    command = f"segcct phantom {layout.name} {shlex.quote(str(data.root))}"
    phantom = f", or write a synthetic dataset with: {command}" if layout.phantom else ""
    return DataError(
        what,
        file=data.root,
        found=found,
        expected="\n" + layout.example(data) + "\n",
        remedy=f"Set data.root to {_folder_above(data, layout) or 'the folder of the data'}{phantom}",
    )


def _folder_above(data: DataSection, layout: Layout) -> Path | None:
    """The folder that the root lies in, if that is the dataset's: one that holds the folders named in the patterns."""
    root = Path(absolute(data.root))
    if layout.names_arrays or layout.draw_label is not None or not root.is_dir():  # their folders may have any names
        return None
    above = data.model_copy(update={"root": root.parent})
    try:
        cases = layout.find(above, FolderTree(above.root, most_entries=_MOST_AROUND)).cases
    except DataError:
        return None
    return above.root if any(file.is_relative_to(root) for case in cases for file in case.files()) else None
