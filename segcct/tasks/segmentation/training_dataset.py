"""A dataset of labelled cases ready for training: found, checked, split by patient and prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from segcct.check import Problem, check_inventory, format_problems
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.inventory import Inventory
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.split_lists import unlabeled_cases
from segcct.datasets.splits import SPLIT_NAMES, Splits, unshared_classes
from segcct.errors import DataError, SegcctError
from segcct.plurals import counted, listed
from segcct.preparation.prepared_case import PreparedCase, fingerprint, prepare_cases
from segcct.progress import say
from segcct.tasks.segmentation.overlays import Overlay
from segcct.training.processes import is_first_process
from segcct.training.trainer import progress_bar


@dataclass(frozen=True)
class SplitCases:
    """Which case is in which split, as far as names and headers tell."""

    inventory: Inventory
    unlabelled: list[Case] = field(default_factory=list)
    """Cases that train without labels."""

    def select(self, split: str) -> list[Case]:
        """The cases of one split."""
        return self.splits.select(self.inventory.cases, split)

    @property
    def splits(self) -> Splits:
        """Who trains, validates and tests."""
        return self.inventory.splits


@dataclass(frozen=True)
class Dataset:
    """Which case is in which split, and the prepared cases of train and val."""

    scheme: Scheme
    splits: Splits
    train: list[PreparedCase]
    val: list[PreparedCase]
    pictured: dict[str, Overlay]
    """Validation cases that are drawn during training."""
    fingerprint: str
    synthetic: bool
    unlabelled: list[PreparedCase] = field(default_factory=list)
    """Cases that train without labels."""


def split_cases(data: DataSection, *, unlabelled: bool = False, needs_labels: bool = True) -> SplitCases:
    """Find, check and split the cases. Raises `DataError` naming every problem of the cheap check.

    Args:
        data: the data section.
        unlabelled: the training uses the cases of `data.split.unlabelled_list`.
        needs_labels: cases without a label take no part.
    """
    try:
        inventory = Inventory(data, remember=True, needs_labels=needs_labels)
        problems = [
            problem for problem in check_inventory(inventory, deep=False).problems if problem.severity == "error"
        ]
    except SegcctError as error:
        problems = [Problem.of(error, file=data.root)]
    if problems:
        raise DataError(f"the dataset cannot be trained on\n{format_problems(problems)}", file=data.root)
    return SplitCases(inventory, unlabeled_cases(inventory.cases, data, inventory.splits) if unlabelled else [])


def load_dataset(
    data: DataSection, *, pictures: int = 0, unlabelled: bool = False, needs_labels: bool = True
) -> Dataset:
    """`split_cases`, and prepare the cases; `pictures`: how many validation cases are to be drawn during training."""
    found = split_cases(data, unlabelled=unlabelled, needs_labels=needs_labels)
    inventory, free = found.inventory, found.unlabelled
    scheme, memo = inventory.scheme, inventory.memo
    train, val = (found.select(split) for split in ("train", "val"))
    progress = progress_bar("preparing cases")
    prepared = prepare_cases([*train, *val, *free], data, scheme, memo=memo, progress=progress)
    until = len(train) + len(val)
    if needs_labels and not any(bool(np.any(case.label)) for case in prepared[len(train) : until]):
        raise DataError(
            "no validation case holds a structure, so none could tell which weights are the best",
            file=data.root,
            found=listed([case.id for case in val]),
            remedy="Change data.split or data.fold, or mend the labels (segcct check)",
        )
    _warn_of_classes(prepared[:until], scheme, found.splits)
    return Dataset(
        scheme=scheme,
        splits=found.splits,
        train=prepared[: len(train)],
        val=prepared[len(train) : until],
        pictured={
            case.id: Overlay(its, inventory.is_synthetic(case))
            for case, its in zip(val[:pictures], prepared[len(train) :], strict=False)
            if its.shown is not None and is_first_process()
        },
        fingerprint=fingerprint([*train, *val, *free], memo),
        synthetic=any(inventory.is_synthetic(case) for case in train),
        unlabelled=prepared[until:],
    )


def _warn_of_classes(cases: Sequence[PreparedCase], scheme: Scheme, splits: Splits) -> None:
    """Say which classes are only in the training or only in the validation cases; nothing stops for it."""
    classes = {
        case.case_id: frozenset(name for index, name in enumerate(scheme.classes, 1) if case.present[:, index].any())
        for case in cases
        if case.present is not None
    }
    told = unshared_classes(classes, splits)
    if told is not None and is_first_process():
        say(f"warning: classes are not in training and validation cases alike ({told})")


def describe_splits(found: SplitCases) -> str:
    """`train 12 cases of 10 patients, val ..., test ...`."""
    cases_of = {split: found.select(split) for split in SPLIT_NAMES}
    return ", ".join(
        f"{split} {counted(len(cases), 'case')} of {counted(len({case.patient for case in cases}), 'patient')}"
        for split, cases in cases_of.items()
    )
