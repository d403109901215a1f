"""The formats of image files, a row each: the names of the files, and what reads them, whole or the header alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from segcct.errors import VolumeError
from segcct.files.file_names import (
    DICOM_SUFFIXES,
    HDF5_SUFFIXES,
    IMAGE_SUFFIXES,
    METAIMAGE_SUFFIXES,
    NIFTI_SUFFIXES,
    NPZ_SUFFIXES,
    NRRD_SUFFIXES,
)
from segcct.images.affines import IMAGE_AFFINE, checked_affine
from segcct.images.arrays import array_shape
from segcct.images.metaimage import data_file_of_metaimage, voxels_of_metaimage
from segcct.images.nifti import affine_of, read_nifti, read_nifti_header
from segcct.images.nrrd import data_file_of_nrrd, voxels_of_nrrd
from segcct.images.raster import frames, open_upright
from segcct.images.size_limits import AGAIN, damage_refused, refuse_unreadable, volume_shape
from segcct.images.voxel_data import VoxelData
from segcct.runtime import spacing_of


class StoredImage(NamedTuple):
    """What a file holds: the fields of `Volume` but the path, in their order."""

    array: np.ndarray
    affine: np.ndarray
    spacing_mm: tuple[float, float, float] | None
    header: nib.Nifti1Header | None = None


class TextFormat(NamedTuple):
    """A format of a text header and voxels behind it, or in a file that it names."""

    image_io: str
    """ITK's reader of it, so that no other is tried."""
    voxels: Callable[[Path], VoxelData]
    """Where the voxels of a file are."""
    data_file: Callable[[Path], str | None]
    """The name that a header gives of the file of its voxels."""


@dataclass(frozen=True)
class Format:
    """A format of image files. What reads it raises `VolumeError`."""

    suffixes: tuple[str, ...]
    grid: Callable[[Path, str], StoredImage]
    """(file, name of an array in it) -> its grid, with zeros that take no memory in place of its voxels."""
    image: Callable[[Path], StoredImage] | None = None
    """The file with its voxels; None where it holds no geometry, and the layout says how it is read."""
    text: TextFormat | None = None


def read_image(path: Path) -> StoredImage:
    """See `Volume.load`."""
    read = _format_of(path).image
    if read is None:
        raise _not_read(path)
    return read(path)


def read_grid(path: Path, dataset: str) -> StoredImage:
    """See `volume.read_header`."""
    return _format_of(path).grid(path, dataset)


def format_named(name: str) -> Format | None:
    """The format of files of such a name; None where it is no known format's."""
    return next((each for each in FORMATS if name.lower().endswith(each.suffixes)), None)


def _format_of(path: Path) -> Format:
    """The format of a file by its name, or DICOM by its first bytes; folders are DICOM, whatever they are called."""
    refuse_unreadable(path)
    if path.is_dir():
        return _DICOM
    if path.stat().st_size == 0:
        raise VolumeError("the file is empty (0 bytes)", file=path, remedy=AGAIN)
    named = format_named(path.name)
    if named is not None:
        return named
    from segcct.images.dicom.header import claims_dicom

    with damage_refused(path):
        if claims_dicom(path):
            return _DICOM
    raise _not_read(path)


def _not_read(path: Path) -> VolumeError:
    return VolumeError("not a format segcct reads", file=path, found=path.name, expected=", ".join(SUFFIXES))


def _nifti(path: Path) -> StoredImage:
    array, header = read_nifti(path)
    return _checked(array, affine_of(header, path), header, path)


def _nifti_grid(path: Path, _: str) -> StoredImage:
    header = read_nifti_header(path)
    return _grid(volume_shape(header.get_data_shape(), path), affine_of(header, path), header)


def _itk(text: TextFormat, path: Path) -> StoredImage:
    from segcct.images import itk  # SimpleITK takes 0.2 s to import, and most data is NIfTI

    array, affine = itk.read_image(text.voxels(path), text.image_io)
    return _checked(array, checked_affine(affine, path), None, path)


def _itk_grid(text: TextFormat, path: Path, _: str) -> StoredImage:
    from segcct.images import itk

    shape, affine = itk.read_geometry(text.voxels(path), text.image_io)
    return _grid(shape, checked_affine(affine, path))


def _dicom(path: Path) -> StoredImage:
    from segcct.images.dicom import read_dicom

    array, affine, has_spacing = read_dicom(path)
    return _checked(array, checked_affine(affine, path), None, path, has_spacing=has_spacing)


def _dicom_grid(path: Path, _: str) -> StoredImage:
    from segcct.images.dicom import read_geometry

    shape, affine, has_spacing = read_geometry(path)
    return _grid(shape, checked_affine(affine, path), has_spacing=has_spacing)


def _array_grid(path: Path, name: str) -> StoredImage:
    stored = array_shape(path, name)
    if len(stored) not in (2, 3) or 0 in stored:
        raise VolumeError("not one 2-D or 3-D image", file=path, found=f"shape {stored}")
    shape = (*stored, 1) if len(stored) == 2 else (*stored[1:], stored[0])
    return _grid(shape, IMAGE_AFFINE, has_spacing=False)


def _pages_grid(path: Path, _: str) -> StoredImage:
    with damage_refused(path), open_upright(path) as image:
        columns, rows = image.size
        pages = sum(1 for _ in frames(image, path))
    return _grid((columns, rows, pages), IMAGE_AFFINE, has_spacing=False)


def _checked(
    array: np.ndarray, affine: np.ndarray, header: nib.Nifti1Header | None, path: Path, *, has_spacing: bool = True
) -> StoredImage:
    """The image, with floats as float32. Raises `VolumeError` where voxels are not finite."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf and is refused below
            array = np.asarray(array, dtype=np.float32)
        not_finite = array.size - int(np.count_nonzero(np.isfinite(array)))
        if not_finite:
            what = f"{not_finite} of {array.size} voxels are NaN or infinite"
            remedy = "Replace them (by 0 outside the body) and save the file again"
            raise VolumeError(what, file=path, remedy=remedy)
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return StoredImage(array, affine, spacing_of(affine, header) if has_spacing else None, header)


def _grid(
    shape: tuple[int, ...], affine: np.ndarray, header: nib.Nifti1Header | None = None, *, has_spacing: bool = True
) -> StoredImage:
    zeros = np.broadcast_to(np.uint8(0), shape)
    return StoredImage(zeros, affine, spacing_of(affine, header) if has_spacing else None, header)


_NRRD = TextFormat("NrrdImageIO", voxels_of_nrrd, data_file_of_nrrd)
_METAIMAGE = TextFormat("MetaImageIO", voxels_of_metaimage, data_file_of_metaimage)
_DICOM = Format(DICOM_SUFFIXES, _dicom_grid, _dicom)
FORMATS = (
    Format(NIFTI_SUFFIXES, _nifti_grid, _nifti),
    Format(NRRD_SUFFIXES, partial(_itk_grid, _NRRD), partial(_itk, _NRRD), _NRRD),
    Format(METAIMAGE_SUFFIXES, partial(_itk_grid, _METAIMAGE), partial(_itk, _METAIMAGE), _METAIMAGE),
    _DICOM,
    Format(HDF5_SUFFIXES + NPZ_SUFFIXES, _array_grid),
    Format(IMAGE_SUFFIXES, _pages_grid),
)
SUFFIXES = tuple(suffix for each in FORMATS if each.image is not None for suffix in each.suffixes)
"""What `Volume.load` reads, besides a folder of DICOM slices."""
