"""A dataset of labelled cases ready for training: found, checked, split by patient and prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from segcct.check import check_dataset, format_problems
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.image_headers import read_header
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import find_cases, scheme_of
from segcct.datasets.split_classes import one_sided_classes
from segcct.datasets.split_lists import shown
from segcct.datasets.splits import SIDES, Splits, make_splits
from segcct.datasets.synthetic import says_synthetic
from segcct.datasets.unlabelled_cases import unlabelled_cases
from segcct.errors import DataError
from segcct.plurals import counted
from segcct.preparation.prepared_case import PreparedCase, fingerprint, prepare_cases
from segcct.progress import say
from segcct.tasks.segmentation.overlays import Pictured, pictured
from segcct.training.processes import is_first_process
from segcct.training.trainer import progress_bar


@dataclass(frozen=True)
class Division:
    """Who is on which side, as far as names and headers tell."""

    scheme: Scheme
    cases: list[Case]
    splits: Splits
    unlabelled: list[Case] = field(default_factory=list)
    """Cases that train without labels."""


@dataclass(frozen=True)
class Dataset:
    """Who is on which side, and the prepared cases of two sides."""

    scheme: Scheme
    splits: Splits
    train: list[PreparedCase]
    val: list[PreparedCase]
    pictured: dict[str, Pictured]
    """Validation cases that are drawn during training."""
    fingerprint: str
    synthetic: bool
    unlabelled: list[PreparedCase] = field(default_factory=list)
    """Cases that train without labels."""


def divide(data: DataSection, *, unlabelled: bool = False) -> Division:
    """Find, check and split the cases. Raises `DataError` naming every problem of the cheap check.

    Args:
        data: the data section.
        unlabelled: the training uses the cases of `data.split.unlabelled_list`.
    """
    problems = [problem for problem in check_dataset(data, deep=False) if problem.severity == "error"]
    if problems:
        raise DataError(f"the dataset cannot be trained on\n{format_problems(problems)}", file=data.root)
    cases = find_cases(data)
    splits = make_splits(cases, data)
    return Division(scheme_of(data), cases, splits, unlabelled_cases(cases, data, splits) if unlabelled else [])


def load_dataset(data: DataSection, *, pictures: int = 0, unlabelled: bool = False) -> Dataset:
    """`divide`, and prepare the cases; `pictures`: how many validation cases are to be drawn during training."""
    division = divide(data, unlabelled=unlabelled)
    scheme, free = division.scheme, division.unlabelled
    train, val = (division.splits.select(division.cases, side) for side in ("train", "val"))
    prepared = prepare_cases([*train, *val, *free], data, scheme, progress=progress_bar("preparing cases"))
    until = len(train) + len(val)
    if not any(bool(np.any(case.label)) for case in prepared[len(train) : until]):
        raise DataError(
            "no validation case holds a structure, so none could tell which weights are the best",
            file=data.root,
            found=shown([case.id for case in val]),
            remedy="Change data.split or data.fold, or mend the labels (segcct check)",
        )
    _warn_of_classes(prepared[:until], scheme, division.splits)
    return Dataset(
        scheme=scheme,
        splits=division.splits,
        train=prepared[: len(train)],
        val=prepared[len(train) : until],
        pictured=pictured(val[:pictures], data, scheme) if is_first_process() else {},
        fingerprint=fingerprint([*train, *val, *free]),
        synthetic=any(is_synthetic(case) for case in train),
        unlabelled=prepared[until:],
    )


def _warn_of_classes(cases: Sequence[PreparedCase], scheme: Scheme, splits: Splits) -> None:
    """Say which classes are only in the training or only in the validation cases; nothing stops for it."""
    classes = {
        case.case_id: frozenset(name for index, name in enumerate(scheme.classes, 1) if case.present[:, index].any())
        for case in cases
        if case.present is not None
    }
    told = one_sided_classes(classes, splits)
    if told is not None and is_first_process():
        say(f"warning: classes are not in training and validation cases alike ({told})")


def is_synthetic(case: Case) -> bool:
    """The case says in its header that it is a phantom."""
    first = next(iter(case.channels.values()))[0]
    if not first.name.endswith((".nii", ".nii.gz")):
        return False
    return says_synthetic(read_header(first))


def describe_sides(division: Division) -> str:
    """`train 12 cases of 10 patients, val ..., test ...`."""
    sides = {side: division.splits.select(division.cases, side) for side in SIDES}
    return ", ".join(
        f"{side} {counted(len(cases), 'case')} of {counted(len({case.patient for case in cases}), 'patient')}"
        for side, cases in sides.items()
    )
