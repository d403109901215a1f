"""How to divide a dataset into training, validation and test: by lists it brings, its own folders, or a draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.case_split import make_splits
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.split_lists import read_list
from segcct.errors import SplitError
from segcct.init.choices import Choice
from segcct.plurals import counted

_FEW = 6
"""Patients below which none are kept for testing."""


def choose_split(cases: Sequence[Case], tree: FolderTree) -> Choice:
    """Settings of `data.split`."""
    labelled = [case for case in cases if case.label]
    patients = len({case.patient for case in labelled})
    if not labelled:
        return Choice({}, "no case has a label")
    lists = _lists(tree, labelled)
    if "train" in lists:
        return _by_lists(lists)
    own = [split for split in ("val", "test") if any(case.split == split for case in labelled)]
    drawn: dict[str, object] = {"kind": "fractions", "val": 0.15, "test": 0.15}
    if own:
        return Choice({"split": drawn}, f"the dataset's own {' and '.join(own)} cases are kept; shares of the rest")
    if patients < _FEW:
        few = counted(patients, "patient")
        doubt = (f"{few} with labels are too few to keep some for testing",) if patients > 1 else ()
        return Choice({"split": drawn | {"val": 0.25, "test": 0.0}}, f"{few}: none is left for testing", doubt)
    return Choice({"split": drawn}, f"shares of {counted(patients, 'patient')}, drawn by seed")


def split_doubts(cases: Sequence[Case], data: DataSection) -> tuple[str, ...]:
    """Why the chosen split cannot be made, if it cannot."""
    try:
        make_splits(cases, data)
    except SplitError as error:
        return (f"the cases cannot be divided yet: {error}",)
    return ()


def _by_lists(lists: dict[str, Path]) -> Choice:
    names = {f"{split}_list": str(path) for split, path in lists.items()}
    doubts: list[str] = []
    if "val" in lists and "test" not in lists:
        doubts.append(
            f"{lists['val'].name} would select the model, and then nothing is left to test it on: to test on it "
            "instead, name it test_list; fold data.fold of the training list selects then"
        )
    return Choice({"split": {"kind": "lists", **names}}, "lists in the folder", tuple(doubts))


def _lists(tree: FolderTree, cases: Sequence[Case]) -> dict[str, Path]:
    """Split -> the text file that lists its cases; lists of slices and of anything else are passed over."""
    found: dict[str, Path] = {}
    names = [name for name in tree.names(tree.root) if name.endswith((".list", ".txt"))]
    for path in (tree.root / name for name in sorted(names, key=len)):
        split = next((split for split in ("train", "val", "test") if path.stem.lower().startswith(split)), None)
        if split is None or split in found:
            continue
        try:
            read_list(path, f"data.split.{split}_list", cases)
        except SplitError:
            continue
        found[split] = path
    return found
