"""95% intervals of measures that are not a plain mean over images: per-class scores, AUROC, calibration error.

Groups of images (copies, images of one patient) are drawn with replacement and every measure is computed for each
draw; the interval runs from the 2.5th to the 97.5th percentile. Draws in which a measure is not defined are left out,
and with fewer than two groups there is no interval. A mean over the classes is over the same ones in every draw: a rare
class that a draw lacks keeps the figure that it has in the sample. Intervals of means over cases are in
confidence_intervals.py.

The calibration error is a mean of absolute gaps, which resampling widens: on average, the errors of the draws exceed
that of the sample, even for a calibrated model. They are shifted down by this mean excess before the percentiles are
taken.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import sparse

from segcct.metrics.calibration import BINS, bin_numbers
from segcct.metrics.confidence_intervals import numbered

RESAMPLES = 1000
_NUMBERS_AT_ONCE = 4_000_000
Interval = list[float | None]
"""[low, high]; [None, None] where it is not defined."""


@dataclass(frozen=True)
class ClassIntervals:
    """Intervals per class (lists) and over all."""

    precision: list[Interval]
    recall: list[Interval]
    f1: list[Interval]
    auroc: list[Interval]
    macro_f1: Interval
    balanced_accuracy: Interval
    macro_auroc: Interval
    ece: Interval


def class_intervals(
    probabilities: np.ndarray,
    reference: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ClassIntervals:
    """Bootstrap intervals of the measures of `segcct.metrics.class_scores` and `calibration`.

    Args:
        probabilities: (N, K).
        reference: (N,) class numbers.
        groups: the group of each image; default: each image on its own.
        seed: of the draws.
        resamples: number of draws.
    """
    count, classes = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    sums = _indicators(predicted, reference, confidence, classes)  # (N, columns), sparse
    totals, areas = [], []
    ranked = [_Ranked(probabilities[:, number], reference == number) for number in range(classes)]
    for weights in chain([np.ones((1, count))], _weights(groups, count, seed, resamples)):  # the sample, then the draws
        totals.append(np.asarray((sums.T @ weights.T).T))  # (r, columns)
        areas.append(np.stack([one.areas(weights) for one in ranked], axis=1))  # (r, K)
    hits, predictions, support = (np.concatenate(totals)[:, k * classes : (k + 1) * classes] for k in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall, f1 = (
            hits / predictions,
            hits / support,
            2 * hits / (predictions + support),
        )  # NaN: not defined
    auroc = np.concatenate(areas)
    errors = _calibration_errors(np.concatenate(totals)[:, 3 * classes :])
    excess = errors[1:].mean() - errors[0] if len(errors) > 1 else 0.0
    return ClassIntervals(
        precision=[_interval(column) for column in precision.T],
        recall=[_interval(column) for column in recall.T],
        f1=[_interval(column) for column in f1.T],
        auroc=[_interval(column) for column in auroc.T],
        macro_f1=_interval(_mean(np.where(support > 0, f1, np.nan))),
        balanced_accuracy=_interval(_mean(recall)),
        macro_auroc=_interval(_mean(auroc)),
        ece=_interval(np.clip(errors - excess, 0.0, 1.0)),
    )


class _Ranked:
    """The scores of one class in order, ready for the AUROC under many weightings."""

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        self.order = np.argsort(scores, kind="stable")
        self.positive = positive[self.order].astype(float)
        ordered = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] > ordered[:-1]])  # of runs of equal scores

    def areas(self, weights: np.ndarray) -> np.ndarray:
        """(r,) AUROC with each image counted `weights` (r, N) times; NaN where one outcome is missing."""
        ordered = weights[:, self.order]
        positives = np.add.reduceat(ordered * self.positive, self.starts, axis=1)  # (r, runs)
        negatives = np.add.reduceat(ordered * (1 - self.positive), self.starts, axis=1)
        below = np.cumsum(negatives, axis=1) - 0.5 * negatives
        with np.errstate(invalid="ignore", divide="ignore"):
            areas: np.ndarray = (positives * below).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
            return areas


def _indicators(predicted: np.ndarray, reference: np.ndarray, confidence: np.ndarray, classes: int) -> sparse.csr_array:
    """A row per image; the rows add up to hits, predictions and support per class, then hits, confidence and count per
    bin."""
    count = len(reference)
    rows = np.arange(count)
    right = (predicted == reference).astype(float)
    bins = 3 * classes + bin_numbers(confidence)
    entries = [
        (rows, reference, right),
        (rows, classes + predicted, np.ones(count)),
        (rows, 2 * classes + reference, np.ones(count)),
        (rows, bins, right),
        (rows, BINS + bins, confidence.astype(float)),
        (rows, 2 * BINS + bins, np.ones(count)),
    ]
    row, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return sparse.csr_array((value, (row, column)), shape=(count, 3 * classes + 3 * BINS))


def _calibration_errors(sums: np.ndarray) -> np.ndarray:
    """(R,) from sums of the columns of `_indicators` for bins, (R, 3 bins): hits, confidence, count."""
    right, sure, size = np.split(sums, 3, axis=1)  # (R, bins) each
    errors: np.ndarray = np.abs(right - sure).sum(axis=1) / size.sum(axis=1)
    return errors


def _weights(groups: Sequence[Hashable] | None, count: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each image is drawn: (r, N), a few draws at a time; nothing for a single group."""
    member = np.arange(count) if groups is None else numbered(groups)
    size = int(member.max(initial=-1)) + 1
    if size < 2:
        return
    rng = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS_AT_ONCE // count)
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        drawn = rng.integers(0, size, size=(draws, size)) + size * np.arange(draws)[:, None]
        yield np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, -1)[:, member].astype(float)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the classes that are defined in the sample, the first row; (1 + R, K) -> (1 + R,)."""
    values = values[:, np.isfinite(values[0])]
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(np.isfinite(values), values, values[0]).sum(axis=1) / values.shape[1]
        return means


def _interval(values: np.ndarray) -> Interval:
    """Of the draws, which follow the sample."""
    finite = values[1:][np.isfinite(values[1:])]
    if not finite.size:
        return [None, None]
    low, high = np.percentile(finite, [2.5, 97.5])
    return [float(low), float(high)]
