"""How well class probabilities fit the true classes: arrays in, numbers out.

Probabilities are (N, K), each row a distribution; `reference` is (N,), class numbers from 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segcct.errors import MetricError
from segcct.metrics.defined_values import defined
from segcct.metrics.ranking import auroc

_SMALLEST = 1e-15
"""Lower bound of the probabilities, so that one certain mistake does not make the mean log loss infinite."""


@dataclass(frozen=True)
class ClassScores:
    """One class against the rest; None if a measure is not defined."""

    precision: float | None
    """Fraction of the images predicted as this class that are correct; None when there are none."""
    recall: float | None
    """Fraction of the images of this class that are predicted as it (sensitivity)."""
    specificity: float | None
    """Fraction of the images of other classes that are not predicted as this one."""
    f1: float | None
    """2 tp / (2 tp + fp + fn); None when the class is neither in the reference nor predicted."""
    support: int
    """Images of the class in the reference."""


def top_k(probabilities: np.ndarray, reference: np.ndarray, k: int) -> np.ndarray:
    """(N,) bool: the true class is among the k most probable; ties go to the lower class number."""
    _check(probabilities, reference)
    true = np.take_along_axis(probabilities, reference[:, None], axis=1)  # (N, 1)
    before = np.arange(probabilities.shape[1]) < reference[:, None]
    ahead = (probabilities > true) | ((probabilities == true) & before)
    result: np.ndarray = ahead.sum(axis=1) < k
    return result


def class_scores(reference: np.ndarray, predicted: np.ndarray, classes: int) -> list[ClassScores]:
    """The scores of every class, from class numbers (N,)."""
    from sklearn.metrics import multilabel_confusion_matrix, precision_recall_fscore_support  # half a second to import

    labels = np.arange(classes)
    columns = precision_recall_fscore_support(reference, predicted, labels=labels, zero_division=np.nan)
    tn, fp = multilabel_confusion_matrix(reference, predicted, labels=labels)[:, 0].T
    return [
        ClassScores(defined(p), defined(r), float(n / (n + f)) if n + f else None, defined(f1), int(support))
        for p, r, f1, support, n, f in zip(*columns, tn, fp, strict=True)
    ]


def log_losses(probabilities: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,) minus the logarithm of the true class's probability."""
    _check(probabilities, reference)
    true = np.take_along_axis(probabilities, reference[:, None], axis=1)[:, 0].astype(float)
    losses: np.ndarray = -np.log(np.maximum(true, _SMALLEST))
    return losses


def brier_scores(probabilities: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,) sum over the classes of (probability - truth)^2, 0 to 2."""
    _check(probabilities, reference)
    truth = np.eye(probabilities.shape[1])[reference]
    scores: np.ndarray = ((probabilities - truth) ** 2).sum(axis=1)
    return scores


def class_aurocs(probabilities: np.ndarray, reference: np.ndarray) -> list[float | None]:
    """AUROC of every class against the rest; None for a class that all or none of the images belong to."""
    _check(probabilities, reference)
    return [auroc(column, reference == number) for number, column in enumerate(probabilities.T)]


def _check(probabilities: np.ndarray, reference: np.ndarray) -> None:
    if probabilities.ndim != 2 or reference.shape != probabilities.shape[:1] or not len(reference):
        raise MetricError(
            "probabilities and classes do not fit",
            found=f"{probabilities.shape} and {reference.shape}",
            expected="(N, K) and (N,), N at least 1",
        )
    if not np.isfinite(probabilities).all():
        raise MetricError("probabilities that are not finite", found="NaN or infinity", expected="numbers")
    if reference.min() < 0 or reference.max() >= probabilities.shape[1]:
        raise MetricError(
            "a class number is out of range",
            found=f"{reference.min()} to {reference.max()}",
            expected=f"0 to {probabilities.shape[1] - 1}",
        )
