"""Surface elements with areas, as the surface-distance package defines them (Nikolov et al. 2018).

A surface element sits at each corner between voxels whose 2x2(x2) neighborhood is neither all inside nor all
outside. Its area is that of the marching-cubes triangles of the neighborhood, so that a percentile is taken over
surface area and not over voxels. The default convention differs: its surface is the border voxels themselves, all with
equal weights, which lies half a voxel further inside and gives less weight to oblique surfaces.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from segcct.metrics.nearest import nearest_distances

# Triangles of marching cubes per neighborhood, as normals whose length is the area at unit spacing, signs left out.
# One entry per class of neighborhoods that are rotations, mirror images or complements of each other; in a code,
# bit 7 - (4x + 2y + z) is the voxel at (x, y, z).
_TRIANGLES: dict[int, tuple[tuple[float, float, float], ...]] = {
    1: ((0.125, 0.125, 0.125),),
    3: ((0.25, 0.25, 0.0),) * 2,
    6: ((0.125, 0.125, 0.125),) * 2,
    7: ((0.125, 0.125, 0.125), (0.25, 0.25, 0.25), (0.5, 0.0, 0.0)),
    15: ((0.5, 0.0, 0.0),) * 2,
    22: ((0.125, 0.125, 0.125),) * 3,
    23: ((0.125, 0.125, 0.125),) * 2 + ((0.25, 0.25, 0.25),) * 2,
    24: ((0.125, 0.125, 0.125),) * 2,
    25: ((0.0, 0.25, 0.25),) * 2 + ((0.125, 0.125, 0.125),),
    27: ((0.0, 0.25, 0.25), (0.125, 0.125, 0.125), (0.25, 0.0, 0.25), (0.375, 0.375, 0.375)),
    30: ((0.125, 0.125, 0.125),) * 2 + ((0.25, 0.25, 0.25), (0.5, 0.0, 0.0)),
    60: ((0.25, 0.25, 0.0),) * 4,
    105: ((0.125, 0.125, 0.125),) * 4,
}


@dataclass(frozen=True)
class WeightedDistances:
    """Distances of the surface elements of both masks to the other surface, in mm, and their areas in mm2."""

    to_reference: np.ndarray
    prediction_areas: np.ndarray
    to_prediction: np.ndarray
    reference_areas: np.ndarray

    def hausdorff(self, percentile: float) -> float:
        """Larger of the two directed percentiles over area: the first distance at which that fraction is reached."""
        return max(
            _area_percentile(self.to_reference, self.prediction_areas, percentile),
            _area_percentile(self.to_prediction, self.reference_areas, percentile),
        )

    def surface_dice(self, tolerance_mm: float) -> float:
        """Fraction of the area of both surfaces within the tolerance of the other."""
        within = self.prediction_areas[self.to_reference <= tolerance_mm].sum()
        within += self.reference_areas[self.to_prediction <= tolerance_mm].sum()
        return float(within / (self.prediction_areas.sum() + self.reference_areas.sum()))


def weighted_distances(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> WeightedDistances:
    """Distances between the surface elements of two bool masks, neither empty, 1-D to 3-D."""
    codes = neighbor_codes(prediction), neighbor_codes(reference)
    full = 2 ** (2**prediction.ndim) - 1
    borders = tuple((code > 0) & (code < full) for code in codes)
    areas = element_areas(tuple(float(size) for size in spacing_mm))
    return WeightedDistances(
        nearest_distances(borders[0], borders[1], spacing_mm),
        areas[codes[0][borders[0]]],
        nearest_distances(borders[1], borders[0], spacing_mm),
        areas[codes[1][borders[1]]],
    )


def neighbor_codes(mask: np.ndarray) -> np.ndarray:
    """Code of the neighborhood at every corner: shape + 1 along each axis, uint8."""
    padded = np.pad(mask, 1).astype(np.uint8)
    corners = list(itertools.product((0, 1), repeat=mask.ndim))
    codes = np.zeros([length + 1 for length in mask.shape], dtype=np.uint8)
    for bit, corner in enumerate(reversed(corners)):
        window = tuple(slice(start, start + length + 1) for start, length in zip(corner, mask.shape, strict=True))
        codes |= padded[window] * np.uint8(1 << bit)
    return codes


@lru_cache(maxsize=64)
def element_areas(spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Area in mm2 of the surface element of every code; for two axes its length in mm, for one axis 1."""
    if len(spacing_mm) == 1:
        return np.array([0.0, 1.0, 1.0, 0.0])
    if len(spacing_mm) == 2:
        return _contour_lengths(spacing_mm)
    areas = np.zeros(256)
    faces = np.prod(spacing_mm) / np.asarray(spacing_mm)  # area of the voxel face across each axis
    for code, triangles in _TRIANGLES.items():
        cube = (code >> np.arange(7, -1, -1) & 1).reshape(2, 2, 2)
        for axes in itertools.permutations(range(3)):
            normals = np.asarray(triangles)[:, axes]
            area = np.linalg.norm(normals * faces, axis=1).sum()
            for flipped in itertools.product((False, True), repeat=3):
                turned = np.flip(cube.transpose(axes), tuple(axis for axis in range(3) if flipped[axis]))
                twin = int((turned.ravel() << np.arange(7, -1, -1)).sum())
                areas[twin] = areas[255 - twin] = area
    return areas


def _contour_lengths(spacing_mm: tuple[float, ...]) -> np.ndarray:
    """The sixteen 2x2 neighborhoods: a corner cuts a half diagonal, a straight edge is one voxel long."""
    half_diagonal = 0.5 * float(np.hypot(spacing_mm[0], spacing_mm[1]))
    lengths = np.zeros(16)
    for code in range(1, 15):
        square = (code >> np.arange(3, -1, -1) & 1).reshape(2, 2)
        if square.sum() != 2:
            lengths[code] = half_diagonal
        elif square[0, 0] == square[1, 1]:
            lengths[code] = 2 * half_diagonal
        else:
            lengths[code] = spacing_mm[1] if square[0, 0] == square[0, 1] else spacing_mm[0]
    return lengths


def _area_percentile(distances: np.ndarray, areas: np.ndarray, percentile: float) -> float:
    order = np.lexsort((areas, distances))
    fractions = np.cumsum(areas[order]) / areas.sum()
    position = min(int(np.searchsorted(fractions, percentile / 100.0)), distances.size - 1)
    return float(distances[order][position])
