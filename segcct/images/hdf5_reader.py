"""Arrays in HDF5 files: those whose values are in the file itself. Runs in the process that hdf5.py starts.

HDF5 can point at other files in four ways (external links, soft links that lead to them, external storage, virtual
datasets) and can describe arrays of any size that were never written. None of that is followed.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from segcct.errors import VolumeError
from segcct.images.size_limits import AGAIN, DEFLATE_RATIO, damage_refused, no_array, refuse_claim, refuse_no_numbers

IDLE_S = 60
"""Seconds without a request after which the process ends."""
BUSY_S = 60
"""Seconds of a processor after which a request is given up."""
_DEFLATE = 1
_WORTH_LOOKING = 2**31
"""Bytes that the chunks of an array could become, from which on each is tried before HDF5 does."""
_USUAL_ENTRIES = 8
"""Arrays of one file: channels, label, mask."""
_MOST_ENTRIES = 20_000
"""Arrays of a file whose names are listed."""
_SCALE_OFFSET = 6
_SCALE_OFFSET_RATIO = 2**20
"""A chunk of one value takes a few bytes under this filter."""


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more: a line of JSON each, with one question to some files.

    Each file is answered by a line of JSON, with the bytes of the values behind it where an array was asked for. An
    error ends the answers to a request.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that asks, and with it the requests
    for line in _lines(requests):
        request = json.loads(line)
        for file in request["files"]:
            array = None
            try:
                answer, array = _answer(request["question"], Path(file), request["name"])
            except VolumeError as error:
                answer = {"error": [error.what, error.found, error.expected, error.remedy]}
            except MemoryError:
                answer = {"memory": True}
            answers.write(json.dumps(answer).encode() + b"\n")
            if array is not None:
                answers.write(array.reshape(-1).view(np.uint8).data)
            if "value" not in answer:
                break
        answers.flush()


def _lines(requests: BinaryIO) -> Iterator[bytes]:
    """The requests; where the system can, it ends this process after long idleness, or when a request exceeds its CPU
    limit."""
    if sys.platform == "win32":
        yield from requests
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no voxels on the disk
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    signal.alarm(IDLE_S)
    while line := requests.readline():
        signal.alarm(0)
        if most == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + BUSY_S, most))
        yield line
        signal.alarm(IDLE_S)


def _answer(question: str, file: Path, name: str) -> tuple[dict[str, Any], np.ndarray | None]:
    """What is asked of a file: the value, or data type, shape and the array. Raises `VolumeError`."""
    import h5py

    with damage_refused(file), closing(h5py.h5f.open(os.fsencode(file), h5py.h5f.ACC_RDONLY)) as opened:
        stored = h5py.File(opened)  # whose own opening and closing takes longer than to read a slice
        if question in ("names", "shapes") and len(stored) > _MOST_ENTRIES:
            found, most = f"{len(stored):,}", f"at most {_MOST_ENTRIES:,}"
            raise VolumeError("holds too many arrays", file=file, found=found, expected=most)
        if question == "names":
            return {"value": sorted(stored)}, None
        if question == "shapes":
            names = [each for each in stored if isinstance(stored.get(each, getlink=True), h5py.HardLink)]
            return {"value": {n: list(stored[n].shape) for n in names if getattr(stored[n], "shape", None)}}, None
        if question == "readable shapes":
            shapes = {}
            for each in itertools.islice(stored, _USUAL_ENTRIES):
                with suppress(Exception):  # refused or damaged: an error where it is asked for
                    shapes[each] = list(_dataset(stored, each, file).shape)
            return {"value": shapes}, None
        item = _dataset(stored, name, file)
        if question == "shape":
            return {"value": list(item.shape)}, None
        array = np.ascontiguousarray(item[()])
        return {"value": list(array.shape), "dtype": array.dtype.str}, array


def _dataset(stored: Any, name: str, file: Path) -> Any:
    """The dataset of that name at the top of the file, after what it claims was checked."""
    import h5py

    link = None if "/" in name or name in ("", ".") else stored.get(name, getlink=True)
    if link is None:
        raise no_array(name, list(itertools.islice(stored, 8)), file)
    if not isinstance(link, h5py.HardLink):
        raise _elsewhere(name, file, "a link")
    item = stored[name]
    if not isinstance(item, h5py.Dataset) or not item.shape:
        raise VolumeError(f"'{name}' is not an array", file=file)
    if item.is_virtual or item.external:
        raise _elsewhere(name, file, "a view of other files" if item.is_virtual else "external storage")
    dtype, chunks = item.dtype, item.chunks
    refuse_no_numbers(name, dtype, file)
    plan = item.id.get_create_plist()
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    if len(set(filters)) < len(filters):
        raise VolumeError(f"array '{name}' is compressed more than once", file=file, found=f"filters {filters}")
    ratio = _SCALE_OFFSET_RATIO if _SCALE_OFFSET in filters else DEFLATE_RATIO if filters else 1
    size = min(item.id.get_storage_size(), file.stat().st_size)
    for shape in filter(None, (item.shape, chunks)):
        refuse_claim(file, shape, dtype.itemsize, size, ratio=ratio)
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
            remedy=AGAIN,
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
        f"the values of array '{name}' are stored elsewhere",
        file=file,
        found=found,
        expected="values in the file itself",
        remedy="Copy the array into the file (h5py: file.create_dataset(name, data=array))",
    )
