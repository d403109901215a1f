"""How well estimates predict Dice: one row of a table, for calibration and for the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segcct.metrics.ranking import aurc, auroc, mean_absolute_error, pearson, spearman
from segcct.quality.conformal import patient_coverage
from segcct.quality.fitting import CalibrationRow
from segcct.quality.quality_model import FLAG_BELOW, Estimate


@dataclass(frozen=True)
class Performance:
    """None where a measure is not defined."""

    masks: int
    patients: int
    pearson: float | None
    spearman: float | None
    mae: float | None
    auroc: float | None
    """AUROC of the estimate for finding a Dice below `FLAG_BELOW`."""
    aurc: float | None
    """Area under the curve of 1 - Dice over the fraction of masks that are kept, highest estimate first."""
    coverage: float | None = None
    """Fraction of Dice within their interval, each patient counted once; None with too few patients for intervals."""
    width: float | None = None
    """Mean width of the intervals."""


def performance(
    rows: Sequence[CalibrationRow], estimates: Sequence[float] | np.ndarray, intervals: Sequence[Estimate] | None = None
) -> Performance:
    """Performance of the estimates of rows that have a Dice, in the same order; coverage needs their intervals."""
    true = np.array([row.dice for row in rows], dtype=float)
    estimated = np.asarray(estimates, dtype=float)
    patients = [row.patient for row in rows]
    coverage = width = None
    if intervals is not None and len(rows) and all(one.has_interval for one in intervals):
        inside = [one.low <= dice <= one.high for one, dice in zip(intervals, true, strict=True)]
        coverage = patient_coverage(inside, patients)
        width = float(np.mean([one.high - one.low for one in intervals]))
    return Performance(
        masks=len(rows),
        patients=len(set(patients)),
        pearson=pearson(estimated, true),
        spearman=spearman(estimated, true),
        mae=mean_absolute_error(estimated, true),
        auroc=auroc(-estimated, true < FLAG_BELOW),
        aurc=aurc(estimated, 1 - true),
        coverage=coverage,
        width=width,
    )
