"""Drawing on Pillow images: one slice with masks, letters and scale, and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import distribution

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segcct.figures.colors import rgb
from segcct.figures.outline import outlines
from segcct.figures.plane import Letters

BACKGROUND = (11, 13, 17)
INK = (236, 239, 244)
MUTED = (150, 158, 171)
_SMOOTH = 3
"""Masks are drawn this many times larger and averaged down."""


@lru_cache(maxsize=32)
def font(size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, from the copy inside matplotlib: the same letters on every machine.

    matplotlib is not imported: in a process that a notebook starts, MPLBACKEND may name a backend that is not there.
    """
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    file = distribution("matplotlib").locate_file(f"matplotlib/mpl-data/fonts/ttf/{name}")
    return ImageFont.truetype(str(file), size_px)


def picture_size(shape: tuple[int, int], pixel_mm: tuple[float, float] | None, longest_px: int) -> tuple[int, int]:
    """(width, height) in pixels of a slice of (H, W) shape at its true proportions, the longer side `longest_px`."""
    height_mm, width_mm = pixel_mm or (1.0, 1.0)
    height, width = shape[0] * height_mm, shape[1] * width_mm
    scale = longest_px / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def draw_slice(image: np.ndarray, size: tuple[int, int], *, dim: float = 1.0) -> Image.Image:
    """A windowed slice (H, W) uint8, or (H, W, 3) for color images, as an RGB picture of `size`."""
    picture = Image.fromarray(image).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    return picture if dim == 1.0 else picture.point(lambda value: round(value * dim))


def draw_masks(
    picture: Image.Image,
    masks: Mapping[str, np.ndarray],
    colors: Sequence[str],
    *,
    fill: float,
    line_px: float,
) -> None:
    """Each mask (H, W) as a translucent area and a line on a thin dark edge, seen on light and dark tissue alike."""
    large = (picture.width * _SMOOTH, picture.height * _SMOOTH)
    for mask, color in zip(masks.values(), colors, strict=True):
        if not mask.any():
            continue
        area = Image.fromarray(mask.astype(np.uint8) * 255).resize(large, Image.Resampling.BILINEAR)
        area = area.point(lambda value: 255 if value > 127 else 0).reduce(_SMOOTH)
        _blend(picture, area, rgb(color), fill)
        _blend(picture, _lines(mask, large, line_px + 1.4), (0, 0, 0), 0.45)
        _blend(picture, _lines(mask, large, line_px), rgb(color), 1.0)


def draw_letters(picture: Image.Image, letters: Letters | None, size_px: int) -> None:
    """Orientation letters in the middle of the four edges; nothing where the orientation is unknown."""
    if letters is None:
        return
    width, height = picture.size
    gap = size_px * 0.45
    for text, place, anchor in (
        (letters.left, (gap, height / 2), "lm"),
        (letters.right, (width - gap, height / 2), "rm"),
        (letters.top, (width / 2, gap), "mt"),
        (letters.bottom, (width / 2, height - gap), "mb"),
    ):
        _text(picture, place, text, size_px, anchor, bold=True)


def scale_bar(width_units: float) -> float:
    """Length of a scale bar for a picture that wide: 1, 2 or 5 times a power of ten, at most a third of the width."""
    limit = width_units / 3 * (1 + 1e-9)  # 0.3 / 3 is a little below 0.1
    power = 10.0 ** np.floor(np.log10(limit))
    return float(max(step * power for step in (1, 2, 5) if step * power <= limit))


def draw_scale(picture: Image.Image, width_units: float, unit: str, size_px: int) -> None:
    """A bar of a round length in the lower left corner, named in `unit` (mm, or px without a spacing)."""
    length = scale_bar(width_units)
    bar_px = length / width_units * picture.width
    left, bottom = size_px * 0.8, picture.height - size_px * 0.8
    thick = max(2, size_px // 6)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left - 1, bottom - thick - 1, left + bar_px + 1, bottom + 1), fill=(0, 0, 0))
    draw.rectangle((left, bottom - thick, left + bar_px, bottom), fill=INK)
    _text(picture, (left, bottom - thick - size_px * 0.3), f"{length:g} {unit}", size_px, "lb")


def _text(
    picture: Image.Image, place: tuple[float, float], text: str, size_px: int, anchor: str, *, bold: bool = False
) -> None:
    ImageDraw.Draw(picture).text(
        place,
        text,
        font=font(size_px, bold=bold),
        fill=INK,
        anchor=anchor,
        stroke_width=max(1, size_px // 9),
        stroke_fill=(0, 0, 0),
    )


def _lines(mask: np.ndarray, size: tuple[int, int], width_px: float) -> Image.Image:
    layer = Image.new("L", size)
    draw = ImageDraw.Draw(layer)
    step = np.asarray(size) / (2 * mask.shape[1], 2 * mask.shape[0])  # half pixels -> picture
    for line in outlines(mask):
        points = np.vstack([line, line[:2]]) * step
        draw.line([tuple(point) for point in points], fill=255, width=round(width_px * _SMOOTH), joint="curve")
    return layer.reduce(_SMOOTH)


def _blend(picture: Image.Image, alpha: Image.Image, color: tuple[int, int, int], strength: float) -> None:
    picture.paste(Image.new("RGB", picture.size, color), mask=alpha.point(lambda value: round(value * strength)))
