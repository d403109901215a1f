"""Splits: which cases train, which select the model, which test it; kept as JSON, patient by patient."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from segcct.datasets.case import Case
from segcct.datasets.split_names import SPLIT_NAMES
from segcct.errors import SplitError
from segcct.files.atomic_file import atomic_path
from segcct.files.file_names import composed, spelled_as
from segcct.files.json_file import read_object
from segcct.plurals import listed


@dataclass(frozen=True)
class Splits:
    """Case ids per split, sorted. Raises `SplitError` when a case or a patient is in two splits.

    Names of cases and patients are compared in composed Unicode: a dataset that is copied from macOS keeps its splits.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...] = ()
    kind: str = "given"
    """How the split came about: fractions, kfold, crossval, lists, or given by hand."""
    seed: int | None = None
    fold: int | None = None
    folds: int | None = None
    patients: Mapping[str, str] = field(default_factory=dict)
    """Case id -> patient; a case that is not named is its own patient."""
    unlabeled: tuple[str, ...] = ()
    """Cases that train without their labels; in none of the splits."""

    def __post_init__(self) -> None:
        first: dict[str, tuple[str, str]] = {}
        for split, ids in self.items():
            for case in ids:
                other_split, other_case = first.setdefault(composed(self.patient_of(case)), (split, case))
                if other_split != split:
                    raise SplitError(
                        f"patient {self.patient_of(case)} is in two splits, {other_split} and {split}",
                        found=f"case {other_case} in {other_split}, case {case} in {split}",
                        expected="all cases of a patient in one split",
                        remedy="Move the patient's cases to one of the two",
                    )
            if repeated := repeated_ids(ids):
                raise SplitError(f"a case is listed twice in {split}", found=listed(repeated))

    def items(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """`train` and its case ids, then `val`, then `test`."""
        return ((split, getattr(self, split)) for split in SPLIT_NAMES)

    def patient_of(self, case_id: str) -> str:
        return self._patients.get(composed(case_id), case_id)

    def split_of(self, case_id: str) -> str | None:
        """`train`, `val`, `test`, or None for a case in none of them."""
        return self._split_of.get(composed(case_id))

    def trained_on(self, patients: Mapping[str, str]) -> list[str]:
        """Which of these cases (id -> patient) were trained on, or have a patient who was; in their order."""
        seen = (*self.train, *self.unlabeled)
        trained = set(map(composed, (*seen, *map(self.patient_of, seen))))
        return [name for name, patient in patients.items() if {composed(name), composed(patient)} & trained]

    @cached_property
    def _patients(self) -> dict[str, str]:
        return {composed(name): patient for name, patient in self.patients.items()}

    @cached_property
    def _split_of(self) -> dict[str, str]:
        return {composed(name): split for split, ids in self.items() for name in ids}

    def select(self, cases: Sequence[Case], split: str) -> list[Case]:
        """The cases of one split, in the split's order. Raises `SplitError` when the dataset no longer holds one."""
        if split not in SPLIT_NAMES:
            raise SplitError(f"unknown split '{split}'", expected=", ".join(SPLIT_NAMES))
        ids: tuple[str, ...] = getattr(self, split)
        by_id = {case.id: case for case in cases}
        spelled = spelled_as(ids, by_id)
        missing = [case_id for case_id in ids if spelled[case_id] not in by_id]
        if missing:
            raise SplitError(
                f"{len(missing)} of the {len(ids)} {split} cases are not in the dataset",
                found=f"{len(by_id)} other cases" if len(missing) == len(ids) else f"no {listed(missing)}",
                remedy="Point data.root at the dataset that the split was made for",
            )
        return [by_id[spelled[case_id]] for case_id in ids]

    def save(self, path: Path) -> None:
        """Write the split as JSON, patient by patient."""
        content: dict[str, object] = {name: getattr(self, name) for name in ("kind", "seed", "fold", "folds")}
        for split, ids in self.items():
            by_patient: dict[str, list[str]] = {}
            for case in ids:
                by_patient.setdefault(self.patient_of(case), []).append(case)
            content[split] = by_patient
        if self.unlabeled:
            content["unlabeled"] = {case: self.patient_of(case) for case in self.unlabeled}
        with atomic_path(path, private=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Splits:
        """Read what `save` wrote. Raises `SplitError` naming the file when it is missing, damaged or leaks."""
        expected = "JSON with kind, seed, fold, folds, and train, val, test as patient -> case ids"
        path = Path(path)
        if not path.is_file():
            raise SplitError("no such split file", file=path, remedy="Give the splits.json of a run folder")
        stored = read_object(path, "not a split file", error=SplitError, expected=expected)
        try:
            by_patient = {split: _cases_by_patient(stored[split]) for split in SPLIT_NAMES}
            train, val, test = (tuple(sorted(chain.from_iterable(each.values()))) for each in by_patient.values())
            patients = {id: patient for each in by_patient.values() for patient, ids in each.items() for id in ids}
            seed, fold, folds = (_number(stored[name]) for name in ("seed", "fold", "folds"))
            unlabeled = _patients_of(stored.get("unlabeled", {}))
            patients |= unlabeled
            return cls(train, val, test, str(stored["kind"]), seed, fold, folds, patients, tuple(unlabeled))
        except SplitError as error:
            error.file = str(path)
            raise
        except (KeyError, TypeError) as error:
            raise SplitError(
                "not a split file", file=path, found=f"{type(error).__name__}: {error}", expected=expected
            ) from error


def repeated_ids(ids: Iterable[str]) -> list[str]:
    """The ids that occur more than once, sorted."""
    return sorted(case_id for case_id, times in Counter(ids).items() if times > 1)


def _cases_by_patient(stored: object) -> dict[str, list[str]]:
    """Raises `TypeError` for anything else than patient -> list of case ids."""
    if not isinstance(stored, dict):
        raise TypeError("a split that is not a mapping")
    for patient, ids in stored.items():
        if not isinstance(ids, list) or not all(isinstance(case, str) for case in ids):
            raise TypeError(f"cases of {patient[:80]} that are not a list of names")
    return stored


def _patients_of(stored: object) -> dict[str, str]:
    """Raises `TypeError` for anything else than case id -> patient."""
    if not isinstance(stored, dict) or not all(isinstance(patient, str) for patient in stored.values()):
        raise TypeError("unlabeled cases without a patient")
    return stored


def _number(stored: object) -> int | None:
    if stored is None or type(stored) is int:
        return stored
    raise TypeError(f"{str(stored)[:40]!r} is not a number")
