"""Streams of bytes, plain or gzipped, read as far as requested and no further than their own end."""

from __future__ import annotations

import gzip
import zlib
from typing import IO, Protocol

import numpy as np

_CHUNK = 1 << 18
_PART = 1 << 20
_MAGIC = b"\x1f\x8b\x08"


class Readable(Protocol):
    """A stream of bytes."""

    def readinto(self, target: memoryview, /) -> int:
        """Fill `target` from its beginning; bytes written, 0 at the end."""


def read_exactly(stream: Readable, count: int) -> np.ndarray:
    """(count,) uint8. Raises `EOFError` where the stream ends too early."""
    content = np.empty(count, np.uint8)
    done = 0
    while done < count:
        size = stream.readinto(content.data[done : done + _PART])
        if not size:
            raise EOFError("its values end too early")
        done += size
    return content


class Inflated:
    """The content of a gzip file of one or several members, decompressed part by part.

    Checksums are compared at the end of each member. Zeros or other bytes after the last one, as left by tapes and
    copying tools, are not part of the content.

    Args:
        stream: the file, at the beginning of the compressed data.
        bare: a zlib stream may stand in place of the gzip file.

    Raises:
        OSError: not a gzip file.
    """

    def __init__(self, stream: IO[bytes], *, bare: bool = False) -> None:
        self._stream = stream
        self._input = stream.read(_CHUNK)
        self._bare = bare and not self._input.startswith(_MAGIC)
        if not self._bare and not self._input.startswith(_MAGIC):
            raise gzip.BadGzipFile("not a gzipped file")
        self._member = zlib.decompressobj(15 if self._bare else 31)
        self._ended = False

    def read(self, most: int = _CHUNK) -> bytes:
        """At least one byte and at most `most`; nothing at the end.

        Raises:
            EOFError: the file ends within a member. zlib.error, OSError: it is damaged.
        """
        while not self._ended:
            if self._member.eof:
                self._next_member()
                continue
            compressed = self._input or self._stream.read(_CHUNK)
            content = self._inflate(compressed, most)
            if content:
                return content
            if not compressed and not self._member.eof:
                raise EOFError("the compressed stream ends too early")
        return b""

    def skip(self, count: int) -> None:
        """Pass over `count` bytes. Raises `EOFError`."""
        while count:
            content = self.read(min(_CHUNK, count))
            if not content:
                raise EOFError("its values end too early")
            count -= len(content)

    def readinto(self, target: memoryview) -> int:
        """Fill `target` as far as the content goes; returns the bytes written."""
        done = 0
        while done < len(target) and (content := self.read(min(_CHUNK, len(target) - done))):
            target[done : done + len(content)] = content
            done += len(content)
        return done

    def rest(self, most: int) -> int:
        """Read to the end, where checksums are compared, or past `most` bytes; returns the number of bytes read."""
        count = 0
        while count <= most and (content := self.read()):
            count += len(content)
        return count

    def _inflate(self, compressed: bytes, most: int) -> bytes:
        try:
            content = self._member.decompress(compressed, most)
        except zlib.error as error:
            if "check" in str(error) and "header" not in str(error):
                raise gzip.BadGzipFile("CRC check failed: the content is not what was compressed") from error
            raise
        self._input = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return content

    def _next_member(self) -> None:
        """Go on to the next member, past zeros; other bytes end the content."""
        rest = self._input.lstrip(b"\0")
        while len(rest) < len(_MAGIC) and (more := self._stream.read(_CHUNK)):
            rest = (rest + more).lstrip(b"\0")
        self._input = rest
        if rest.startswith(_MAGIC) and not self._bare:
            self._member = zlib.decompressobj(31)
        else:
            self._ended = True
