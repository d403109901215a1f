"""Where voxels lie: the convention of positions, and which affines and lengths are plausible."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from segcct.errors import VolumeError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From positions of DICOM and ITK to those of NIfTI."""
IMAGE_AFFINE = LPS_TO_RAS
"""Grid of images that hold no geometry: unit steps, first voxel at the top left as viewers show a 2-D image."""
_STEP_MM = (1e-9, 1e9)
"""Shortest and longest plausible step from voxel to voxel."""
_LEAST_VOLUME = 1e-6
"""Least volume of a voxel, as a fraction of that of a box with the same steps; below it, axes are nearly parallel."""


def are_lengths(words: Iterable[str]) -> bool:
    """Whether the words of a text header are plausible numbers in mm; ITK reads others as 0 or 1."""
    try:
        return all(abs(float(word)) <= _STEP_MM[1] for word in words)
    except ValueError:
        return False


def checked_affine(affine: np.ndarray, path: Path) -> np.ndarray:
    """The (4, 4) affine. Raises `VolumeError` where it is not finite, not invertible or of an implausible size."""
    with np.errstate(all="ignore"):
        steps = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        volume = abs(np.linalg.det(affine[:3, :3])) / steps.prod() if np.isfinite(steps).all() else 0.0
    low, high = _STEP_MM
    usable = np.isfinite(affine).all() and ((steps >= low) & (steps <= high)).all() and volume >= _LEAST_VOLUME
    if not usable or np.abs(affine[:3, 3]).max() > high:
        raise VolumeError(
            "the affine cannot be inverted",
            file=path,
            found=[[float(f"{value:.5g}") for value in row] for row in affine],
            remedy="Correct the header: voxel sizes, directions and origin",
        )
    return affine
