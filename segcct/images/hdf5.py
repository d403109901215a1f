"""Arrays in HDF5 files: those whose values are in the file itself.

HDF5 can point at other files in four ways (external links, soft links that lead to them, external storage, virtual
datasets) and can describe arrays of any size that were never written. None of that is followed.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from segcct.errors import SegcctError, VolumeError
from segcct.images.claims import DEFLATE_RATIO, refuse_claim, refuse_special

_DEFLATE = 1
_WORTH_LOOKING = 2**31
"""Bytes that the chunks of an array could become, from which on each is tried before HDF5 does."""
_MOST_ENTRIES = 20_000
"""Names at the top of a file that are gone through."""
_SCALE_OFFSET = 6
_SCALE_OFFSET_RATIO = 2**20
"""A chunk of one value takes a few bytes under this filter."""


def hdf5_names(file: Path) -> list[str]:
    """Names at the top of the file, sorted. Raises `VolumeError`."""
    with _opened(file) as stored:
        return sorted(_entries(stored, file))


def hdf5_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays at the top of the file, where their values are in it. Raises `VolumeError`."""
    import h5py

    with _opened(file) as stored:
        held = [name for name in _entries(stored, file) if isinstance(stored.get(name, getlink=True), h5py.HardLink)]
        return {name: tuple(stored[name].shape) for name in held if getattr(stored[name], "shape", None)}


def hdf5_shape(file: Path, name: str) -> tuple[int, ...]:
    """Shape of one array. Raises `VolumeError` as `read_hdf5`."""
    with _opened(file) as stored:
        return tuple(_dataset(stored, name, file).shape)


def read_hdf5(file: Path, name: str) -> np.ndarray:
    """One array.

    Raises:
        VolumeError: damaged, no such array, values of another kind than numbers, stored elsewhere or not at all.
    """
    with _opened(file) as stored:
        return np.asarray(_dataset(stored, name, file)[()])


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    import h5py

    refuse_special(file)
    try:
        with h5py.File(file, "r") as stored:
            yield stored
    except (SegcctError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes the library fail in any way
        reason = str(error).split("\n")[0] or type(error).__name__
        raise VolumeError("cannot be read", file=file, found=reason, remedy="Copy or download it again") from error


def _entries(stored: Any, file: Path) -> Any:
    """The group itself, whose names can be gone through. Raises `VolumeError` where they are too many."""
    if len(stored) > _MOST_ENTRIES:
        raise VolumeError(
            "holds too many arrays", file=file, found=f"{len(stored):,}", expected=f"at most {_MOST_ENTRIES:,}"
        )
    return stored


def _dataset(stored: Any, name: str, file: Path) -> Any:
    """The dataset of that name at the top of the file, after what it claims was checked."""
    import h5py

    link = None if "/" in name or name in ("", ".") else stored.get(name, getlink=True)
    if link is None:
        found = ", ".join(itertools.islice(stored, 8)) or "no array"
        raise VolumeError(f"cannot be read: no array '{name}'", file=file, found=found, expected=name)
    if not isinstance(link, h5py.HardLink):
        raise _elsewhere(name, file, "a link")
    item = stored[name]
    if not isinstance(item, h5py.Dataset) or not item.shape:
        raise VolumeError(f"'{name}' is no array", file=file)
    if item.is_virtual or item.external:
        raise _elsewhere(name, file, "a view of other files" if item.is_virtual else "external storage")
    if item.dtype.kind not in "biuf" or item.dtype.shape:
        raise VolumeError(f"cannot be read: array '{name}' holds no numbers", file=file, found=item.dtype)
    plan = item.id.get_create_plist()
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    if len(set(filters)) < len(filters):
        raise VolumeError(f"array '{name}' is compressed more than once", file=file, found=f"filters {filters}")
    ratio = _SCALE_OFFSET_RATIO if _SCALE_OFFSET in filters else DEFLATE_RATIO if filters else 1
    held = min(item.id.get_storage_size(), file.stat().st_size)
    for shape in filter(None, (item.shape, item.chunks)):
        refuse_claim(file, shape, item.dtype.itemsize, held, ratio=ratio)
    if _DEFLATE in filters:
        _refuse_swollen_chunks(item, file)
    return item


def _refuse_swollen_chunks(item: Any, file: Path) -> None:
    """Raises `VolumeError` where a deflated chunk would become more than a chunk is: HDF5 lets it grow to its end."""
    size = math.prod(item.chunks) * item.dtype.itemsize
    chunks: list[Any] = []
    item.id.chunk_iter(chunks.append)
    swollen = any(chunk.size > size + size // 100 + 1000 for chunk in chunks)
    if not swollen and sum(chunk.size for chunk in chunks) * DEFLATE_RATIO > _WORTH_LOOKING:
        swollen = any(_grows_beyond(item.id.read_direct_chunk(chunk.chunk_offset)[1], size) for chunk in chunks)
    if swollen:
        raise VolumeError(
            "cannot be read: a compressed part holds more than it should",
            file=file,
            expected=f"at most {size:,} bytes in each",
            remedy="Copy or download it again",
        )


def _grows_beyond(deflated: bytes, size: int) -> bool:
    """Whether a stream holds more bytes than that; one that is damaged is left to HDF5."""
    stream = zlib.decompressobj()
    try:
        stream.decompress(deflated, size)
        return not stream.eof and bool(stream.decompress(stream.unconsumed_tail, 1))
    except zlib.error:
        return False


def _elsewhere(name: str, file: Path, found: str) -> VolumeError:
    return VolumeError(
        f"the values of array '{name}' lie elsewhere",
        file=file,
        found=found,
        expected="values in the file itself",
        remedy="Copy the array into the file (h5py: file.create_dataset(name, data=array))",
    )
