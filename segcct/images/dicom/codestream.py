"""Compressed frames: put together from their fragments, their size and end checked, and decoded by GDCM."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from segcct.errors import VolumeError
from segcct.images.dicom.elements import printable
from segcct.images.dicom.header import damaged, open_body
from segcct.images.dicom.instance import Instance
from segcct.images.dicom.unsaved import in_memory_file

RLE = "1.2.840.10008.1.2.5"
_JPEG2000 = {f"1.2.840.10008.1.2.4.{end}" for end in (90, 91)}
_JPEG = {f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 57, 70, 80, 81)}
_SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_PLAIN_SOP_CLASS = b"1.2.840.10008.5.1.4.1.1.7"
_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP")
"""JPEG and JPEG-LS, JPEG 2000 and its file format."""


def compressed_frames(instance: Instance) -> list[bytes]:
    """The code stream of each frame.

    Raises:
        VolumeError: a fragment reaches beyond the end of the file, or the fragments do not make up the frames.
    """
    with open_body(instance.file, instance.transfer_syntax) as stream:
        stream.seek(instance.start)
        body = stream.read()
    table, fragments = _fragments(body, instance)
    count = instance.frames
    if len(fragments) == count:
        starts = list(range(count))
    elif count == 1:
        starts = [0]
    else:
        by_content = [index for index, (_, data) in enumerate(fragments) if data.startswith(_STARTS)]
        starts = _starts_by_table(table, fragments, count) or by_content
    if len(starts) != count or starts[0] != 0:
        raise damaged(instance.file, f"{len(fragments)} fragments that do not make up {count} frames")
    ends = [*starts[1:], len(fragments)]
    return [b"".join(data for _, data in fragments[a:b]) for a, b in zip(starts, ends, strict=True)]


def decode(streams: Sequence[bytes], instance: Instance) -> np.ndarray:
    """Stored numbers (frames, rows, columns) of some compressed frames of one file.

    Raises:
        VolumeError: an encoding that cannot be decoded, a stream of another size, or one that is cut short.
    """
    for stream in streams:
        _check_stream(stream, instance)
    with in_memory_file(_plain_file(streams, instance)) as file:
        try:
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(file), imageIO="GDCMImageIO"))
            return array.reshape(len(streams), instance.rows, instance.columns)
        except (RuntimeError, ValueError) as error:  # ValueError: another number of pixels
            raise damaged(instance.file, "compressed pixels that cannot be decoded") from error


def _check_stream(stream: bytes, instance: Instance) -> None:
    """Raises `VolumeError` unless a code stream ends as it should and has the rows and columns of the header."""
    syntax = instance.transfer_syntax
    if syntax == RLE:
        _check_rle(stream, instance)
        return
    if syntax not in _JPEG | _JPEG2000:
        raise VolumeError(
            "pixels are compressed in a way that segcct does not read",
            file=instance.file,
            found=f"transfer syntax {printable(syntax)}",
            expected="native, RLE, JPEG, JPEG-LS or JPEG 2000",
            remedy="Decompress it first, as with gdcmconv --raw or dcmdjpeg",
        )
    size = _size_of_jpeg2000(stream) if syntax in _JPEG2000 else _size_of_jpeg(stream)
    if size != (instance.rows, instance.columns):
        found = "no size" if size is None else f"{size[0]} x {size[1]}"
        raise damaged(
            instance.file, f"compressed pixels of {found} where the header says {instance.rows} x {instance.columns}"
        )
    if not stream.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise damaged(instance.file, "compressed pixels without their end")


def _fragments(body: bytes, instance: Instance) -> tuple[bytes, list[tuple[int, bytes]]]:
    """The offset table, and (offset behind it, data) of each fragment."""
    items: list[tuple[int, bytes]] = []
    at = 0
    while at + 8 <= len(body):
        group, element, length = struct.unpack_from("<HHI", body, at)
        tag = group << 16 | element
        if tag == _END:
            break
        if tag != _ITEM or at + 8 + length > len(body):
            raise damaged(instance.file, "compressed pixels that are cut short or do not follow each other")
        items.append((at, body[at + 8 : at + 8 + length]))
        at += 8 + length
    if len(items) < 2:
        raise damaged(instance.file, "no compressed pixels")
    origin = items[1][0]
    return items[0][1], [(offset - origin, data) for offset, data in items[1:]]


def _starts_by_table(table: bytes, fragments: Sequence[tuple[int, bytes]], count: int) -> list[int]:
    """Index of the first fragment of each frame by the offset table; empty where there is none that fits."""
    if len(table) != 4 * count:
        return []
    index = {offset: number for number, (offset, _) in enumerate(fragments)}
    offsets = struct.unpack(f"<{count}I", table)
    if any(offset not in index for offset in offsets) or list(offsets) != sorted(set(offsets)):
        return []
    return [index[offset] for offset in offsets]


def _size_of_jpeg(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns by the frame header of JPEG or JPEG-LS; None where there is none."""
    at = 2
    while stream[:2] == b"\xff\xd8" and at + 9 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in _SIZE_MARKERS:
            rows, columns = struct.unpack_from(">HH", stream, at + 5)
            return rows, columns
        at += 1 if marker == 0xFF else 2 + length
    return None


def _size_of_jpeg2000(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns by the SIZ segment; None where there is none."""
    at = stream[:4096].find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 24 > len(stream):
        return None
    width, height, left, top = struct.unpack_from(">IIII", stream, at + 8)
    return height - top, width - left


def _check_rle(stream: bytes, instance: Instance) -> None:
    """Check for one segment per byte of a pixel and for enough bytes; GDCM counts what they unpack to."""
    planes = instance.bits_allocated // 8
    header = struct.unpack_from("<16I", stream) if len(stream) >= 64 else (0,)
    offsets = [64, *header[2 : planes + 1], len(stream)]
    if header[:2] != (planes, 64) or offsets != sorted(offsets) or instance.frame_bytes > 64 * len(stream):
        raise damaged(instance.file, "an RLE frame that does not fit the header")


def _plain_file(streams: Sequence[bytes], instance: Instance) -> bytes:
    """A file of the frames and their pixel format alone: no rescale, no name, nothing that could be read otherwise."""
    meta = (
        _element(0x00020001, b"OB", b"\0\1")
        + _element(0x00020002, b"UI", _PLAIN_SOP_CLASS)
        + _element(0x00020003, b"UI", b"2.25.1")
        + _element(0x00020010, b"UI", instance.transfer_syntax.encode())
    )
    body = (
        _element(0x00080016, b"UI", _PLAIN_SOP_CLASS)
        + _element(0x00080018, b"UI", b"2.25.1")
        + _element(0x00280002, b"US", struct.pack("<H", 1))
        + _element(0x00280004, b"CS", b"MONOCHROME2")
        + _element(0x00280008, b"IS", str(len(streams)).encode())
        + _element(0x00280010, b"US", struct.pack("<H", instance.rows))
        + _element(0x00280011, b"US", struct.pack("<H", instance.columns))
        + _element(0x00280100, b"US", struct.pack("<H", instance.bits_allocated))
        + _element(0x00280101, b"US", struct.pack("<H", instance.bits_stored))
        + _element(0x00280102, b"US", struct.pack("<H", instance.high_bit))
        + _element(0x00280103, b"US", struct.pack("<H", int(instance.signed)))
    )
    even = [stream + b"\0" * (len(stream) % 2) for stream in (b"", *streams)]  # an empty offset table comes first
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(stream)) + stream for stream in even)
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + items
    length = _element(0x00020000, b"UL", struct.pack("<I", len(meta)))
    return b"\0" * 128 + b"DICM" + length + meta + body + pixels + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += (b" " if vr in (b"CS", b"IS") else b"\0") * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if vr == b"OB" else struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + length + value
