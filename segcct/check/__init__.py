"""`segcct check`: every problem of a dataset, each with file, found, expected and remedy.

Two depths. The quick part, which every training runs first, looks at names, headers and the split. The deep part reads
every voxel. Neither stops at a file that cannot be read.

Errors make the check fail. Notices do not: they may be meant, and are worth knowing (slices without foreground, cases
without a label, a class that no label holds, one patient's image stored twice).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from segcct.check.duplicates import find_copies
from segcct.check.grids import check_grids
from segcct.check.label_contents import CaseContents, absent_classes, read_contents, uneven_classes
from segcct.check.problem import Problem, format_problems
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.inventory import Inventory
from segcct.datasets.splits import Splits
from segcct.datasets.unread_files import Unread, find_unread
from segcct.errors import CASE_FAILURES, SegcctError, SplitError, failure_of
from segcct.plurals import counted
from segcct.progress import Report

__all__ = ["DatasetCheck", "Problem", "check_dataset", "check_inventory", "examine_dataset", "format_problems"]


@dataclass(frozen=True)
class DatasetCheck:
    """What the check of a dataset found."""

    problems: list[Problem]
    unread: list[str] = field(default_factory=list)
    """Files below the root that are not read, counted and named, a line each; folders of them are problems."""


def check_dataset(data: DataSection, *, deep: bool = True, progress: Report | None = None) -> list[Problem]:
    """Every problem of the dataset that `data` describes; an empty list when there is none.

    Args:
        data: the data section of a config; `data.workers` cases are read at a time.
        deep: read every voxel; else only names, headers and the split.
        progress: called with (done, total) after each case.
    """
    return examine_dataset(data, deep=deep, progress=progress).problems


def examine_dataset(data: DataSection, *, deep: bool = True, progress: Report | None = None) -> DatasetCheck:
    """The problems as `check_dataset` gives them, with the files that are not read."""
    try:
        inventory = Inventory(data)
    except SegcctError as error:
        return DatasetCheck([Problem.of(error, file=data.root)])
    return check_inventory(inventory, deep=deep, progress=progress)


def check_inventory(inventory: Inventory, *, deep: bool, progress: Report | None = None) -> DatasetCheck:
    """As `examine_dataset`, of what is found already."""
    data, found, scheme = inventory.data, inventory.found, inventory.scheme
    unread = find_unread(data, found, inventory.tree)
    problems = [Problem.of(error, file=data.root) for error in found.errors]
    problems += [replace(Problem.of(notice, file=data.root), severity="notice") for notice in found.notices]
    splits, split_problems = _check_split(inventory)
    problems += (
        (_without_label(found.cases, data) if inventory.needs_labels else [])
        + _idle_folders(data, unread)
        + split_problems
    )

    contents: list[CaseContents] = []
    examine = partial(_examine, inventory=inventory, deep=deep)
    for done, one in enumerate(_in_threads(examine, found.cases, data.workers), start=1):
        problems += one.problems
        contents.append(one)
        if progress is not None:
            progress(done, len(found.cases))
    if deep:
        problems += find_copies((image for one in contents for image in one.images), splits)
        problems += absent_classes(contents, data, scheme) + uneven_classes(contents, data, scheme, splits)
    return DatasetCheck(problems, unread.describe(folders=False))


def _examine(case: Case, inventory: Inventory, *, deep: bool) -> CaseContents:
    """One case: its headers and, when `deep`, its voxels."""
    try:
        by_header = check_grids(case, inventory)
        contents = read_contents(case, inventory.data, inventory.scheme) if deep else CaseContents(case.id)
    except CASE_FAILURES as error:
        return CaseContents(case.id, problems=[Problem(str(case.files()[0]), failure_of(error, case.id))])
    named = {problem.file for problem in by_header}  # what its header says of a file, its voxels need not repeat
    contents.problems = by_header + [problem for problem in contents.problems if problem.file not in named]
    return contents


def _in_threads(examine: Callable[[Case], CaseContents], cases: Sequence[Case], workers: int) -> Iterator[CaseContents]:
    """Results in the order of the cases. Unpacking and digests leave Python's lock, so threads are enough."""
    if workers < 2:
        yield from map(examine, cases)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(examine, cases)
    finally:
        pool.shutdown(cancel_futures=True)


def _idle_folders(data: DataSection, unread: Unread) -> list[Problem]:
    """A notice for each folder in which nothing is read."""
    return [
        Problem(
            str(data.root / name),
            "the folder holds no case",
            found=counted(files, "file"),
            remedy="Correct data.channels, data.label or data.layout, or take no notice if it is not meant to be read",
            severity="notice",
        )
        for name, files in unread.folders
    ]


def _without_label(cases: Sequence[Case], data: DataSection) -> list[Problem]:
    if data.label is None:
        return [
            Problem(
                str(data.root), "data.label names no label files", expected="a file pattern", remedy="Set data.label"
            )
        ]
    return [
        Problem(
            str(case.files()[0]),
            "a case without a label takes no part in training",
            expected=f"a label file {data.label}",
            remedy="Add it, or take no notice when it is meant for prediction",
            severity="notice",
        )
        for case in cases
        if not case.label
    ]


def _check_split(inventory: Inventory) -> tuple[Splits | None, list[Problem]]:
    try:
        splits = inventory.splits
    except SplitError as error:
        return None, [Problem.of(error, file=inventory.data.root)]
    spare = [case for case in inventory.cases if case.label and splits.split_of(case.id) is None]
    if not spare:
        return splits, []
    counts = ", ".join(f"{len(ids)} in {split}" for split, ids in splits.items())
    notice = Problem(
        str(inventory.data.root),
        "cases with a label are on no list",
        found=f"{len(spare)} such as {spare[0].id}; {counts}",
        remedy="Add them to a list of data.split if they were forgotten",
        severity="notice",
    )
    return splits, [notice]
