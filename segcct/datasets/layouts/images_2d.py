"""Layout `pictures`: 2-D images and their masks in folders: PNG, TIFF, GIF, JPEG, BMP.

    ROOT/images/21_training.tif, masks/21_manual1.gif     with channels {green: "images/*_training.tif"}
                                                           and label "masks/*_manual1.gif"

What stands for `*` (or `{id}`) pairs image and mask and is the case id. Channels named `red`, `green` and `blue` are
that band of the file their pattern names (a gray image has the same in all three); a channel of any other name is the
image in gray (luminance 0.299 R + 0.587 G + 0.114 B). Pages of a multi-page TIFF become slices. A mask is gray, or a
palette whose indices count, or a color image whose bands are equal; its values meet the scheme by `data.label_map`,
such as {255: 1}. The files hold no voxel size: spacing is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.layouts.flat import find_flat, find_loose, id_in
from segcct.datasets.layouts.layout import Layout
from segcct.datasets.layouts.patterns import drawn_files
from segcct.datasets.layouts.without_geometry import check_mask_size, stack_channels
from segcct.files.file_names import IMAGE_SUFFIXES, stem_of
from segcct.images.raster import BANDS, mask_values, read_pages
from segcct.images.volume import Volume

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def single(data: DataSection, file: Path) -> Case | None:
    """One image, where every channel is a band or the gray of it."""
    patterns = set(data.channels.values())
    if not file.name.lower().endswith(IMAGE_SUFFIXES) or len(patterns) > 1 or data.intensity.mask is not None:
        return None
    name = id_in(file, patterns.pop()) or stem_of(file.name)
    return Case(name, name, dict.fromkeys(data.channels, (file,)))


def read_image(case: Case, data: DataSection) -> tuple[np.ndarray, Volume]:
    """(C, X, Y, Z) float32, values as stored, and a grid without spacing.

    Raises:
        VolumeError: a file is no image, or holds values that are not finite.
        GeometryError: the channels' sizes differ.
    """

    def read(name: str) -> np.ndarray:
        pages = read_pages(case.channels[name][0])  # (Z, Y, X) or (Z, Y, X, 3)
        return _band(pages, name).transpose(2, 1, 0)

    return stack_channels(case, data, read)


def read_mask(files: Sequence[Path], pattern: str, grid: Volume) -> np.ndarray:  # noqa: ARG001
    """(X, Y, Z) values as stored; palette indices for images with a palette.

    Raises:
        VolumeError: no image, or a color image whose bands differ.
        GeometryError: another size than the image.
    """
    mask = mask_values(files[0])
    check_mask_size(mask, grid, files[0])
    return mask


def _band(pages: np.ndarray, name: str) -> np.ndarray:
    """(Z, Y, X) float32: a color band by the channel's name, else gray."""
    if pages.ndim == 3:
        return pages.astype(np.float32)
    if name in BANDS:
        return pages[..., BANDS.index(name)].astype(np.float32)
    return pages.astype(np.float32) @ _LUMINANCE


LAYOUT = Layout(
    "pictures",
    partial(find_flat, suffixes=IMAGE_SUFFIXES),
    partial(drawn_files, ids=("1", "2")),
    read_image=read_image,
    read_mask=read_mask,
    has_geometry=False,
    spatial_dims=2,
    mask_format="image",
    find_loose=partial(find_loose, suffixes=IMAGE_SUFFIXES),
    single=single,
)
