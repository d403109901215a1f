"""Calibration of confidence: the reliability diagram and the expected calibration error (Guo et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence lies in (low, high]; the first bin holds 0 too."""

    low: float
    high: float
    confidence: float | None
    """Mean confidence; None for an empty bin."""
    accuracy: float | None
    """Fraction of correct predictions."""
    count: int


def bin_numbers(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(N,) the bin of every confidence in [0, 1], of `bins` of equal width."""
    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence, side="left")


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Mean confidence against accuracy, in bins of equal width.

    Args:
        confidence: (N,) probability of the predicted class.
        correct: (N,) bool.
        bins: number of bins.
    """
    number = bin_numbers(confidence, bins)
    edges = np.linspace(0.0, 1.0, bins + 1)
    result = []
    for index in range(bins):
        inside = number == index
        count = int(inside.sum())
        result.append(
            Bin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                confidence=float(confidence[inside].mean()) if count else None,
                accuracy=float(correct[inside].mean()) if count else None,
                count=count,
            )
        )
    return result


def expected_error(bins: list[Bin]) -> float | None:
    """Mean over the predictions of |accuracy - mean confidence| of their bin; None without predictions."""
    total = sum(each.count for each in bins)
    if not total:
        return None
    gaps = [
        each.count * abs(each.accuracy - each.confidence)
        for each in bins
        if each.accuracy is not None and each.confidence is not None
    ]
    return float(sum(gaps) / total)
