"""Compressed frames of one file: the fragments behind the header, put together frame by frame."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from segcct.images.dicom.header import damaged, open_body
from segcct.images.dicom.instance import Instance

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
    if count == 1 and fragments:
        return [b"".join(data for _, data in fragments)]
    if len(fragments) == count:
        return [data for _, data in fragments]
    starts = _starts_by_table(table, fragments, count) or _starts_by_content(fragments)
    if len(starts) != count or starts[0] != 0:
        raise damaged(instance.file, f"{len(fragments)} fragments that do not make up {count} frames")
    ends = [*starts[1:], len(fragments)]
    return [b"".join(d for _, d in fragments[a:b]) for a, b in zip(starts, ends, strict=True)]


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


def _starts_by_content(fragments: Sequence[tuple[int, bytes]]) -> list[int]:
    """Index of each fragment that begins as a code stream does."""
    return [number for number, (_, data) in enumerate(fragments) if data.startswith(_STARTS)]
