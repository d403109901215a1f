"""Files that appear whole or not at all: the one way in which segcct writes.

What is written goes to a temporary name next to its target, is synced to the disk, and is then renamed. A process that
is killed in between leaves that name behind; whoever writes to the folder a day later removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from segcct.errors import StorageError, is_disk_full

LEFT_BEHIND_SECONDS = 86400
"""Age from which a temporary file belongs to no running process."""
_TEMPORARY = re.compile(r"^\..*\-part-[0-9a-f]{8}(\.|$)")
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_LONGEST_STEM = 100
"""Bytes of a target's name in that of its temporary file."""
_swept: set[Path] = set()


@contextlib.contextmanager
def atomic_path(path: str | Path, *, needs_bytes: int | None = None) -> Iterator[Path]:
    """A name next to `path`, with its suffixes, to write a file or folder to; it becomes `path` when all went well.

    On an error nothing is left behind and an existing `path` stays as it was. Missing parent folders are made.

    Args:
        path: the target.
        needs_bytes: size of what is written, where it is known; told where the disk is full.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to or has vanished.
    """
    path = Path(path)
    folder = path.parent
    stem, suffixes = _divided(path.name)
    temporary = folder / f".{stem}-part-{secrets.token_hex(4)}{suffixes}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep_once(folder)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except Exception as error:
        told = _as_storage_error(error, folder, needs_bytes)
        if told is None:
            raise
        raise told from error
    finally:
        _remove(temporary)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file, whole or not at all. Raises `StorageError` as `atomic_path`."""
    with atomic_path(path, needs_bytes=len(content)) as temporary:
        temporary.write_bytes(content)


def is_temporary(name: str) -> bool:
    """Whether a file or folder is named as `atomic_path` names what is not finished."""
    return _TEMPORARY.match(name) is not None


def sweep(folder: Path, *, older_than_s: float = LEFT_BEHIND_SECONDS) -> None:
    """Remove from a folder what processes left behind that were killed while they wrote."""
    try:
        leftovers = [Path(entry.path) for entry in os.scandir(folder) if is_temporary(entry.name)]
    except OSError:
        return
    for leftover in leftovers:
        with contextlib.suppress(OSError):  # another process sweeps too
            if time.time() - leftover.lstat().st_mtime > older_than_s:
                _remove(leftover)


def sweep_once(folder: Path) -> None:
    """`sweep`, once per process and folder."""
    folder = folder.absolute()
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def _divided(name: str) -> tuple[str, str]:
    """A file name as what it is called and its last two suffixes, by which readers and writers tell the format."""
    suffixes = "".join(Path(name).suffixes[-2:])
    stem = os.fsencode(name.removesuffix(suffixes))[:_LONGEST_STEM]  # a name has at most 255 bytes
    return stem.decode(errors="ignore").lstrip("."), suffixes


def _sync(written: Path) -> None:
    """Bring a file, or every file of a folder, onto the disk before its name says that it is whole."""
    files = [file for file in written.rglob("*") if file.is_file()] if written.is_dir() else [written]
    for file in files:
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):  # a folder that vanished, or one that has become read-only
        path.unlink(missing_ok=True)


def _as_storage_error(error: Exception, folder: Path, needs_bytes: int | None) -> StorageError | None:
    """A failure of the disk below `folder` in words; None for any other."""
    if isinstance(error, StorageError):
        return None
    if is_disk_full(error):
        return StorageError.full(folder, needs_bytes=needs_bytes)
    if not isinstance(error, OSError) or not _is_about(error, folder):
        return None
    if error.errno in _UNWRITABLE:
        return StorageError.unwritable(folder, error)
    if isinstance(error, FileNotFoundError | NotADirectoryError) and not folder.is_dir():
        return StorageError.vanished(folder, error)
    return None


def _is_about(error: OSError, folder: Path) -> bool:
    """The error names no file, or one that lies in `folder`, or a folder above it."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename)).absolute()
    folder = folder.absolute()
    return named.parent == folder or folder.is_relative_to(named) or named.is_relative_to(folder)
