"""Features of the shape of one predicted mask: components, compactness, continuity over slices, and position in the
foreground."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

FULL = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a corner are one component: thick slices shift structures by more than a voxel."""


def shape_features(mask: np.ndarray) -> dict[str, float | None]:
    """Features of a mask (D, H, W) bool of at least one voxel.

    components: log2 of the number of components. largest_share: fraction of the voxels in the largest component.
    compactness: area over squared outline, 1 for a square, averaged over slices by area. slice_agreement: Dice of
    neighboring slices, averaged by area. slice_gaps: fraction of empty slices between the first and the last one that
    is not empty. extent: fraction of slices that are not empty. area_jump: sum of the changes of area from slice to
    slice, over the same slices as slice_gaps, as a fraction of the sum of areas. thickness: logarithm of the largest
    distance of a pixel of the mask to the nearest one outside it, within its slice.
    """
    components, count = ndimage.label(mask, FULL)
    sizes = np.bincount(components.ravel())[1:]
    areas = mask.sum(axis=(1, 2), dtype=np.int64)  # (D,)
    occupied = np.flatnonzero(areas)
    between = areas[occupied[0] : occupied[-1] + 1]
    # The largest distance within each slice; everything beyond the edge of the slice is outside.
    radius = max(float(ndimage.distance_transform_edt(np.pad(plane, 1)).max()) for plane in mask[occupied])
    return {
        "components": math.log2(count),
        "largest_share": float(sizes.max() / sizes.sum()),
        "compactness": _compactness(mask[occupied], areas[occupied]),
        "slice_agreement": _slice_agreement(mask, areas),
        "slice_gaps": float((between == 0).mean()),
        "extent": float(occupied.size / areas.size),
        "area_jump": float(np.abs(np.diff(between)).sum() / between.sum()) if between.size > 1 else None,
        "thickness": math.log(radius),
    }


def off_center(mask: np.ndarray, foreground: np.ndarray) -> float:
    """In-plane distance between the centers of a mask (D, H, W) and of the `foreground` of all classes, slice by slice,
    averaged by the mask's area; in radii of a disc of the foreground's mean area. `mask` lies within `foreground`."""
    areas, whole = mask.sum(axis=(1, 2), dtype=np.int64), foreground.sum(axis=(1, 2), dtype=np.int64)  # (D,)
    occupied = areas > 0
    distances = np.hypot(*(_centers(mask[occupied], axis) - _centers(foreground[occupied], axis) for axis in (1, 2)))
    return float(np.average(distances, weights=areas[occupied]) / math.sqrt(whole[whole > 0].mean() / math.pi))


def _compactness(mask: np.ndarray, areas: np.ndarray) -> float:
    """The outline counts pixel edges, so that a square has exactly 1 and every other shape less."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    rows, columns = padded[:, 1:] != padded[:, :-1], padded[..., 1:] != padded[..., :-1]
    outline = rows.sum(axis=(1, 2)) + columns.sum(axis=(1, 2))
    return float(np.average(16 * areas / outline.astype(float) ** 2, weights=areas))


def _slice_agreement(mask: np.ndarray, areas: np.ndarray) -> float | None:
    """None for a mask within one slice."""
    both = (mask[1:] & mask[:-1]).sum(axis=(1, 2))
    sums = areas[1:] + areas[:-1]
    inner = (areas[1:] > 0) & (areas[:-1] > 0)
    return float(2 * both[inner].sum() / sums[inner].sum()) if inner.any() else None


def _centers(mask: np.ndarray, axis: int) -> np.ndarray:
    """Mean position along an in-plane axis, of each slice of (D, H, W): (D,)."""
    along = mask.sum(axis=3 - axis, dtype=np.int64)  # (D, length of the axis)
    return np.asarray(along @ np.arange(along.shape[1]) / along.sum(axis=1))
