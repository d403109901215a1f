"""NRRD, MHA and MHD: voxels in stored order and the affine in RAS mm.

SimpleITK reads the geometry alone; `voxel_data` finds and reads the voxels.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from segcct.errors import VolumeError
from segcct.images.affines import LPS_TO_RAS
from segcct.images.size_limits import AGAIN, volume_shape
from segcct.images.voxel_data import VoxelData


def read_image(voxels: VoxelData, image_io: str) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) and affine (4, 4) of a file, by ITK's reader of that name. Raises `VolumeError`."""
    shape, affine = read_geometry(voxels, image_io)
    array = voxels.read()
    return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(shape, order="F"), affine


def read_geometry(voxels: VoxelData, image_io: str) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (X, Y, Z) and affine (4, 4) of a file, from its header alone. Raises `VolumeError`."""
    path = voxels.header
    reader = sitk.ImageFileReader()
    reader.SetFileName(_name_for_itk(path))
    reader.SetImageIO(image_io)
    warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK's warnings go to stderr and name no file
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "unknown")
        raise VolumeError("cannot be read as an image", file=path, found=reason, remedy=AGAIN) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warnings)
    voxels.check()
    if reader.GetNumberOfComponents() > 1:
        if any(key.startswith("Segment0_") for key in reader.GetMetaDataKeys()):
            raise VolumeError(
                "its segments overlap, so a voxel may have several labels",
                file=path,
                found=f"{reader.GetNumberOfComponents()} layers",
                expected="one label per voxel",
                remedy="Export the segmentation from 3D Slicer as a label map",
            )
        raise VolumeError("voxels are colors or vectors", file=path, expected="one number per voxel")
    size = reader.GetSize()
    shape = volume_shape(size, path)
    if math.prod(size) != math.prod(voxels.shape):
        raise VolumeError("its header gives no usable size", file=path, found=f"{size} and {voxels.shape}")
    return shape, np.diag([*voxels.to_mm, 1.0]) @ _affine(reader)


def _name_for_itk(path: Path) -> str:
    """The path as text. ITK aborts the whole process over one that is not UTF-8, which raises `VolumeError` here."""
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        remedy = "Rename the file, or the folder that it is in"
        raise VolumeError("its path is not UTF-8, so it cannot be opened", file=path, remedy=remedy) from None
    return name


def _affine(reader: sitk.ImageFileReader) -> np.ndarray:
    dims = reader.GetDimension()
    used = min(dims, 3)
    lps = np.eye(4)
    direction = np.array(reader.GetDirection()).reshape(dims, dims)[:used, :used]
    lps[:used, :used] = direction * np.array(reader.GetSpacing())[:used]
    lps[:used, 3] = np.array(reader.GetOrigin())[:used]
    return LPS_TO_RAS @ lps
