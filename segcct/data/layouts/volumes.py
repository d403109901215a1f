"""Reading of cases whose channels are volumes: NIfTI, NRRD, MHA, or folders of DICOM slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segcct.config import DataSection
from segcct.data.case import Case
from segcct.volume import Volume, check_same_grid

GRID_TOLERANCE = 0.05
"""How far corner voxels of two images of one case may lie apart, as a share of the smallest voxel side. Files that
went through several programs differ by rounding; a twentieth of a voxel moves no label."""


def read_image(case: Case, data: DataSection) -> tuple[np.ndarray, Volume]:
    """(C, X, Y, Z) float32 in the order of `data.channels`, and the first channel's grid.

    Raises:
        VolumeError: a file cannot be read.
        GeometryError: a channel lies on another grid than the first.
    """
    names = list(data.channels)
    first = Volume.load(case.channels[names[0]][0])
    image = np.empty((len(names), *first.shape), dtype=np.float32)  # (C, X, Y, Z)
    image[0] = first.array
    for index, name in enumerate(names[1:], start=1):
        image[index] = _on_grid(case.channels[name][0], first).array
    return image, replace(first, array=image[0])


def read_mask(files: Sequence[Path], pattern: str, grid: Volume) -> np.ndarray:  # noqa: ARG001
    """(X, Y, Z) values as stored. Raises `GeometryError` when the file lies on another grid."""
    return _on_grid(files[0], grid).array


def _on_grid(path: Path, grid: Volume) -> Volume:
    volume = Volume.load(path)
    smallest_mm = min(grid.spacing_mm) if grid.spacing_mm else 1.0
    check_same_grid(grid, volume, tolerance_mm=GRID_TOLERANCE * smallest_mm)
    return volume
