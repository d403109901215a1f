"""Overlap of two masks: how many voxels they have in common, and the ratios made of those counts.

A ratio whose denominator is zero is NaN: not scored. `segcct.metrics.conventions` says what each convention makes of
such a case.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from segcct.errors import MetricError


@dataclass(frozen=True)
class Counts:
    """Voxels of a prediction against a reference: true and false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def prediction(self) -> int:
        """Voxels of the prediction."""
        return self.tp + self.fp

    @property
    def reference(self) -> int:
        """Voxels of the reference."""
        return self.tp + self.fn

    @property
    def dice(self) -> float:
        """2 |P & R| / (|P| + |R|), in [0, 1]."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """|P & R| / |P | R|, in [0, 1]."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def sensitivity(self) -> float:
        """Fraction of the reference that is predicted, in [0, 1]."""
        return _ratio(self.tp, self.reference)

    @property
    def specificity(self) -> float:
        """Fraction of the rest of the image that is not predicted, in [0, 1]."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float:
        """Fraction of the prediction that is correct, in [0, 1]."""
        return _ratio(self.tp, self.prediction)

    @property
    def accuracy(self) -> float:
        """Fraction of all voxels, background included, on which both agree, in [0, 1]."""
        return _ratio(self.tp + self.tn, self.tp + self.tn + self.fp + self.fn)

    @property
    def volume_difference(self) -> float:
        """(|P| - |R|) / |R|: relative excess of volume, -1 or more."""
        return _ratio(self.prediction - self.reference, self.reference)


def as_mask(array: np.ndarray, name: str) -> np.ndarray:
    """The array as bool. Raises `MetricError` if it holds anything but 0 and 1: a label map is not a mask."""
    array = np.asarray(array)
    if array.dtype == bool:
        return array
    mask: np.ndarray = array == 1
    if not np.array_equal(array, mask):
        raise MetricError(
            f"{name} is not a mask",
            found=f"values {', '.join(f'{value:g}' for value in np.unique(array)[:6])}",
            expected="booleans, or 0 and 1",
            remedy=f"Compare one structure at a time, such as {name} == 2",
        )
    return mask


def masks_of_one_shape(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as bool arrays. Raises `MetricError` as `as_mask` and `of_one_shape`."""
    return of_one_shape(as_mask(prediction, "prediction"), as_mask(reference, "reference"))


def of_one_shape(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays. Raises `MetricError` unless they have one shape, with at least one voxel."""
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    if prediction.shape != reference.shape or prediction.size == 0 or prediction.ndim == 0:
        raise MetricError(
            "the two masks do not cover one grid",
            found=f"prediction {prediction.shape}, reference {reference.shape}",
            expected="equal shapes with at least one voxel",
        )
    return prediction, reference


def counts(prediction: np.ndarray, reference: np.ndarray, *, voxels: int | None = None) -> Counts:
    """Voxel counts of two masks of equal shape (bool, or 0 and 1). Raises `MetricError` on anything else.

    `voxels`: size of the whole image, when the masks are cropped from it.
    """
    prediction, reference = masks_of_one_shape(prediction, reference)
    both = int(np.count_nonzero(prediction & reference))
    only_prediction = int(np.count_nonzero(prediction)) - both
    only_reference = int(np.count_nonzero(reference)) - both
    rest = (prediction.size if voxels is None else voxels) - both - only_prediction - only_reference
    return Counts(both, only_prediction, only_reference, rest)


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice coefficient in [0, 1]; 0 when one mask is empty, NaN (not scored) when both are."""
    return counts(prediction, reference).dice


def iou(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Intersection over union in [0, 1]; 0 when one mask is empty, NaN (not scored) when both are."""
    return counts(prediction, reference).iou


def class_dice(prediction: np.ndarray, reference: np.ndarray, classes: Iterable[str]) -> dict[str, float]:
    """Dice per class of two arrays of class indices, `classes` naming the indices 1, 2, ...; NaN for a class that is in
    neither array."""
    by_class = class_counts(prediction, reference, classes)
    return {name: one.dice if one else math.nan for name, one in by_class.items()}


def class_counts(prediction: np.ndarray, reference: np.ndarray, classes: Iterable[str]) -> dict[str, Counts | None]:
    """Voxel counts per class, from the same arguments as `class_dice`; None for a class that is in neither array."""
    prediction, reference = of_one_shape(prediction, reference)
    by_name = {name: counts(prediction == index, reference == index) for index, name in enumerate(classes, start=1)}
    return {name: one if one.prediction + one.reference else None for name, one in by_name.items()}


def label_map_accuracy(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Fraction of all voxels of two label maps that hold the same label, background included, in [0, 1].

    Raises `MetricError` unless both have one shape, with at least one voxel.
    """
    prediction, reference = of_one_shape(prediction, reference)
    return float(np.count_nonzero(prediction == reference) / prediction.size)


def sensitivity(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Fraction of the reference that is predicted, in [0, 1]; NaN when the reference is empty."""
    return counts(prediction, reference).sensitivity


def specificity(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Fraction of the rest of the image that is not predicted, in [0, 1]; NaN when the reference fills the image."""
    return counts(prediction, reference).specificity


def precision(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Fraction of the prediction that is correct, in [0, 1]; NaN when the prediction is empty."""
    return counts(prediction, reference).precision


def accuracy(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Fraction of all voxels, background included, on which two masks agree, in [0, 1]; of label maps of several
    classes see `label_map_accuracy`."""
    return counts(prediction, reference).accuracy


def volume_difference(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Relative excess of predicted volume, -1 or more; NaN when the reference is empty."""
    return counts(prediction, reference).volume_difference


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
