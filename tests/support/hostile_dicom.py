"""Hostile DICOM files, and sound files in every encoding, to be changed at random."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from tests.support.dicom_files import enhanced, image
from tests.support.hostile_files import Hostile, content

PREAMBLE = b"\0" * 128 + b"DICM"
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
PER_FRAME = (0x5200, 0x9230)


def element(group: int, number: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    long = vr in (b"SQ", b"OB", b"OW", b"UN")
    return struct.pack("<HH2s", group, number, vr) + struct.pack("<HI" if long else "<H", *([0] * long), size) + value


def header(syntax: bytes = b"1.2.840.10008.1.2.1\0") -> bytes:
    meta = element(2, 0x10, b"UI", syntax)
    return PREAMBLE + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta


CT = element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0")
UNDEFINED = 0xFFFFFFFF


def nested(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = element(*PER_FRAME, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body)
    return body


HOSTILE = {
    "nothing": b"",
    "mark": PREAMBLE,
    "meta": header(),
    "zeros": header() + CT + b"\0" * (1 << 18),
    "ones": header() + CT + b"\xff" * (1 << 16),
    "tiny elements": header() + CT + element(9, 1, b"CS") * (1 << 15),
    "empty items": header() + CT + element(*PER_FRAME, b"SQ", length=UNDEFINED) + ITEM[:4] + b"\0" * (1 << 20),
    "many items": header() + CT + element(*PER_FRAME, b"SQ", (ITEM[:4] + b"\0\0\0\0") * (1 << 15)),
    "private items": header() + CT + element(9, 2, b"SQ", length=UNDEFINED) + (ITEM[:4] + b"\0\0\0\0") * (1 << 15),
    "deep": header() + CT + nested(200),
    "deep undefined": header() + CT + (element(*PER_FRAME, b"SQ", length=UNDEFINED) + ITEM) * (1 << 16),
    "endless": header() + CT + element(9, 3, b"UN", b"\0" * 64, length=UNDEFINED),
    "beyond": header() + CT + element(9, 3, b"OB", b"\0" * 64, length=0xFFFFFFFE),
    "long value": header() + CT + element(0x28, 0x30, b"UN", b"1" * (1 << 20)),
    "meta beyond": PREAMBLE + element(2, 0x10, b"UI", b"1.2", length=65000),
    "no deflate": header(DeflatedExplicitVRLittleEndian.encode()) + CT,
    "loop": header() + CT + element(0xFFFE, 0xE0DD, b"\0\0") * 1000,
}

_PIXELS = np.arange(20, dtype=np.int16).reshape(4, 5) - 3
_FLAT = {"position": None, "ImageOrientationPatient": None, "sop_class": ComputedRadiographyImageStorage}
_PLACES = [(0, 0, 0), (0, 0, 2), (0, 0, 1)]
_REAL = ("MR_small_jpeg_ls_lossless.dcm", "JPEG2000.dcm", "JPGExtended.dcm")
"""JPEG-LS, JPEG 2000 and lossy JPEG, as installed with pydicom."""


def sound() -> list[bytes]:
    """Readable files: explicit, implicit, big-endian, deflated, compressed, without preamble, real ones."""
    frames = enhanced(np.stack([_PIXELS] * 3), _PLACES, slopes=[1, 0.5, 2])
    plain = [
        _bytes(image(_PIXELS, RescaleSlope=0.5, RescaleIntercept=-7)),
        _bytes(image(_PIXELS, ImagerPixelSpacing=[1, 2], **_FLAT)),
        _bytes(frames),
    ]
    written = [
        _written(ImplicitVRLittleEndian, implicit=True, little=True),
        _written(ExplicitVRBigEndian, implicit=False, little=False),
        _written(DeflatedExplicitVRLittleEndian, implicit=False, little=True),
    ]
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    real = [(folder / name).read_bytes() for name in _REAL if (folder / name).is_file()]
    return [*plain, *(data[132:] for data in plain), *written, _packed(image(_PIXELS)), _packed(frames), *real]


def false_claims() -> dict[str, bytes]:
    """Images whose header makes false claims."""
    whole = _bytes(image(_PIXELS))
    return {
        "4 gigapixels": _bytes(image(_PIXELS, Rows=65535, Columns=65535)),
        "no rows": _bytes(image(_PIXELS, Rows=0)),
        "2 billion frames": _bytes(image(_PIXELS, NumberOfFrames=2**31 - 1)),
        "2 billion frames of a film": _bytes(image(_PIXELS, NumberOfFrames=2**31 - 1, **_FLAT)),
        "frames short": _bytes(enhanced(np.stack([_PIXELS] * 3), _PLACES, NumberOfFrames=4)),
        "packed gigapixels": _packed(image(_PIXELS), Rows=65535, Columns=65535),
        "packed frames": _packed(enhanced(np.stack([_PIXELS] * 3), _PLACES), NumberOfFrames=2),
        "packed as JPEG": _packed(image(_PIXELS)).replace(RLELossless.encode() + b"\0", b"1.2.840.10008.1.2.4.50"),
        "pixels short": whole[:-10],
        "pixels of 64 bits": _bytes(image(_PIXELS, BitsAllocated=64, BitsStored=64, HighBit=63)),
        "pixels of 12 bits": _bytes(image(_PIXELS, BitsAllocated=12, BitsStored=12, HighBit=11)),
        "no spacing": _bytes(image(_PIXELS, PixelSpacing=[0, 0])),
        "tiny spacing": _bytes(image(_PIXELS, PixelSpacing=["1e-30", "1e-30"])),
        "far away": _bytes(image(_PIXELS, position=("1e29", "1e29", "1e29"))),
        "skewed": _bytes(image(_PIXELS, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
        "no place": _bytes(image(_PIXELS, position=None, ImageOrientationPatient=None)),
        "one place": _bytes(enhanced(np.stack([_PIXELS] * 3), [(0, 0, 0)] * 3)),
    }


def _written(syntax: str, *, implicit: bool, little: bool) -> bytes:
    dataset, stream = image(_PIXELS), BytesIO()
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(stream, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return stream.getvalue()


def _packed(dataset: FileDataset, **claims: int) -> bytes:
    dataset.compress(RLELossless, generate_instance_uid=False)
    for keyword, value in claims.items():
        setattr(dataset, keyword, value)
    return _bytes(dataset)


def _bytes(dataset: FileDataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


FILES: list[Hostile] = [
    content(name + suffix, "dicom", data, suffix)
    for name, data in (HOSTILE | false_claims()).items()
    for suffix in (".dcm", "")
]
