"""The features of a segmented case, and its rows for calibration."""

from __future__ import annotations

import numpy as np

from segcct.inference.predictor import Predictor, Segmented
from segcct.metrics import dice
from segcct.quality.features import CaseFeatures, CasePredictions, class_features, with_other_classes
from segcct.quality.fitting import CalibrationRow
from segcct.quality.test_time_augmentation import flipped_probabilities, rotated_probabilities


def features_of_case(predictor: Predictor, segmented: Segmented) -> CaseFeatures:
    """The features of every class of a case whose probabilities were kept. This takes three more passes of the network:
    two flips and a rotation by 90 degrees (the other rotation is this one flipped twice).

    A class was predicted if the mask on the scan's grid contains it, after postprocessing.
    """
    prepared, scheme = segmented.prepared, predictor.scheme
    volumes = volumes_of(segmented.full, segmented.grid.voxel_ml, scheme.num_classes)
    case = CasePredictions(
        probabilities=segmented.soft.probabilities,
        index=segmented.soft.index,
        flips=flipped_probabilities(predictor, prepared),
        rotations=rotated_probabilities(predictor, prepared),
        members=segmented.agreement,
        volumes=volumes,
    )
    classes = enumerate(scheme.classes, start=1)
    return with_other_classes(
        {name: class_features(case, number) if volumes[number][0] else None for number, name in classes}
    )


def volumes_of(full: np.ndarray, voxel_ml: float | None, classes: int) -> dict[int, tuple[int, float | None]]:
    """Class index -> voxels, and ml (None without the volume of a voxel)."""
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
