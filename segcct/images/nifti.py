"""NIfTI files: the header, checked against the file, and the voxels it describes.

nibabel decodes the header's fields; the voxels are read here, so that neither extensions, offsets nor sizes that a
header claims take memory or time beyond what the file can hold.
"""

from __future__ import annotations

import logging
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from segcct.errors import VolumeError, short_reason
from segcct.images.affines import checked_affine
from segcct.images.size_limits import AGAIN, DEFLATE_RATIO, refuse_claim, volume_shape
from segcct.images.streams import Inflated, read_exactly

_DAMAGED = (OSError, EOFError, ValueError, OverflowError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)
_SIZES: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_UNIT_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Code of a unit of length -> mm; 0 (unknown) and codes that nobody defined count as mm."""
_SCALES = (1e-30, 1e30)
"""Scale factors beyond these leave nothing of the voxels in 32-bit floats."""
_SCALED_VOXELS = 2**20
"""Voxels that are scaled at a time."""
_MOST_BEHIND = 2**26
"""Most bytes that are read after the voxels of a compressed file, to reach its checksum."""


def read_nifti_header(path: Path) -> nib.Nifti1Header:
    """The header of a `.nii` or `.nii.gz`, without its extensions.

    Raises:
        VolumeError: damaged, no 2-D or 3-D image of numbers, or more voxels than the file can hold.
    """
    with _readable(path) as (raw, content):
        return _header(content, raw, path)[0]


def read_nifti(path: Path) -> tuple[np.ndarray, nib.Nifti1Header]:
    """Voxels (X, Y, Z), scaled to float32 where the header says so, and the header.

    Raises:
        VolumeError: as `read_nifti_header`; the data ends too early, or its scale is out of range.
    """
    with _readable(path) as (raw, content):
        header, bits = _header(content, raw, path)
        shape, dtype = volume_shape(header.get_data_shape(), path), header.get_data_dtype()
        before = int(header["vox_offset"]) - header.template_dtype.itemsize
        if isinstance(content, Inflated):
            content.skip(before)
        else:
            content.seek(before, os.SEEK_CUR)
        voxels = read_exactly(content, math.prod(shape) * dtype.itemsize)
        behind = _behind(content, raw, path)
        if bits not in (0, 8 * dtype.itemsize) and behind:
            raise VolumeError(
                "its header says two different sizes of a voxel",
                file=path,
                found=f"datatype {dtype.name}, but bitpix {bits}",
                remedy="Write the file again with one of them",
            )
        array = voxels.view(dtype).reshape(shape, order="F")
        return _scaled(array, header, path), header


def unit_mm(header: nib.Nifti1Header) -> float:
    """Millimeters of the header's unit of length."""
    return _UNIT_MM.get(int(header["xyzt_units"]) % 8, 1.0)


def affine_mm(header: nib.Nifti1Header) -> np.ndarray:
    """(4, 4) float64, voxel index -> RAS position in mm."""
    with np.errstate(invalid="ignore", over="ignore"):  # of numbers that `affine_of` refuses
        return np.diag([unit_mm(header)] * 3 + [1.0]) @ np.asarray(header.get_best_affine(), dtype=np.float64)


def affine_of(header: nib.Nifti1Header, path: Path) -> np.ndarray:
    """`affine_mm`, checked. Raises `VolumeError` where it cannot be worked with."""
    try:
        affine = affine_mm(header)
    except (ValueError, HeaderDataError) as error:
        raise VolumeError("its header gives no orientation", file=path, found=str(error)) from error
    return checked_affine(affine, path)


@contextmanager
def _readable(path: Path) -> Iterator[tuple[BufferedReader, Inflated | BufferedReader]]:
    """The open file and its content; an error in the block becomes a `VolumeError` that says what the file may be."""
    try:
        with path.open("rb") as raw:
            yield raw, Inflated(raw) if path.name.lower().endswith(".gz") else raw
    except _DAMAGED as error:
        raise VolumeError("cannot be read as NIfTI", file=path, found=_found(path, error), remedy=AGAIN) from error


def _header(content: Inflated | BufferedReader, raw: BufferedReader, path: Path) -> tuple[nib.Nifti1Header, int]:
    """The header with nibabel's repairs, and the bits per voxel that it gave before them."""
    first = read_exactly(content, 4).tobytes()
    sizes = [size for size in (int.from_bytes(first, order) for order in ("little", "big")) if size in _SIZES]
    if not sizes:
        raise ImageFileError("no NIfTI header at its beginning")
    header_class = _SIZES[sizes[0]]
    header = header_class(first + read_exactly(content, sizes[0] - 4).tobytes(), check=False)
    bits = int(header["bitpix"])
    quiet = logging.Logger("nifti")  # nibabel writes what it fixes to stderr, without the file's name
    quiet.disabled = True
    header.check_fix(logger=quiet, error_level=40)
    shape, dtype = tuple(int(size) for size in header.get_data_shape()), header.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "biuf":
        raise VolumeError("voxels are colors or complex numbers", file=path, expected="one number per voxel")
    if min(shape, default=0) < 0:
        raise VolumeError("its header gives no usable size", file=path, found=f"shape {shape}")
    volume_shape(shape, path)
    offset = float(header["vox_offset"])
    if not sizes[0] <= offset < 2**40 or offset != int(offset):
        raise VolumeError("its header does not say where the voxels begin", file=path, found=f"vox_offset {offset:g}")
    ratio = DEFLATE_RATIO if isinstance(content, Inflated) else 1
    size = max(0, os.fstat(raw.fileno()).st_size - int(offset) // ratio)
    refuse_claim(path, shape, dtype.itemsize, size, ratio=ratio, kind="NIfTI")
    return header, bits


def _behind(content: Inflated | BufferedReader, raw: BufferedReader, path: Path) -> int:
    """Bytes behind the voxels, with a compressed file's checksums compared."""
    if not isinstance(content, Inflated):
        return os.fstat(raw.fileno()).st_size - raw.tell()
    behind = content.rest(_MOST_BEHIND)
    if behind > _MOST_BEHIND:
        raise VolumeError(
            "holds far more data than its header describes",
            file=path,
            found=f"over {_MOST_BEHIND:,} bytes after the voxels",
            remedy="Its header is damaged, or it is not an image: export it again",
        )
    return behind


def _scaled(array: np.ndarray, header: nib.Nifti1Header, path: Path) -> np.ndarray:
    slope, inter = header.get_slope_inter()
    if slope is None or (slope, inter) == (1.0, 0.0):
        return array
    low, high = _SCALES
    if not low <= abs(slope) <= high or abs(inter) > high:
        raise VolumeError(
            "its intensity scale is out of range",
            file=path,
            found=f"scl_slope {slope:g}, scl_inter {inter:g}",
            expected=f"a slope between {low:g} and {high:g}",
            remedy="Write the file again without a scale",
        )
    scaled = np.empty_like(array, dtype=np.float32)
    source, target = array.ravel(order="K"), scaled.ravel(order="K")  # views of contiguous arrays
    with np.errstate(over="ignore", invalid="ignore"):  # what leaves float32 is refused as not finite
        for start in range(0, source.size, _SCALED_VOXELS):  # in double precision, a part at a time
            target[start : start + _SCALED_VOXELS] = source[start : start + _SCALED_VOXELS] * np.float64(slope) + inter
    return scaled


def _found(path: Path, error: Exception) -> str:
    """What a file that is not NIfTI seems to be, by its first bytes; otherwise the reader's own message."""
    if isinstance(error, OSError) and error.errno is not None:  # such as missing permission: it cannot be opened here
        return short_reason(error)
    with path.open("rb") as stream:
        head = stream.read(352)
    if head.lstrip()[:1] == b"<":
        return "an HTML or XML page, as from a failed download"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself"
    gz = path.name.lower().endswith(".gz")
    if gz and head[344:347] in (b"n+1", b"ni1"):
        return "plain NIfTI that is not compressed: its name should end in .nii"
    if not gz and head[:2] == b"\x1f\x8b":
        return "compressed data: its name should end in .nii.gz"
    if isinstance(error, EOFError):
        return "truncated data: the file ends too early"
    return short_reason(error)
