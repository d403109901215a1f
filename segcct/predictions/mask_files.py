"""Masks on disk: NIfTI of volumes, palette images of 2-D images, both in the scheme's own values; or DICOM-SEG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from segcct.datasets.label_schemes import Scheme
from segcct.errors import SegcctError, VolumeError
from segcct.extras import import_extra
from segcct.figures.colors import class_colors, rgb
from segcct.files.atomic_file import atomic_path
from segcct.files.file_names import EXACT_IMAGE_SUFFIXES, VOLUME_SUFFIXES
from segcct.files.json_file import read_object
from segcct.images.affines import IMAGE_AFFINE
from segcct.images.raster import mask_values
from segcct.images.volume import Volume, read_header
from segcct.predictions.predictions_index import INDEX
from segcct.predictions.predictions_record import StoredPredictions

VOLUME, IMAGE, PAGES, SEGMENTATION = ".nii.gz", ".png", ".tif", ".dcm"
SUFFIXES = (*VOLUME_SUFFIXES, *EXACT_IMAGE_SUFFIXES, SEGMENTATION)
"""What `load_mask` reads."""


@dataclass(frozen=True)
class MaskFormat:
    """One way to write masks."""

    suffixes: tuple[str, ...]
    """The endings of its files, the usual one first."""
    save: Callable[[Volume, Path, str, Scheme], Path]
    """(mask, folder, name, scheme) -> the file that was written."""
    check: Callable[[Volume, Scheme], None] = lambda *_: None
    """(scan, scheme): raises `VolumeError` or `LabelError` where its mask cannot be written in this format."""
    is_anonymous: bool = True
    """Its files hold nothing of the patient but the mask."""
    has_colors: bool = True
    """Its files hold the colors of the labels; others have files of them in their folder."""
    require: Callable[[], None] = lambda: None
    """Raises `PackageError` where a package that it needs is not installed."""


def save_mask(mask: Volume, folder: Path, name: str, scheme: Scheme, *, mask_format: str = "nifti") -> Path:
    """Write a mask atomically.

    Args:
        mask: (X, Y, Z) values of the scheme.
        folder: created if missing.
        name: the case id.
        scheme: gives every class of an image its color, and every segment its code.
        mask_format: a row of `FORMATS`. nifti: `<name>.nii.gz`. image: `<name>.png`, or `<name>.tif` of several pages;
            the indices of its palette are the values; values above 255, for which palettes are too short, become a
            16-bit gray. dicom-seg: `<name>.dcm`.

    Raises:
        VolumeError: the voxels cannot be stored. LabelError: as `segment_labels`.
        OSError: the disk is full, or the folder cannot be written to.
    """
    return FORMATS[mask_format].save(mask, folder, name, scheme)


def _save_volume(mask: Volume, folder: Path, name: str, scheme: Scheme) -> Path:  # noqa: ARG001
    file = folder / f"{name}{VOLUME}"
    mask.save(file)
    return file


def _save_image(mask: Volume, folder: Path, name: str, scheme: Scheme) -> Path:
    first, *others = (_page(mask.array[..., index].T, scheme) for index in range(mask.array.shape[2]))
    file = folder / f"{name}{PAGES if others else IMAGE}"
    with atomic_path(file) as temporary:
        if others:
            first.save(temporary, "TIFF", save_all=True, append_images=others, compression="tiff_deflate")
        else:
            first.save(temporary, "PNG")
    return file


def _check_images(scan: Volume, scheme: Scheme) -> None:
    from segcct.predictions.dicom_segmentation import check_images

    check_images(scan, scheme)


def _save_segmentation(mask: Volume, folder: Path, name: str, scheme: Scheme) -> Path:
    from segcct.predictions.dicom_segmentation import write_segmentation

    file = folder / f"{name}{SEGMENTATION}"
    write_segmentation(mask, file, scheme)
    return file


FORMATS = {
    "nifti": MaskFormat((VOLUME,), _save_volume, has_colors=False),
    "image": MaskFormat((IMAGE, PAGES), _save_image),
    "dicom-seg": MaskFormat(
        (SEGMENTATION,),
        _save_segmentation,
        _check_images,
        is_anonymous=False,
        require=partial(import_extra, "highdicom", "dicom"),
    ),
}
"""The ways in which masks are written: `mask_options.FormatName`, and `image`, which is that of datasets of 2-D images
and of these alone."""


def load_mask(file: Path) -> Volume:
    """A mask as it is stored; images by their gray values or palette indices, without a voxel size.

    A DICOM segmentation, which does not hold the slices without foreground, lies on the images that predictions.json
    names for it.

    Raises:
        VolumeError: the file is missing or damaged, no image, or a color image; a segmentation without its images.
        LabelError: two classes have the same name in a segmentation.
    """
    if file.name.lower().endswith(SEGMENTATION):
        return _load_segmentation(file)
    if file.name.lower().endswith(EXACT_IMAGE_SUFFIXES):
        return Volume(mask_values(file), IMAGE_AFFINE, None, None, file)
    return Volume.load(file)


def _load_segmentation(file: Path) -> Volume:
    from segcct.images.dicom.segments import draw_segments
    from segcct.predictions.dicom_segmentation import segment_labels

    index_file = file.parent / INDEX
    unknown = partial(
        VolumeError,
        "it is not known which images this DICOM segmentation lies on",
        file=file,
        expected=f"{INDEX} next to it, as segcct predict writes it",
    )
    try:
        index = StoredPredictions.from_json(read_object(index_file, StoredPredictions.NOT_THIS), index_file)
    except SegcctError as error:
        raise unknown() from error
    if index.scheme is None:
        raise unknown(found=f"{INDEX} without the scheme of its masks")
    channels = next((entry.channels for entry in index.cases.values() if entry.mask == file.name), None) or {}
    images = next(iter(channels.values()), [])
    if not images:
        raise unknown(found=f"{INDEX} without the images of this mask")
    grid = read_header(Path(images[0]))
    values = {label: index.scheme.classes[name] for name, label in segment_labels(index.scheme.classes).items()}
    return Volume(draw_segments(file, grid, values), grid.affine, grid.spacing_mm, None, file)


def _page(plane: np.ndarray, scheme: Scheme) -> Image.Image:
    """(rows, columns) values -> an image that shows them: background black, each class in its color."""
    page = Image.fromarray(np.ascontiguousarray(plane.astype(scheme.dtype)))
    if scheme.dtype == np.uint8:
        palette = np.zeros((max(scheme.values) + 1, 3), dtype=np.uint8)
        palette[list(scheme.classes.values())] = [rgb(color) for color in class_colors(len(scheme.classes))]
        page.putpalette(palette.tobytes())
    return page
