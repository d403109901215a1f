"""Distances between the surfaces of two masks: Hausdorff distance and its percentiles, average, surface Dice.

The surface of a mask is its border voxels: those with a face neighbor outside the mask, where everything outside
the image counts as outside the mask (as in medpy and MONAI). Distances run between voxel centers, to the nearest
border voxel of the other mask, exact in float64, along axes that are taken as perpendicular. An axis of length one is
left out: the border of a 2-D mask is its outline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segcct.errors import MetricError
from segcct.metrics.nearest import nearest_distances

_SLACK = 1e-6
"""Relative slack of a tolerance: image headers hold spacings in float32, so 2 mm may read 2.0000001."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance of every border voxel to the other mask's border; both arrays float64, never empty."""

    to_reference: np.ndarray
    """(number of border voxels of the prediction,)"""
    to_prediction: np.ndarray
    """(number of border voxels of the reference,)"""

    def hausdorff(self, percentile: float = 100.0, *, pooled: bool = False) -> float:
        """The larger of the two directed percentiles, or the percentile of both directions pooled.

        Percentiles interpolate linearly between order statistics (numpy's default); 100 is the Hausdorff distance.
        Raises `MetricError` as `check_percentile`.
        """
        check_percentile(percentile)
        if pooled:
            return float(np.percentile(np.concatenate([self.to_reference, self.to_prediction]), percentile))
        return float(max(np.percentile(self.to_reference, percentile), np.percentile(self.to_prediction, percentile)))

    def average(self) -> float:
        """Mean over the border voxels of both masks (Heimann et al. 2009; MONAI's symmetric average)."""
        total = self.to_reference.sum() + self.to_prediction.sum()
        return float(total / (self.to_reference.size + self.to_prediction.size))

    def surface_dice(self, tolerance: float) -> float:
        """Fraction of both borders that lies within the tolerance of the other (NSD), in [0, 1]."""
        limit = tolerance * (1.0 + _SLACK)
        within = np.count_nonzero(self.to_reference <= limit) + np.count_nonzero(self.to_prediction <= limit)
        return float(within / (self.to_reference.size + self.to_prediction.size))


def check_percentile(percentile: float) -> None:
    """Raises `MetricError` for one that is not from 0 to 100, or that is meant as a fraction."""
    if not 0.0 <= percentile <= 100.0:
        raise MetricError("a percentile is out of range", found=percentile, expected="0 to 100")
    if 0.0 < percentile <= 1.0:
        raise MetricError(
            "a percentile is given as a fraction", found=percentile, expected="0 to 100, such as 95 for HD95"
        )


def check_spacing(spacing: Sequence[float], ndim: int) -> tuple[float, ...]:
    """The spacing as floats. Raises `MetricError` unless it holds one positive number per axis."""
    sizes = tuple(float(size) for size in np.atleast_1d(np.asarray(spacing, dtype=np.float64)))
    if len(sizes) != ndim or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise MetricError("the voxel spacing does not fit", found=sizes, expected=f"{ndim} positive numbers")
    return sizes


def border_voxels(mask: np.ndarray) -> np.ndarray:
    """Voxels of a bool mask with a face neighbor outside it: the mask less its erosion by one voxel."""
    padded = np.pad(mask, 1)
    inner = (slice(1, -1),) * mask.ndim
    core: np.ndarray = padded[inner].copy()
    for axis in range(mask.ndim):
        for side in (slice(None, -2), slice(2, None)):
            core &= padded[(*inner[:axis], side, *inner[axis + 1 :])]
    border: np.ndarray = mask & ~core
    return border


def distances_between(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> SurfaceDistances:
    """Surface distances of two non-empty bool masks of one shape, in the unit of `spacing`."""
    borders = border_voxels(prediction), border_voxels(reference)
    return SurfaceDistances(
        nearest_distances(borders[0], borders[1], spacing), nearest_distances(borders[1], borders[0], spacing)
    )
