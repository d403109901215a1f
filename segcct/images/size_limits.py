"""What a file claims to hold, checked before memory is taken: against its size, our limits and the free memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from segcct.errors import SegcctError, VolumeError, short_reason
from segcct.hardware.memory import free_memory_gb
from segcct.plurals import sized

MOST_VOXELS = 2**32
"""Voxels of the largest volume that is read, memory permitting: 2048 x 2048 x 1024."""
MOST_BYTES = 2**33
"""Bytes of voxels in one file."""
DEFLATE_RATIO = 1032
"""Bytes that one byte of a deflate stream (gzip, zip, PNG) can become, at most."""
_MOST_BLOWN_UP = 3 * 2**30
"""Most bytes of voxels from a compressed file that has less than a hundredth of that size: 1500 slices of 512 x 512, as
of a mask in float64. That takes about six seconds."""
_USUAL_RATIO = 100
_WORTH_ASKING = 2**28
"""Claims below this many bytes are not compared with the free memory."""
AGAIN = "Copy or download it again"


def refuse_unreadable(path: Path) -> None:
    """Raises `VolumeError` where a path is missing or not a file or folder: a pipe could block, a device never end.

    The error names the target of a broken link, as of data that was not fetched.
    """
    if not path.exists():
        target = f"a link to {path.readlink()}" if path.is_symlink() else None
        remedy = "Fetch the data (datalad get, git annex get), or correct the link" if target else None
        raise VolumeError("no such file or folder", file=path, found=target, remedy=remedy)
    if not path.is_file() and not path.is_dir():
        raise VolumeError("not a file that can be read", file=path, found="a pipe, socket or device")


@contextmanager
def damage_refused(file: Path) -> Iterator[None]:
    """Raises `VolumeError` for whatever a library raises over a damaged file."""
    refuse_unreadable(file)
    try:
        yield
    except (SegcctError, MemoryError):
        raise
    except Exception as error:
        raise VolumeError("cannot be read", file=file, found=short_reason(error), remedy=AGAIN) from error


def no_array(name: str, names: Sequence[str], file: Path) -> VolumeError:
    """The error for a file that lacks a named array; `names` are the first of those that it has."""
    return VolumeError(
        f"cannot be read: no array '{name}'", file=file, found=", ".join(names) or "no array", expected=name
    )


def refuse_no_numbers(name: str, dtype: np.dtype, file: Path) -> None:
    """Raises `VolumeError` where a named array holds texts, records, pickled objects or complex numbers."""
    if dtype.kind not in "biuf" or dtype.shape:
        raise VolumeError(
            f"cannot be read: array '{name}' holds no numbers",
            file=file,
            found="objects, which are a pickle" if dtype.hasobject else dtype,
        )


def refuse_claim(
    file: Path, shape: Sequence[int], itemsize: int, stored: int, *, ratio: int = 1, kind: str = "an image"
) -> int:
    """Bytes of the voxels that a header describes.

    Args:
        file: the file, for messages.
        shape: sizes along all axes; each must be positive.
        itemsize: bytes per voxel.
        stored: bytes of the file that are left for voxels.
        ratio: most bytes that one of them can become by decompression.
        kind: what the file should be, for messages.

    Raises:
        VolumeError: a size is not positive, the voxels are more than the file can hold, than segcct reads, or than
            fit into the free memory.
    """
    size = " x ".join(str(size) for size in shape)
    if not shape or min(shape) < 1:
        raise VolumeError("its header gives no usable size", file=file, found=size or "no size", remedy=AGAIN)
    voxels = math.prod(int(size) for size in shape)
    claimed = voxels * itemsize
    voxels_found = f"{size} of {itemsize} bytes"
    if voxels > MOST_VOXELS or claimed > MOST_BYTES:
        raise VolumeError(
            "its header claims more voxels than are read",
            file=file,
            found=voxels_found,
            expected=f"at most {MOST_VOXELS:,} voxels in {sized(MOST_BYTES)}",
            remedy="Cut or resample it; if the file is small, it is damaged",
        )
    if claimed > stored * ratio:
        found = f"{voxels_found} in a file that has {sized(stored)} for them: truncated data, or a damaged header"
        raise VolumeError(f"cannot be read as {kind}", file=file, found=found, remedy=AGAIN)
    if claimed > max(_MOST_BLOWN_UP, stored * min(ratio, _USUAL_RATIO)):
        raise VolumeError(
            "its compressed voxels become too many",
            file=file,
            found=f"{voxels_found} in {sized(stored)}",
            expected=f"at most {sized(_MOST_BLOWN_UP)} where a file is compressed this much",
            remedy="Save it in a smaller type, such as uint8 for a mask",
        )
    free_gb = free_memory_gb() if claimed > _WORTH_ASKING else None
    if free_gb is not None and claimed > free_gb * 1e9:
        found, most = f"{size}: {sized(claimed)}", f"at most {free_gb:.3g} GB"
        raise VolumeError("its voxels do not fit into the free memory", file=file, found=found, expected=most)
    return claimed


def volume_shape(shape: Sequence[int], path: Path) -> tuple[int, int, int]:
    """(X, Y), (X, Y, Z) or (X, Y, Z, 1, ...) -> (X, Y, Z). Raises `VolumeError` for other shapes."""
    if len(shape) < 2 or 0 in shape:
        raise VolumeError("not a 2-D or 3-D image", file=path, found=f"shape {tuple(shape)}")
    if any(size > 1 for size in shape[3:]):
        raise VolumeError(
            "holds more than one volume",
            file=path,
            found=f"shape {tuple(shape)}",
            expected="(X, Y, Z)",
            remedy="Save the volume that is meant as a file of its own",
        )
    x, y, z = (int(size) for size in (*shape, 1)[:3])
    return x, y, z
