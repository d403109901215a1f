"""Reads of plain and compressed streams that get all they ask for, in parts; `EOFError` where it is not there."""

from __future__ import annotations

from typing import Protocol

import numpy as np

_PART = 1 << 20


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""

    def readinto(self, target: memoryview, /) -> int:
        """Fill `target` from its beginning; bytes written, 0 at the end."""


def read_exactly(stream: Readable, count: int) -> np.ndarray:
    """(count,) uint8. Raises `EOFError`."""
    content = np.empty(count, np.uint8)
    done = 0
    while done < count:
        got = stream.readinto(content.data[done : done + _PART])
        if not got:
            raise EOFError("its values end too early")
        done += got
    return content


def skip(stream: Readable, count: int) -> None:
    """Read past so many bytes. Raises `EOFError`."""
    while count:
        part = stream.read(min(count, _PART))
        if not part:
            raise EOFError("its values end too early")
        count -= len(part)
