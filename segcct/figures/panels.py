"""Whole figures as PNG: one overlay, image | reference | prediction | difference of a case, training pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from segcct.figures.colors import EXTRA, MISSED, SWAPPED, class_colors
from segcct.figures.drawing import draw_letters, draw_masks, draw_scale, draw_slice, picture_size
from segcct.figures.intensity_window import Window, window
from segcct.figures.plane import Letters
from segcct.figures.sheet import draw_sheet, encode

_DIFFERENCES = {"missed": MISSED, "extra": EXTRA, "other class": SWAPPED}


def overlay(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    colors: Sequence[str] | None = None,
    *,
    pixel_mm: tuple[float, float] | None = None,
    letters: Letters | None = None,
    shown: Window | None = None,
    title: str = "",
    size_px: int = 640,
    fill: float = 0.35,
) -> bytes:
    """One slice with its masks, letters, scale, window and legend, as PNG bytes.

    Args:
        image: (H, W) intensities, top row first; (H, W, 3) uint8 for color pictures.
        masks: name -> (H, W) bool, drawn in order.
        colors: one per mask; the class colors in order by default.
        pixel_mm: height and width of a pixel; None draws the scale in px.
        letters: orientation; None draws none.
        shown: intensity window; by default of this slice's percentiles.
        title: one line above.
        size_px: longer side of the picture.
        fill: opacity of the areas; 0 leaves the lines.
    """
    colors = class_colors(len(masks)) if colors is None else colors
    gray, note = _windowed(image, shown)
    picture = _picture(gray, masks, colors, pixel_mm, letters, size_px, fill=fill)
    legend = dict(zip(masks, colors, strict=True))
    sheet = draw_sheet([("", picture)], title, _note(note, letters, pixel_mm), legend)
    return encode(sheet, None if image.ndim == 3 else colors)


def case_panel(
    image: np.ndarray,
    reference: np.ndarray | None,
    prediction: np.ndarray,
    classes: Sequence[str],
    *,
    pixel_mm: tuple[float, float] | None = None,
    letters: Letters | None = None,
    shown: Window | None = None,
    title: str = "",
    scores: Mapping[str, float | None] | None = None,
    size_px: int = 560,
) -> bytes:
    """Image | reference | prediction | difference in one wide figure, as PNG bytes.

    Args:
        image: (H, W) intensities, top row first; (H, W, 3) uint8 for color pictures.
        reference: (H, W) class indices, 0 background; None leaves out reference and difference.
        prediction: the same.
        classes: names of the indices 1, 2, ... in order.
        scores: class -> Dice, written beside its name; None is written as "not defined".
        pixel_mm, letters, shown, title: as in `overlay`.
        size_px: longer side of each picture.
    """
    gray, note = _windowed(image, shown)
    colors = class_colors(len(classes))

    def picture(label: np.ndarray) -> Image.Image:
        return _picture(gray, masks_of(label, classes), colors, pixel_mm, letters, size_px)

    pictures = [("Image", _picture(gray, {}, (), pixel_mm, letters, size_px))]
    if reference is not None:
        pictures.append(("Reference", picture(reference)))
    pictures.append(("Prediction", picture(prediction)))
    if reference is not None:
        parts = difference(reference, prediction)
        tints = tuple(_DIFFERENCES.values())
        pictures.append(
            ("Difference", _picture(gray, parts, tints, pixel_mm, letters, size_px, fill=0.6, line_px=1, dim=0.7))
        )
    legend = {_scored(name, scores): color for name, color in zip(classes, colors, strict=True)}
    last_legend = _DIFFERENCES if reference is not None else {}
    sheet = draw_sheet(pictures, title, _note(note, letters, pixel_mm), legend, last_legend)
    return encode(sheet, None if image.ndim == 3 else (*colors, *last_legend.values()))


def training_panel(
    image: np.ndarray,
    reference: np.ndarray,
    prediction: np.ndarray,
    classes: Sequence[str],
    *,
    pixel_mm: tuple[float, float] | None = None,
    letters: Letters | None = None,
    title: str = "",
    scores: Mapping[str, float | None] | None = None,
) -> bytes:
    """`case_panel` of a network's slice (C, H, W): the first channel, small enough for every validation."""
    first = image[0] if image.ndim == 3 else image
    return case_panel(
        np.asarray(first, dtype=np.float32),
        reference,
        prediction,
        classes,
        pixel_mm=pixel_mm,
        letters=letters,
        title=title,
        scores=scores,
        size_px=320,
    )


def masks_of(label: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """(H, W) class indices -> mask per class, in order."""
    return {name: label == index for index, name in enumerate(classes, start=1)}


def difference(reference: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    """Where two label slices differ: `missed` (reference only), `extra` (prediction only), `other class`."""
    return {
        "missed": (reference != 0) & (prediction == 0),
        "extra": (reference == 0) & (prediction != 0),
        "other class": (reference != 0) & (prediction != 0) & (reference != prediction),
    }


def _windowed(image: np.ndarray, shown: Window | None) -> tuple[np.ndarray, str]:
    if image.ndim == 3:
        return image, "color picture, not windowed"
    shown = window(image) if shown is None else shown
    return shown.apply(image), shown.text


def _note(shown: str, letters: Letters | None, pixel_mm: tuple[float, float] | None) -> str:
    unknown = [name for name, value in (("orientation", letters), ("pixel size", pixel_mm)) if value is None]
    return shown + (f" · {' and '.join(unknown)} unknown" if unknown else "")


def _scored(name: str, scores: Mapping[str, float | None] | None) -> str:
    if scores is None or name not in scores:
        return name
    value = scores[name]
    return f"{name}  Dice {value:.2f}" if value is not None and np.isfinite(value) else f"{name}  Dice not defined"


def _picture(
    gray: np.ndarray,
    masks: Mapping[str, np.ndarray],
    colors: Sequence[str],
    pixel_mm: tuple[float, float] | None,
    letters: Letters | None,
    size_px: int,
    *,
    fill: float = 0.35,
    line_px: float = 1.8,
    dim: float = 1.0,
) -> Image.Image:
    height, width = gray.shape[:2]
    picture = draw_slice(gray, picture_size((height, width), pixel_mm, size_px), dim=dim)
    draw_masks(picture, masks, colors, fill=fill, line_px=line_px)
    text_px = max(11, size_px // 34)
    draw_letters(picture, letters, text_px)
    draw_scale(picture, width * (pixel_mm[1] if pixel_mm else 1.0), "mm" if pixel_mm else "px", text_px)
    return picture
