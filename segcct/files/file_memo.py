"""What was computed from the bytes of files, cached until a file changes: digests, checksums, headers.

A value is cached under the file's path with its size, its inode and its times of modification and of change (mtime and
ctime, in nanoseconds), and is used again as long as all four are the same. That trusts the file system to set the time
of change, which no program can set back, whenever it writes, and this file, which its owner alone may write. The value
of a file that changed in the last two seconds is not cached: written again within a tick of the file system's clock,
it would look the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from segcct.errors import SegcctError
from segcct.files.atomic_file import atomic_path
from segcct.files.json_file import read_object
from segcct.files.private_file import make_private

SETTLED_NS = 2 * 10**9
"""Age of the last change from which a value is cached."""


def key_of(*parts: object) -> str:
    """A short digest of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


class FileState(NamedTuple):
    """What identifies an unchanged file."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, file: Path) -> FileState:
        """The state now. Raises `OSError` where there is no such file."""
        stat = file.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


class FileMemo:
    """Values of files by kind, in memory and, where a path is given, from one process to the next.

    A memo that is damaged, another user's or another version's counts as empty. Two processes that write one lose what
    the first has added, and nothing else.
    """

    def __init__(self, path: Path | None = None, version: str = "") -> None:
        self.path = path
        self.version = version
        self._values: dict[str, tuple[FileState, dict[str, Any]]] = {} if path is None else _loaded(path, version)
        self._unsettled: set[str] = set()
        self._changed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return FileMemo, ()  # other processes work it out themselves

    def value(self, kind: str, file: Path, compute: Callable[[], Any], valid: Callable[[Any], bool]) -> Any:
        """The value of that kind, computed where the file is new or has changed.

        Args:
            kind: what is computed.
            file: an ordinary file.
            compute: makes the value, as plain JSON.
            valid: whether a cached value has the form of that kind.

        Raises `OSError` where there is no such file, and whatever `compute` raises.
        """
        name = str(file.absolute())
        state, asked_ns = FileState.of(file), time.time_ns()
        cached_state, values = self._values.get(name, (None, {}))
        if cached_state != state:
            values = {}
        if kind in values and valid(values[kind]):
            return values[kind]
        value = compute()
        if FileState.of(file) != state:
            return value  # it is being written to
        self._values[name] = state, {**values, kind: value}
        if max(state.mtime_ns, state.ctime_ns) > asked_ns - SETTLED_NS:
            self._unsettled.add(name)
        else:
            self._unsettled.discard(name)
        self._changed = True
        return value

    def save(self) -> None:
        """Store the settled values of files that still exist, for the next process. Where the disk is full or
        read-only, the memo stays as it was."""
        if self.path is None or not self._changed:
            return
        settled = {
            name: [list(state), values]
            for name, (state, values) in self._values.items()
            if name not in self._unsettled and Path(name).exists()
        }
        self._changed = False
        if not settled:
            return
        content = {"version": self.version, "files": settled, "digest": key_of(settled)}
        with suppress(OSError, SegcctError):
            make_private(self.path.parent)
            with atomic_path(self.path, private=True) as temporary:
                temporary.write_text(json.dumps(content), encoding="utf-8")


def _loaded(path: Path, version: str) -> dict[str, tuple[FileState, dict[str, Any]]]:
    """The values in a memo; none where it is damaged or not ours."""
    with suppress(OSError, SegcctError, KeyError, TypeError, ValueError, AttributeError):
        if hasattr(os, "getuid") and path.lstat().st_uid != os.getuid():
            return {}
        content = read_object(path)
        files = content["files"]
        if content["version"] != version or content["digest"] != key_of(files):
            return {}
        os.utime(path)  # in use
        return {name: (FileState(*map(int, state)), dict(values)) for name, (state, values) in files.items()}
    return {}
