"""What one predicted mask says: pieces, compactness, how slices follow each other, and its place in the foreground."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

FULL = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a corner are one piece: thick slices shift structures by more than a voxel."""


def shape_signals(mask: np.ndarray) -> dict[str, float | None]:
    """Signals of a mask (D, H, W) bool that holds at least one voxel.

    components: log2 of the number of pieces. largest_share: of the voxels, in the largest piece. compactness: area
    over squared outline, 1 for a square, averaged over slices by area. slice_agreement: Dice of neighbouring slices,
    averaged by area. slice_gaps: share of empty slices between the first and the last. extent: share of slices held.
    area_jump: sum of the changes of area from slice to slice, from the first to the last held, as a share of the sum
    of areas. thickness: logarithm of the largest distance of a pixel of the mask to one outside it, in its slice.
    """
    pieces, count = ndimage.label(mask, FULL)
    sizes = np.bincount(pieces.ravel())[1:]
    areas = mask.sum(axis=(1, 2), dtype=np.int64)  # (D,)
    held = np.flatnonzero(areas)
    between = areas[held[0] : held[-1] + 1]
    return {
        "components": math.log2(count),
        "largest_share": float(sizes.max() / sizes.sum()),
        "compactness": _compactness(mask[held], areas[held]),
        "slice_agreement": _slice_agreement(mask, areas),
        "slice_gaps": float((between == 0).mean()),
        "extent": float(held.size / areas.size),
        "area_jump": float(np.abs(np.diff(between)).sum() / between.sum()) if between.size > 1 else None,
        "thickness": math.log(max(_inner_radius(plane) for plane in mask[held])),
    }


def off_centre(mask: np.ndarray, foreground: np.ndarray) -> float:
    """In-plane distance of the centre of a mask (D, H, W) from that of the `foreground` of all classes, slice by slice,
    averaged by the mask's area; in radii of a disc of the foreground's mean area. `mask` lies within `foreground`."""
    areas, whole = mask.sum(axis=(1, 2), dtype=np.int64), foreground.sum(axis=(1, 2), dtype=np.int64)  # (D,)
    held = areas > 0
    apart = np.hypot(*(_centres(mask[held], axis) - _centres(foreground[held], axis) for axis in (1, 2)))
    return float(np.average(apart, weights=areas[held]) / math.sqrt(whole[whole > 0].mean() / math.pi))


def _compactness(mask: np.ndarray, areas: np.ndarray) -> float:
    """Pixel edges are counted, so a square has exactly 1 and every other outline less."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    outline = (padded[:, 1:] != padded[:, :-1]).sum(axis=(1, 2)) + (padded[..., 1:] != padded[..., :-1]).sum(
        axis=(1, 2)
    )
    return float(np.average(16 * areas / outline.astype(float) ** 2, weights=areas))


def _slice_agreement(mask: np.ndarray, areas: np.ndarray) -> float | None:
    """None for a mask within one slice."""
    both = (mask[1:] & mask[:-1]).sum(axis=(1, 2))
    sums = areas[1:] + areas[:-1]
    inner = (areas[1:] > 0) & (areas[:-1] > 0)
    return float(2 * both[inner].sum() / sums[inner].sum()) if inner.any() else None


def _inner_radius(plane: np.ndarray) -> float:
    """Largest distance of a pixel of the mask to one outside it; beyond the slice all is outside."""
    return float(ndimage.distance_transform_edt(np.pad(plane, 1)).max())


def _centres(mask: np.ndarray, axis: int) -> np.ndarray:
    """Mean place along an in-plane axis, of each slice of (D, H, W): (D,)."""
    along = mask.sum(axis=3 - axis, dtype=np.int64)  # (D, length of the axis)
    return np.asarray(along @ np.arange(along.shape[1]) / along.sum(axis=1))
