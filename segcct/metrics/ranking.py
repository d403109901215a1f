"""How well one number predicts another: correlations, mean error, AUROC, and the area under the risk-coverage curve.

Each is None if it is not defined (too few values, a constant, only one outcome). Tied values share their mean rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

Values = Sequence[float] | np.ndarray
_FEWEST = 3
"""Two points always correlate perfectly."""


def pearson(first: Values, second: Values) -> float | None:
    """Linear correlation, -1 to 1."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.size < _FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))


def spearman(first: Values, second: Values) -> float | None:
    """Rank correlation, -1 to 1."""
    return pearson(rankdata(np.asarray(first, dtype=float)), rankdata(np.asarray(second, dtype=float)))


def mean_absolute_error(first: Values, second: Values) -> float | None:
    """Mean of |first - second|."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    return float(np.abs(a - b).mean()) if a.size else None


def auroc(values: Values, positive: Sequence[bool] | np.ndarray) -> float | None:
    """Probability that a positive has a higher value than a negative (Mann-Whitney), 0 to 1."""
    labels = np.asarray(positive, dtype=bool)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return None
    ranks = rankdata(np.asarray(values, dtype=float))
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def aurc(confidence: Values, risk: Values) -> float | None:
    """Area under the risk-coverage curve (Geifman et al. 2019): the mean risk of the most confident items, averaged
    over all fractions of the items.

    The lower the better; a random order gives the mean risk. Items of equal confidence count with their mean risk.
    """
    sure, cost = np.asarray(confidence, dtype=float), np.asarray(risk, dtype=float)
    if not sure.size:
        return None
    _, group = np.unique(-sure, return_inverse=True)  # 0 is the most confident
    means = np.bincount(group, weights=cost) / np.bincount(group)
    ordered = means[np.sort(group)]
    return float((np.cumsum(ordered) / np.arange(1, cost.size + 1)).mean())
