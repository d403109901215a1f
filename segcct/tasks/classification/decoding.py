"""One image: from the bytes of a file to the square of 8-bit values that a network sees."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, ImageOps

from segcct.errors import DataError
from segcct.files.file_names import IMAGE_SUFFIXES
from segcct.images.raster import FORMATS, has_eight_bits, open_image, unreadable
from segcct.runtime import letterbox_size

DIGEST_BYTES = 16


def is_image(name: str) -> bool:
    """Whether the name ends as that of an image file."""
    return name.lower().endswith((*IMAGE_SUFFIXES, ".webp"))


def decode(content: bytes, file: str) -> np.ndarray:
    """The pixels of an image file: (H, W, 3) uint8 in color, (H, W) in gray; transparency is dropped.

    A camera's orientation tag is applied; of several pages the first is read.

    Raises:
        DataError: not an image, damaged, too large, or of more than 8 bits, whose display range is not known.
    """
    try:
        image = open_image(io.BytesIO(content), file, (*FORMATS, "WEBP"))
        if not has_eight_bits(image):
            raise DataError(
                "an image of more than 8 bits",
                file=file,
                found=f"mode {image.mode}",
                expected="gray or color values from 0 to 255",
                remedy="Convert it with the range of intensities a reader would look at",
            )
        image = ImageOps.exif_transpose(image)
        return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB"))
    except DataError:
        raise
    except Exception as error:  # a damaged image makes the reader fail in any way
        raise unreadable(error, file) from None


def fitted(pixels: np.ndarray, *, channels: str, size: int, fit: str) -> np.ndarray:
    """An image as (size, size, C) uint8, C 3 for rgb and 1 for gray; bicubic, averaged when it shrinks.

    Args:
        pixels: (H, W) or (H, W, 3) uint8.
        channels: rgb or gray (luminance).
        size: height and width in pixels.
        fit: resize, or pad: keep the proportions and fill with black on both sides.
    """
    image = Image.fromarray(pixels).convert("RGB" if channels == "rgb" else "L")
    if image.size != (size, size):
        rows, columns = letterbox_size(pixels.shape[:2], size) if fit == "pad" else (size, size)
        image = ImageOps.pad(image.resize((columns, rows), Image.Resampling.BICUBIC), (size, size))
    square = np.asarray(image)  # (S, S) or (S, S, 3)
    return square if square.ndim == 3 else square[..., None]


def pixel_digest(pixels: np.ndarray) -> bytes:
    """`DIGEST_BYTES` of an image as it was stored, before any resizing: copies share it, whatever the name of their
    file, and whether gray is stored as one channel or as three equal ones."""
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    content = str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
