"""Hostile NIfTI files: headers that lie, streams that end early or never."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.support.hostile_files import VOXELS, Hostile, content

WHOLE = VOXELS.tobytes(order="F")


def nifti(
    fields: dict[str, object] | None = None, data: bytes = WHOLE, *, two: bool = False, between: bytes = b"\0" * 4
) -> bytes:
    """A sound file, except for the `fields` of its header."""
    header = nib.Nifti2Header() if two else nib.Nifti1Header()
    header.set_data_shape(VOXELS.shape)
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = header.structarr.dtype.itemsize + len(between)
    with np.errstate(all="ignore"):
        for name, value in (fields or {}).items():
            header.structarr[name] = value
    return header.binaryblock + between + data


def dims(*sizes: int, first: int | None = None) -> dict[str, object]:
    """`dim` with its first entry, the number of axes."""
    return {"dim": [len(sizes) if first is None else first, *sizes, *[1] * (7 - len(sizes))]}


NO_AFFINE = {"sform_code": 0, "qform_code": 0}
QFORM = {"sform_code": 0, "qform_code": 1}
NAN = float("nan")
INF = float("inf")

READ = {
    **{f"units code {code}": {"xyzt_units": code} for code in (4, 5, 6, 7, 255)},
    "xform codes nobody defined": {"sform_code": 1, "qform_code": 77},
    "voxel sizes nan next to a matrix": {"pixdim": [1, NAN, NAN, NAN, 0, 0, 0, 0]},
    "slope nan": {"scl_slope": NAN, "scl_inter": NAN},
    "slope zero": {"scl_slope": 0},
    "bitpix zero": {"bitpix": 0},
    "bitpix of 8 bits": {"bitpix": 8},
    "bitpix of 32767": {"bitpix": 32767},
    "negative voxel size next to a matrix": {"pixdim": [1, -1, -1, -1, 0, 0, 0, 0]},
    "voxel size zero": {**NO_AFFINE, "pixdim": [1, 1, 1, 0, 0, 0, 0, 0]},
    "magic of a pair": {"magic": b"ni1"},
    "description of bytes": {"descrip": b"\xff\xfe\x80" * 20},
}
REFUSED = {
    **{f"vox_offset {value}": {"vox_offset": value} for value in (NAN, INF, -INF, -1, 0, 100, 352.5, 1e30, 3e12, 5000)},
    "all sizes 32767": dims(32767, 32767, 32767),
    "seven sizes 32767": dims(*[32767] * 7),
    **{f"size {axis} negative": dims(*[-3 if axis == here else 4 for here in range(3)]) for axis in range(3)},
    "size zero": dims(6, 0, 4),
    "vector of freesurfer without a length": dims(-1, 1, 1),
    "no axes": dims(6, 5, 4, first=0),
    "one axis": dims(120),
    "eight axes": dims(6, 5, 4, first=8),
    "minus one axes": dims(6, 5, 4, first=-1),
    "two volumes": dims(6, 5, 2, 2),
    "one voxel more than there is": dims(6, 5, 5),
    **{f"datatype {code}": {"datatype": code} for code in (0, 1, 3, 32, 128, 255, 1792, 2048, 2304, 9999, -5)},
    "datatype float128 of too few bytes": {"datatype": 1536},
    "datatype of one byte with bitpix 16": {"datatype": 2, "bitpix": 16},
    "voxel sizes nan": {**NO_AFFINE, "pixdim": [1, NAN, 1, 1, 0, 0, 0, 0]},
    "voxel sizes inf": {**NO_AFFINE, "pixdim": [1, INF, 1, 1, 0, 0, 0, 0]},
    "voxel size 1e38": {**NO_AFFINE, "pixdim": [1, 1e38, 1e38, 1e38, 0, 0, 0, 0]},
    "quaternion nan": {**QFORM, "quatern_b": NAN, "pixdim": [1, 1, 1, 1, 0, 0, 0, 0]},
    "quaternion too long": {**QFORM, "quatern_b": 3, "pixdim": [1, 1, 1, 1, 0, 0, 0, 0]},
    "offset of the quaternion inf": {**QFORM, "qoffset_x": INF, "pixdim": [1, 1, 1, 1, 0, 0, 0, 0]},
    "matrix nan": {"srow_x": [NAN, 0, 0, 0]},
    "matrix inf": {"srow_y": [0, INF, 0, 0]},
    "matrix zero": {"srow_z": [0, 0, 0, 0]},
    "matrix of parallel axes": {"srow_x": [1, 1, 0, 0], "srow_y": [1, 1, 0, 0]},
    "matrix of 1e38": {"srow_x": [1e38, 0, 0, 0]},
    "origin 1e30": {"srow_x": [1, 0, 0, 1e30]},
    "slope 1e38": {"scl_slope": 1e38},
    "slope 1e-40": {"scl_slope": 1e-40},
    "intercept inf": {"scl_slope": 1, "scl_inter": INF},
    "intercept nan": {"scl_slope": 1, "scl_inter": NAN},
    "intercept 1e38": {"scl_slope": 1, "scl_inter": 1e38},
    "no magic": {"magic": b"abc"},
    "header of 349 bytes": {"sizeof_hdr": 349},
    "header of no bytes": {"sizeof_hdr": 0},
    "header of 540 bytes that has 348": {"sizeof_hdr": 540},
}
REFUSED_TWO: dict[str, dict[str, object]] = {
    "sizes of 2 to the 62": dims(2**62, 2**62, 4),
    "sizes whose product is zero in 64 bits": dims(2**32, 2**32, 1),
    "a size of minus 2 to the 63": dims(-(2**63), 1, 1),
    "vox_offset 2 to the 62": {"vox_offset": 2**62},
    "vox_offset negative": {"vox_offset": -540},
    "matrix of 1e300": {"srow_x": [1e300, 0, 0, 0]},
    "matrix of 1e308": {"srow_x": [1e308, 0, 0, 0]},
    "slope 1e300": {"scl_slope": 1e300},
}
SOUND = nifti()
PACKED = gzip.compress(SOUND, mtime=0)


def _float(value: float) -> bytes:
    voxels = VOXELS.astype(np.float32)
    voxels[1, 1, 1] = value
    return nifti({"datatype": 16, "bitpix": 32}, voxels.tobytes(order="F"))


def _swapped(at: int, mask: int) -> bytes:
    return PACKED[:at] + bytes([PACKED[at] ^ mask]) + PACKED[at + 1 :] if at >= 0 else _swapped(len(PACKED) + at, mask)


def _linked(target: str, name: str) -> Hostile:
    def write(folder: Path) -> Path:
        (folder / "scan.nii").symlink_to(target)
        return folder / "scan.nii"

    return Hostile(name, "nifti", write)


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def _folder(folder: Path) -> Path:
    (folder / "scan.nii").mkdir()
    return folder / "scan.nii"


def _packed_and_plain() -> list[Hostile]:
    files = []
    for table, two, expected in ((READ, False, VOXELS), (REFUSED, False, None), (REFUSED_TWO, True, None)):
        for name, fields in table.items():
            data = nifti(fields, two=two)
            files.append(content(name + (", NIfTI-2" if two else ""), "nifti", data, ".nii", expected=expected))
            packed = gzip.compress(data, mtime=0)
            files.append(
                content(f"{name}{', NIfTI-2' if two else ''}, gz", "nifti", packed, ".nii.gz", expected=expected)
            )
    return files


def _broken_streams() -> list[Hostile]:
    cuts = [content(f"cut at {at}", "nifti", SOUND[:at], ".nii") for at in (0, 1, 4, 100, 347, 348, 351, 352, 500)]
    cuts += [content(f"gz cut at {at}", "nifti", PACKED[:at], ".nii.gz") for at in (0, 2, 9, 20, 60, len(PACKED) - 1)]
    flips = [
        content(f"gz with byte {at} changed", "nifti", _swapped(at, mask), ".nii.gz")
        for at, mask in ((0, 1), (2, 255), (-8, 1), (-4, 1), (40, 255))
    ]

    def bomb() -> bytes:
        return gzip.compress(SOUND + bytes(90_000_000), 9, mtime=0)

    claim = gzip.compress(nifti(dims(1024, 1024, 1024)), mtime=0)
    read = {
        "bytes behind the stream": PACKED + b"GARBAGE!",
        "zeros behind the stream": PACKED + bytes(5000),
        "two members": gzip.compress(SOUND[:400]) + gzip.compress(SOUND[400:]),
        "empty members": gzip.compress(b"") + PACKED + gzip.compress(b""),
    }
    return [
        *cuts,
        *flips,
        *(content(name, "nifti", data, ".nii.gz", expected=VOXELS) for name, data in read.items()),
        content("a broken second member", "nifti", PACKED + PACKED[:30], ".nii.gz"),
        content("90 MB of zeros behind the voxels", "nifti", bomb, ".nii.gz"),
        content("a claim of 2 GB in a few bytes", "nifti", claim, ".nii.gz"),
    ]


_EXTENSIONS = {"of no bytes": (0, 0), "of minus one": (-1, 4), "of 2 GB": (2**31 - 16, 6), "of 9 bytes": (9, 4)}

FILES = [
    *_packed_and_plain(),
    *_broken_streams(),
    *(
        content(
            f"extension {name}",
            "nifti",
            nifti(between=b"\1\0\0\0" + np.array(size, "<i4").tobytes() + bytes(24)),
            ".nii",
            expected=VOXELS,
        )
        for name, size in _EXTENSIONS.items()
    ),
    *(content(f"a voxel {value}", "nifti", _float(value), ".nii") for value in (NAN, INF, -INF)),
    content("a page of HTML", "nifti", b"<html>404</html>" * 50, ".nii.gz"),
    content("a pointer of Git LFS", "nifti", b"version https://git-lfs.github.com/spec/v1\noid x\n", ".nii.gz"),
    content("not compressed but named so", "nifti", SOUND, ".nii.gz"),
    content("compressed but not named so", "nifti", PACKED, ".nii"),
    content("a zip file", "nifti", b"PK\3\4" + bytes(600), ".nii.gz"),
    content("zeros", "nifti", bytes(2000), ".nii"),
    _linked("/dev/zero", "a link to a device that never ends"),
    _linked("scan.nii", "a link to itself"),
    _linked("../canary.raw", "a link to a file that is no image"),
    Hostile("a pipe", "nifti", _pipe),
    Hostile("a folder", "nifti", _folder),
]
