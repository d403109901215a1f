"""Masks on disk: NIfTI of volumes, palette pictures of pictures; both hold the scheme's own values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from segcct.datasets.label_schemes import Scheme
from segcct.figures.colors import class_colors, rgb
from segcct.files.atomic_file import atomic_path
from segcct.files.file_names import EXACT_IMAGE_SUFFIXES as PICTURE_SUFFIXES
from segcct.files.file_names import VOLUME_SUFFIXES
from segcct.images.raster import mask_values
from segcct.images.volume import PICTURE_AFFINE, Volume

SUFFIXES = VOLUME_SUFFIXES + PICTURE_SUFFIXES
"""What `load_mask` reads."""
VOLUME, PICTURE, PAGES = ".nii.gz", ".png", ".tif"
WRITTEN_PICTURES = (PICTURE, PAGES)
WRITTEN = (VOLUME, *WRITTEN_PICTURES)
"""Endings that `save_mask` gives."""


def save_mask(mask: Volume, folder: Path, name: str, scheme: Scheme, *, picture: bool) -> Path:
    """Write a mask, whole or not at all.

    Args:
        mask: (X, Y, Z) values of the scheme.
        folder: made when missing.
        name: the case id.
        scheme: gives every class of a picture its colour.
        picture: `<name>.png`, or `<name>.tif` of several pages, instead of `<name>.nii.gz`. The indices of its palette
            are the values; values above 255, for which palettes are too short, become a 16-bit grey.

    Raises:
        VolumeError: the voxels cannot be stored. OSError: the disk is full, or the folder cannot be written to.
    """
    if not picture:
        file = folder / f"{name}{VOLUME}"
        mask.save(file)
        return file
    first, *others = (_page(mask.array[..., index].T, scheme) for index in range(mask.array.shape[2]))
    file = folder / f"{name}{PAGES if others else PICTURE}"
    with atomic_path(file) as beside:
        if others:
            first.save(beside, "TIFF", save_all=True, append_images=others, compression="tiff_deflate")
        else:
            first.save(beside, "PNG")
    return file


def load_mask(file: Path) -> Volume:
    """A mask as it is stored; pictures by their grey values or palette indices, without a voxel size.

    Raises:
        VolumeError: the file is missing or damaged, no image, or a picture in colours.
    """
    if file.name.lower().endswith(PICTURE_SUFFIXES):
        return Volume(mask_values(file), PICTURE_AFFINE, None, None, file)
    return Volume.load(file)


def _page(plane: np.ndarray, scheme: Scheme) -> Image.Image:
    """(rows, columns) values -> a picture that shows them: background black, each class in its colour."""
    page = Image.fromarray(np.ascontiguousarray(plane.astype(scheme.dtype)))
    if scheme.dtype == np.uint8:
        page.putpalette(_palette(scheme))
    return page


def _palette(scheme: Scheme) -> bytes:
    """Red, green and blue of every value up to the largest; black where the scheme has none."""
    palette = np.zeros((max(scheme.values) + 1, 3), dtype=np.uint8)
    palette[list(scheme.classes.values())] = [rgb(colour) for colour in class_colors(len(scheme.classes))]
    return palette.tobytes()
