"""Cases of a split that another model was trained on."""

from __future__ import annotations

from pathlib import Path

from segcct.datasets.split_record import Splits


def seen_by(weights: Path, splits: Splits) -> list[str] | None:
    """The validation and test cases that a model was trained on, by the splits.json of its run; None where there is no
    such file.

    Args:
        weights: `best/` of a run, or a file in it.
        splits: the splits of another run.

    Raises `SplitError` for a splits.json that is damaged.
    """
    record = (weights.parent if weights.is_file() else weights).parent / "splits.json"
    if not record.is_file():
        return None
    return Splits.load(record).trained_on({name: splits.patient_of(name) for name in (*splits.val, *splits.test)})
