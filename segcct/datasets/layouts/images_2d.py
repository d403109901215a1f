"""Layout `pictures`: 2-D images and their masks in folders: PNG, TIFF, GIF, JPEG, BMP.

    ROOT/images/21_training.tif, masks/21_manual1.gif     with channels {green: "images/*_training.tif"}
                                                           and label "masks/*_manual1.gif"

What stands for `*` (or `{id}`) pairs image and mask and is the case id. Channels named `red`, `green` and `blue` are
that band of the file their pattern names (a grey picture has the same in all three); a channel of any other name is
the picture in grey (luminance 0.299 R + 0.587 G + 0.114 B). Pages of a multi-page TIFF become slices. A mask is grey,
or a palette whose indices count, or a colour picture whose bands are equal; its values meet the scheme by
`data.label_map`, such as {255: 1}. Pictures hold no voxel size: spacing is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.layouts.flat import Patterns, find_flat, find_loose, id_in
from segcct.datasets.layouts.layout import Found, Layout
from segcct.datasets.layouts.patterns import filled, tree, with_id
from segcct.errors import GeometryError, SegcctError, VolumeError
from segcct.files.file_names import IMAGE_SUFFIXES, stem_of
from segcct.images.raster import frames, has_eight_bits, open_image, raw_modes, unreadable
from segcct.images.volume import PICTURE_AFFINE, Volume

BANDS = ("red", "green", "blue")
_DEEP_GREY = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_SPREAD = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies stored values of 2 and 4 bits by, so that they reach 255; a mask's values are as stored."""
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def find(data: DataSection) -> Found:
    """Every picture of the first channel below `data.root`."""
    return find_flat(data, Patterns.of(data), suffixes=IMAGE_SUFFIXES)


def single(data: DataSection, file: Path) -> Case | None:
    """One picture, where every channel is a band or the grey of it."""
    patterns = set(data.channels.values())
    if not file.name.lower().endswith(IMAGE_SUFFIXES) or len(patterns) > 1 or data.intensity.mask is not None:
        return None
    name = id_in(file, patterns.pop()) or stem_of(file.name)
    return Case(name, name, dict.fromkeys(data.channels, (file,)))


def picture(data: DataSection) -> str:
    """The folders with their first two pictures."""
    patterns = dict.fromkeys([*data.channels.values(), *([data.label] if data.label else [])])
    return tree(data.root, {"": [*(filled(with_id(p), number) for p in patterns for number in ("1", "2")), "..."]})


def read_image(case: Case, data: DataSection) -> tuple[np.ndarray, Volume]:
    """(C, X, Y, Z) float32, values as stored, and a grid without spacing.

    Raises:
        VolumeError: a file is no picture, or holds values that are not finite.
        GeometryError: the channels' sizes differ.
    """
    channels = []
    for name in data.channels:
        pages = _pages(case.channels[name][0])  # (Z, Y, X) or (Z, Y, X, 3)
        channels.append(_band(pages, name).transpose(2, 1, 0))
        if channels[-1].shape != channels[0].shape:
            raise GeometryError(
                f"channel {name} has another size than {next(iter(data.channels))}",
                file=case.channels[name][0],
                found=channels[-1].shape,
                expected=channels[0].shape,
            )
    image = np.stack(channels)  # (C, X, Y, Z)
    path = next(iter(case.channels.values()))[0]
    if not np.isfinite(image).all():
        raise VolumeError("pixels are NaN or infinite", file=path)
    return image, Volume(image[0], PICTURE_AFFINE, None, None, path)


def read_mask(files: Sequence[Path], pattern: str, grid: Volume) -> np.ndarray:  # noqa: ARG001
    """(X, Y, Z) values as stored; palette indices for palette pictures.

    Raises:
        VolumeError: no picture, or a colour picture whose bands differ.
        GeometryError: another size than the image.
    """
    mask = mask_values(files[0])
    if mask.shape != grid.shape:
        raise GeometryError(
            "mask and image differ in size",
            file=files[0],
            found=f"{mask.shape[0]} x {mask.shape[1]}",
            expected=f"{grid.shape[0]} x {grid.shape[1]} as {grid.path}",
        )
    return mask


def mask_values(file: Path) -> np.ndarray:
    """(X, Y, Z) values of a mask as stored. Raises `VolumeError` for no picture, or one in colours."""
    pages = _pages(file, palette=True)
    if pages.ndim == 4:
        if (pages != pages[..., :1]).any():
            raise VolumeError(
                "a mask in colors",
                file=file,
                expected="gray values or palette indices",
                remedy="Convert it to one value per class",
            )
        pages = pages[..., 0]
    return pages.transpose(2, 1, 0)


def _band(pages: np.ndarray, name: str) -> np.ndarray:
    """(Z, Y, X) float32: a colour band by the channel's name, else grey."""
    if pages.ndim == 3:
        return pages.astype(np.float32)
    if name in BANDS:
        return pages[..., BANDS.index(name)].astype(np.float32)
    return pages.astype(np.float32) @ _LUMINANCE


def _pages(file: Path, *, palette: bool = False) -> np.ndarray:
    """(Z, Y, X) of a grey picture, (Z, Y, X, 3) of a colour one; transparency is dropped."""
    try:
        with open_image(file, file) as opened:
            pages = [_page(frame, file, palette=palette) for frame in frames(opened, file)]
    except (SegcctError, MemoryError):
        raise
    except Exception as error:  # a damaged picture makes its reader fail in any way
        raise unreadable(error, file) from error
    kinds = Counter(page.shape for page in pages)
    if len(kinds) > 1:
        found = "; ".join(f"{count} of {shape}" for shape, count in kinds.most_common(4))
        raise VolumeError("pages differ in size or color", file=file, found=found, expected="pages of one volume")
    return np.stack(pages)


def _page(frame: Image.Image, file: Path, *, palette: bool) -> np.ndarray:
    """(Y, X) or (Y, X, 3) of one page."""
    if frame.mode not in _DEEP_GREY and not has_eight_bits(frame):
        raise VolumeError(
            "a picture in colors of more than 8 bits",
            file=file,
            expected="8 bits per color, or one gray value of up to 32 bits",
            remedy="Store each color as a gray picture of its own",
        )
    if frame.mode == "1":
        return np.asarray(frame).astype(np.uint8)  # 0 and 1
    if frame.mode == "P" and palette:
        return np.asarray(frame)
    if frame.mode in ("LA", "La"):
        return np.asarray(frame)[..., 0]
    if frame.mode == "L" and palette:
        spread = max((_SPREAD.get(mode, 1) for mode in raw_modes(frame)), default=1)
        return np.asarray(frame) // spread
    if frame.mode == "L" or frame.mode in _DEEP_GREY:
        return np.asarray(frame)
    return np.asarray(frame.convert("RGB"))


LAYOUT = Layout(
    "pictures",
    find,
    read_image,
    read_mask,
    picture,
    find_loose=partial(find_loose, suffixes=IMAGE_SUFFIXES),
    single=single,
)
