"""Whether the parts of a split hold the same classes."""

from __future__ import annotations

from collections.abc import Mapping

from segcct.datasets.split_record import Splits
from segcct.plurals import listed


def unshared_classes(classes: Mapping[str, frozenset[str]], splits: Splits) -> str | None:
    """Which classes are in no training case, and which in training cases only, in words; None where there are none.

    Args:
        classes: case id -> names of the classes in its label; other cases are ignored.
        splits: the split.
    """
    read = {split: [classes[case] for case in ids if case in classes] for split, ids in splits.items()}
    if not read["train"] or not (read["val"] or read["test"]):
        return None
    train, elsewhere = (frozenset().union(*names) for names in (read["train"], read["val"] + read["test"]))
    parts = {
        "in no training case": sorted(elsewhere - train),
        "in training cases only": sorted(train - elsewhere),
    }
    return "; ".join(f"{where}: {listed(names)}" for where, names in parts.items() if names) or None
