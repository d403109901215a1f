"""Hostile HDF5 and NPZ files: arrays that lie elsewhere, that were never written, that are code."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.support.hostile_files import CANARY, VOXELS, Hostile, content, saved

PLANE = VOXELS[..., 0]


def _hdf5(name: str, fill: Callable[[Any, Path], object], *, expected: np.ndarray | None = None) -> Hostile:
    """A file that `fill` writes; it is given the open file and the folder."""

    def write(folder: Path) -> Path:
        with h5py.File(folder / "scan.h5", "w") as file:
            fill(file, folder)
        return folder / "scan.h5"

    return Hostile(name, "hdf5", write, expected)


def _other(folder: Path) -> Path:
    """An HDF5 file outside of the folder, whose values are the canary."""
    with h5py.File(folder.parent / "canary.h5", "w") as file:
        file["image"] = np.frombuffer(CANARY, np.uint8).reshape(16, 32)
        file["deep/image"] = np.frombuffer(CANARY, np.uint8).reshape(16, 32)
    return folder.parent / "canary.h5"


def _external_link(file: Any, folder: Path) -> None:
    file["image"] = h5py.ExternalLink(str(_other(folder)), "/image")


def _soft_to_external(file: Any, folder: Path) -> None:
    file["away"] = h5py.ExternalLink(str(_other(folder)), "/deep")
    file["image"] = h5py.SoftLink("/away/image")


def _external_storage(place: str) -> Callable[[Any, Path], None]:
    def fill(file: Any, folder: Path) -> None:
        target = place.format(outside=folder.parent)
        file.create_dataset("image", (16, 32), np.uint8, external=[(target, 0, 512)])

    return fill


def _virtual(place: str) -> Callable[[Any, Path], None]:
    def fill(file: Any, folder: Path) -> None:
        _other(folder)
        layout = h5py.VirtualLayout((16, 32), np.uint8)
        layout[:] = h5py.VirtualSource(place.format(outside=folder.parent), "image", (16, 32))
        file.create_virtual_dataset("image", layout)

    return fill


def _never_written(shape: tuple[int, ...], **options: object) -> Callable[[Any, Path], None]:
    return lambda file, _: file.create_dataset("image", shape, np.uint8, **options)


def _twice_deflated(file: Any, _: Path) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((8, 8))
    plan.set_deflate(9)
    plan.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_MANDATORY, (9,))
    space = h5py.h5s.create_simple((8, 8))
    h5py.h5d.create(file.id, b"image", h5py.h5t.NATIVE_UINT8, space, plan).write(
        h5py.h5s.ALL, h5py.h5s.ALL, np.zeros((8, 8), np.uint8)
    )


def _swollen(chunks: int, side: int, more: int) -> Callable[[Any, Path], None]:
    """Chunks whose deflate streams hold `more` bytes than a chunk does."""

    def fill(file: Any, _: Path) -> None:
        shape = (chunks * side, side)
        item = file.create_dataset("image", shape, np.uint8, chunks=(side, side), compression="gzip")
        values = np.random.default_rng(0).integers(0, 256, side * side, np.uint8).tobytes()
        stream = zlib.compress(values + bytes(more), 1)
        for row in range(chunks):
            item.id.write_direct_chunk((row * side, 0), stream)

    return fill


def _null(file: Any, _: Path) -> None:
    file["image"] = h5py.Empty("f4")


def _loop(file: Any, _: Path) -> None:
    file["image"] = h5py.SoftLink("/image")


def _many_names(file: Any, _: Path) -> None:
    file["image"] = VOXELS
    for number in range(25_000):
        file[f"n{number}"] = file["image"]


def _references(file: Any, _: Path) -> None:
    file["other"] = PLANE
    file["image"] = np.array([[file["other"].ref]], dtype=h5py.ref_dtype)


SOUND_HDF5 = saved(lambda stream: h5py.File(stream, "w").create_dataset("image", data=VOXELS).file.close())
PACKED_HDF5 = saved(
    lambda stream: (
        h5py.File(stream, "w")
        .create_dataset("image", data=VOXELS, compression="gzip", shuffle=True, fletcher32=True, chunks=(3, 5, 4))
        .file.close()
    )
)
HDF5: tuple[Hostile, ...] = (
    _hdf5("an external link", _external_link),
    _hdf5(
        "an external link to itself", lambda file, _: file.__setitem__("image", h5py.ExternalLink("scan.h5", "/image"))
    ),
    _hdf5(
        "an external link to a device", lambda file, _: file.__setitem__("image", h5py.ExternalLink("/dev/zero", "/x"))
    ),
    _hdf5("a soft link to an external link", _soft_to_external),
    _hdf5("a soft link to itself", _loop),
    _hdf5("a soft link to nothing", lambda file, _: file.__setitem__("image", h5py.SoftLink("/gone"))),
    _hdf5("external storage", _external_storage("{outside}/canary.raw")),
    _hdf5("external storage by a path upwards", _external_storage("../canary.raw")),
    _hdf5("external storage on a device", _external_storage("/dev/zero")),
    _hdf5("external storage in a system file", _external_storage("/etc/passwd")),
    _hdf5("a virtual dataset", _virtual("{outside}/canary.h5")),
    _hdf5("a virtual dataset of a missing file", _virtual("gone.h5")),
    _hdf5("an array that was never written", _never_written((64, 64))),
    _hdf5("10 to the 12 voxels that were never written", _never_written((10**4, 10**4, 10**4), chunks=True)),
    _hdf5("10 to the 18 voxels", _never_written((10**6, 10**6, 10**6), chunks=(64, 64, 64))),
    _hdf5("a fill value for 4 GB", _never_written((2**16, 2**16), fillvalue=7, chunks=True)),
    _hdf5("a chunk of 1 GB", _never_written((4, 4), chunks=(2**15, 2**15), maxshape=(None, None))),
    _hdf5("two deflate filters", _twice_deflated),
    _hdf5("a small chunk that becomes 60 MB", _swollen(1, 64, 60_000_000)),
    _hdf5("large chunks that become larger", _swollen(3, 1000, 5_000)),
    _hdf5("25,000 names of one array", _many_names),
    _hdf5("no values by design", _null),
    _hdf5("one number", lambda file, _: file.__setitem__("image", 3)),
    _hdf5("an empty array", lambda file, _: file.__setitem__("image", np.zeros((0, 5)))),
    _hdf5("a group", lambda file, _: file.create_group("image")),
    _hdf5("another name", lambda file, _: file.__setitem__("picture", PLANE)),
    _hdf5("complex numbers", lambda file, _: file.__setitem__("image", PLANE.astype(complex))),
    _hdf5("records", lambda file, _: file.__setitem__("image", np.zeros((3, 3), [("a", "i4"), ("b", "f4")]))),
    _hdf5("words", lambda file, _: file.__setitem__("image", [[b"a", b"b"], [b"c", b"d"]])),
    _hdf5("words of any length", lambda file, _: file.create_dataset("image", (2, 2), h5py.string_dtype())),
    _hdf5("lists of any length", lambda file, _: file.create_dataset("image", (2, 2), h5py.vlen_dtype(np.int32))),
    _hdf5("opaque values", lambda file, _: file.create_dataset("image", data=np.zeros((2, 2), "V5"))),
    _hdf5("references", _references),
    _hdf5("arrays of arrays", lambda file, _: file.create_dataset("image", (3, 3), np.dtype(("i4", (2,))))),
    _hdf5("an image", lambda file, _: file.__setitem__("image", VOXELS), expected=VOXELS),
    _hdf5("booleans", lambda file, _: file.__setitem__("image", PLANE > 9), expected=PLANE > 9),
    _hdf5("half floats", lambda file, _: file.__setitem__("image", PLANE.astype("f2")), expected=PLANE),
    _hdf5("big-endian", lambda file, _: file.__setitem__("image", PLANE.astype(">i4")), expected=PLANE),
    _hdf5(
        "deflate, shuffle and checksums",
        lambda file, _: file.create_dataset(
            "image", data=VOXELS, compression="gzip", shuffle=True, fletcher32=True, chunks=(3, 5, 4)
        ),
        expected=VOXELS,
    ),
    _hdf5(
        "lzf",
        lambda file, _: file.create_dataset("image", data=np.zeros((99, 99)), compression="lzf"),
        expected=np.zeros((99, 99)),
    ),
    _hdf5(
        "scale-offset",
        lambda file, _: file.create_dataset("image", data=np.full((200, 200), 7), scaleoffset=0),
        expected=np.full((200, 200), 7),
    ),
    *(content(f"cut at {at}", "hdf5", SOUND_HDF5[:at], ".h5") for at in (0, 1, 8, 100, 800, len(SOUND_HDF5) - 100)),
    content("no HDF5", "hdf5", b"x" * 5000, ".h5"),
    content("the signature alone", "hdf5", b"\x89HDF\r\n\x1a\n" + b"\xff" * 500, ".h5"),
    content("a pickle", "hdf5", pickle.dumps([1, 2]), ".h5"),
)


def _npy(array: np.ndarray, **options: object) -> bytes:
    return saved(lambda stream: np.save(stream, array, **options))


def _header(text: str, values: bytes = VOXELS.tobytes(), version: bytes = b"\1\0") -> bytes:
    """An array file with any header."""
    head = text.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == b"\1\0" else "<I", len(head))
    return b"\x93NUMPY" + version + size + head + values


def _told(shape: str, descr: str = "'<i2'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def _zip(data: bytes, member: str = "image.npy", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr(member, data)
    return stream.getvalue()


def _twice() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("image.npy", _npy(VOXELS))
        archive.writestr("other.npy", _npy(VOXELS))
    return stream.getvalue().replace(b"other.npy", b"image.npy")


def _of_many_members(count: int) -> bytes:
    """An archive whose directory names its one array, and `count` times the same bytes under other names."""
    at = SOUND_NPZ.index(b"PK\1\2")
    end = SOUND_NPZ.index(b"PK\5\6")
    entry = SOUND_NPZ[at : at + 28] + struct.pack("<H", 12) + SOUND_NPZ[at + 30 : at + 46]
    directory = SOUND_NPZ[at:end] + b"".join(entry + b"n%07d.npy" % number for number in range(count))
    told = min(count + 1, 0xFFFF)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, told, told, len(directory), at, 0)
    return SOUND_NPZ[:at] + directory + tail


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


SOUND_NPZ = _zip(_npy(VOXELS))
_AT = SOUND_NPZ.index(b"PK\1\2")
ENCRYPTED = SOUND_NPZ[: _AT + 8] + b"\1\0" + SOUND_NPZ[_AT + 10 :]
CHECKSUM = SOUND_NPZ[: _AT + 16] + b"\0\0\0\0" + SOUND_NPZ[_AT + 20 :]
LONGER = SOUND_NPZ[: _AT + 24] + struct.pack("<I", 2**31 - 1) + SOUND_NPZ[_AT + 28 :]
NPZ_READ = {
    "an image": (SOUND_NPZ, VOXELS),
    "not compressed": (_zip(_npy(VOXELS), method=zipfile.ZIP_STORED), VOXELS),
    "first axis fastest": (_zip(_npy(np.asfortranarray(VOXELS))), VOXELS),
    "booleans": (_zip(_npy(PLANE > 9)), PLANE > 9),
    "half floats": (_zip(_npy(PLANE.astype("f2"))), PLANE),
    "big-endian": (_zip(_npy(PLANE.astype(">i4"))), PLANE),
    "bytes before the archive": (b"#!/bin/sh\n" + SOUND_NPZ, VOXELS),
}
NPZ_REFUSED: dict[str, bytes | Callable[[], bytes]] = {
    "objects": _zip(_npy(np.array([[{"a": 1}]], dtype=object))),
    "code": _zip(_npy(np.array([[_Code()]], dtype=object))),
    "a pickle": pickle.dumps(_Code()),
    "a pickle in the archive": _zip(pickle.dumps([1])),
    "an array alone": _npy(VOXELS),
    "words": _zip(_npy(np.array([["a", "b"]]))),
    "dates": _zip(_npy(np.zeros((3, 3), "M8[s]"))),
    "complex numbers": _zip(_npy(PLANE.astype(complex))),
    "records": _zip(_npy(np.zeros((3, 3), [("a", "i4")]))),
    "one number": _zip(_npy(np.array(3))),
    "an empty array": _zip(_npy(np.zeros((0, 5)))),
    "another name": _zip(_npy(VOXELS), "picture.npy"),
    "a name without ending": _zip(_npy(VOXELS), "image"),
    "a name upwards": _zip(_npy(VOXELS), "../image.npy"),
    "no member": saved(lambda stream: zipfile.ZipFile(stream, "w").close()),
    "an archive in the archive": _zip(SOUND_NPZ),
    "lzma": _zip(_npy(VOXELS), method=zipfile.ZIP_LZMA),
    "bzip2": _zip(_npy(VOXELS), method=zipfile.ZIP_BZIP2),
    "encrypted": ENCRYPTED,
    "a wrong checksum": CHECKSUM,
    "a longer member than there is": LONGER,
    "10 to the 18 voxels": _zip(_header(_told("(1000000, 1000000, 1000000)"))),
    "2 to the 64 voxels": _zip(_header(_told("(4294967296, 4294967296)"))),
    "2 GB": _zip(_header(_told("(1024, 1024, 1024)"))),
    "one voxel more than there is": _zip(_header(_told("(121,)"))),
    "one voxel less than there is": _zip(_header(_told("(119,)"))),
    "60 MB of zeros behind the voxels": lambda: _zip(_npy(VOXELS) + bytes(60_000_000)),
    "a negative size": _zip(_header(_told("(-6, 5, 4)"))),
    "a size that is a fraction": _zip(_header(_told("(6.0, 5, 4)"))),
    "a size that is true": _zip(_header(_told("(True, 120)"))),
    "a shape that is a list": _zip(_header(_told("[6, 5, 4]"))),
    "a type that is code": _zip(_header(_told("(6, 5, 4)", "__import__('os').system('touch ran')"))),
    "a type of 2 GB": _zip(_header(_told("(6, 5, 4)", "'V2147483647'"))),
    "a type nobody defined": _zip(_header(_told("(6, 5, 4)", "'<q9'"))),
    "a type within a type": _zip(_header(_told("(6, 5, 4)", "('<i2', (1,))"))),
    "an order that is a word": _zip(_header(_told("(6, 5, 4)", order="'yes'"))),
    "a header in no dictionary": _zip(_header("[1, 2]")),
    "a header of deep brackets": _zip(_header("(" * 9000 + ")" * 9000)),
    "a header of 50 kB": _zip(_header(_told("(6, 5, 4)") + " " * 50_000)),
    "a header longer than the member": _zip(b"\x93NUMPY\1\0\xff\xff{}"),
    "version 3": _zip(_header(_told("(6, 5, 4)"), version=b"\3\0")),
    "version 9": _zip(_header(_told("(6, 5, 4)"), version=b"\x09\0")),
    **{f"cut at {at}": SOUND_NPZ[:at] for at in (0, 3, 30, 100, len(SOUND_NPZ) - 30, len(SOUND_NPZ) - 1)},
    "no archive": b"x" * 3000,
}


def _pipe(suffix: str, kind: str) -> Hostile:
    def write(folder: Path) -> Path:
        os.mkfifo(folder / f"scan{suffix}")
        return folder / f"scan{suffix}"

    return Hostile("a pipe", kind, write)


FILES = [
    *HDF5,
    _pipe(".h5", "hdf5"),
    *(content(name, "npz", data, ".npz", expected=array) for name, (data, array) in NPZ_READ.items()),
    *(content(name, "npz", data, ".npz") for name, data in NPZ_REFUSED.items()),
    content("300,000 members", "npz", lambda: _of_many_members(300_000), ".npz"),
    content("10,000 members", "npz", lambda: _of_many_members(10_000), ".npz", either=True),
    content("two arrays of one name", "npz", _twice(), ".npz", expected=VOXELS),
    _pipe(".npz", "npz"),
]
