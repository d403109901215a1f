"""What a generator is conditioned on: the classes of a slice, the distance to their borders, where the slice lies."""

from __future__ import annotations

import edt
import numpy as np

DISTANCE_CLIP_PX = 48.0
"""Distances in pixels beyond which nothing changes any more."""


def one_hot(label: np.ndarray, num_classes: int) -> np.ndarray:
    """Class indices (..., h, w) -> (..., K, h, w) float32, background first."""
    classes = np.arange(num_classes, dtype=label.dtype).reshape(-1, 1, 1)
    return np.asarray(label[..., None, :, :] == classes, dtype=np.float32)


def signed_distances(label: np.ndarray, num_classes: int) -> np.ndarray:
    """Class indices (h, w) -> (K - 1, h, w) float32 in [-1, 1]: signed distance to the border of each class.

    Positive inside, negative outside; the border runs between pixels. Distances d in pixels are clipped at
    `DISTANCE_CLIP_PX` and compressed to log(1 + d) / log(1 + clip), so that one number distinguishes pixels at a
    border and still says roughly how far away a structure is. A class the slice does not hold is -1 everywhere.
    """
    distances = np.full((num_classes - 1, *label.shape), -1.0, dtype=np.float32)
    for index in range(1, num_classes):
        inside = label == index
        if inside.any():  # half a pixel to the border at the nearest; infinite where all is inside
            signed_px = np.where(inside, edt.edt(inside) - 0.5, 0.5 - edt.edt(~inside))
            size = np.log1p(np.minimum(np.abs(signed_px), DISTANCE_CLIP_PX)) / np.log1p(DISTANCE_CLIP_PX)
            distances[index - 1] = np.sign(signed_px) * size
    return distances


def distance_px(distances: np.ndarray) -> np.ndarray:
    """What `signed_distances` gives, in pixels again, up to `DISTANCE_CLIP_PX`."""
    return np.asarray(np.sign(distances) * np.expm1(np.abs(distances) * np.log1p(DISTANCE_CLIP_PX)))


def slice_positions(depth: int) -> np.ndarray:
    """(D,) float32: from 0 at the first slice to 1 at the last; 0.5 for a single slice."""
    return np.linspace(0, 1, depth, dtype=np.float32) if depth > 1 else np.full(depth, 0.5, dtype=np.float32)
