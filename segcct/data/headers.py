"""Shape and place of an image file without reading its voxels, for every format the layouts read."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import IO, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from segcct.errors import VolumeError
from segcct.file_names import IMAGE_SUFFIXES, ITK_SUFFIXES, NIFTI_SUFFIXES
from segcct.volume import PICTURE_AFFINE, Volume, no_such_file

HDF5_SUFFIXES = (".h5", ".hdf5")
NUMPY_SUFFIXES = (".npz",)
_DAMAGED = (
    nib.wrapstruct.WrapStructError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    zlib.error,
    zipfile.BadZipFile,
    ImageFileError,
    HeaderDataError,
)
_UNIT_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_NIFTI2_SIZES = (540, 0x1C020000)


def read_header(path: Path, dataset: str = "image") -> Volume:
    """The volume a file holds, with its grid but without its voxels: the array is zeros that take no memory.

    Formats without geometry give `spacing_mm` None and shape (rows, columns, 1) or (rows, columns, depth), which is
    enough to compare two of them. A folder, or a single DICOM file, is read whole.

    Args:
        path: NIfTI, NRRD, MHA, MHD, HDF5, NPZ or a picture.
        dataset: which array of an HDF5 or NPZ file.

    Raises:
        VolumeError: the file is missing, empty, or its header cannot be read.
    """
    path = Path(path)
    name = path.name.lower()
    if path.is_file() and path.stat().st_size == 0:
        raise VolumeError("the file is empty (0 bytes)", file=path, remedy="Copy or download it again")
    try:
        if not path.exists():
            raise no_such_file(path)
        if name.endswith(NIFTI_SUFFIXES):
            return _nifti(path)
        if name.endswith(ITK_SUFFIXES):
            return _itk(path)
        if name.endswith(HDF5_SUFFIXES):
            return _without_geometry(_hdf5_shape(path, dataset), path)
        if name.endswith(NUMPY_SUFFIXES):
            return _without_geometry(_npz_shape(path, dataset), path)
        if name.endswith(IMAGE_SUFFIXES):
            return _without_geometry(_picture_shape(path), path)
    except _DAMAGED as error:
        found = "truncated data: the file ends too early" if isinstance(error, EOFError) else str(error).split("\n")[0]
        raise VolumeError(
            "its header cannot be read", file=path, found=found, remedy="Copy or download it again"
        ) from error
    return Volume.load(path)


def _nifti(path: Path) -> Volume:
    packed = path.name.lower().endswith(".gz")
    with cast("IO[bytes]", gzip.open(path)) if packed else path.open("rb") as stream:
        size = int.from_bytes(stream.read(4), "little")
        stream.seek(0)
        header_class = nib.Nifti2Header if size in _NIFTI2_SIZES else nib.Nifti1Header
        header = header_class.from_fileobj(stream, check=True)
    shape = header.get_data_shape()
    if len(shape) < 2 or 0 in shape or any(side > 1 for side in shape[3:]):
        raise VolumeError("not one 2-D or 3-D image", file=path, found=f"shape {shape}", expected="(X, Y, Z)")
    unit_mm = _UNIT_MM.get(header.get_xyzt_units()[0], 1.0)
    affine = np.diag([unit_mm] * 3 + [1.0]) @ np.asarray(header.get_best_affine(), dtype=np.float64)
    return _volume((*shape, 1)[:3], affine, path, header)


def _itk(path: Path) -> Volume:
    from segcct import itk

    shape, affine = itk.read_geometry(path)
    return _volume(shape, affine, path, None)


def _volume(shape: tuple[int, ...], affine: np.ndarray, path: Path, header: nib.Nifti1Header | None) -> Volume:
    x, y, z = (float(step) for step in nib.affines.voxel_sizes(affine))
    return Volume(np.broadcast_to(np.uint8(0), shape), affine, (x, y, z), header, path)


def _hdf5_shape(path: Path, dataset: str) -> tuple[int, ...]:
    import h5py

    with h5py.File(path, "r") as file:
        if dataset not in file:
            raise VolumeError(f"no array '{dataset}'", file=path, found=", ".join(file) or "no array", expected=dataset)
        return tuple(file[dataset].shape)


def _npz_shape(path: Path, dataset: str) -> tuple[int, ...]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if dataset not in names:
            raise VolumeError(
                f"no array '{dataset}'", file=path, found=", ".join(names) or "no array", expected=dataset
            )
        with archive.open(f"{dataset}.npy") as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return tuple(read(member)[0])


def _picture_shape(path: Path) -> tuple[int, ...]:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size[1], picture.size[0]


def _without_geometry(shape: tuple[int, ...], path: Path) -> Volume:
    """(rows, columns) -> (rows, columns, 1); (depth, rows, columns) -> (rows, columns, depth)."""
    if len(shape) not in (2, 3) or 0 in shape:
        raise VolumeError("not one 2-D or 3-D image", file=path, found=f"shape {shape}")
    sides = (*shape, 1) if len(shape) == 2 else (shape[1], shape[2], shape[0])
    return Volume(np.broadcast_to(np.uint8(0), sides), PICTURE_AFFINE, None, None, path)
