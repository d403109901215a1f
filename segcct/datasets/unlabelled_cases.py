"""Cases that join a training without their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.split_lists import read_list, shown
from segcct.datasets.splits import Splits
from segcct.errors import SplitError


def unlabelled_cases(cases: Sequence[Case], data: DataSection, splits: Splits) -> list[Case]:
    """The cases of `data.split.unlabelled_list`, sorted by id and stripped of any label; none without a list.

    Raises:
        SplitError: the list cannot be read, names an unknown case or a training case, or a case of a patient who
            validates or tests.
    """
    path = data.split.unlabelled_list
    if path is None:
        return []
    listed = set(read_list(path, "data.split.unlabelled_list", cases))
    chosen = sorted((case for case in cases if case.id in listed), key=lambda case: case.id)
    judged = {splits.patients.get(name, name) for name in (*splits.val, *splits.test)}
    taken = [case.id for case in chosen if case.id in splits.train or case.patient in judged]
    if taken:
        split = splits.split_of(taken[0]) or "validation or test by its patient"
        raise SplitError(
            f"{len(taken)} unlabeled cases are in the split already",
            file=path,
            found=f"{shown(taken)}; {taken[0]} is in {split}",
            expected="cases that do not train with their label, of patients who do not validate or test",
            remedy="Take them off the list, or name the splits by data.split.kind: lists",
        )
    return [replace(case, label=None) for case in chosen]
