"""Lesion-wise scores of BraTS 2023: every reference lesion counts alike, and so does every false positive.

As in the challenge's own code: the reference is dilated, and lesions that touch after the dilation are one. Each
predicted component (26-connected) that overlaps a dilated lesion belongs to it; one that overlaps none is a false
positive. Reference lesions up to a smallest volume are not scored, but a component that overlaps one is not a false
positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segcct.metrics.overlap import counts, masks_of_one_shape
from segcct.metrics.surface_distances import check_spacing
from segcct.metrics.surfels import weighted_distances

MISSED_MM = 374.0
"""HD95 of a missed lesion and of a false positive."""


@dataclass(frozen=True)
class LesionRule:
    """Challenge settings: gliomas by default; meningiomas (1, 50), metastases (1, 2)."""

    dilations: int = 3
    smallest_mm3: float = 50.0


@dataclass(frozen=True)
class LesionMatch:
    """Lesions of a reference, and the predicted components that belong to each."""

    lesions: np.ndarray
    """Reference voxels by lesion number, 1..; 0 elsewhere."""
    components: np.ndarray
    """Predicted voxels by component number, 1..; 0 elsewhere."""
    partners: tuple[tuple[int, ...], ...]
    """Component numbers of each lesion, in lesion order."""
    false_positives: tuple[int, ...]
    """Component numbers that belong to no lesion."""


def match_lesions(prediction: np.ndarray, reference: np.ndarray, *, dilations: int) -> LesionMatch:
    """Match two bool masks of one shape. The dilation has 18 neighbors, as in the challenge.

    Cropping both to a box around them changes nothing: whatever touches outside of it touches within it too.
    """
    dilated = reference
    if dilations:
        structure = ndimage.generate_binary_structure(reference.ndim, min(2, reference.ndim))
        dilated = ndimage.binary_dilation(reference, structure, iterations=dilations)
    everywhere = np.ones((3,) * reference.ndim, dtype=bool)
    zones, count = ndimage.label(dilated, everywhere)
    components, found = ndimage.label(prediction, everywhere)
    meeting = (zones > 0) & (components > 0)
    keys = np.unique(zones[meeting].astype(np.int64) * (found + 1) + components[meeting])
    touching = np.stack(np.divmod(keys, found + 1), axis=1)  # (pairs, 2): lesion, component
    partners = tuple(tuple(touching[touching[:, 0] == zone, 1].tolist()) for zone in range(1, count + 1))
    false_positives = tuple(sorted(set(range(1, found + 1)) - set(touching[:, 1].tolist())))
    return LesionMatch(np.where(reference, zones, 0), components, partners, false_positives)


def lesion_scores(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing_mm: Sequence[float],
    rule: LesionRule,
    voxel_mm3: float | None = None,
) -> tuple[float, float]:
    """Lesion-wise (Dice, HD95 in mm) of two masks; (1, 0) where there is nothing to score.

    `voxel_mm3` is the volume of a voxel; default: the product of the spacings. Raises `MetricError` for what is not a
    mask, other shapes, or a spacing that does not fit.
    """
    prediction, reference = masks_of_one_shape(prediction, reference)
    spacing_mm = check_spacing(spacing_mm, prediction.ndim)
    match = match_lesions(prediction, reference, dilations=rule.dilations)
    voxel_mm3 = voxel_mm3 or float(np.prod(spacing_mm))
    lesion_boxes, component_boxes = ndimage.find_objects(match.lesions), ndimage.find_objects(match.components)
    dices, distances = [], []
    for number, partners in enumerate(match.partners, start=1):
        box = _around([lesion_boxes[number - 1], *(component_boxes[partner - 1] for partner in partners)])
        lesion = match.lesions[box] == number
        if np.count_nonzero(lesion) * voxel_mm3 <= rule.smallest_mm3:
            continue
        predicted = np.isin(match.components[box], partners)
        dices.append(counts(predicted, lesion).dice)
        distances.append(weighted_distances(predicted, lesion, spacing_mm).hausdorff(95) if partners else MISSED_MM)
    scored = len(dices) + len(match.false_positives)
    if not scored:
        return 1.0, 0.0
    return sum(dices) / scored, (sum(distances) + MISSED_MM * len(match.false_positives)) / scored


def _around(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """The smallest box that holds these."""
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes, strict=True)
    )
