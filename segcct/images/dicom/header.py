"""The header of a DICOM file: a walk over its elements that keeps the few that matter and is bounded in every way.

Written for files from anywhere: no length is believed beyond the end of the file, nesting and the number of elements
are bounded, unknown elements are stepped over unread, and nothing outside the file is ever opened.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from segcct.errors import VolumeError
from segcct.files.file_names import DICOM_SUFFIXES
from segcct.images.dicom.elements import PIXELS, SEQUENCES, WANTED, Elements, Tag
from segcct.images.dicom.kinds import kind_of_no_image

DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL"}
_VRS = _LONG | _SHORT | {b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
_MOST_ELEMENTS, _MOST_LEVELS, _LONGEST_VALUE, _LARGEST_INFLATED = 1_000_000, 32, 1 << 16, 1 << 28

_Values = dict[int, bytes | list[Elements]]


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels of a file lie."""

    tag: Tag
    vr: str
    start: int
    """Offset of the first byte of the value."""
    length: int
    """Bytes as the header claims; `UNDEFINED` for compressed fragments."""
    size: int
    """Bytes of the file (or of what was inflated)."""


@dataclass(frozen=True)
class Header:
    """What one file says of itself."""

    elements: Elements
    transfer_syntax: str
    """UID; empty where the file names none."""
    pixels: PixelElement | None

    @property
    def has_pixels(self) -> bool:
        """Whether the file holds pixels, or says how many rows it should have."""
        return self.pixels is not None or Tag.Rows in self.elements.values


def claims_dicom(file: Path) -> bool:
    """Whether a file is DICOM by its name or its first bytes. Devices and pipes are never opened."""
    if file.name.lower().endswith(DICOM_SUFFIXES):
        return True
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        head = stream.read(132)
    if head[128:] == b"DICM":
        return True
    # Old files have no preamble: they begin with an element of group 2 or 8.
    group, element = struct.unpack_from("<HH", head) if len(head) >= 8 else (0, 0)
    first = group in (0x0002, 0x0008) and element <= 0x0060
    return first and (head[4:6] in _VRS or int.from_bytes(head[4:8], "little") <= 64)


def files_in(folder: Path) -> list[Path]:
    """What a folder directly holds that may be an image, sorted: neither folders nor hidden files."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and not entry.is_dir())


def read_header(file: Path) -> Header:
    """The header of one file, up to its pixels. Raises `VolumeError`, naming the file, where it cannot be followed."""
    with file.open("rb") as stream:
        return _Walk(stream, file).header()


def sop_class_of(file: Path) -> str:
    """The kind of object, from the beginning of a file; empty where it does not say. Raises as `read_header`."""
    with file.open("rb") as stream:
        in_meta = Elements(file, _Walk(stream, file).meta()[0]).sop_class
    return in_meta or read_header(file).elements.sop_class


def open_body(file: Path, transfer_syntax: str) -> BinaryIO:
    """The stream that offsets of the header refer to: the file, or what is inflated from it."""
    stream = file.open("rb")
    return _inflated(stream, file) if transfer_syntax == DEFLATED else stream


def damaged(file: Path, found: str) -> VolumeError:
    """The error of a file that is DICOM and cannot be read as such."""
    return VolumeError(
        "cannot be read as DICOM",
        file=file,
        found=found,
        expected="a whole DICOM file",
        remedy="Copy or download it again, or move it out of the folder",
    )


@contextmanager
def os_errors_as_volume_errors(path: Path) -> Iterator[None]:
    """Files that vanish or cannot be read become errors that name them."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or "an input error"
        raise VolumeError("cannot be read", file=error.filename or path, found=reason) from error


def _inflated(stream: BinaryIO, file: Path) -> BinaryIO:
    """The file with everything behind its meta header inflated, as the deflated transfer syntax has it."""
    try:
        with stream:
            meta_end = _Walk(stream, file).meta()[1]
            stream.seek(0)
            head = stream.read(meta_end)
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            body = inflater.decompress(stream.read(), _LARGEST_INFLATED)
    except zlib.error as error:
        raise damaged(file, "deflated data that cannot be inflated") from error
    if not inflater.eof:
        raise damaged(file, f"deflated data that is cut short or inflates to more than {_LARGEST_INFLATED >> 20} MiB")
    return io.BytesIO(head + body)


class _Walk:
    """One pass over the elements of one stream."""

    def __init__(self, stream: BinaryIO, file: Path) -> None:
        self.stream, self.file = stream, file
        self.size = stream.seek(0, os.SEEK_END)
        self.block, self.block_start = b"", 0
        self.elements_left = _MOST_ELEMENTS
        self.big_endian = False
        self.pixels: PixelElement | None = None

    def header(self) -> Header:
        """Meta header and dataset."""
        meta, start = self.meta()
        syntax = Elements(self.file, meta).text(Tag.TransferSyntaxUID)
        if syntax == DEFLATED:
            inflated = _inflated(self.stream, self.file)
            self.stream, self.size, self.block = inflated, inflated.seek(0, os.SEEK_END), b""
        values = meta
        if not kind_of_no_image(Elements(self.file, meta).sop_class):
            group = int.from_bytes(self._peek(start, 2), "little")
            self.big_endian = syntax == BIG_ENDIAN or (not syntax and group >= 0x0400)
            explicit = self._peek(start + 4, 2) in _VRS
            values = meta | self._dataset(start, self.size, explicit=explicit, level=0)[0]
        return Header(Elements(self.file, values, self.big_endian), syntax, self.pixels)

    def meta(self) -> tuple[_Values, int]:
        """Elements of group 2, which are explicit little endian always, and where the dataset begins."""
        at = 132 if self._peek(128, 4) == b"DICM" else 0
        values: _Values = {}
        while self._peek(at, 2) == b"\x02\x00":
            tag, _, start, length = self._element(at, explicit=True)
            if tag in WANTED:
                values[tag] = self._bytes(start, length)
            at = start + length
            if at > self.size:
                raise damaged(self.file, "a meta header that ends too early")
        return values, at

    def _dataset(self, at: int, end: int, *, explicit: bool, level: int) -> tuple[_Values, int]:
        """The wanted elements from `at`, to `end` or to the delimiter of the item, and where the walk ended."""
        values: _Values = {}
        while at < end:
            tag, vr, start, length = self._element(at, explicit=explicit)
            if tag == _ITEM_END:
                return values, start
            if level == 0 and tag in PIXELS:
                self.pixels = PixelElement(Tag(tag), vr.decode("latin-1"), start, length, self.size)
                break
            at = start + length
            if length == UNDEFINED:
                keep = tag in SEQUENCES and level < 4
                items, at = self._items(start, end, vr, explicit=explicit, level=level, keep=keep, raw=tag in PIXELS)
                values |= {tag: items} if keep else {}
            elif at > end:
                raise damaged(self.file, f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) that reaches beyond the end")
            elif tag in SEQUENCES:
                values[tag] = self._items(start, at, vr, explicit=explicit, level=level, keep=True, raw=False)[0]
            elif tag in WANTED:
                values[tag] = self._bytes(start, length)
            if level == 0 and tag == Tag.SOPClassUID and kind_of_no_image(Elements(self.file, values).sop_class):
                break
        return values, at

    def _items(
        self, at: int, end: int, vr: bytes, *, explicit: bool, level: int, keep: bool, raw: bool
    ) -> tuple[list[Elements], int]:
        """Items of a sequence (datasets), or fragments of pixels (raw), and where the walk ended."""
        if level >= _MOST_LEVELS:
            raise damaged(self.file, f"sequences nested more than {_MOST_LEVELS} deep")
        items: list[Elements] = []
        while at < end:
            tag, _, start, length = self._element(at, explicit=False)
            if tag == _SEQUENCE_END:
                return items, start
            if tag != _ITEM:
                raise damaged(self.file, f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) where an item should be")
            at = start + length if length != UNDEFINED else at
            if length != UNDEFINED and at > end:
                raise damaged(self.file, "an item that reaches beyond the end")
            if length == UNDEFINED or (keep and not raw):
                inner = end if length == UNDEFINED else at
                # What was of unknown kind to its writer (UN) is implicit inside, or should be.
                inside = explicit and (vr != b"UN" or self._peek(start + 4, 2) in _VRS)
                values, stop = self._dataset(start, inner, explicit=inside, level=level + 1)
                at = stop if length == UNDEFINED else at
                items += [Elements(self.file, values, self.big_endian)] if keep else []
        return items, at

    def _element(self, at: int, *, explicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, VR (empty where implicit), start of the value and its length."""
        self.elements_left -= 1
        if self.elements_left < 0:
            raise damaged(self.file, f"more than {_MOST_ELEMENTS} header elements")
        head = self._bytes(at, 8)
        order = ">" if self.big_endian else "<"
        group, element = struct.unpack_from(f"{order}HH", head)
        tag, vr = group << 16 | element, head[4:6]
        if not explicit or group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
            return tag, b"", at + 8, struct.unpack_from(f"{order}I", head, 4)[0]
        if vr in _LONG:
            return tag, vr, at + 12, struct.unpack(f"{order}I", self._bytes(at + 8, 4))[0]
        return tag, vr, at + 8, struct.unpack_from(f"{order}H", head, 6)[0]

    def _bytes(self, start: int, count: int) -> bytes:
        """`count` bytes from `start`, by way of a block."""
        if start + count > self.size:
            raise damaged(self.file, "a header that ends too early" if self.size else "0 bytes")
        if count > _LONGEST_VALUE:
            raise damaged(self.file, f"a header value of {count} bytes")
        first = start - self.block_start
        if first < 0 or first + count > len(self.block):
            self.stream.seek(start)
            self.block, self.block_start, first = self.stream.read(max(count, 1 << 14)), start, 0
            if len(self.block) < count:
                raise damaged(self.file, "a header that ends too early")
        return self.block[first : first + count]

    def _peek(self, start: int, count: int) -> bytes:
        return self._bytes(start, count) if start + count <= self.size else b""
