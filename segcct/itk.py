"""NRRD, MHA and MHD, by SimpleITK: voxels in stored order and the affine in RAS mm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from segcct.errors import VolumeError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) and affine (4, 4) of a NRRD, MHA or MHD file. Raises `VolumeError`."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return _voxels(image, path), _affine(image)


def read_geometry(path: Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (X, Y, Z) and affine (4, 4) of a NRRD, MHA or MHD file, from its header alone. Raises `VolumeError`."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    size = reader.GetSize()
    if any(extra > 1 for extra in size[3:]):
        raise _several_volumes(path, size)
    x, y, z = (*size, 1)[:3]
    return (x, y, z), _affine(reader)


def _voxels(image: sitk.Image, path: Path) -> np.ndarray:
    """(X, Y, Z) voxels, stored order."""
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise VolumeError("voxels are colours or vectors", file=path, expected="one number per voxel")
    array = sitk.GetArrayFromImage(image)  # (..., Z, Y, X)
    extra = array.shape[:-3]
    if any(size > 1 for size in extra):
        raise _several_volumes(path, array.shape[::-1])
    return array.reshape((1, *array.shape)[-3:]).transpose(2, 1, 0)


def _affine(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    dims = image.GetDimension()
    used = min(dims, 3)
    lps = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(dims, dims)[:used, :used]
    lps[:used, :used] = direction * np.array(image.GetSpacing())[:used]
    lps[:used, 3] = np.array(image.GetOrigin())[:used]
    return _LPS_TO_RAS @ lps


def _several_volumes(path: Path, shape: tuple[int, ...]) -> VolumeError:
    return VolumeError(
        "holds more than one volume",
        file=path,
        found=f"shape {shape}",
        expected="(X, Y, Z)",
        remedy="Save the volume that is meant as a file of its own",
    )


def _unreadable(path: Path, error: RuntimeError) -> VolumeError:
    reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "unknown")
    return VolumeError("cannot be read as an image", file=path, found=reason, remedy="Copy or download it again")
