"""Who trains, who selects the model, who is tested: drawn by patient, kept as JSON.

A draw orders the patients by a hash of (seed, patient), so it depends neither on the order in which cases are found nor
on a library's random generator, and a patient added later leaves the order of the others as it was.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segcct.config import DataSection, SplitSection
from segcct.datasets.case import Case
from segcct.datasets.split_lists import read_list, shown
from segcct.errors import SplitError
from segcct.files.atomic_file import atomic_path
from segcct.files.json_file import read_object
from segcct.plurals import counted
from segcct.progress import say

SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Splits:
    """Case ids per split, sorted. Raises `SplitError` when a case or a patient is in two splits."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...] = ()
    kind: str = "given"
    """How the split came about: fractions, kfold, lists, or given by hand."""
    seed: int | None = None
    fold: int | None = None
    folds: int | None = None
    patients: Mapping[str, str] = field(default_factory=dict)
    """Case id -> patient; a case that is not named is its own patient."""

    def __post_init__(self) -> None:
        split_of: dict[str, tuple[str, str]] = {}
        for split in SPLIT_NAMES:
            for case in getattr(self, split):
                patient = self.patients.get(case, case)
                other_split, other_case = split_of.setdefault(patient, (split, case))
                if other_split != split:
                    raise SplitError(
                        f"patient {patient} is in two splits, {other_split} and {split}",
                        found=f"case {other_case} in {other_split}, case {case} in {split}",
                        expected="all cases of a patient in one split",
                        remedy="Move the patient's cases to one of the two",
                    )
            if len(set(getattr(self, split))) < len(getattr(self, split)):
                raise SplitError(f"a case is listed twice in {split}", found=_repeated(getattr(self, split)))

    def split_of(self, case_id: str) -> str | None:
        """`train`, `val`, `test`, or None for a case in none of them."""
        return next((split for split in SPLIT_NAMES if case_id in getattr(self, split)), None)

    def trained_on(self, patients: Mapping[str, str]) -> list[str]:
        """Those of some cases (id -> patient) that are in the training split, or whose patient is; in order."""
        trained = {*self.train, *(self.patients.get(name, name) for name in self.train)}
        return [name for name, patient in patients.items() if {name, patient} & trained]

    def select(self, cases: Sequence[Case], split: str) -> list[Case]:
        """The cases of one split, in the split's order. Raises `SplitError` when the dataset no longer holds one."""
        if split not in SPLIT_NAMES:
            raise SplitError(f"unknown split '{split}'", expected=", ".join(SPLIT_NAMES))
        by_id = {case.id: case for case in cases}
        gone = [case_id for case_id in getattr(self, split) if case_id not in by_id]
        if gone:
            raise SplitError(
                f"{len(gone)} of the {len(getattr(self, split))} {split} cases are not in the dataset",
                found=f"{len(by_id)} other cases" if len(gone) == len(getattr(self, split)) else f"no {shown(gone)}",
                remedy="Point data.root at the dataset that the split was made for",
            )
        return [by_id[case_id] for case_id in getattr(self, split)]

    def save(self, path: Path) -> None:
        """Write the split as JSON, patient by patient."""
        case_ids = {split: self._by_patient(split) for split in SPLIT_NAMES}
        head = {"kind": self.kind, "seed": self.seed, "fold": self.fold, "folds": self.folds}
        with atomic_path(path, private=True) as beside:
            beside.write_text(json.dumps(head | case_ids, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Splits:
        """Read what `save` wrote. Raises `SplitError` naming the file when it is missing, damaged or leaks."""
        expected = "JSON with kind, seed, fold, folds, and train, val, test as patient -> case ids"
        path = Path(path)
        if not path.is_file():
            raise SplitError("no such split file", file=path, remedy="Give the splits.json of a run folder")
        stored = read_object(path, "not a split file", error=SplitError, expected=expected)
        try:
            stored_cases = {split: _cases_by_patient(stored[split]) for split in SPLIT_NAMES}
            patients = {
                case: patient for split in SPLIT_NAMES for patient, ids in stored_cases[split].items() for case in ids
            }
            case_ids = {
                split: tuple(sorted(case for ids in stored_cases[split].values() for case in ids))
                for split in SPLIT_NAMES
            }
            numbers = {name: _number(stored[name]) for name in ("seed", "fold", "folds")}
            return cls(**case_ids, kind=str(stored["kind"]), **numbers, patients=patients)  # type: ignore[arg-type]
        except SplitError as error:
            raise SplitError(
                error.what, file=path, found=error.found, expected=error.expected, remedy=error.remedy
            ) from error
        except (KeyError, TypeError) as error:
            raise SplitError(
                "not a split file", file=path, found=f"{type(error).__name__}: {error}", expected=expected
            ) from error

    def _by_patient(self, split: str) -> dict[str, list[str]]:
        grouped: dict[str, list[str]] = {}
        for case in getattr(self, split):
            grouped.setdefault(self.patients.get(case, case), []).append(case)
        return grouped


def _cases_by_patient(stored: object) -> dict[str, list[str]]:
    """Raises `TypeError` for anything else than patient -> list of case ids."""
    if not isinstance(stored, dict):
        raise TypeError("a split that is not a mapping")
    for patient, ids in stored.items():
        if not isinstance(ids, list) or not all(isinstance(case, str) for case in ids):
            raise TypeError(f"cases of {patient[:80]} that are no list of names")
    return stored


def _number(stored: object) -> int | None:
    if stored is not None and (not isinstance(stored, int) or isinstance(stored, bool)):
        raise TypeError(f"{str(stored)[:40]!r} is no number")
    return stored


def make_splits(cases: Sequence[Case], data: DataSection, *, needs_labels: bool = True) -> Splits:
    """The split that `data.split` and `data.fold` ask for, by patient and irrespective of the order of `cases`.

    Cases without a label take no part where labels are needed. Where the dataset itself keeps patients for testing
    (`Case.split`), they are the test split of a draw and no others are drawn; its validation patients validate, but are
    pooled with the training patients under `kfold`. Under `crossval` a fold tests, and what the dataset keeps for
    testing is left out. Lists say it all, but may not contradict the dataset.

    Raises:
        SplitError: too few patients, an empty split, a list that cannot be read or names an unknown case, or a patient
            in two splits.
    """
    members = _taking_part(cases, needs_labels=needs_labels)
    section = data.split
    drawn = _from_lists if section.kind == "lists" else _drawn
    case_ids = {split: sorted(ids) for split, ids in drawn(members, section, data.fold).items()}
    splits = splits_of(case_ids, section, data.fold, {case.id: case.patient for case in members})
    _refuse_empty(splits, section)
    return splits


def splits_of(
    case_ids: Mapping[str, Sequence[str]], section: SplitSection, fold: int, patients: Mapping[str, str]
) -> Splits:
    """Splits that were drawn or listed, with how that came about. Raises `SplitError` as `Splits`."""
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
    """Distinct patients in an order drawn by `seed`."""

    def drawn(patient: str) -> bytes:
        return hashlib.sha256(f"{seed}/{patient}".encode(errors="surrogateescape")).digest()

    return sorted(set(patients), key=drawn)


def _taking_part(cases: Sequence[Case], *, needs_labels: bool) -> list[Case]:
    repeated = _repeated([case.id for case in cases])
    if repeated:
        raise SplitError("several cases share one id", found=repeated, expected="one id per case")
    members = sorted((case for case in cases if case.label or not needs_labels), key=lambda case: case.id)
    if not members:
        raise SplitError(
            "no case has a label, so there is nothing to train on",
            found=counted(len(cases), "case"),
            remedy="Check data.label and the names of the label files",
        )
    return members


def _repeated(ids: Iterable[str]) -> str:
    return shown(sorted(case_id for case_id, times in Counter(ids).items() if times > 1))


def _drawn(cases: list[Case], section: SplitSection, fold: int) -> dict[str, list[str]]:
    kept = ("test",) if section.kind == "kfold" else ("test", "val")
    given = {split: {case.patient for case in cases if case.split == split} for split in kept}
    fixed = set().union(*given.values())
    everyone = len({case.patient for case in cases})
    pool = patients_in_order({case.patient for case in cases} - fixed, section.seed)

    if section.kind == "crossval":
        tested = _fold(pool, fold, section.folds)
    else:
        tested = set(given["test"]) or set(pool[: _amount(section.test, everyone)])
    pool = [patient for patient in pool if patient not in tested]
    if section.kind == "kfold":
        validating = _fold(pool, fold, section.folds)
    else:
        validating = given["val"] or set(pool[: _amount(section.val, everyone)])
    split_of = {patient: "val" if patient in validating else "train" for patient in pool}
    split_of |= dict.fromkeys(given.get("val", ()), "val")
    split_of |= dict.fromkeys(tested, "test")
    case_ids: dict[str, list[str]] = {split: [] for split in SPLIT_NAMES}
    for case in cases:
        if section.kind == "crossval" and case.patient in given["test"]:
            continue
        # Where the dataset's own word fixes a patient it is kept per case, so that a patient in two splits is refused.
        own = case.split if case.patient in fixed else None
        case_ids[own or split_of[case.patient]].append(case.id)
    return case_ids


def known_splits(file: Path, *, needed: bool) -> Splits | None:
    """The split of a run, which tells the cases that its model has seen; None where it is not there.

    Raises `SplitError` where it is damaged and `needed` for more than that.
    """
    if not file.is_file():
        say(f"{file}: not there, so cases that the model was trained on are not marked as such")
        return None
    try:
        return Splits.load(file)
    except SplitError as error:
        if needed:
            raise
        say(f"{error}. Which of these the model was trained on is not noted")
        return None


def _amount(amount: float, patients: int) -> int:
    """Patients of a fraction below 1, rounded half up, and at least one where it is not zero; or the number itself."""
    if amount >= 1:
        return int(amount)
    return max(1, math.floor(amount * patients + 0.5)) if amount > 0 else 0


def _fold(patients: Sequence[str], fold: int, folds: int) -> set[str]:
    """Every `folds`-th patient. Raises `SplitError` where there are fewer."""
    if len(patients) < folds:
        raise SplitError(
            f"too few patients for {folds} folds",
            found=counted(len(patients), "patient"),
            expected=f"at least {folds}",
            remedy="Lower data.split.folds, or take fewer patients for testing",
        )
    return set(patients[fold::folds])


def _from_lists(cases: list[Case], section: SplitSection, fold: int) -> dict[str, list[str]]:
    case_ids = read_lists(cases, section)
    by_id = {case.id: case for case in cases}
    if section.test_list is None:
        listed = set(case_ids["train"]) | set(case_ids["val"])
        case_ids["test"] = [case.id for case in cases if case.split == "test" and case.id not in listed]
    if section.val_list is None:
        patients = patients_in_order((by_id[case_id].patient for case_id in case_ids["train"]), section.seed)
        validating = _fold(patients, fold, section.folds) if patients else set()
        case_ids["val"] = [case_id for case_id in case_ids["train"] if by_id[case_id].patient in validating]
        case_ids["train"] = [case_id for case_id in case_ids["train"] if by_id[case_id].patient not in validating]
    return case_ids


def read_lists(cases: Sequence[Case], section: SplitSection, noun: str = "case") -> dict[str, list[str]]:
    """Case ids that the lists of a split name, by split; nothing where there is no list.

    Raises:
        SplitError: as `read_list`; cases to train or select on that the dataset itself keeps for test.
    """
    files = {"train": section.train_list, "val": section.val_list, "test": section.test_list}
    case_ids = {split: [] if path is None else read_list(path, f"data.split.{split}_list", cases)
             for split, path in files.items()}  # fmt: skip
    by_id = {case.id: case for case in cases}
    for split in ("train", "val"):  # to hold a training case back harms nothing
        tested = [case_id for case_id in case_ids[split] if by_id[case_id].split == "test"]
        if tested:
            raise SplitError(
                f"{counted(len(tested), noun)} listed for {split}, but the dataset itself keeps them for test",
                file=files[split],
                found=shown(tested),
                remedy="Take them off the list",
            )
    return case_ids


def _refuse_empty(splits: Splits, section: SplitSection) -> None:
    wanted = {"train": True, "val": True, "test": section.test_list is not None or section.kind != "lists"}
    if section.kind != "lists" and section.test == 0:
        wanted["test"] = False
    for split, needed in wanted.items():
        if needed and not getattr(splits, split):
            patients = len(set(splits.patients.values()))
            files = {"train": section.train_list, "val": section.val_list, "test": section.test_list}
            raise SplitError(
                f"the {split} split is empty",
                file=files[split] if section.kind == "lists" else None,
                found=f"{counted(patients, 'patient')} with labels, "
                + ", ".join(f"{counted(len(getattr(splits, other)), 'case')} in {other}" for other in SPLIT_NAMES),
                expected="at least one patient for training and one for validation"
                + (", and one for testing" if wanted["test"] else ""),
                remedy="Add patients, change data.split.val and data.split.test, or name the cases by lists",
            )
