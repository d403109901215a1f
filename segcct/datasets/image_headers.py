"""Shape and place of an image file without reading its voxels, for every format the layouts read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from segcct.errors import VolumeError
from segcct.files.file_names import HDF5_SUFFIXES, IMAGE_SUFFIXES, ITK_SUFFIXES, NIFTI_SUFFIXES, NPZ_SUFFIXES
from segcct.images.affines import checked_affine
from segcct.images.arrays import array_shape
from segcct.images.nifti import affine_of, read_nifti_header
from segcct.images.raster import open_upright
from segcct.images.size_limits import refuse_special, volume_shape
from segcct.images.volume import IMAGE_AFFINE, Volume, holds_dicom, no_such_file
from segcct.runtime import spacing_of


def read_header(path: Path, dataset: str = "image") -> Volume:
    """The volume a file holds, with its grid but without its voxels: the array is zeros that take no memory.

    Formats without geometry give `spacing_mm` None, and so does NIfTI whose header says that it is unknown. The shape
    of an array is (rows, columns, 1) or (rows, columns, depth), which is enough to compare two of them; of an image
    file (columns, rows, 1), as of a 2-D DICOM image.

    Args:
        path: NIfTI, NRRD, MHA, MHD, HDF5, NPZ, PNG, TIFF, a DICOM file or a folder of DICOM slices.
        dataset: which array of an HDF5 or NPZ file.

    Raises:
        VolumeError: the file is missing, empty, or its header cannot be read.
    """
    path = Path(path)
    name = path.name.lower()
    if path.is_file() and path.stat().st_size == 0:
        raise VolumeError("the file is empty (0 bytes)", file=path, remedy="Copy or download it again")
    if not path.exists():
        raise no_such_file(path)
    refuse_special(path)
    if name.endswith(NIFTI_SUFFIXES):
        header = read_nifti_header(path)
        return _volume(volume_shape(header.get_data_shape(), path), affine_of(header, path), path, header)
    if name.endswith(ITK_SUFFIXES):
        from segcct.images import itk

        shape, affine = itk.read_geometry(path)
        return _volume(shape, checked_affine(affine, path), path)
    if name.endswith(HDF5_SUFFIXES + NPZ_SUFFIXES):
        stored = array_shape(path, dataset)
        if len(stored) not in (2, 3) or 0 in stored:
            raise VolumeError("not one 2-D or 3-D image", file=path, found=f"shape {stored}")
        return _without_geometry((*stored, 1) if len(stored) == 2 else (*stored[1:], stored[0]), path)
    if name.endswith(IMAGE_SUFFIXES):
        with open_upright(path) as image:
            return _without_geometry((*image.size, 1), path)
    if path.is_dir() or holds_dicom(path):
        from segcct.images import dicom

        shape, affine, known = dicom.read_geometry(path)
        volume = _volume(shape, checked_affine(affine, path), path)
        return volume if known else replace(volume, spacing_mm=None)
    return Volume.load(path)


def says_synthetic(volume: Volume) -> bool:
    """The header's description marks the image, or the mask that was written with it, as synthetic."""
    return volume.header is not None and b"synthetic" in bytes(volume.header["descrip"].item()).lower()


def _volume(shape: tuple[int, ...], affine: np.ndarray, path: Path, header: nib.Nifti1Header | None = None) -> Volume:
    return Volume(np.broadcast_to(np.uint8(0), shape), affine, spacing_of(affine, header), header, path)


def _without_geometry(shape: tuple[int, ...], path: Path) -> Volume:
    return Volume(np.broadcast_to(np.uint8(0), shape), IMAGE_AFFINE, None, None, path)
