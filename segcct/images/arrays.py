"""Named arrays in HDF5 and NPZ files. NPZ is read without pickles and no further than its headers describe."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from segcct.errors import VolumeError
from segcct.files.file_names import NPZ_SUFFIXES
from segcct.images.claims import DEFLATE_RATIO, damage_refused, no_array, refuse_claim, refuse_no_numbers
from segcct.images.hdf5 import hdf5_names, hdf5_shape, hdf5_shapes, read_hdf5
from segcct.images.streams import read_exactly

_ENDING = ".npy"
_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_AT_ONCE = 2**20
"""Bytes of an archive's directory, which is read at once: some 15,000 arrays."""


def array_names(file: Path) -> list[str]:
    """Names of what the file holds, sorted. Raises `VolumeError` for a damaged file."""
    return _npz_names(file) if _is_npz(file) else hdf5_names(file)


def array_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the file's own arrays by name. Raises `VolumeError` for a damaged file."""
    return _npz_shapes(file) if _is_npz(file) else hdf5_shapes(file)


def array_shape(file: Path, name: str) -> tuple[int, ...]:
    """Shape of one array. Raises `VolumeError` as `read_array`."""
    return _npz_shape(file, name) if _is_npz(file) else hdf5_shape(file, name)


def read_array(file: Path, name: str) -> np.ndarray:
    """One array of numbers.

    Raises:
        VolumeError: damaged, no such array, no numbers, or values that are not in the file.
    """
    return read_arrays([file], name)[0]


def read_arrays(files: Sequence[Path], name: str) -> list[np.ndarray]:
    """The array of that name in each of some files, faster than one by one. Raises `VolumeError` as `read_array`."""
    packed = [_read_npz(file, name) for file in files if _is_npz(file)]
    others = read_hdf5([file for file in files if not _is_npz(file)], name)
    return [(packed if _is_npz(file) else others).pop(0) for file in files]


def _is_npz(file: Path) -> bool:
    return file.name.lower().endswith(NPZ_SUFFIXES)


def _npz_names(file: Path) -> list[str]:
    """Names of the arrays, sorted. Raises `VolumeError`."""
    with _opened(file) as archive:
        return sorted(_names(archive))


def _npz_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of numbers. Raises `VolumeError`."""
    shapes = {}
    with _opened(file) as archive:
        for name in sorted(set(_names(archive))):
            with _member(archive, name, file) as (_, shape, _fortran, _dtype):
                shapes[name] = shape
    return shapes


def _npz_shape(file: Path, name: str) -> tuple[int, ...]:
    """Shape of one array. Raises `VolumeError` as `_read_npz`."""
    with _opened(file) as archive, _member(archive, name, file) as (_, shape, _fortran, _dtype):
        return shape


def _read_npz(file: Path, name: str) -> np.ndarray:
    """One array.

    Raises:
        VolumeError: damaged, no such array, values of another kind than numbers, more of them than the file can hold.
    """
    with _opened(file) as archive, _member(archive, name, file) as (stream, shape, fortran, dtype):
        values = read_exactly(stream, math.prod(shape) * dtype.itemsize)
        return values.view(dtype).reshape(shape, order="F" if fortran else "C")


class _Archive(io.BufferedReader):
    """The bytes of an archive, of which `zipfile` takes a part at once only where it reads the whole directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_AT_ONCE:
            raise ValueError(f"too many arrays: their directory takes {size:,} bytes")
        return super().read(size)


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    with damage_refused(file), _Archive(io.FileIO(file)) as stream, zipfile.ZipFile(stream) as archive:
        yield archive


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(_ENDING) for name in archive.namelist() if name.endswith(_ENDING)]


@contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, file: Path
) -> Iterator[tuple[zipfile.ZipExtFile, tuple[int, ...], bool, np.dtype]]:
    """The stream of an array's values, their shape, whether its first axis is the fastest, and their type."""
    member = archive.NameToInfo.get(f"{name}{_ENDING}")
    if member is None:
        raise no_array(name, _names(archive)[:8], file)
    if member.compress_type not in _METHODS:
        raise VolumeError(f"array '{name}' is compressed in an unknown way", file=file, remedy="Save it by numpy.savez")
    with archive.open(member) as stream:
        assert isinstance(stream, zipfile.ZipExtFile)
        version = npy.read_magic(stream)
        if version not in _READ_HEADER:
            raise ValueError(f"an array of version {version[0]}.{version[1]}")
        shape, fortran, dtype = _READ_HEADER[version](stream)
        refuse_no_numbers(name, dtype, file)
        size = min(member.compress_size, file.stat().st_size)
        ratio = DEFLATE_RATIO if member.compress_type == zipfile.ZIP_DEFLATED else 1
        if not shape:
            raise VolumeError(f"'{name}' is one number, not an array", file=file)
        claimed = refuse_claim(file, shape, dtype.itemsize, size, ratio=ratio)
        if claimed != member.file_size - stream.tell():
            raise ValueError(f"array '{name}' has {member.file_size - stream.tell()} bytes of values, not {claimed}")
        yield stream, shape, fortran, dtype
