"""Classes that some part of the split lacks: what no training case shows is not learned, whatever validation says."""

from __future__ import annotations

from collections.abc import Mapping

from segcct.datasets.split_lists import shown
from segcct.datasets.splits import SPLIT_NAMES, Splits


def one_sided_classes(classes: Mapping[str, frozenset[str]], splits: Splits) -> str | None:
    """Which classes are in no training case, and which in training cases alone, in words; None where there are none.

    Args:
        classes: case id -> names of the classes that its label holds; cases that are not here say nothing.
        splits: the split.
    """
    present = {
        split: frozenset().union(*(classes.get(case, ()) for case in getattr(splits, split))) for split in SPLIT_NAMES
    }
    known = {split for split in SPLIT_NAMES if any(case in classes for case in getattr(splits, split))}
    if len(known) < 2 or "train" not in known:
        return None
    elsewhere = present["val"] | present["test"]
    told = {
        "in no training case": sorted(elsewhere - present["train"]),
        "in training cases only": sorted(present["train"] - elsewhere),
    }
    return "; ".join(f"{where}: {shown(names)}" for where, names in told.items() if names) or None
