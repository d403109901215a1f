"""Named arrays in HDF5 and NPZ files. NPZ is read without pickles and no further than its headers describe."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from segcct.errors import VolumeError
from segcct.files.file_names import NPZ_SUFFIXES
from segcct.images.hdf5 import ask
from segcct.images.size_limits import DEFLATE_RATIO, damage_refused, no_array, refuse_claim, refuse_no_numbers
from segcct.images.streams import read_exactly

_ENDING = ".npy"
_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_AT_ONCE = 2**20
"""Most bytes of an archive's directory: that of some 15,000 arrays."""


def array_names(file: Path) -> list[str]:
    """Names of the arrays in a file, sorted. Raises `VolumeError` for a damaged file."""
    if not _is_npz(file):
        return list(ask("names", [file])[0])
    with _opened(file) as archive:
        return sorted(_names(archive))


def array_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays whose values are in the file, by name. Raises `VolumeError` for a damaged file."""
    if not _is_npz(file):
        return {name: tuple(shape) for name, shape in ask("shapes", [file])[0].items()}
    shapes = {}
    with _opened(file) as archive:
        for name in sorted(set(_names(archive))):
            with _member(archive, name, file) as (_, shape, _fortran, _dtype):
                shapes[name] = shape
    return shapes


def array_shape(file: Path, name: str) -> tuple[int, ...]:
    """Shape of one array. Raises `VolumeError` as `read_arrays`."""
    if not _is_npz(file):
        about = file.stat() if file.exists() else None
        shapes = _hdf5_shapes(file.absolute(), about.st_size, about.st_mtime_ns, about.st_ino) if about else {}
        return tuple(shapes[name] if name in shapes else ask("shape", [file], name)[0])
    with _opened(file) as archive, _member(archive, name, file) as (_, shape, _fortran, _dtype):
        return shape


def read_arrays(files: Sequence[Path], name: str) -> list[np.ndarray]:
    """The array of numbers of that name in each of some files, faster than one by one.

    Raises:
        VolumeError: a file is damaged or lacks the array, or the array holds no numbers or has its values elsewhere.
    """
    npz = {file: _read_npz(file, name) for file in files if _is_npz(file)}
    others = iter(ask("array", [file for file in files if file not in npz], name))
    return [npz[file] if file in npz else next(others) for file in files]


def _is_npz(file: Path) -> bool:
    return file.name.lower().endswith(NPZ_SUFFIXES)


@lru_cache(maxsize=4096)
def _hdf5_shapes(file: Path, *_stamp: int) -> dict[str, list[int]]:
    """Shapes of the first readable arrays of a file; cached, as the next question is often about another."""
    shapes: dict[str, list[int]] = ask("readable shapes", [file])[0]
    return shapes


def _read_npz(file: Path, name: str) -> np.ndarray:
    with _opened(file) as archive, _member(archive, name, file) as (stream, shape, fortran, dtype):
        values = read_exactly(stream, math.prod(shape) * dtype.itemsize)
        return values.view(dtype).reshape(shape, order="F" if fortran else "C")


class _Archive(io.BufferedReader):
    """The bytes of an archive, with a bound on its directory, which is all that `zipfile` reads in one go."""

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
