"""One picture: from the bytes of a file to the square of 8-bit values that a network sees."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from segcct.errors import DataError
from segcct.files.file_names import IMAGE_SUFFIXES
from segcct.images.raster import FORMATS, has_eight_bits, open_image, unreadable

SUFFIXES = (*IMAGE_SUFFIXES, ".webp")
_FORMATS = (*FORMATS, "WEBP")


def decode(content: bytes, file: str) -> np.ndarray:
    """The pixels of a picture file: (H, W, 3) uint8 in colour, (H, W) in grey; transparency is dropped.

    A camera's note of how the picture was held is applied; of several pages the first is read.

    Raises:
        DataError: no picture, damaged, too large, or of more than 8 bits, whose display range nobody has named.
    """
    try:
        stored = open_image(io.BytesIO(content), file, _FORMATS)
        _check_depth(stored, file)
        picture = ImageOps.exif_transpose(stored)
        grey = picture.mode in ("1", "L", "LA", "La")
        return np.asarray(picture.convert("L" if grey else "RGB"))
    except DataError:
        raise
    except Exception as error:  # a damaged picture makes the reader fail in any way
        raise unreadable(error, file) from None


def _check_depth(picture: Image.Image, file: str) -> None:
    if not has_eight_bits(picture):
        raise DataError(
            "a picture of more than 8 bits",
            file=file,
            found=f"mode {picture.mode}",
            expected="gray or color values from 0 to 255",
            remedy="Convert it with the range of intensities a reader would look at",
        )


def fitted(pixels: np.ndarray, *, channels: str, size: int, fit: str) -> np.ndarray:
    """A picture as (size, size, C) uint8, C 3 for rgb and 1 for grey; bicubic, averaged when it shrinks.

    Args:
        pixels: (H, W) or (H, W, 3) uint8.
        channels: rgb or grey (luminance).
        size: side in pixels.
        fit: resize, or pad: keep the proportions and fill with black on both sides.
    """
    picture = Image.fromarray(pixels).convert("RGB" if channels == "rgb" else "L")
    if picture.size != (size, size):
        if fit == "pad":
            picture = ImageOps.pad(picture, (size, size), Image.Resampling.BICUBIC)
        else:
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    square = np.asarray(picture)  # (S, S) or (S, S, 3)
    return square if square.ndim == 3 else square[..., None]
