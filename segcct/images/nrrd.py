"""The header of NRRD files (`.nrrd`, `.nhdr`), read strictly: where its voxels are and how they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from segcct.errors import VolumeError
from segcct.images.affine import are_lengths
from segcct.images.companion import companion
from segcct.images.stored import Stored

_USUAL_HEADER, _MOST_HEADER = 2**16, 2**23
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


def stored_nrrd(path: Path) -> Stored:
    """Where the voxels of a NRRD file are. Raises `VolumeError` where its header is damaged or names other files than
    one next to it."""
    fields, end = _fields(path)
    dims = _whole(fields.get("dimension", "missing"), "dimension", path)
    shape = tuple(_whole(word, "sizes", path) for word in fields.get("sizes", "").split())
    if not 2 <= dims <= 5 or len(shape) != dims:
        raise _unusable(path, f"dimension {dims}, sizes {fields.get('sizes', 'missing')[:60]}")
    code = _TYPES.get(fields.get("type", "missing").lower())
    if code is None:
        raise _unusable(path, f"type {fields.get('type', 'missing')[:60]}")
    encoding = _ENCODINGS.get(fields.get("encoding", "missing").lower())
    if encoding is None:
        raise VolumeError(
            "its encoding is not read",
            file=path,
            found=fields.get("encoding", "missing")[:60],
            expected="raw, gzip, ascii or hex",
            remedy="Save it again with one of these",
        )
    for key, unknown in _LENGTHS.items():
        words = re.split(r"[\s(),]+", fields.get(key, "").strip(" ()"))
        if not are_lengths(word for word in words if word.lower() not in ("", unknown)):
            raise _unusable(path, f"{key} {fields[key][:60]!a}")
    name = fields.get("data file")
    file = path if name is None else companion(path, name)
    start, skip = _start(fields, file, end if name is None else 0, encoding, path)
    return Stored(
        header=path,
        file=file,
        shape=shape,
        dtype=np.dtype(code).newbyteorder(_endian(fields, code, encoding, path)),
        encoding=encoding,
        start=start,
        skip=skip,
    )


def data_file_of_nrrd(path: Path) -> str | None:
    """The name that `data file` gives; None where the voxels follow the header. Raises as `stored_nrrd`."""
    return _fields(path)[0].get("data file")


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields by name in lower case (`data file`, not `datafile`), and the bytes of the header."""
    with path.open("rb") as stream:
        content = stream.read(_USUAL_HEADER)
        if _END.search(content) is None:
            content += stream.read(_MOST_HEADER - _USUAL_HEADER)
    magic, blank = _MAGIC.match(content), _END.search(content)
    # A header without voxels behind it may lack the empty line.
    end = blank.end() if blank else len(content)
    if magic is None or (blank is None and len(content) == _MOST_HEADER):
        raise _unusable(path, "no NRRD header")
    fields: dict[str, str] = {}
    for line in content[magic.end() : end].decode("latin-1").replace("\r", "").split("\n"):
        name, colon, value = line.partition(": ")
        name = " ".join(name.lower().split()).replace("datafile", "data file")
        if "data file" in _squeezed(line) and not (line[:4].lower() == "data" and name == "data file" and colon):
            raise _unusable(path, f"the line {line[:60]!a}")
        if not line or line.startswith("#") or not colon or ":=" in name:
            continue  # comments and key/value pairs
        if name in fields:
            raise _unusable(path, f"{name} twice")
        fields[name] = value.strip()
    return fields, end


def _squeezed(line: str) -> str:
    """How a line that means a data file begins, however it is written."""
    return re.sub(r"[\s_-]*", "", line.lower())[:8].replace("datafile", "data file")


def _start(fields: dict[str, str], file: Path, begin: int, encoding: str, path: Path) -> tuple[int | None, int]:
    """Bytes before the voxels (None: they are the end of the file), and bytes to pass over in decompressed data."""
    lines = _whole(_either(fields, "line skip", "lineskip"), "line skip", path)
    count = _whole(_either(fields, "byte skip", "byteskip"), "byte skip", path)
    if lines < 0 or count < -1 or (count == -1 and encoding != "raw"):
        raise _unusable(path, f"line skip {lines}, byte skip {count}")
    if count == -1:
        return None, 0
    if lines:
        with file.open("rb") as stream:
            stream.seek(begin)
            for _ in range(lines):
                if not stream.readline():
                    raise _unusable(path, f"line skip {lines}")
            begin = stream.tell()
    return (begin, count) if encoding == "gzip" else (begin + count, 0)


def _either(fields: dict[str, str], name: str, other: str) -> str:
    return fields.get(name, fields.get(other, "0"))


def _endian(fields: dict[str, str], code: str, encoding: str, path: Path) -> Literal["<", ">"]:
    told = fields.get("endian", "").lower()
    if told not in ("little", "big") and (told or (code[1] != "1" and encoding != "ascii")):
        raise _unusable(path, f"endian {told[:40] or 'missing'}")
    return ">" if told == "big" and encoding != "ascii" else "<"


def _whole(word: str, key: str, path: Path) -> int:
    if not word.removeprefix("-").isdecimal() or not word.isascii() or len(word) > 12:
        raise _unusable(path, f"{key} {word[:40]!a}")
    return int(word)


def _unusable(path: Path, found: str) -> VolumeError:
    return VolumeError(
        "cannot be read as an image: its NRRD header is damaged or of an unknown kind", file=path, found=found
    )
