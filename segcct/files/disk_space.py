"""Disks: how much space is free, whether a full one made a write fail, and what to tell the user then."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from segcct.errors import SegcctError, StorageError
from segcct.plurals import sized

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXTS = ("No space left on device", "os error 28", "os error 27", "Disk quota exceeded", "file write failed")
"""What writers say that are not Python's own (safetensors, torch, HDF5), whose errors are of other classes."""
_ROOM_BYTES = 16 * 1024


def free_bytes(folder: Path) -> int | None:
    """Free space of the disk that holds a folder, or would hold it; None where the system does not say."""
    for place in (folder, *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room left to write anything."""
    free = free_bytes(folder)
    return free is not None and free < _ROOM_BYTES


def is_disk_full(error: BaseException) -> bool:
    """There is no room for what is written: on the disk, in the quota, or below the limit of a file's size."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return not isinstance(error, SegcctError) and any(text in str(error) for text in _FULL_TEXTS)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files of a folder, as far as they can be seen."""
    try:
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0


def storage_error(
    error: Exception, folder: Path, *, needs_bytes: int | None = None, written: int = 0
) -> StorageError | None:
    """The error to show for a failed write where the folder or its disk is the cause; None where they are not.

    Args:
        error: the failure.
        folder: the folder.
        needs_bytes: size of what was written, where it is known.
        written: how many bytes of it there was room for.
    """
    if isinstance(error, StorageError):
        return None
    number = error.errno if isinstance(error, OSError) else None
    needed = found = None
    if is_disk_full(error):
        number, free = errno.ENOSPC, free_bytes(folder)
        what = "No space left on device"
        found = None if free is None else f"{sized(free)} free"
        if needs_bytes is not None:
            needed = f"room for {sized(needs_bytes)}"
        elif written:
            needed = f"room for more than {sized(written)}"
        remedy = "Free some space there (or raise the quota or size limit), or choose another folder, then start the "
        remedy += "command again"
    elif not isinstance(error, OSError) or not _is_about(error, folder):
        return None
    elif error.errno in _UNWRITABLE:
        what, found = "the folder cannot be written to", error.strerror
        remedy = "Choose another folder, or change who may write there"
    elif isinstance(error, FileNotFoundError | NotADirectoryError) and not folder.is_dir():
        what, found = "the folder disappeared while it was written to", error.strerror
        remedy = "See that the disk is still there, then start the command again"
    else:
        return None
    failure = StorageError(what, file=folder, found=found, expected=needed, remedy=remedy)
    failure.errno = number
    return failure


def _is_about(error: OSError, folder: Path) -> bool:
    """Whether the error names no file, one in `folder`, or a folder above it."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename)).absolute()
    folder = folder.absolute()
    return folder.is_relative_to(named) or named.is_relative_to(folder)
