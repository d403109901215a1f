"""The figures of a classification: label, definition and range of each."""

from __future__ import annotations

import math
from collections.abc import Container

from segcct.metrics.classification_intervals import RESAMPLES
from segcct.metrics.metric_table import Quantity

FEW_CLASSES = 5
"""With at most this many classes, top 5 says nothing and is left out."""
QUANTITIES = {
    each.key: each
    for each in (
        Quantity("accuracy", "Accuracy", "fraction of the images whose class has the highest probability (top 1)"),
        Quantity("top5", "Top 5", "fraction of the images whose class is among the five of highest probability"),
        Quantity("precision", "Precision", "fraction of the images predicted as a class that belong to it"),
        Quantity(
            "recall", "Recall (sensitivity)", "fraction of the images of a class that are predicted as it (sensitivity)"
        ),
        Quantity("specificity", "Specificity", "fraction of the images of other classes that are not predicted as it"),
        Quantity("f1", "F1", "2 tp / (2 tp + fp + fn)"),
        Quantity("macro_f1", "Macro F1", "mean F1 of the classes in the reference"),
        Quantity("balanced_accuracy", "Balanced accuracy", "mean recall of the classes"),
        Quantity(
            "auroc",
            "AUROC",
            "probability that an image of the class has a higher probability for it than one of another class; "
            "overall the mean over the classes",
        ),
        Quantity(
            "ece",
            "Calibration error",
            "expected calibration error: mean gap between confidence and accuracy, in 15 bins of confidence",
            higher_is_better=False,
        ),
        Quantity(
            "log_loss",
            "Log loss",
            "mean of minus the logarithm of the true class's probability",
            bounds=(0.0, math.inf),
            higher_is_better=False,
        ),
        Quantity(
            "brier",
            "Brier score",
            "mean over the images of the summed squared error of the probabilities, 0 to 2",
            bounds=(0.0, 2.0),
            higher_is_better=False,
        ),
    )
}
"""Every figure of a classification."""
_CI95 = (
    "95% interval by bootstrap over groups of images (copies, or images of one patient): BCa with 10,000 resamples for "
    f"means, percentiles of {RESAMPLES:,} resamples for all other figures; that of the "
    "calibration error is corrected for its bootstrap bias, because resampling widens every gap"
)


def definitions(overall: Container[str]) -> dict[str, str]:
    """What every figure means, and the intervals; top 5 only where it is one of the `overall` figures."""
    texts = {key: each.definition for key, each in QUANTITIES.items() if key != "top5" or key in overall}
    return {**texts, "ci95": _CI95}
