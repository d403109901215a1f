"""A dataset of volumes ready for training: found, checked, split by patient and prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from segcct.check.dataset_check import check_inventory
from segcct.check.problem import Problem, format_problems
from segcct.check.split_classes import unshared_classes
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.inventory import Inventory
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.split_names import SPLIT_NAMES
from segcct.datasets.split_record import Splits
from segcct.errors import DataError, SegcctError
from segcct.plurals import counted, listed
from segcct.preparation.cache_key import fingerprint
from segcct.preparation.cached_cases import prepare_cases
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import PreparedCase, plan_grid
from segcct.progress import say
from segcct.training.processes import is_first_process, progress_bar


@dataclass(frozen=True)
class TrainingData:
    """The split of a dataset and the prepared cases that a run reads."""

    scheme: Scheme
    splits: Splits
    train: list[PreparedCase]
    val: list[PreparedCase]
    fingerprint: str
    """Digest of the files."""
    synthetic_cases: frozenset[str] = frozenset()
    """Ids of phantoms among the cases."""
    unlabeled: list[PreparedCase] = field(default_factory=list)
    """Cases that train without labels."""

    @property
    def synthetic(self) -> bool:
        """Some training case is a phantom, with a label or without."""
        return any(case.case_id in self.synthetic_cases for case in (*self.train, *self.unlabeled))


def find_cases(data: DataSection, *, needs_labels: bool = True) -> Inventory:
    """Find, check and split the cases. Raises `DataError` naming every problem of the quick check.

    Args:
        data: the data section.
        needs_labels: leave out cases without a label.
    """
    try:
        inventory = Inventory(data, remember=True, needs_labels=needs_labels)
        problems = [each for each in check_inventory(inventory, deep=False).problems if each.severity == "error"]
    except SegcctError as error:
        problems = [Problem.of(error, file=data.root)]
    if problems:
        raise DataError(f"the dataset cannot be trained on\n{format_problems(problems)}", file=data.root)
    return inventory


def load_dataset(data: DataSection, *, unlabeled: bool = False, needs_labels: bool = True) -> TrainingData:
    """`find_cases`, and prepare the training and validation cases; `unlabeled`: also those that train without labels.
    Raises as `find_cases`, and `DataError` where no validation case holds a structure."""
    inventory = find_cases(data, needs_labels=needs_labels)
    scheme, splits, memo = inventory.scheme, inventory.splits, inventory.memo
    train, val = (splits.select(inventory.cases, split) for split in ("train", "val"))
    extra = inventory.unlabeled if unlabeled else []
    if extra:
        patients = {**splits.patients, **{case.id: case.patient for case in extra}}
        splits = replace(splits, unlabeled=tuple(case.id for case in extra), patients=patients)
    cases, labeled = [*train, *val, *extra], len(train) + len(val)
    prepared = prepare_cases(cases, data, scheme, memo=memo, progress=progress_bar("preparing cases"))
    if needs_labels and not any(
        case.present is not None and case.present[:, 1:].any() for case in prepared[len(train) : labeled]
    ):
        raise DataError(
            "no validation case holds a structure, so the best weights could not be selected",
            file=data.root,
            found=listed([case.id for case in val]),
            remedy="Change data.split or data.fold, or fix the labels (segcct check)",
        )
    _warn_of_classes(prepared[:labeled], scheme, splits)
    return TrainingData(
        scheme=scheme,
        splits=splits,
        train=prepared[: len(train)],
        val=prepared[len(train) : labeled],
        fingerprint=fingerprint(cases, memo),
        synthetic_cases=frozenset(case.id for case in cases if inventory.is_synthetic(case)),
        unlabeled=prepared[labeled:],
    )


def describe_splits(inventory: Inventory, *, unlabeled: bool = False) -> str:
    """`train 12 cases of 10 patients, val ..., test ...`, and `unlabeled ...` if those train too."""
    cases_of = {split: inventory.splits.select(inventory.cases, split) for split in SPLIT_NAMES}
    if unlabeled:
        cases_of["unlabeled"] = inventory.unlabeled
    return ", ".join(
        f"{split} {counted(len(cases), 'case')} of {counted(len({case.patient for case in cases}), 'patient')}"
        for split, cases in cases_of.items()
    )


def count_slices(cases: Sequence[Case], inventory: Inventory) -> int:
    """Slices of all cases, by their headers; a crop to the foreground would leave fewer.

    Raises `VolumeError` where a header cannot be read.
    """
    count, data = 0, inventory.data
    stored_spacing = replace(Preparation.of(data), spacing_mm=None)  # it does not change how many slices there are
    for case in cases:
        name, files = next(iter(case.channels.items()))
        stored = inventory.header(files[0], data.channels[name])
        grid = plan_grid(stored, stored_spacing)
        count += len(files) if len(files) > 1 else grid.slice_shape[0]
    return count


def _warn_of_classes(cases: Sequence[PreparedCase], scheme: Scheme, splits: Splits) -> None:
    """Say which classes are only in the training or only in the validation cases; training continues."""
    classes = {
        case.case_id: frozenset(name for index, name in enumerate(scheme.classes, 1) if case.present[:, index].any())
        for case in cases
        if case.present is not None
    }
    uneven = unshared_classes(classes, splits)
    if uneven is not None and is_first_process():
        say(f"warning: training and validation cases do not have the same classes ({uneven})")
