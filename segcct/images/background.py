"""The constant that scans are surrounded by: 0 after skull stripping, -1024 HU around a CT."""

from __future__ import annotations

import numpy as np

_EDGE_FRACTION = 0.5
"""Fraction of a volume's faces that must be one value for it to be the background."""
_THIN = 20
"""Slices of a stack whose two end slices say little."""


def background_value(voxels: np.ndarray) -> float | None:
    """The value of most voxels on the faces of (X, Y, Z); None where no value is that frequent."""
    axes = (0, 1, 2) if voxels.shape[2] > _THIN else (0, 1)
    faces = np.concatenate([np.take(voxels, index, axis=axis).ravel() for axis in axes for index in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()]) if counts.max() > _EDGE_FRACTION * faces.size else None
