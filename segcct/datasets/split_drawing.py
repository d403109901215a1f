"""How a dataset of scans is split: drawn by patient, or given by lists.

A draw orders the patients by a hash of (seed, patient), so it depends neither on the order in which cases are found nor
on a library's random generator, and a patient added later leaves the order of the others as it was.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from segcct.config import DataSection, SplitSection
from segcct.datasets.case import Case
from segcct.datasets.split_lists import read_lists
from segcct.datasets.split_names import SPLIT_NAMES
from segcct.datasets.split_record import Splits, repeated_ids
from segcct.errors import SplitError
from segcct.files.file_names import composed
from segcct.plurals import counted, listed


def make_splits(cases: Sequence[Case], data: DataSection, *, needs_labels: bool = True) -> Splits:
    """The split that `data.split` and `data.fold` ask for, by patient and irrespective of the order of `cases`.

    Cases without a label take no part where labels are needed. Where the dataset itself keeps patients for testing
    (`Case.split`), they are the test split and no others are drawn; its validation patients validate, but are pooled
    with the training patients under `kfold`. Fractions are of the patients that are drawn from. Under `crossval` a fold
    tests, and what the dataset keeps for testing is left out. Lists name the cases of each split, and may not
    contradict the dataset.

    Raises:
        SplitError: too few patients, an empty split, a list that cannot be read or names an unknown case, or a patient
            in two splits.
    """
    members = _taking_part(cases, needs_labels=needs_labels)
    section = data.split
    drawn = _from_lists if section.kind == "lists" else _drawn
    case_ids = {split: sorted(ids) for split, ids in drawn(members, section, data.fold).items()}
    splits = splits_of(case_ids, section, data.fold, {case.id: case.patient for case in members})
    _refuse_empty(splits, section, needs_labels=needs_labels)
    return splits


def splits_of(
    case_ids: Mapping[str, Sequence[str]], section: SplitSection, fold: int, patients: Mapping[str, str]
) -> Splits:
    """Drawn or listed case ids as `Splits`, with how they came about. Raises `SplitError` as `Splits`."""
    return Splits(
        train=tuple(case_ids["train"]),
        val=tuple(case_ids["val"]),
        test=tuple(case_ids["test"]),
        kind=section.kind,
        seed=section.seed if section.kind != "lists" or section.folded else None,
        fold=fold if section.folded else None,
        folds=section.folds if section.folded else None,
        patients=patients,
    )


def patients_in_order(patients: Iterable[str], seed: int) -> list[str]:
    """Distinct patients in an order drawn by `seed`, whatever the Unicode spelling of their names."""

    def drawn(patient: str) -> bytes:
        return hashlib.sha256(f"{seed}/{composed(patient)}".encode(errors="surrogateescape")).digest()

    return sorted(set(patients), key=drawn)


def _taking_part(cases: Sequence[Case], *, needs_labels: bool) -> list[Case]:
    if repeated := repeated_ids(case.id for case in cases):
        raise SplitError("several cases have one id", found=listed(repeated), expected="one id per case")
    members = sorted((case for case in cases if case.label or not needs_labels), key=lambda case: case.id)
    if not members:
        raise SplitError(
            "no case has a label, so there is nothing to train on",
            found=counted(len(cases), "case"),
            remedy="Check data.label, the names of the label files, and that they are below data.root",
        )
    return members


def _drawn(cases: list[Case], section: SplitSection, fold: int) -> dict[str, list[str]]:
    respected = ("test",) if section.kind == "kfold" else ("test", "val")
    fixed_by = {split: {case.patient for case in cases if case.split == split} for split in respected}
    fixed = set().union(*fixed_by.values())
    pool = patients_in_order({case.patient for case in cases} - fixed, section.seed)
    drawn_from = len(pool)

    if section.kind == "crossval":
        tested = fold_of(pool, fold, section.folds)
    else:
        tested = set(fixed_by["test"]) or set(pool[: amount_of(section.test, drawn_from)])
    pool = [patient for patient in pool if patient not in tested]
    if section.kind == "kfold":
        validating = fold_of(pool, fold, section.folds)
    else:
        validating = fixed_by["val"] or set(pool[: amount_of(section.val, drawn_from)])
    split_of = {patient: "val" if patient in validating else "train" for patient in pool}
    split_of |= dict.fromkeys(fixed_by.get("val", ()), "val")
    split_of |= dict.fromkeys(tested, "test")
    case_ids: dict[str, list[str]] = {split: [] for split in SPLIT_NAMES}
    for case in cases:
        if section.kind == "crossval" and case.patient in fixed_by["test"]:
            continue
        # What the dataset itself says counts case by case, so that a patient in two splits is refused.
        stated = case.split if case.patient in fixed else None
        case_ids[stated or split_of[case.patient]].append(case.id)
    return case_ids


def amount_of(amount: float, patients: int) -> int:
    """How many patients a setting means: a fraction below 1, rounded half up to at least one, or a number from 1 on."""
    if amount >= 1:
        return int(amount)
    return max(1, math.floor(amount * patients + 0.5)) if amount > 0 else 0


def fold_of(patients: Sequence[str], fold: int, folds: int, noun: str = "patient") -> set[str]:
    """Every `folds`-th patient, or `noun`. Raises `SplitError` where there are fewer."""
    if len(patients) < folds:
        raise SplitError(
            f"too few {noun}s for {folds} folds",
            found=counted(len(patients), noun),
            expected=f"at least {folds}",
            remedy=f"Lower data.split.folds, or take fewer {noun}s for testing",
        )
    return set(patients[fold::folds])


def _from_lists(cases: list[Case], section: SplitSection, fold: int) -> dict[str, list[str]]:
    case_ids = read_lists(cases, section)
    by_id = {case.id: case for case in cases}
    if section.test_list is None:
        case_ids["test"] = [case.id for case in cases if case.split == "test"]  # the other lists hold none of them
    if section.val_list is None:
        patients = patients_in_order((by_id[case_id].patient for case_id in case_ids["train"]), section.seed)
        validating = fold_of(patients, fold, section.folds) if patients else set()
        case_ids["val"] = [case_id for case_id in case_ids["train"] if by_id[case_id].patient in validating]
        case_ids["train"] = [case_id for case_id in case_ids["train"] if by_id[case_id].patient not in validating]
    return case_ids


def _refuse_empty(splits: Splits, section: SplitSection, *, needs_labels: bool) -> None:
    by_lists = section.kind == "lists"
    testing = section.test_list is not None if by_lists else section.test != 0
    for split, case_ids in splits.items():
        if case_ids or (split == "test" and not testing):
            continue
        patients = counted(len(set(splits.patients.values())), "patient") + (" with labels" if needs_labels else "")
        counts = ", ".join(f"{counted(len(ids), 'case')} in {name}" for name, ids in splits.items())
        raise SplitError(
            f"the {split} split is empty",
            file=getattr(section, f"{split}_list") if by_lists else None,
            found=f"{patients}, {counts}",
            expected="at least one patient for training and one for validation"
            + (", and one for testing" if testing else ""),
            remedy="Add patients, change data.split.val and data.split.test, or name the cases by lists",
        )
