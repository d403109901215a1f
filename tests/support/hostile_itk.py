"""Hostile NRRD and MetaImage files: headers that name other files, or claim what is not there."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.support.hostile_files import VOXELS, Hostile, content

WHOLE = VOXELS.tobytes(order="F")
TEXT = " ".join(str(value) for value in VOXELS.ravel(order="F").tolist()).encode()
ELSEWHERE = {
    "an absolute path": "{outside}/canary.raw",
    "a path upwards": "../canary.raw",
    "a path upwards with a dot": "./../canary.raw",
    "a path down and up": "deep/../../canary.raw",
    "a path with backslashes": "..\\canary.raw",
    "a link out of the folder": "link.raw",
    "a list": "LIST",
    "a list of 2-D files": "LIST 2",
    "a pattern of files": "voxels%d.raw 0 3 1",
    "a pattern of strings": "%s%n",
    "an address": "http://localhost/canary.raw",
    "a home folder": "~/canary.raw",
    "a folder": ".",
    "the folder above": "..",
    "a file that is missing": "missing.raw",
    "a device": "/dev/zero",
    "a link to a device": "zero.raw",
    "a pipe": "pipe.raw",
    "its own name": "{own}",
    "no name": "",
    "spaces": "   ",
    "a name with a zero byte": "voxels.raw\0",
    "a name with an escape": "\x1b[31mvoxels.raw",
    "a file that is too short": "short.raw",
}
"""What a header may name as the file of its voxels, and must not be opened."""


def nrrd(fields: dict[str, str | None] | None = None, data: bytes = WHOLE, *, more: str = "") -> bytes:
    """A NRRD file with these fields, those of None left out, and `more` lines."""
    sound = {
        "type": "int16",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "6 5 4",
        "space directions": "(1,0,0) (0,1,0) (0,0,1)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(0,0,0)",
    }
    lines = [f"{name}: {value}" for name, value in (sound | (fields or {})).items() if value is not None]
    return ("NRRD0004\n" + "\n".join(lines) + "\n" + more + "\n").encode("latin-1") + data


def meta(fields: dict[str, str | None] | None = None, data: bytes = WHOLE, *, more: str = "") -> bytes:
    """A MetaImage file with these fields, those of None left out, and `more` lines."""
    sound = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 1",
        "DimSize": "6 5 4",
        "ElementType": "MET_SHORT",
    }
    changed = dict(fields or {})
    last = changed.pop("ElementDataFile", "LOCAL")
    lines = [f"{name} = {value}" for name, value in (sound | changed).items() if value is not None]
    return ("\n".join(lines) + "\n" + more + f"ElementDataFile = {last}\n").encode("latin-1") + data


def _naming(kind: str, what: str, target: str, header_of: Callable[[str], bytes], suffix: str) -> Hostile:
    """A header that names `target` as the file of its voxels."""

    def write(folder: Path) -> Path:
        header = folder / f"scan{suffix}"
        (folder / "link.raw").symlink_to("../canary.raw")
        (folder / "zero.raw").symlink_to("/dev/zero")
        (folder / "short.raw").write_bytes(WHOLE[:-1])
        (folder / "deep").mkdir()
        os.mkfifo(folder / "pipe.raw")
        header.write_bytes(header_of(target.format(outside=folder.parent, own=header.name)))
        return header

    return Hostile(f"voxels in {what}, {suffix}", kind, write)


def _next_to(kind: str, name: str, target: str, data: bytes, suffix: str) -> Hostile:
    """A header with its voxels next to it, which is read."""

    def write(folder: Path) -> Path:
        (folder / target.removeprefix("./")).write_bytes(WHOLE)
        (folder / f"scan{suffix}").write_bytes(data)
        return folder / f"scan{suffix}"

    return Hostile(name, kind, write, VOXELS)


def _nrrd_of(target: str) -> bytes:
    return nrrd({"data file": target}, b"")


def _meta_of(target: str) -> bytes:
    return meta({"ElementDataFile": target}, b"")


WRONG_SIZES = ("60000 60000 60000", "4294967296 4294967296 1", "-6 5 4", "0 5 4", "6.5 5 4", "6 5", "6 5 4 1",
               "nan 5 4", "6 5 5", "")  # fmt: skip
"""Of an image of 6 x 5 x 4 voxels."""
PACKED = gzip.compress(WHOLE, mtime=0)
NRRD_READ: dict[str, bytes] = {
    "raw": nrrd(),
    "gzip": nrrd({"encoding": "gzip"}, PACKED),
    "ascii": nrrd({"encoding": "ascii"}, TEXT),
    "hex": nrrd({"encoding": "hex"}, WHOLE.hex().encode()),
    "big-endian": nrrd({"endian": "big"}, VOXELS.astype(">i2").tobytes(order="F")),
    "comments and keys": nrrd(more="# a comment\nkey:=value: with colon\n"),
    "lines of Windows": nrrd(data=b"").replace(b"\n", b"\r\n") + WHOLE,
    "bytes skipped": nrrd({"byte skip": "3"}, b"abc" + WHOLE),
    "bytes skipped to the end": nrrd({"byte skip": "-1"}, b"abcde" + WHOLE),
    "lines skipped": nrrd({"line skip": "2"}, b"a\nb\n" + WHOLE),
    "bytes behind": nrrd(data=WHOLE + b"GARBAGE"),
}
NRRD_REFUSED: dict[str, bytes] = {
    "datafile, another spelling": nrrd({"datafile": "../canary.raw"}, b""),
    "DATA FILE in capitals": nrrd({"DATA FILE": "../canary.raw"}, b""),
    "data file with spaces before it": nrrd(more=" data file: ../canary.raw\n"),
    "data file with two spaces": nrrd(more="data  file: ../canary.raw\n"),
    "data file as a key": nrrd(more="data file:=../canary.raw\n"),
    "two data files": nrrd(more="data file: a.raw\ndatafile: ../canary.raw\n"),
    **{f"sizes {sizes}": nrrd({"sizes": sizes}) for sizes in (*WRONG_SIZES, "6 5 99999999999999999999")},
    **{f"dimension {dims}": nrrd({"dimension": dims}) for dims in ("0", "1", "-3", "17", "1000000000", "x")},
    **{f"type {kind}": nrrd({"type": kind}) for kind in ("block", "complex", "int64", "", "%s%s%s")},
    **{f"encoding {name}": nrrd({"encoding": name}) for name in ("bzip2", "zstd", "", "gzip", "ascii", "hex")},
    "bzip2": nrrd({"encoding": "bzip2"}, bz2.compress(WHOLE)),
    "endian missing": nrrd({"endian": None}),
    "endian middle": nrrd({"endian": "middle"}),
    "gzip cut short": nrrd({"encoding": "gzip"}, PACKED[:-20]),
    "gzip with a wrong checksum": nrrd({"encoding": "gzip"}, PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:]),
    "gzip of fewer voxels": nrrd({"encoding": "gzip"}, gzip.compress(WHOLE[:100])),
    "gzip that claims 2 GB": nrrd({"encoding": "gzip", "sizes": "1024 1024 1024"}, PACKED),
    "ascii of fewer voxels": nrrd({"encoding": "ascii"}, TEXT[:100]),
    "ascii of words": nrrd({"encoding": "ascii"}, b"word " * 120),
    "ascii beyond 16 bits": nrrd({"encoding": "ascii"}, b"99999 " * 120),
    "ascii nan": nrrd({"encoding": "ascii"}, b"nan " * 120),
    "hex of odd length": nrrd({"encoding": "hex"}, WHOLE.hex().encode()[:-1]),
    "hex of other letters": nrrd({"encoding": "hex"}, b"zz" * 240),
    "bytes skipped beyond the end": nrrd({"byte skip": "999999"}),
    "bytes skipped by minus 2": nrrd({"byte skip": "-2"}),
    "a billion lines skipped": nrrd({"line skip": "1000000000"}),
    "directions nan": nrrd({"space directions": "(nan,0,0) (0,1,0) (0,0,1)"}),
    "directions zero": nrrd({"space directions": "(0,0,0) (0,1,0) (0,0,1)"}),
    "directions parallel": nrrd({"space directions": "(1,0,0) (1,0,0) (0,0,1)"}),
    "directions 1e300": nrrd({"space directions": "(1e300,0,0) (0,1,0) (0,0,1)"}),
    "origin nan": nrrd({"space origin": "(nan,0,0)"}),
    "origin 1e20": nrrd({"space origin": "(1e20,0,0)"}),
    "directions of words": nrrd({"space directions": "(a,b,c) (0,1,0) (0,0,1)"}),
    "vectors": nrrd({"kinds": "vector domain domain"}),
    "a space nobody defined": nrrd({"space": "sideways"}),
    "sizes twice": nrrd(more="sizes: 6 5 4\n"),
    "no end of the header": nrrd()[:60],
    "a later version": nrrd().replace(b"NRRD0004", b"NRRD0009"),
    "no magic": nrrd()[8:],
    "voxels cut short": nrrd()[:-1],
    "a header of 9 MB": b"NRRD0004\n" + b"# comment\n" * 900_000,
    "zeros": bytes(3000),
    "a PNG": b"\x89PNG\r\n\x1a\n" + bytes(500),
}
ZPACKED = zlib.compress(WHOLE)
META_READ: dict[str, bytes] = {
    "raw": meta(),
    "compressed": meta({"CompressedData": "True", "CompressedDataSize": str(len(ZPACKED))}, ZPACKED),
    "compressed without its size": meta({"CompressedData": "True"}, ZPACKED),
    "big-endian": meta({"BinaryDataByteOrderMSB": "True"}, VOXELS.astype(">i2").tobytes(order="F")),
    "colons": meta().replace(b"NDims = ", b"NDims: "),
    "bytes skipped to the end": meta({"HeaderSize": "-1"}, b"abcde" + WHOLE),
    "bytes behind": meta(data=WHOLE + b"GARBAGE"),
}
META_REFUSED: dict[str, bytes] = {
    "a data file in capitals": meta(more="ELEMENTDATAFILE = ../canary.raw\n"),
    "a data file inside a comment": meta(more="Comment = ElementDataFile = ../canary.raw\n"),
    "two data files": meta(more="ElementDataFile = ../canary.raw\n"),
    **{f"sizes {sizes}": meta({"DimSize": sizes}) for sizes in WRONG_SIZES},
    **{f"{dims} axes": meta({"NDims": dims}) for dims in ("0", "1", "-3", "11", "1000000000", "x")},
    **{
        f"type {kind}": meta({"ElementType": kind})
        for kind in ("MET_OTHER", "MET_SHORT_ARRAY", "MET_LONG_LONG", "", "%s")
    },
    "channels": meta({"ElementNumberOfChannels": "2"}),
    "a billion channels": meta({"ElementNumberOfChannels": "1000000000"}),
    "text": meta({"BinaryData": "False"}, TEXT),
    "compressed, cut short": meta({"CompressedData": "True"}, ZPACKED[:-20]),
    "compressed, of fewer voxels": meta({"CompressedData": "True"}, zlib.compress(WHOLE[:100])),
    "compressed, of noise": meta({"CompressedData": "True"}, bytes(range(256))),
    "compressed, that claims 2 GB": meta({"CompressedData": "True", "DimSize": "1024 1024 1024"}, ZPACKED),
    "header size within the header": meta({"HeaderSize": "10"}),
    "header size beyond the end": meta({"HeaderSize": "999999"}),
    "header size minus 2": meta({"HeaderSize": "-2"}),
    "spacing nan": meta({"ElementSpacing": "nan 1 1"}),
    "spacing zero": meta({"ElementSpacing": "0 1 1"}),
    "spacing 1e300": meta({"ElementSpacing": "1e300 1 1"}),
    "matrix zero": meta({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}),
    "matrix nan": meta({"TransformMatrix": "nan 0 0 0 1 0 0 0 1"}),
    "offset nan": meta({"Offset": "nan 0 0"}),
    "offset inf": meta({"Offset": "inf 0 0"}),
    "offset of two numbers": meta({"Offset": "1 2"}),
    "spacing of words": meta({"ElementSpacing": "a b c"}),
    "two byte orders": meta({"ElementByteOrderMSB": "True"}),
    "sizes twice": meta(more="DimSize = 6 5 2\n"),
    "a name of 200 letters": meta(more=f"{'A' * 200} = 1\n"),
    "a line of 10000 letters": meta(more=f"Comment = {'A' * 10000}\n"),
    "a line without a sign": meta(more="what is this\n"),
    "no data file": b"NDims = 3\nDimSize = 6 5 4\n" + WHOLE,
    "voxels cut short": meta()[:-1],
    "a header of 2 MB": b"Comment = x\n" * 180_000,
    "zeros": bytes(3000),
}

FILES = [
    *(_naming("nrrd", what, target, _nrrd_of, ".nhdr") for what, target in ELSEWHERE.items() if target.strip()),
    *(_naming("nrrd", what, target, _nrrd_of, ".nrrd") for what, target in list(ELSEWHERE.items())[:7]),
    *(_naming("metaimage", what, target, _meta_of, ".mhd") for what, target in ELSEWHERE.items()),
    *(_naming("metaimage", what, target, _meta_of, ".mha") for what, target in list(ELSEWHERE.items())[:7]),
    *(_next_to("nrrd", f"voxels in {name}", name, _nrrd_of(name), ".nhdr") for name in ("a.raw", "./b c.raw")),
    *(_next_to("metaimage", f"voxels in {name}", name, _meta_of(name), ".mhd") for name in ("a.raw", "./b c.raw")),
    *(content(name, "nrrd", data, ".nrrd", expected=VOXELS) for name, data in NRRD_READ.items()),
    *(content(name, "nrrd", data, ".nrrd") for name, data in NRRD_REFUSED.items()),
    *(content(name, "metaimage", data, ".mha", expected=VOXELS) for name, data in META_READ.items()),
    *(content(name, "metaimage", data, ".mha") for name, data in META_REFUSED.items()),
]
