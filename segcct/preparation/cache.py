"""Prepared arrays on disk, found by what they were made from.

An entry is a folder named by its key (cache_key.py): one `.npy` per array, opened memory-mapped, and `entry.json`. The
key is a digest of every source file's content and of the settings, so a changed file or setting can only miss. Entries
are written atomically (to a temporary folder, synced, renamed), are never changed afterwards, and may be deleted at any
time. The modification time of a folder is when it was last used. The cache also holds memos of source files and of
arrays whose checksums were right (`.*.memo`, see `file_memo`).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from segcct.errors import CacheError, DataError, short_reason
from segcct.files.atomic_file import LEFT_BEHIND_SECONDS
from segcct.files.disk_space import free_bytes, is_disk_full
from segcct.files.file_memo import FileMemo, key_of
from segcct.files.json_file import read_object
from segcct.files.lock import waiting
from segcct.files.private_file import make_private
from segcct.plurals import sized
from segcct.progress import say

_ENTRY = "entry.json"
_BLOCK_BYTES = 2**20
_UNUSED_SECONDS = 30 * 86400
_OPEN_MAPS = 128
"""Each takes a file handle; on some systems a process may have only 256."""


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of one entry by name, as read-only memory maps; travels to loader processes as a path.

    A map stays open while it is among the last `_OPEN_MAPS` that the process asked for, so a thousand cases do not
    hold a thousand file handles.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self.names = tuple(names)
        self._opening = object()

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredArrays, (self.folder, self.names)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise KeyError(name)
        try:
            return _mapped(self.folder / f"{name}.npy", self._opening)
        except (OSError, ValueError) as error:
            raise DataError(
                "a prepared case is missing from the cache or damaged",
                file=self.folder,
                found=str(error),
                remedy="Delete that folder and start again; it is rebuilt from the images",
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class Cache:
    """A folder of entries, shared by any number of processes.

    Args:
        folder: the folder.
        memo: arrays whose checksums were verified before, and that have not changed since.
    """

    def __init__(self, folder: Path, memo: FileMemo | None = None) -> None:
        self.folder = folder
        self.memo = memo or FileMemo()
        self._reported: set[str] = set()
        """Damage that has been reported: an entry is looked up again before it is rebuilt."""

    def get(self, key: str) -> tuple[StoredArrays, dict[str, Any]] | None:
        """Arrays and facts of an entry; None when there is none or it is damaged (its shape, size, type or checksum
        differs), which is reported once."""
        folder = self.folder / key
        if not (folder / _ENTRY).is_file():
            return None
        try:
            entry = read_object(folder / _ENTRY, "is not an entry of the cache")
            if entry["digest"] != key_of(entry["arrays"], entry["facts"]):
                raise ValueError("its description was changed")
            for name, described in entry["arrays"].items():
                file = folder / f"{name}.npy"
                if (
                    self.memo.value("array", file, partial(_described, file), lambda value: isinstance(value, list))
                    != described
                ):
                    raise ValueError(f"{name}.npy was changed")
        except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            reason = short_reason(error)
            damage = f"{folder}: a prepared case is damaged and is made again ({reason})"
            if damage not in self._reported:
                self._reported.add(damage)
                say(damage)
            return None
        with suppress(OSError):  # a shared folder that others own
            os.utime(folder)  # `sweep` keeps what is in use
        return StoredArrays(folder, entry["arrays"]), entry["facts"]

    def put(self, key: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> StoredArrays:
        """Write an entry; a damaged one of the same key is replaced, a sound one of another process is kept.

        Raises:
            CacheError: the folder cannot be written to.
        """
        target = self.folder / key
        temporary = self.folder / f".{key}.{secrets.token_hex(4)}.tmp"
        try:
            make_private(self.folder)
            make_private(temporary)
            described = {}
            for name, array in arrays.items():
                with _synced(file := temporary / f"{name}.npy") as stream:
                    np.save(stream, array, allow_pickle=False)
                described[name] = _described(file)
            entry = {"arrays": described, "facts": dict(facts), "digest": key_of(described, dict(facts))}
            with _synced(temporary / _ENTRY) as stream:
                stream.write(json.dumps(entry, indent=1).encode())
            self._install(temporary, target, key)
        except OSError as error:
            raise self._unwritable(error, sum(array.nbytes for array in arrays.values())) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return StoredArrays(target, arrays)

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """While one process prepares an entry, others that need it wait; they find it in the cache afterwards."""
        with ExitStack() as lock:
            try:
                make_private(self.folder)
                lock.enter_context(waiting(self.folder / f".{key}.lock"))
            except OSError as error:
                raise self._unwritable(error) from None
            yield

    def sweep(self) -> None:
        """Remove what killed processes left behind, after a day, and entries that were not used for 30 days: every
        changed setting leaves a whole copy of the dataset."""
        ages = dict.fromkeys((".*.tmp", ".*.damaged", ".*.lock"), LEFT_BEHIND_SECONDS)
        for pattern, seconds in {**ages, f"*/{_ENTRY}": _UNUSED_SECONDS, ".*.memo": _UNUSED_SECONDS}.items():
            for path in self.folder.glob(pattern):
                _remove_older(path.parent if path.name == _ENTRY else path, seconds)

    def _unwritable(self, error: OSError, needs_bytes: int = 0) -> CacheError:
        return CacheError(
            "the cache of prepared cases cannot be written",
            file=self.folder,
            found=found_of(error, self.folder),
            expected=f"room for {sized(needs_bytes)}" if needs_bytes and is_disk_full(error) else None,
            remedy="Free some space, or set data.cache to a folder with room",
        )

    def _install(self, temporary: Path, target: Path, key: str) -> None:
        for _ in range(8):
            with suppress(OSError):  # a folder in the way
                temporary.rename(target)
                return
            if self.get(key) is not None:
                return
            damaged = self.folder / f".{key}.{secrets.token_hex(4)}.damaged"
            with suppress(FileNotFoundError):  # another process moved it first
                target.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        temporary.rename(target)


def _remove_older(path: Path, seconds: float) -> None:
    with suppress(OSError):  # another process sweeps too, or it is another user's
        if time.time() - path.stat().st_mtime > seconds:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def found_of(error: OSError, folder: Path) -> str:
    """Why a folder cannot be written to, and how much space is free where it is full."""
    free = free_bytes(folder) if is_disk_full(error) else None
    return (error.strerror or str(error)) + ("" if free is None else f", {sized(free)} free")


@lru_cache(maxsize=_OPEN_MAPS)
def _mapped(file: Path, opening: object) -> np.ndarray:  # noqa: ARG001 - an entry that was made again is opened again
    mapped: np.ndarray = np.load(file, mmap_mode="r")
    return mapped


def _described(file: Path) -> list[Any]:
    """Shape, type, size and checksum of a stored array. Raises `OSError` or `ValueError` where it is damaged."""
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return [list(array.shape), str(array.dtype), file.stat().st_size, checksum]


@contextmanager
def _synced(file: Path) -> Iterator[BinaryIO]:
    """A file to write, on the disk at the end."""
    with file.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
