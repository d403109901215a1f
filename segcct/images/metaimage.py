"""The header of MetaImage files (`.mha`, `.mhd`), read strictly: what ITK is lenient about is refused here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcct.errors import VolumeError
from segcct.images.affine import are_lengths
from segcct.images.companion import companion
from segcct.images.stored import Stored

_DATA_FILE = "ElementDataFile"
_USUAL_HEADER, _MOST_HEADER = 2**16, 2**23
_LONGEST = {"key": 100, "line": 4000}
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


def stored_metaimage(path: Path) -> Stored:
    """Where the voxels of a MetaImage file are. Raises `VolumeError` where its header is damaged or names other files
    than one next to it."""
    fields, end = _fields(path)
    dims = _number(fields, "NDims", path)
    shape = tuple(_whole(word, "DimSize", path) for word in fields.get("DimSize", "").split())
    if not 2 <= dims <= 5 or len(shape) != dims:
        raise _unusable(path, f"NDims {dims}, DimSize {fields.get('DimSize', 'missing')}")
    channels = _number(fields, "ElementNumberOfChannels", path, default=1)
    if channels != 1:
        raise VolumeError("voxels are colors or vectors", file=path, expected="one number per voxel")
    if fields.get("ElementType") not in _TYPES:
        raise _unusable(path, f"ElementType {fields.get('ElementType', 'missing')}")
    if not _flag(fields, "BinaryData", path, default=True):
        raise _unusable(path, "voxels written as text")
    order = {_flag(fields, name, path) for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB") if name in fields}
    if len(order) > 1:
        raise _unusable(path, "two byte orders")
    for key, count in {**dict.fromkeys(_VECTORS, dims), **dict.fromkeys(_MATRICES, dims * dims)}.items():
        words = fields.get(key, "0 " * count).split()
        if len(words) != count or not are_lengths(words):
            raise _unusable(path, f"{key} {fields[key][:60]!a}")
    packed = _flag(fields, "CompressedData", path)
    name = fields[_DATA_FILE]
    local = name.lower() == "local"
    start = _start(_number(fields, "HeaderSize", path, default=0), end if local else 0, packed=packed, path=path)
    return Stored(
        header=path,
        file=path if local else companion(path, name),
        shape=shape,
        dtype=np.dtype(_TYPES[fields["ElementType"]]).newbyteorder(">" if True in order else "<"),
        encoding="gzip" if packed else "raw",
        start=start,
    )


def data_file_of_metaimage(path: Path) -> str | None:
    """The name that `ElementDataFile` gives; None where the voxels follow the header. Raises as `stored_metaimage`."""
    name = _fields(path)[0][_DATA_FILE]
    return None if name.lower() == "local" else name


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The header's fields, the last of which names the file of the voxels, and the bytes it takes."""
    place, end = -1, 0
    with path.open("rb") as stream:
        content = b""
        for size in (_USUAL_HEADER, _MOST_HEADER - _USUAL_HEADER):
            content += stream.read(size)
            place = content.lower().find(_DATA_FILE.lower().encode())
            end = content.find(b"\n", place) + 1
            if place >= 0 and end > 0:
                break
    if place < 0 or end == 0 or b"\0" in content[:end]:
        raise _unusable(path, f"no line {_DATA_FILE}")
    fields: dict[str, str] = {}
    for line in content[:end].decode("latin-1").split("\n"):
        if not line.strip():
            continue
        at = min((place for place in (line.find("="), line.find(":")) if place >= 0), default=-1)
        key, value = line[:at].strip(), line[at + 1 :].strip()
        if at < 0 or not key or len(key) > _LONGEST["key"] or len(line) > _LONGEST["line"]:
            raise _unusable(path, f"the line {line[:60]!a}")
        if key in fields and key in _ONCE:
            raise _unusable(path, f"{key} twice")
        fields[key] = value
    if list(fields)[-1] != _DATA_FILE:
        raise _unusable(path, f"no line {_DATA_FILE}")
    return fields, end


def _start(told: int, behind_header: int, *, packed: bool, path: Path) -> int | None:
    """Bytes before the voxels; None: they are the end of the file."""
    if told == -1 and not packed:
        return None
    if told < 0 or 0 < told < behind_header:
        raise _unusable(path, f"HeaderSize {told}")
    return told or behind_header


def _number(fields: dict[str, str], key: str, path: Path, *, default: int | None = None) -> int:
    if key not in fields and default is not None:
        return default
    return _whole(fields.get(key, "missing"), key, path)


def _whole(word: str, key: str, path: Path) -> int:
    if not word.removeprefix("-").isdecimal() or not word.isascii() or len(word) > 12:
        raise _unusable(path, f"{key} {word[:40]!a}")
    return int(word)


def _flag(fields: dict[str, str], key: str, path: Path, *, default: bool = False) -> bool:
    value = fields.get(key)
    if value is None:
        return default
    if value.lower() not in ("true", "false", "1", "0"):
        raise _unusable(path, f"{key} {value[:40]!a}")
    return value.lower() in ("true", "1")


def _unusable(path: Path, found: str) -> VolumeError:
    return VolumeError(
        "cannot be read as an image: its MetaImage header is damaged or of an unknown kind", file=path, found=found
    )
