"""Masks on disk: NIfTI of volumes, palette images of 2-D images; both hold the scheme's own values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from segcct.datasets.label_schemes import Scheme
from segcct.figures.colors import class_colors, rgb
from segcct.files.atomic_file import atomic_path
from segcct.files.file_names import EXACT_IMAGE_SUFFIXES, VOLUME_SUFFIXES
from segcct.images.raster import mask_values
from segcct.images.volume import IMAGE_AFFINE, Volume

SUFFIXES = VOLUME_SUFFIXES + EXACT_IMAGE_SUFFIXES
"""What `load_mask` reads."""
VOLUME, IMAGE, PAGES = ".nii.gz", ".png", ".tif"
WRITTEN_IMAGES = (IMAGE, PAGES)
WRITTEN = (VOLUME, *WRITTEN_IMAGES)
"""What `save_mask` writes."""


def save_mask(mask: Volume, folder: Path, name: str, scheme: Scheme, *, as_image: bool) -> Path:
    """Write a mask atomically.

    Args:
        mask: (X, Y, Z) values of the scheme.
        folder: created if missing.
        name: the case id.
        scheme: gives every class of an image its color.
        as_image: `<name>.png`, or `<name>.tif` of several pages, instead of `<name>.nii.gz`. The indices of its palette
            are the values; values above 255, for which palettes are too short, become a 16-bit gray.

    Raises:
        VolumeError: the voxels cannot be stored. OSError: the disk is full, or the folder cannot be written to.
    """
    if not as_image:
        file = folder / f"{name}{VOLUME}"
        mask.save(file)
        return file
    first, *others = (_page(mask.array[..., index].T, scheme) for index in range(mask.array.shape[2]))
    file = folder / f"{name}{PAGES if others else IMAGE}"
    with atomic_path(file) as temporary:
        if others:
            first.save(temporary, "TIFF", save_all=True, append_images=others, compression="tiff_deflate")
        else:
            first.save(temporary, "PNG")
    return file


def load_mask(file: Path) -> Volume:
    """A mask as it is stored; images by their gray values or palette indices, without a voxel size.

    Raises:
        VolumeError: the file is missing or damaged, no image, or a color image.
    """
    if file.name.lower().endswith(EXACT_IMAGE_SUFFIXES):
        return Volume(mask_values(file), IMAGE_AFFINE, None, None, file)
    return Volume.load(file)


def _page(plane: np.ndarray, scheme: Scheme) -> Image.Image:
    """(rows, columns) values -> an image that shows them: background black, each class in its color."""
    page = Image.fromarray(np.ascontiguousarray(plane.astype(scheme.dtype)))
    if scheme.dtype == np.uint8:
        palette = np.zeros((max(scheme.values) + 1, 3), dtype=np.uint8)
        palette[list(scheme.classes.values())] = [rgb(color) for color in class_colors(len(scheme.classes))]
        page.putpalette(palette.tobytes())
    return page
