"""How to split a dataset into training, validation and test: by its own lists or folders, or by a draw."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.split_drawing import make_splits
from segcct.datasets.split_lists import read_list
from segcct.datasets.split_names import SPLIT_NAMES
from segcct.errors import SplitError
from segcct.init.choices import Choice
from segcct.plurals import counted, listed

_FEW = 6
"""With fewer patients, none are kept for testing."""


def choose_split(cases: Sequence[Case], tree: FolderTree) -> Choice:
    """Settings of `data.split`."""
    labeled = [case for case in cases if case.label]
    if not labeled:
        return Choice({}, "no case has a label")
    lists = _lists(tree, labeled)
    if "train" in lists:
        names = {f"{split}_list": str(path) for split, path in lists.items()}
        doubt = ""
        if "val" in lists and "test" not in lists:
            doubt = (
                f"{lists['val'].name} selects the model, which leaves no cases to test it on; to test on them instead, "
                "rename val_list to test_list: one fold of the training list then selects the model"
            )
        return Choice({"split": {"kind": "lists", **names}}, "lists in the folder", (doubt,) if doubt else ())
    fractions: dict[str, object] = {"kind": "fractions", "val": 0.15, "test": 0.15}
    stated = [split for split in ("val", "test") if any(case.split == split for case in labeled)]
    if stated:
        why = f"the dataset's own {' and '.join(stated)} cases are kept; fractions of the rest"
        return Choice({"split": fractions}, why)
    number = len({case.patient for case in labeled})
    patients = counted(number, "patient")
    if number < _FEW:
        doubt = f"{patients} with labels are too few to keep some for testing"
        few = fractions | {"val": 0.25, "test": 0.0}
        return Choice({"split": few}, f"{patients}: none is left for testing", (doubt,) if number > 1 else ())
    return Choice({"split": fractions}, f"fractions of {patients}, drawn by seed")


def split_doubts(cases: Sequence[Case], data: DataSection) -> list[str]:
    """Why the chosen split cannot be made, if it cannot."""
    try:
        make_splits(cases, data)
    except SplitError as error:
        return [f"the cases cannot be split yet: {error}"]
    return []


def patient_hint(ids: Sequence[str]) -> str:
    """How to say that several images are of one patient; with a pattern if names that end in numbers suggest one."""
    hint = "if some are of one patient or volume, say so by data.patient"
    pattern = r"(.*)[-_]\D*\d+"
    patients = Counter(match[1] for each in ids if (match := re.fullmatch(pattern, each)))
    are_years = all(re.fullmatch(r"(19|20)\d\d", name) for name in patients)
    if len(patients) < _FEW or patients.total() < len(ids) or len(patients) == len(ids) or are_years:
        return hint
    return f"{hint}, such as '{pattern}' (it would make {counted(len(patients), 'patient')}: {listed([*patients], 3)})"


def _lists(tree: FolderTree, cases: Sequence[Case]) -> dict[str, Path]:
    """Split -> the text file that lists its cases; lists of slices and of anything else are passed over."""
    lists: dict[str, Path] = {}
    names = [name for name in tree.names(tree.root) if name.endswith((".list", ".txt"))]
    for path in (tree.root / name for name in sorted(names, key=len)):
        split = next((split for split in SPLIT_NAMES if path.stem.lower().startswith(split)), None)
        if split is not None and split not in lists:
            with suppress(SplitError):
                read_list(path, f"data.split.{split}_list", cases)
                lists[split] = path
    return lists
