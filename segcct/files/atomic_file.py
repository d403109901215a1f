"""Files that are written atomically: the one way in which segcct writes.

What is written goes to a temporary name next to its target, is synced to the disk, and is then renamed. A process that
is killed in between leaves that name behind; whoever writes to the folder a day later removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from segcct.errors import RunError
from segcct.files.disk_space import size_on_disk, storage_error
from segcct.files.lock import is_lock, remove_left_behind

LEFT_BEHIND_SECONDS = 86400
"""Age from which a temporary file belongs to no running process."""
OTHER_OUTPUT = "Choose another --output"
OTHER_OR_OVERWRITE = f"{OTHER_OUTPUT}, or add --overwrite"
_TEMPORARY = re.compile(r"^\.(.*)-part-[0-9a-f]{8}((?:\..*)?)$")
_LONGEST_STEM = 100
"""Bytes of a target's name in that of its temporary file; a name has at most 255."""
_swept: set[Path] = set()


def refuse_existing(path: Path, remedy: str = OTHER_OUTPUT) -> None:
    """Raises `RunError` where there is a file or folder already, which is not overwritten."""
    if path.exists():
        raise RunError("exists already", file=path, remedy=remedy)


@contextlib.contextmanager
def atomic_path(path: str | Path, *, private: bool = False, needs_bytes: int | None = None) -> Iterator[Path]:
    """A name next to `path`, with its suffixes, to write a file or folder to; it becomes `path` when all went well.

    On an error nothing is left behind and an existing `path` stays as it was. Missing parent folders are made.

    Args:
        path: the target.
        private: it is a file that names patients: its owner alone may read and write it (mode 0600).
        needs_bytes: size of what is written, where it is known; for the error where the disk is full.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to or has vanished.
    """
    path = Path(path)
    folder = path.parent
    stem, suffixes = _stem_and_suffixes(path)
    temporary = folder / f".{stem}-part-{secrets.token_hex(4)}{suffixes}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep_once(folder)
        if private:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except Exception as error:
        written = size_on_disk(temporary)
        _remove(temporary)  # before the free space is measured
        failure = storage_error(error, folder, needs_bytes=needs_bytes, written=written)
        if failure is None:
            raise
        raise failure from error
    finally:
        _remove(temporary)


@contextlib.contextmanager
def temporary_folder(parent: Path, stem: str) -> Iterator[Path]:
    """A folder in `parent` that exists only within the block, and that only its owner may enter. It is named like an
    unfinished file, so that `sweep` removes what a killed process leaves."""
    sweep_once(parent)
    folder = parent / f".{stem}-part-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _remove(folder)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically. Raises `StorageError` as `atomic_path`."""
    with atomic_path(path, needs_bytes=len(content)) as temporary:
        temporary.write_bytes(content)


def is_temporary(name: str) -> bool:
    """Whether a name is one that `atomic_path` gives to an unfinished file or folder."""
    return _TEMPORARY.match(name) is not None


def remove_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed processes left of files with these names. No running process may be writing them.

    What could also belong to a file with another name stays: `sweep` removes it after a day.
    """
    wanted = {_stem_and_suffixes(Path(name)) for name in names if len(os.fsencode(name)) < _LONGEST_STEM}
    for file in folder.iterdir() if folder.is_dir() else ():
        if (unfinished := _TEMPORARY.match(file.name)) and unfinished.groups() in wanted:
            _remove(file)


def sweep(folder: Path) -> None:
    """Remove from a folder what killed processes left behind a day ago or longer: unfinished files, and free locks."""
    try:
        leftovers = [path for path in folder.iterdir() if is_temporary(path.name) or is_lock(path)]
    except OSError:
        return
    for leftover in leftovers:
        with contextlib.suppress(OSError):  # another process sweeps too
            if time.time() - leftover.lstat().st_mtime <= LEFT_BEHIND_SECONDS:
                continue
            if is_lock(leftover):
                remove_left_behind(leftover)
            else:
                _remove(leftover)


def sweep_once(folder: Path) -> None:
    """`sweep`, once per process and folder."""
    folder = folder.absolute()
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def _stem_and_suffixes(path: Path) -> tuple[str, str]:
    """Parts of a temporary file's name; it keeps the target's suffixes, which tell readers and writers the format."""
    suffixes = "".join(path.suffixes[-2:])
    stem = os.fsencode(path.name.removesuffix(suffixes))[:_LONGEST_STEM].decode(errors="ignore").lstrip(".")
    return stem, suffixes


def _sync(written: Path) -> None:
    """Bring a file, or every file of a folder, onto the disk before it is renamed."""
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
