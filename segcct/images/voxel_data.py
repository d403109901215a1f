"""What NRRD and MetaImage share: a text header, read strictly, and the voxels behind it or in a file that it names.

Sizes are checked against the file before memory is taken, and voxels that are not there are an error: ITK, given a
compressed stream that ends too early, returns whatever was in memory.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.errors import VolumeError
from segcct.files.file_names import as_stored
from segcct.images.size_limits import AGAIN, DEFLATE_RATIO, damage_refused, refuse_claim, refuse_unreadable
from segcct.images.streams import Inflated, read_exactly

_USUAL_HEADER, _MOST_HEADER = 2**16, 2**23
_MOST_DIGITS = 12
_MOST_TEXT = 2**25
"""Bytes of voxels written as text that are read."""
_EXACT = 2.0**53
_DAMAGED = (OSError, EOFError, ValueError, OverflowError, zlib.error)
_NO_PART_OF_A_NAME = frozenset('/\\:*?"<>|%')
"""Separators, and what formats use for patterns of several files."""


class TextHeader:
    """The fields of one file's header, by name."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        """NRRD or MetaImage."""
        self.fields: dict[str, str] = {}
        self.end = 0
        """Bytes of the header."""

    def read_until(self, end_in: Callable[[bytes], int]) -> bytes:
        """The beginning of the file, as far as `end_in` finds the header's end in it (above 0); sets `end`."""
        with damage_refused(self.path), self.path.open("rb") as stream:
            content = stream.read(_USUAL_HEADER)
            self.end = end_in(content)
            if self.end <= 0:
                content += stream.read(_MOST_HEADER - _USUAL_HEADER)
                self.end = end_in(content)
        if self.end <= 0 and len(content) == _MOST_HEADER:
            raise self.unusable("no end of the header")
        return content

    def text(self, key: str) -> str:
        """A field; `missing` where there is none."""
        return self.fields.get(key, "missing")

    def file_name(self, key: str) -> str | None:
        """A field that names a file. Headers are read as Latin-1, but names of files are usually in UTF-8."""
        name = self.fields.get(key)
        try:
            return None if name is None else name.encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            return name

    def shape(self, dimension: str, sizes: str) -> tuple[int, ...]:
        """Sizes of 2 to 5 axes, by the names of the two fields that give them. Raises `VolumeError`."""
        dims = self.whole(dimension)
        shape = tuple(self.whole(sizes, word) for word in self.fields.get(sizes, "").split())
        if not 2 <= dims <= 5 or len(shape) != dims:
            raise self.unusable(f"{dimension} {dims}, {sizes} {self.text(sizes)[:60]}")
        return shape

    def whole(self, key: str, word: str | None = None) -> int:
        """A field, or a word of it, as a whole number. Raises `VolumeError`."""
        word = self.text(key) if word is None else word
        if not word.removeprefix("-").isdecimal() or not word.isascii() or len(word) > _MOST_DIGITS:
            raise self.unusable(f"{key} {word[:40]!a}")
        return int(word)

    def unusable(self, found: str) -> VolumeError:
        """The error of a header that cannot be followed."""
        what = f"cannot be read as an image: its {self.kind} header is damaged or of an unknown kind"
        return VolumeError(what, file=self.path, found=found)


def companion(header: Path, name: str) -> Path:
    """The file named `name` next to a header.

    Raises:
        VolumeError: the name is no plain file name (a path, a list, a pattern of several files), or the file is
            missing, special, the header itself, or a link out of the folder.
    """
    plain = name.removeprefix("./")
    odd = not plain.isprintable() or bool(_NO_PART_OF_A_NAME & set(plain))
    if odd or plain != plain.strip() or plain in ("", ".", "..") or plain.upper().startswith("LIST"):
        raise VolumeError(
            "its voxels are stored elsewhere",
            file=header,
            found=ascii(name[:80]),
            expected="the name of one file in the same folder",
            remedy="Put the voxels next to the header, or save both as one file (.nrrd, .mha)",
        )
    file = as_stored(header.parent, plain)
    if not file.exists() or file.is_dir():
        raise VolumeError("the file of its voxels is missing", file=header, expected=file.name)
    refuse_unreadable(file)
    target = file.resolve()
    if target.parent not in (header.parent.resolve(), header.resolve().parent) or target == header.resolve():
        raise VolumeError(
            "its voxels are stored elsewhere",
            file=header,
            found=f"{file.name}, a link out of the folder" if target != header.resolve() else "its own name",
            expected="a file in the same folder",
            remedy="Copy the voxels next to the header",
        )
    return file


@dataclass(frozen=True)
class VoxelData:
    """Where voxels are and how they are written."""

    header: Path
    """The file with the header, for messages."""
    file: Path
    """The file with the voxels, which may be the same."""
    shape: tuple[int, ...]
    """Sizes of all axes, fastest first."""
    dtype: np.dtype
    encoding: str = "raw"
    """raw, gzip (or bare zlib), ascii or hex."""
    start: int | None = 0
    """Bytes before the (compressed) voxels; None: they are the end of the file."""
    skip: int = 0
    """Bytes to skip in the decompressed data, for gzip."""
    to_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """What ITK's positions are multiplied by along each axis of space."""

    def check(self) -> int:
        """Bytes of the voxels. Raises `VolumeError` where the file cannot hold them."""
        size_on_disk = self.file.stat().st_size - (self.start or 0)
        ratio = {"gzip": DEFLATE_RATIO, "ascii": self.dtype.itemsize}.get(self.encoding, 1)
        if self.encoding in ("ascii", "hex") and size_on_disk > _MOST_TEXT:
            raise VolumeError("too many voxels are written as text", file=self.header, remedy="Save it as raw or gzip")
        return refuse_claim(self.header, self.shape, self.dtype.itemsize, max(0, size_on_disk), ratio=ratio)

    def read(self) -> np.ndarray:
        """All voxels, fastest axis first, in one row. Raises `VolumeError` where they end too early."""
        size = self.check()
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.start if self.start is not None else os.fstat(stream.fileno()).st_size - size)
                if self.encoding == "ascii":
                    return self._from_text(stream.read())
                if self.encoding == "hex":
                    voxels = np.frombuffer(bytearray.fromhex(stream.read().decode("ascii")), np.uint8)[:size]
                elif self.encoding == "gzip":
                    content = Inflated(stream, bare=True)
                    content.skip(self.skip)
                    voxels = read_exactly(content, size)
                    content.rest(0)  # where the stream ends here, its checksum is compared
                else:
                    voxels = read_exactly(stream, size)
            if voxels.size < size:
                raise EOFError
            return voxels.view(self.dtype)
        except _DAMAGED as error:
            found = "truncated data: its voxels end too early" if isinstance(error, EOFError) else str(error)
            raise VolumeError("cannot be read as an image", file=self.header, found=found, remedy=AGAIN) from error

    def _from_text(self, text: bytes) -> np.ndarray:
        voxels = int(np.prod(self.shape))
        numbers = np.array(text.split(maxsplit=voxels)[:voxels], dtype=np.float64)
        if numbers.size < voxels:
            raise EOFError
        if self.dtype.kind == "f":
            return numbers.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        low, high = max(limits.min, -_EXACT), min(limits.max, _EXACT)
        if not ((numbers >= low) & (numbers <= high) & (numbers == np.rint(numbers))).all():
            raise ValueError(f"values that are not {self.dtype.name}")
        return numbers.astype(self.dtype)
