"""2-D image files (PNG, TIFF, GIF, JPEG, BMP), measured before their pixels are decoded; their pages as arrays.

Pillow opens any format it knows by its content, whatever the name says; among them are PostScript, which it hands to
an interpreter, and formats that no scan is stored in. Here only the formats that we name are opened.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from segcct.errors import CONVERTING_MASKS, SegcctError, VolumeError, short_reason
from segcct.images.size_limits import refuse_unreadable

FORMATS = ("PNG", "TIFF", "GIF", "JPEG", "BMP")
BANDS = ("red", "green", "blue")
"""Of an image in colors, in the order of its last axis."""
MOST_PIXELS = 89_478_485
"""Of one page: as many as Pillow opens without a warning, a quarter of a GiB in color."""
_MOST_ALL_PAGES = 2**28
"""Pixels of all pages together: 1024 pages of 512 x 512."""
_MOST_PAGES = 2048
_MOST_SCANS = 2**31
"""Pixels times scans of a progressive JPEG, each of which is a pass over the image."""
_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_CAMERA = ("JPEG", "MPO")
"""Pillow's names of JPEG files, the latter of several images."""
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339
_ORIENTATION, _MIRRORED, _TURNED = 274, (2, 3, 4), (5, 6, 7, 8)
"""The tag of TIFF and EXIF that says how to turn an image, its values that keep rows and columns, and those that swap
them."""
_DEEP_GRAY = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_MISREAD = {("L", 8, 2): np.int8, ("I", 32, 1): np.uint32}
"""Mode, bits and sample format of a TIFF -> the type of its values, where Pillow mistakes whether they are signed."""
_FACTORS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies stored values of 2 and 4 bits by, so that they reach 255; a mask's values are as stored."""


def mask_values(file: Path) -> np.ndarray:
    """(X, Y, Z) values of a mask as stored; where they have 1 bit, as shown: 1 is white.

    Raises:
        VolumeError: as `read_pages`, or a mask in colors, or of a single color with its region in its transparency.
    """
    pages = read_pages(file, palette=True)
    if pages.ndim == 4:
        if (pages != pages[..., :1]).any():
            raise VolumeError(
                "a mask in colors",
                file=file,
                expected="gray values or palette indices",
                remedy=f"Is it the image itself? Else give every color a value, by the lines in {CONVERTING_MASKS}",
            )
        pages = pages[..., 0]
    return pages.transpose(2, 1, 0)


def read_pages(file: Path, *, palette: bool = False) -> np.ndarray:
    """(Z, Y, X) of a gray image, (Z, Y, X, 3) of a color one; transparency is dropped.

    Args:
        file: the image.
        palette: give the indices of a palette, and gray values as they are stored.

    Raises:
        VolumeError: not an image, one that EXIF says to turn, or pages that differ.
    """
    try:
        with open_upright(file) as opened:
            of_gif = opened.format == "GIF"
            pages = [_page(frame, file, palette=palette) for frame in frames(opened, file)]
    except (SegcctError, MemoryError):
        raise
    except Exception as error:  # a damaged image makes its reader fail in any way
        raise unreadable(error, file) from error
    kinds = Counter(page.shape for page in pages)
    if len(kinds) > 1:
        found = "; ".join(f"{count} of {shape}" for shape, count in kinds.most_common(4))
        remedy = "Save it as TIFF: Pillow turns all frames of a GIF but the first into colors" if of_gif else None
        expected = "pages of one volume"
        raise VolumeError("pages differ in size or color", file=file, found=found, expected=expected, remedy=remedy)
    return np.stack(pages)


def open_image(source: Path | IO[bytes], file: str | Path, formats: Sequence[str] = FORMATS) -> Image.Image:
    """The image of a file, not decoded yet.

    Args:
        source: the file, or its content.
        file: its name, for messages.
        formats: Pillow's names of the formats that it may have.

    Raises:
        VolumeError: another format, damaged at its beginning, or too large.
    """
    if isinstance(source, Path):
        refuse_unreadable(source)
    # What Pillow warns of in damaged files is an error or does not matter, and its warnings do not name the file.
    for category in (UserWarning, Image.DecompressionBombWarning):
        warnings.filterwarnings("ignore", category=category, module=r"PIL\.")
    try:
        image = Image.open(source, formats=list(formats))
    except MemoryError:
        raise
    except UnidentifiedImageError:
        found, expected = "no image in a known format", ", ".join(formats)
        raise VolumeError("cannot be read as an image", file=file, found=found, expected=expected) from None
    except Exception as error:  # a damaged file makes its reader fail in any way
        raise unreadable(error, file) from error
    try:
        check_page(image, file)
        _check_scans(image, source, file)
    except BaseException:
        image.close()
        raise
    return image


def open_upright(file: Path) -> Image.Image:
    """As `open_image`, for pixels that are used as they are stored, with a mask on the same pixels.

    Raises:
        VolumeError: as `open_image`, or EXIF says that the image is to be turned. Programs that draw masks may have
            done so or not, and a mask that is written holds no such tag.
    """
    image = open_image(file, file)
    orientation = 1 if image.format == "TIFF" else _orientation(image)
    if orientation in _MIRRORED + _TURNED:
        image.close()
        raise VolumeError(
            "a camera's orientation tag says that the image is to be turned",
            file=file,
            found=f"EXIF orientation {orientation}",
            expected="pixels stored upright",
            remedy="Save it upright, without the tag, as by mogrify -auto-orient, and look whether its mask still fits",
        )
    return image


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation of an image that is not decoded yet; 1 (as stored) where it is absent, or so damaged that no
    viewer follows it."""
    try:
        return Image.Image.getexif(image).get(_ORIENTATION, 1)  # that of PNG would decode the image
    except Exception:  # a damaged tag makes its reader fail in any way
        return 1


def frames(image: Image.Image, file: str | Path) -> Iterator[Image.Image]:
    """The pages or frames of an image one after the other; the first of a camera's JPEG, whose others are previews or
    other views. Raises `VolumeError` where they are too many."""
    if image.format in _CAMERA:
        yield image
        return
    pixels = 0
    # The number of pages of a TIFF is not known before all of them are read.
    pages = 1 if image.format == "TIFF" else getattr(image, "n_frames", 1)
    _refuse_many(pages, pages * image.size[0] * image.size[1], file)
    for page, frame in enumerate(ImageSequence.Iterator(image), start=1):
        check_page(frame, file)
        pixels += frame.size[0] * frame.size[1]
        _refuse_many(page, pixels, file)
        yield frame


def _refuse_many(pages: int, pixels: int, file: str | Path) -> None:
    if pages > _MOST_PAGES or pixels > _MOST_ALL_PAGES:
        raise VolumeError(
            "the pages of the image are too many",
            file=file,
            expected=f"at most {_MOST_PAGES:,} pages with {_MOST_ALL_PAGES:,} pixels in all",
            remedy="Cut it into parts",
        )


def check_page(image: Image.Image, file: str | Path) -> None:
    """Check a page by its header, before any pixel is decoded.

    Raises:
        VolumeError: too large, or a TIFF whose orientation swaps rows and columns, which some versions of Pillow get
            wrong.
    """
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise VolumeError(
            "the image is too large",
            file=file,
            found=f"{width} x {height} pixels",
            expected=f"at most {MOST_PIXELS:,} pixels",
            remedy="Store it smaller, or cut it into parts",
        )
    orientation = image.tag_v2.get(_ORIENTATION) if image.format == "TIFF" else None  # type: ignore[attr-defined]
    if orientation in _TURNED:
        raise VolumeError(
            "the image must be rotated by its orientation tag, which is not done reliably",
            file=file,
            found=f"orientation {orientation}",
            expected="rows and columns as stored",
            remedy="Save it upright, without the tag",
        )


def has_eight_bits(image: Image.Image) -> bool:
    """Whether every sample of an image that is not decoded yet has at most 8 bits; of deeper color, Pillow keeps
    only the high byte."""
    if image.mode not in _EIGHT_BITS:
        return False
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) <= 8)
    return not any(";16" in mode and not mode.startswith("BGR") for mode in raw_modes(image))  # BGR;16: 5, 6, 5 bits


def raw_modes(image: Image.Image) -> list[str]:
    """How the samples are stored, in Pillow's words, such as `L;4` or `RGB;16B`."""
    arguments = [tile[3] for tile in getattr(image, "tile", ())]
    firsts = [entry[0] if isinstance(entry, tuple) and entry else entry for entry in arguments]
    return [entry for entry in firsts if isinstance(entry, str)]


def unreadable(error: Exception, file: str | Path) -> VolumeError:
    """The error for an image whose reader failed."""
    found = short_reason(f"{type(error).__name__}: {error}")
    return VolumeError("cannot be read as an image", file=file, found=found, remedy="Copy or export it again")


def _page(frame: Image.Image, file: Path, *, palette: bool) -> np.ndarray:
    """(Y, X) or (Y, X, 3) of one page."""
    if frame.mode not in _DEEP_GRAY and not has_eight_bits(frame):
        raise VolumeError(
            "an image in colors of more than 8 bits",
            file=file,
            expected="8 bits per color, or one gray value of up to 32 bits",
            remedy="Store each color as a gray image of its own",
        )
    if palette and frame.mode.endswith(("A", "a")):
        _refuse_transparent_region(np.asarray(frame), file)
    if frame.mode == "1":
        return np.asarray(frame).astype(np.uint8)  # 0 and 1
    if frame.mode == "P" and palette:
        return np.asarray(frame)
    if frame.mode in ("LA", "La"):
        return np.asarray(frame)[..., 0]
    if frame.mode == "L" or frame.mode in _DEEP_GRAY:
        return _gray(frame, as_stored=palette)
    return np.asarray(frame.convert("RGB"))


def _gray(frame: Image.Image, *, as_stored: bool) -> np.ndarray:
    """(Y, X) of a gray page: its values as they are shown, or as they are stored."""
    raw = next(iter(raw_modes(frame)), "")  # which is gone once the pixels are decoded
    values = np.asarray(frame)
    if frame.format == "TIFF":
        tags = frame.tag_v2  # type: ignore[attr-defined]
        if kind := _MISREAD.get((frame.mode, *tags.get(_BITS_PER_SAMPLE, (1,)), *tags.get(_SAMPLE_FORMAT, (1,)))):
            return values.view(kind)
    if frame.mode != "L" or not as_stored:
        return values
    # A TIFF may say that 0 is white, as those of ImageJ's inverting tables do; Pillow then inverts what is stored.
    inverted = "I" in raw.partition(";")[2]
    return (255 - values if inverted else values) // _FACTORS.get(raw[:3], 1)


def _refuse_transparent_region(pixels: np.ndarray, file: Path) -> None:
    """Raises `VolumeError` for a mask (Y, X, bands and alpha) of one color, whose region shows in its transparency."""
    differ = (pixels != pixels[:1, :1]).any(axis=(0, 1))  # by band
    if differ[-1] and not differ[:-1].any():
        raise VolumeError(
            "a mask whose region is in its transparency",
            file=file,
            found="one color everywhere, and an alpha channel that differs",
            expected="gray values or palette indices",
            remedy="Store the alpha channel as the mask, with one value per class",
        )


def _check_scans(image: Image.Image, source: Path | IO[bytes], file: str | Path) -> None:
    if image.format not in _CAMERA:
        return
    if isinstance(source, Path):
        content = source.read_bytes()
    else:
        position = source.tell()
        source.seek(0)
        content = source.read()
        source.seek(position)
    scans = content.count(b"\xff\xda")
    if image.size[0] * image.size[1] * scans > _MOST_SCANS:
        raise VolumeError(
            "the image has too many scans",
            file=file,
            found=f"{scans} of {image.size[0]} x {image.size[1]} pixels",
            remedy="Store it as a baseline JPEG or as PNG",
        )
