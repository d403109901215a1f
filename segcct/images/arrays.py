"""Named arrays in HDF5 and NPZ files, by the ending of the file's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segcct.files.file_names import NPZ_SUFFIXES
from segcct.images.hdf5 import hdf5_names, hdf5_shape, hdf5_shapes, read_hdf5
from segcct.images.npz import npz_names, npz_shape, npz_shapes, read_npz


def array_names(file: Path) -> list[str]:
    """Names of what the file holds, sorted. Raises `VolumeError` for a damaged file."""
    return npz_names(file) if _is_npz(file) else hdf5_names(file)


def array_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the file's own arrays by name. Raises `VolumeError` for a damaged file."""
    return npz_shapes(file) if _is_npz(file) else hdf5_shapes(file)


def array_shape(file: Path, name: str) -> tuple[int, ...]:
    """Shape of one array. Raises `VolumeError` as `read_array`."""
    return npz_shape(file, name) if _is_npz(file) else hdf5_shape(file, name)


def read_array(file: Path, name: str) -> np.ndarray:
    """One array of numbers.

    Raises:
        VolumeError: damaged, no such array, no numbers, or values that are not in the file.
    """
    return read_arrays([file], name)[0]


def read_arrays(files: Sequence[Path], name: str) -> list[np.ndarray]:
    """The array of that name in each of some files, faster than one by one. Raises `VolumeError` as `read_array`."""
    packed = [read_npz(file, name) for file in files if _is_npz(file)]
    others = read_hdf5([file for file in files if not _is_npz(file)], name)
    return [(packed if _is_npz(file) else others).pop(0) for file in files]


def _is_npz(file: Path) -> bool:
    return file.name.lower().endswith(NPZ_SUFFIXES)
