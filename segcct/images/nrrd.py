"""The header of NRRD files (`.nrrd`, `.nhdr`), read strictly: where its voxels are and how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from segcct.errors import VolumeError
from segcct.images.affines import are_lengths
from segcct.images.voxel_data import TextHeader, VoxelData, companion

_MAGIC = re.compile(rb"NRRD000[1-5]\r?\n")
_END = re.compile(rb"\n\r?\n")
_ENCODINGS = {
    "raw": "raw",
    "gz": "gzip",
    "gzip": "gzip",
    "txt": "ascii",
    "text": "ascii",
    "ascii": "ascii",
    "hex": "hex",
}
_LENGTHS = {"space directions": "none", "space origin": "none", "spacings": "nan"}
"""Fields of lengths, and the word for an axis that has none."""
_UNIT_MM = {
    **dict.fromkeys(("m", "meter", "meters"), 1000.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters"), 10.0),
    **dict.fromkeys(("um", "micron", "microns", "micrometer", "micrometers"), 1e-3),
    **dict.fromkeys(("\u00b5m", "\u00c2\u00b5m"), 1e-3),  # the header is read as Latin-1: the latter was UTF-8
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e-6),
}
"""Unit of length -> mm; other units, and none, count as mm."""
_SIGNS = {
    **dict.fromkeys(("right-anterior-superior-time", "rast"), (-1.0, -1.0)),
    **dict.fromkeys(("left-anterior-superior-time", "last"), (1.0, -1.0)),
}
"""Space with an axis of time -> the signs by which its x and y become those of LPS, for which ITK takes them."""
_TYPES = {
    name: code
    for code, names in {
        "i1": "signed char, int8, int8_t",
        "u1": "uchar, unsigned char, uint8, uint8_t",
        "i2": "short, short int, signed short, signed short int, int16, int16_t",
        "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
        "i4": "int, signed int, int32, int32_t",
        "u4": "uint, unsigned int, uint32, uint32_t",
        "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
        "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(", ")
}


def voxels_of_nrrd(path: Path) -> VoxelData:
    """Where the voxels of a NRRD file are. Raises `VolumeError` where its header is damaged or names other files than
    one next to it."""
    header = _header(path)
    fields, shape = header.fields, header.shape("dimension", "sizes")
    code = _TYPES.get(header.text("type").lower())
    if code is None:
        raise header.unusable(f"type {header.text('type')[:60]}")
    encoding = _ENCODINGS.get(header.text("encoding").lower())
    if encoding is None:
        raise VolumeError(
            "its encoding is not read",
            file=path,
            found=header.text("encoding")[:60],
            expected="raw, gzip, ascii or hex",
            remedy="Save it again with one of these",
        )
    order = fields.get("endian", "").lower()
    if order not in ("little", "big") and (order or (code[1] != "1" and encoding != "ascii")):
        raise header.unusable(f"endian {order[:40] or 'missing'}")
    for key, unknown in _LENGTHS.items():
        words = re.split(r"[\s(),]+", fields.get(key, "").strip(" ()"))
        if not are_lengths(word for word in words if word.lower() not in ("", unknown)):
            raise header.unusable(f"{key} {fields[key][:60]!a}")
    name = header.file_name("data file")
    file = path if name is None else companion(path, name)
    start, skip = _start(header, file, header.end if name is None else 0, encoding)
    return VoxelData(
        header=path,
        file=file,
        shape=shape,
        dtype=np.dtype(code).newbyteorder(">" if order == "big" and encoding != "ascii" else "<"),
        encoding=encoding,
        start=start,
        skip=skip,
        to_mm=_to_mm(fields),
    )


def data_file_of_nrrd(path: Path) -> str | None:
    """The name that `data file` gives; None where the voxels follow the header. Raises as `voxels_of_nrrd`."""
    return _header(path).file_name("data file")


def _to_mm(fields: Mapping[str, str]) -> tuple[float, float, float]:
    """What positions are multiplied by along each axis of space, or of the array where no space is given: millimeters
    of the unit of length, negative where ITK takes the opposite direction."""
    names = re.findall(r'"([^"]*)"', fields.get("space units" if "space directions" in fields else "units", ""))
    x, y, z = ([_UNIT_MM.get(name.strip(), 1.0) for name in names] + [1.0] * 3)[:3]
    along_x, along_y = _SIGNS.get(fields.get("space", "").lower(), (1.0, 1.0))
    return along_x * x, along_y * y, z


def _header(path: Path) -> TextHeader:
    """The header, its fields by name in lower case (`data file`, not `datafile`)."""
    header = TextHeader(path, "NRRD")
    content = header.read_until(lambda content: blank.end() if (blank := _END.search(content)) else 0)
    magic = _MAGIC.match(content)
    if magic is None:
        raise header.unusable("no NRRD header")
    header.end = header.end or len(content)  # one without voxels behind it may lack the empty line
    fields = header.fields
    for line in content[magic.end() : header.end].decode("latin-1").replace("\r", "").split("\n"):
        name, colon, value = line.partition(": ")
        name = " ".join(name.lower().split()).replace("datafile", "data file")
        squeezed = re.sub(r"[\s_-]*", "", line.lower())
        if squeezed.startswith("datafile") and not (line[:4].lower() == "data" and name == "data file" and colon):
            raise header.unusable(f"the line {line[:60]!a}")
        if not line or line.startswith("#") or not colon or ":=" in name:
            continue  # comments and key/value pairs
        if name in fields:
            raise header.unusable(f"{name} twice")
        fields[name] = value.strip()
    return header


def _start(header: TextHeader, file: Path, begin: int, encoding: str) -> tuple[int | None, int]:
    """Bytes before the voxels (None: they are the end of the file), and bytes to pass over in decompressed data."""
    fields = header.fields
    lines = header.whole("line skip", fields.get("line skip", fields.get("lineskip", "0")))
    count = header.whole("byte skip", fields.get("byte skip", fields.get("byteskip", "0")))
    if lines < 0 or count < -1 or (count == -1 and encoding != "raw"):
        raise header.unusable(f"line skip {lines}, byte skip {count}")
    if count == -1:
        return None, 0
    if lines:
        with file.open("rb") as stream:
            stream.seek(begin)
            if not all(stream.readline() for _ in range(lines)):
                raise header.unusable(f"line skip {lines}")
            begin = stream.tell()
    return (begin, count) if encoding == "gzip" else (begin + count, 0)
