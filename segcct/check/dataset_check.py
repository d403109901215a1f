"""The check of a dataset: every problem of its names, headers, split and, when deep, voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from segcct.case_runner import CaseJob, Done, Failed, run_cases
from segcct.check.case_checks import CaseContents, check_case
from segcct.check.duplicates import find_copies
from segcct.check.problem import Problem
from segcct.check.split_classes import unshared_classes
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.inventory import Inventory
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.split_record import Splits
from segcct.datasets.unread_files import find_unread
from segcct.errors import SegcctError, SplitError
from segcct.plurals import counted
from segcct.progress import Report


@dataclass(frozen=True)
class DatasetCheck:
    """What the check of a dataset found."""

    problems: list[Problem]
    unread: list[str] = field(default_factory=list)
    """Files below the root that are not read, counted and named, a line each; folders of them are problems."""


def examine_dataset(
    data: DataSection, *, deep: bool = True, needs_labels: bool = True, progress: Report | None = None
) -> DatasetCheck:
    """Every problem of the dataset that `data` describes, and the files that are not read.

    Args:
        data: the data section of a config; `data.workers` cases are read at a time.
        deep: read every voxel; else only names, headers and the split.
        needs_labels: False for training without labels, whose label files are not opened.
        progress: called with (done, total) before the first case and after each.
    """
    try:
        inventory = Inventory(data, needs_labels=needs_labels)
    except SegcctError as error:
        return DatasetCheck([Problem.of(error, file=data.root)])
    return check_inventory(inventory, deep=deep, progress=progress)


def check_inventory(inventory: Inventory, *, deep: bool, progress: Report | None = None) -> DatasetCheck:
    """As `examine_dataset`, for an inventory that has been taken already."""
    data, found, scheme = inventory.data, inventory.found, inventory.scheme
    unread = find_unread(data, found, inventory.tree)
    problems = [Problem.of(error, file=data.root) for error in found.errors]
    if found.label_error is not None and inventory.needs_labels:
        problems.append(Problem.of(found.label_error, file=data.root))
    problems += [replace(Problem.of(notice, file=data.root), severity="notice") for notice in found.notices]
    problems += [
        Problem.notice(
            data.root / name,
            "the folder holds no case",
            found=counted(files, "file"),
            remedy="Correct data.channels, data.label or data.layout, or ignore this if it is not meant to be read",
        )
        for name, files in unread.folders
    ]
    splits, cases, split_problems = _check_split(inventory)
    problems += split_problems
    if inventory.needs_labels:
        idle = [case for case in cases if splits is None or case not in inventory.unlabeled]
        problems += _without_label(idle, data)

    jobs = [CaseJob(case.id, case) for case in cases]
    check = partial(check_case, inventory=inventory, deep=deep)
    backend = "threads" if data.workers > 1 else "serial"  # unpacking and digests leave Python's lock
    contents: list[CaseContents] = []
    outcomes = run_cases(jobs, check, backend=backend, workers=data.workers, progress=progress)
    for case, outcome in zip(cases, outcomes, strict=True):
        if isinstance(outcome, Done):
            contents.append(outcome.value)
            problems += outcome.value.problems
        elif isinstance(outcome, Failed):
            problems += [Problem(str(case.files()[0]), reason) for reason in outcome.reasons]
    if deep:
        problems += find_copies((image for one in contents for image in one.images), splits)
        values = {one.case: one.values for one in contents if one.values is not None}
        complete = len(values) == sum(case.label is not None for case in cases)
        problems += _check_classes(values, data, scheme, splits, complete=complete)
    return DatasetCheck(problems, unread.describe(folders=False))


def _without_label(cases: Sequence[Case], data: DataSection) -> list[Problem]:
    if data.label is None:
        remedy = "Set data.label"
        return [Problem(str(data.root), "data.label names no label files", expected="a file pattern", remedy=remedy)]
    return [
        Problem.notice(
            case.files()[0],
            "a case without a label is not used for training",
            expected=f"a label file {data.label}",
            remedy="Add it, or ignore this when it is meant for prediction",
        )
        for case in cases
        if not case.label
    ]


def _check_split(inventory: Inventory) -> tuple[Splits | None, Sequence[Case], list[Problem]]:
    """The split, the cases, of which some may train without their labels, and what is wrong."""
    try:
        splits, cases = inventory.splits, inventory.cases
    except SplitError as error:
        return None, inventory.found.cases, [Problem.of(error, file=inventory.data.root)]
    spare = [case for case in cases if case.label and splits.split_of(case.id) is None]
    if not spare:
        return splits, cases, []
    counts = ", ".join(f"{len(ids)} in {split}" for split, ids in splits.items())
    notice = Problem.notice(
        inventory.data.root,
        "cases with a label are not on any list",
        found=f"{len(spare)} such as {spare[0].id}; {counts}",
        remedy="Add them to a list of data.split if they were forgotten",
    )
    return splits, cases, [notice]


def _check_classes(
    values: Mapping[str, set[int]], data: DataSection, scheme: Scheme, splits: Splits | None, *, complete: bool
) -> list[Problem]:
    """Classes that no label holds, and classes that only one part of the split holds; `values` are those per case.

    Unless they are `complete`, the labels that could not be read are the problem, and not what the others lack.
    """
    problems = []
    absent = [name for name, value in scheme.classes.items() if not any(value in each for each in values.values())]
    nothing = len(absent) == len(scheme.classes)
    if values and nothing and complete:
        problems.append(
            Problem(
                str(data.root),
                "no label holds a structure",
                found="background only, in every label",
                expected=f"classes of scheme {scheme.name}",
                remedy="Check data.label and data.label_map",
            )
        )
    elif values and absent and not nothing:
        problems.append(
            Problem.notice(
                data.root,
                "classes of the scheme are not in any label",
                found=", ".join(absent),
                expected=f"each class of scheme {scheme.name} in some case",
                remedy="Check data.scheme and data.label_map, or ignore this when the data is a part of a set",
            )
        )
    classes = {
        case: frozenset(name for name, value in scheme.classes.items() if value in each)
        for case, each in values.items()
    }
    unshared = None if splits is None else unshared_classes(classes, splits)
    if unshared is not None:
        problems.append(
            Problem.notice(
                data.root,
                "classes are in one part of the split only",
                found=unshared,
                expected="each class in training, validation and test",
                remedy="Change data.split or its lists, or ignore this for a class that is rare",
            )
        )
    return problems
