"""How well estimates foretell Dice: one row of a table, for calibration and for the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from segcct.metrics.ranking import aurc, auroc, mean_absolute_error, pearson, spearman
from segcct.quality.conformal import patient_coverage
from segcct.quality.fitting import Measured
from segcct.quality.quality_model import DOUBTFUL_BELOW, Estimate


@dataclass(frozen=True)
class Performance:
    """None where a measure is not defined."""

    masks: int
    patients: int
    pearson: float | None
    spearman: float | None
    mae: float | None
    auroc: float | None
    """Of the estimate for Dice below `DOUBTFUL_BELOW`."""
    aurc: float | None
    """Area under the curve of 1 - Dice over the share of masks that are kept, most trusted first."""
    coverage: float | None = None
    """Share of Dice within their interval, each patient counted once; None where there were too few for one."""
    width: float | None = None
    """Mean width of the intervals."""

    def to_json(self) -> dict[str, float | int | None]:
        """Plain numbers."""
        return asdict(self)


def performance(
    rows: Sequence[Measured], estimates: Sequence[float] | np.ndarray, intervals: Sequence[Estimate] | None = None
) -> Performance:
    """Of estimates of rows that have a Dice, in the same order; with coverage where intervals are given."""
    true = np.array([row.dice for row in rows], dtype=float)
    guessed = np.asarray(estimates, dtype=float)
    patients = [row.patient for row in rows]
    coverage = width = None
    if intervals is not None and len(rows) and all(one.has_interval for one in intervals):
        inside = [one.low <= dice <= one.high for one, dice in zip(intervals, true, strict=True)]
        coverage = patient_coverage(inside, patients)
        width = float(np.mean([one.high - one.low for one in intervals]))
    return Performance(
        masks=len(rows),
        patients=len(set(patients)),
        pearson=pearson(guessed, true),
        spearman=spearman(guessed, true),
        mae=mean_absolute_error(guessed, true),
        auroc=auroc(-guessed, true < DOUBTFUL_BELOW),
        aurc=aurc(guessed, 1 - true),
        coverage=coverage,
        width=width,
    )
