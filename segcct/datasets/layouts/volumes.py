"""Reading of cases whose channels are volumes: NIfTI, NRRD, MHA, folders of DICOM slices, or single DICOM images.

The mask of an X-ray or another 2-D image in DICOM may be an image file too: PNG, TIFF, GIF, BMP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.errors import GeometryError
from segcct.files.file_names import IMAGE_SUFFIXES, NIFTI_SUFFIXES
from segcct.images.affines import IMAGE_AFFINE
from segcct.images.raster import mask_values
from segcct.images.volume import Volume, check_same_grid

_GRID_TOLERANCE = 0.05
"""How far apart corner voxels of two images of one case may lie, as a fraction of the smallest voxel size. Files that
went through several programs differ by rounding; a twentieth of a voxel moves no label."""
AT_A_TIME = 2
"""How many NIfTI files of a case are read at a time; more would take more memory."""


def read_image(case: Case, data: DataSection) -> tuple[np.ndarray, Volume]:
    """(C, X, Y, Z) float32 in the order of `data.channels`, and the first channel's grid.

    Raises:
        VolumeError: a file cannot be read.
        GeometryError: a channel lies on another grid than the first.
    """
    files = [case.channels[name][0] for name in data.channels]
    if len(files) == 1:
        first = Volume.load(files[0])
        image = first.array[None].astype(np.float32, copy=False)  # (1, X, Y, Z)
        return image, replace(first, array=image[0])
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        volumes = _loaded(files, pool)
        first = next(volumes)
        image = np.empty((len(files), *first.shape), dtype=np.float32)  # (C, X, Y, Z)
        image[0] = first.array
        grid = replace(first, array=image[0])
        del first
        for channel in image[1:]:
            volume = next(volumes)
            require_one_grid(volume, grid)
            channel[:] = volume.array
            del volume  # before the next ones are read
    return image, grid


def _loaded(files: Sequence[Path], pool: ThreadPoolExecutor) -> Iterator[Volume]:
    """The volumes in order, NIfTI files a few at a time; of several that cannot be read, the first one raises."""
    if not all(file.name.lower().endswith(NIFTI_SUFFIXES) for file in files):  # readers of others share some state
        yield from map(Volume.load, files)
        return
    for start in range(0, len(files), AT_A_TIME):
        yield from pool.map(Volume.load, files[start : start + AT_A_TIME])


def read_mask(files: Sequence[Path], pattern: str, grid: Volume) -> np.ndarray:  # noqa: ARG001
    """(X, Y, Z) values as stored. Raises `GeometryError` when the file lies on another grid."""
    if files[0].name.lower().endswith(IMAGE_SUFFIXES):
        return _mask_image(files[0], grid)
    return _on_grid(files[0], grid).array


def _mask_image(file: Path, grid: Volume) -> np.ndarray:
    """(X, Y, 1) values of a mask file, its columns along X and its rows along Y, as a 2-D DICOM image is read.

    Raises `GeometryError` where the image has several slices, or other directions, so that nothing says which way up
    the mask lies on it.
    """
    directions = nib.aff2axcodes(grid.affine)[:2]
    shape = " x ".join(map(str, grid.shape))
    if grid.shape[2] != 1 or directions != nib.aff2axcodes(IMAGE_AFFINE)[:2]:
        raise GeometryError(
            "an image file without geometry cannot be the mask of this image",
            file=file,
            found=f"{grid.path} of {shape} voxels, along {directions[0]} and {directions[1]}",
            expected="a 2-D image whose rows run like those of the mask, such as an X-ray in DICOM",
            remedy="Store the mask as NIfTI, with the image's geometry",
        )
    mask = Volume(mask_values(file), IMAGE_AFFINE, None, None, file)
    check_same_grid(grid, mask)
    return mask.array


def _on_grid(path: Path, grid: Volume) -> Volume:
    volume = Volume.load(path)
    require_one_grid(volume, grid)
    return volume


def require_one_grid(volume: Volume, grid: Volume) -> None:
    """Raises `GeometryError` where an image lies on another grid than the first one of its case. Corner voxels may lie
    apart by a twentieth of the smallest voxel size."""
    smallest_mm = min(grid.spacing_mm) if grid.spacing_mm else 1.0
    check_same_grid(grid, volume, tolerance_mm=_GRID_TOLERANCE * smallest_mm)
