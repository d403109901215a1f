"""The header of MetaImage files (`.mha`, `.mhd`), read strictly: what ITK is lenient about is refused here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from segcct.errors import VolumeError
from segcct.images.affines import are_lengths
from segcct.images.voxel_data import TextHeader, VoxelData, companion

_DATA_FILE = "ElementDataFile"
_LONGEST_KEY, _LONGEST_LINE = 100, 4000
_VECTORS = ("Offset", "Position", "Origin", "ElementSpacing", "ElementSize")
_MATRICES = ("TransformMatrix", "Orientation", "Rotation")
_ONCE = {
    *("NDims", "DimSize", "ElementType", "ElementNumberOfChannels", "HeaderSize", "BinaryData", "CompressedData"),
    *("BinaryDataByteOrderMSB", "ElementByteOrderMSB", _DATA_FILE, *_VECTORS, *_MATRICES),
}
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def voxels_of_metaimage(path: Path) -> VoxelData:
    """Where the voxels of a MetaImage file are. Raises `VolumeError` where its header is damaged or names other files
    than one next to it."""
    header = _header(path)
    fields, shape = header.fields, header.shape("NDims", "DimSize")
    dims = len(shape)
    if "ElementNumberOfChannels" in fields and header.whole("ElementNumberOfChannels") != 1:
        raise VolumeError("voxels are colors or vectors", file=path, expected="one number per voxel")
    if fields.get("ElementType") not in _TYPES:
        raise header.unusable(f"ElementType {header.text('ElementType')}")
    if not _flag(header, "BinaryData", default="true"):
        raise header.unusable("voxels written as text")
    order = {_flag(header, name) for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB") if name in fields}
    if len(order) > 1:
        raise header.unusable("two byte orders")
    for key, count in {**dict.fromkeys(_VECTORS, dims), **dict.fromkeys(_MATRICES, dims * dims)}.items():
        words = fields.get(key, "0 " * count).split()
        if len(words) != count or not are_lengths(words):
            raise header.unusable(f"{key} {fields[key][:60]!a}")
    packed, name = _flag(header, "CompressedData"), _data_file(header)
    return VoxelData(
        header=path,
        file=path if name is None else companion(path, name),
        shape=shape,
        dtype=np.dtype(_TYPES[fields["ElementType"]]).newbyteorder(">" if True in order else "<"),
        encoding="gzip" if packed else "raw",
        start=_start(header, header.end if name is None else 0, packed=packed),
    )


def data_file_of_metaimage(path: Path) -> str | None:
    """The name that `ElementDataFile` gives; None for voxels behind the header. Raises as `voxels_of_metaimage`."""
    return _data_file(_header(path))


def _data_file(header: TextHeader) -> str | None:
    name = header.file_name(_DATA_FILE)
    return None if name is None or name.lower() == "local" else name


def _header(path: Path) -> TextHeader:
    """The header's fields, the last of which names the file of the voxels."""
    header = TextHeader(path, "MetaImage")
    content = header.read_until(_end_in)[: header.end]
    if not content or b"\0" in content:
        raise header.unusable(f"no line {_DATA_FILE}")
    for line in content.decode("latin-1").split("\n"):
        if not line.strip():
            continue
        key, *value = (part.strip() for part in re.split("[=:]", line, maxsplit=1))
        if not value or not key or len(key) > _LONGEST_KEY or len(line) > _LONGEST_LINE:
            raise header.unusable(f"the line {line[:60]!a}")
        if key in header.fields and key in _ONCE:
            raise header.unusable(f"{key} twice")
        header.fields[key] = value[0]
    if list(header.fields)[-1] != _DATA_FILE:
        raise header.unusable(f"no line {_DATA_FILE}")
    return header


def _end_in(content: bytes) -> int:
    place = content.lower().find(_DATA_FILE.lower().encode())
    return 0 if place < 0 else content.find(b"\n", place) + 1


def _start(header: TextHeader, behind_header: int, *, packed: bool) -> int | None:
    """Bytes before the voxels; None: they are the end of the file."""
    size = header.whole("HeaderSize", header.fields.get("HeaderSize", "0"))
    if size == -1 and not packed:
        return None
    if size < 0 or 0 < size < behind_header:
        raise header.unusable(f"HeaderSize {size}")
    return size or behind_header


def _flag(header: TextHeader, key: str, *, default: str = "false") -> bool:
    value = header.fields.get(key, default)
    if value.lower() not in ("true", "false", "1", "0"):
        raise header.unusable(f"{key} {value[:40]!a}")
    return value.lower() in ("true", "1")
