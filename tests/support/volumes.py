"""Volumes on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcct.images.volume import Volume


def save_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write voxels with the spacing of their affine, and create the folder."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    Volume(array, affine, (float(x), float(y), float(z))).save(path)
    return path
