"""Surface metrics of two masks, under the default convention: Hausdorff distance, average distance, surface Dice.

If one mask is empty, the distance is the length of the image's diagonal and the surface Dice is 0; if both are, nothing
is scored (NaN). Surfaces and distances are defined in `segcct.metrics.surface_distances`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from segcct.errors import MetricError
from segcct.metrics.pair import MaskPair
from segcct.metrics.surface_distances import SurfaceDistances, check_percentile


def hausdorff(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing_mm: Sequence[float],
    percentile: float = 95.0,
    *,
    pooled: bool = False,
) -> float:
    """Hausdorff distance in mm at a percentile: 95 is HD95, 100 the Hausdorff distance itself.

    The larger of the two directed percentiles; `pooled`: the percentile of both directions taken together (medpy,
    TransUNet). Percentiles interpolate linearly between order statistics.
    """
    check_percentile(percentile)
    pair = MaskPair.of(prediction, reference, spacing_mm)
    return _scored(pair, lambda distances: distances.hausdorff(percentile, pooled=pooled), empty=pair.diagonal_mm)


def average_surface_distance(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Average symmetric surface distance in mm: the mean over the border voxels of both masks."""
    pair = MaskPair.of(prediction, reference, spacing_mm)
    return _scored(pair, SurfaceDistances.average, empty=pair.diagonal_mm)


def surface_dice(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float
) -> float:
    """Normalized surface Dice in [0, 1]: fraction of both borders within `tolerance_mm` of the other
    (Nikolov et al. 2021, here of border voxels)."""
    if not tolerance_mm >= 0.0:
        raise MetricError("a tolerance is out of range", found=tolerance_mm, expected="0 mm or more")
    pair = MaskPair.of(prediction, reference, spacing_mm)
    return _scored(pair, lambda distances: distances.surface_dice(tolerance_mm), empty=0.0)


def _scored(pair: MaskPair, measure: Callable[[SurfaceDistances], float], *, empty: float | None) -> float:
    if pair.status == "absent":
        return math.nan
    if pair.distances_mm is None:
        return math.nan if empty is None else empty
    return measure(pair.distances_mm)
