"""The features of a segmented case, with test-time augmentation: the same slices flipped and rotated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from segcct.inference.predictor import Predictor, Segmented
from segcct.metrics import dice
from segcct.preparation.prepared_case import PreparedCase
from segcct.quality.features import CaseFeatures, CasePredictions, class_features, with_other_classes
from segcct.quality.fitting import CalibrationRow

Transform = Callable[[np.ndarray], np.ndarray]


def _left_right(planes: np.ndarray) -> np.ndarray:
    return planes[..., ::-1]


def _up_down(planes: np.ndarray) -> np.ndarray:
    return planes[..., ::-1, :]


def _rotate(planes: np.ndarray) -> np.ndarray:
    return np.rot90(planes, 1, (-2, -1))


def _rotate_back(planes: np.ndarray) -> np.ndarray:
    return np.rot90(planes, -1, (-2, -1))


def features_of_case(predictor: Predictor, segmented: Segmented) -> CaseFeatures:
    """The features of every class of a case whose probabilities were kept. Takes three more passes of the network: two
    flips and a rotation by 90 degrees (the other rotation is this one flipped twice)."""
    prepared, scheme = segmented.prepared, predictor.scheme
    case = CasePredictions(
        probabilities=segmented.soft.probabilities,
        index=segmented.soft.index,
        flips=tuple(_augmented(predictor, prepared, flip, flip) for flip in (_left_right, _up_down)),
        rotations=(_augmented(predictor, prepared, _rotate, _rotate_back),),
        volumes=volumes_of(segmented.full, prepared.spacing_mm, scheme.num_classes),
    )
    classes = enumerate(scheme.classes, start=1)
    return with_other_classes({name: class_features(case, number) for number, name in classes})


def _augmented(predictor: Predictor, prepared: PreparedCase, transform: Transform, inverse: Transform) -> np.ndarray:
    """(D, K, h, w) float16 probabilities predicted from transformed slices, transformed back."""
    image = np.ascontiguousarray(transform(np.asarray(prepared.image)))
    view = replace(prepared, arrays={"image": image})
    return inverse(np.concatenate([batch.astype(np.float16) for batch in predictor.probabilities(view)]))


def volumes_of(
    full: np.ndarray, spacing_mm: tuple[float, float, float] | None, classes: int
) -> dict[int, tuple[int, float | None]]:
    """Class index -> voxels, and ml (None without spacing)."""
    voxel_ml = None if spacing_mm is None else float(np.prod(spacing_mm)) / 1000
    counts = np.bincount(full.ravel(), minlength=classes)
    return {
        number: (int(counts[number]), None if voxel_ml is None else float(counts[number] * voxel_ml))
        for number in range(1, classes)
    }


def calibration_rows(segmented: Segmented, features: CaseFeatures) -> list[CalibrationRow]:
    """The features of each class with its Dice on the scan's own grid. The case must have been read with its label."""
    prepared = segmented.prepared
    reference = np.asarray(prepared.full_label)
    rows = []
    for number, (name, own) in enumerate(features.items(), start=1):
        prediction, truth = segmented.full == number, reference == number
        score = float(dice(prediction, truth)) if prediction.any() or truth.any() else None
        rows.append(CalibrationRow(prepared.case_id, prepared.patient, name, own, score))
    return rows
