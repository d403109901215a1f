"""The pages of a 2-D image file as arrays: PNG, TIFF, GIF, JPEG, BMP."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from segcct.errors import SegcctError, VolumeError
from segcct.images.raster import frames, has_eight_bits, open_image, raw_modes, unreadable

_DEEP_GREY = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_SPREAD = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies stored values of 2 and 4 bits by, so that they reach 255; a mask's values are as stored."""


def mask_values(file: Path) -> np.ndarray:
    """(X, Y, Z) values of a mask as stored. Raises `VolumeError` for no image, or one in colors."""
    pages = read_pages(file, palette=True)
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


def read_pages(file: Path, *, palette: bool = False) -> np.ndarray:
    """(Z, Y, X) of a gray image, (Z, Y, X, 3) of a color one; transparency is dropped.

    Args:
        file: the image.
        palette: give the indices of a palette, and gray values as they are stored.

    Raises:
        VolumeError: no image, or one of pages that differ.
    """
    try:
        with open_image(file, file) as opened:
            pages = [_page(frame, file, palette=palette) for frame in frames(opened, file)]
    except (SegcctError, MemoryError):
        raise
    except Exception as error:  # a damaged image makes its reader fail in any way
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
            "an image in colors of more than 8 bits",
            file=file,
            expected="8 bits per color, or one gray value of up to 32 bits",
            remedy="Store each color as a gray image of its own",
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
