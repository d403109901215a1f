"""NRRD, MHA and MHD: voxels in stored order and the affine in RAS mm.

SimpleITK reads the geometry of a header; where the voxels are, and the voxels, are read by `images`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from segcct.errors import VolumeError
from segcct.images.affine import LPS_TO_RAS
from segcct.images.claims import AGAIN, volume_shape
from segcct.images.metaimage import stored_metaimage
from segcct.images.nrrd import stored_nrrd
from segcct.images.stored import Stored

_FORMATS: dict[str, tuple[str, Callable[[Path], Stored]]] = {
    ".nrrd": ("NrrdImageIO", stored_nrrd),
    ".nhdr": ("NrrdImageIO", stored_nrrd),
    ".mha": ("MetaImageIO", stored_metaimage),
    ".mhd": ("MetaImageIO", stored_metaimage),
}
"""Suffix -> ITK's reader of that format, so that no other is tried, and ours of where the voxels are."""


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) and affine (4, 4) of a NRRD, MHA or MHD file. Raises `VolumeError`."""
    stored, reader = _opened(path)
    stored.check()
    size = _volume_size(reader, stored, path)
    array = stored.read()
    return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(size, order="F"), _affine(reader)


def read_geometry(path: Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (X, Y, Z) and affine (4, 4) of a NRRD, MHA or MHD file, from its header alone. Raises `VolumeError`."""
    stored, reader = _opened(path)
    stored.check()
    return _volume_size(reader, stored, path), _affine(reader)


def _opened(path: Path) -> tuple[Stored, sitk.ImageFileReader]:
    """Where the voxels are, and ITK's reader with the header's geometry."""
    image_io, stored_in = next(row for suffix, row in _FORMATS.items() if path.name.lower().endswith(suffix))
    stored = stored_in(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(image_io)
    try:
        with _quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "unknown")
        raise VolumeError("cannot be read as an image", file=path, found=reason, remedy=AGAIN) from error
    return stored, reader


def _volume_size(reader: sitk.ImageFileReader, stored: Stored, path: Path) -> tuple[int, int, int]:
    """(X, Y, Z) as ITK understands the header, which must be all that is stored."""
    size = reader.GetSize()
    if reader.GetNumberOfComponents() > 1:
        raise VolumeError("voxels are colors or vectors", file=path, expected="one number per voxel")
    volume = volume_shape(size, path)
    if math.prod(size) != math.prod(stored.shape):
        raise VolumeError("its header gives no usable size", file=path, found=f"{size} and {stored.shape}")
    return volume


def _affine(reader: sitk.ImageFileReader) -> np.ndarray:
    dims = reader.GetDimension()
    used = min(dims, 3)
    lps = np.eye(4)
    direction = np.array(reader.GetDirection()).reshape(dims, dims)[:used, :used]
    lps[:used, :used] = direction * np.array(reader.GetSpacing())[:used]
    lps[:used, 3] = np.array(reader.GetOrigin())[:used]
    return LPS_TO_RAS @ lps


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ITK's warnings off while a header is read: they go to stderr and name no file."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
