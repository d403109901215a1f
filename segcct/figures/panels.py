"""A whole figure as PNG: image | reference | prediction | difference of one slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from PIL import Image

from segcct.figures.colors import EXTRA, MISSED, SWAPPED, class_colors
from segcct.figures.drawing import draw_letters, draw_masks, draw_scale, draw_slice, picture_size
from segcct.figures.intensity_window import Window, window
from segcct.figures.plane import Letters
from segcct.figures.sheet import draw_sheet, encode

_DIFFERENCES = {"missed": MISSED, "extra": EXTRA, "other class": SWAPPED}


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
        image: (H, W) intensities, top row first; (H, W, 3) uint8 for color images.
        reference: (H, W) class indices, 0 background; None leaves out reference and difference.
        prediction: the same.
        classes: names of the indices 1, 2, ... in order.
        pixel_mm: height and width of a pixel; None draws the scale in px.
        letters: orientation; None draws none.
        shown: intensity window; by default of this slice's percentiles.
        title: what stands above, in as many lines as it needs.
        scores: class -> Dice, written after its name; None is written as "not defined".
        size_px: longer side of each picture.
    """
    if image.ndim == 3:
        gray, note = image, "color image, not windowed"
    else:
        shown = window(image) if shown is None else shown
        gray, note = shown.apply(image), shown.text
    unknown = [name for name, value in (("orientation", letters), ("pixel size", pixel_mm)) if value is None]
    note += f" · {' and '.join(unknown)} unknown" if unknown else ""
    colors = class_colors(len(classes))
    draw = partial(_picture, gray, pixel_mm=pixel_mm, letters=letters, size_px=size_px)
    pictures = [("Image", draw({}, ())), ("Prediction", draw(_masks_of(prediction, classes), colors))]
    last_legend: dict[str, str] = {}
    if reference is not None:
        last_legend = _DIFFERENCES
        parts, tints = difference(reference, prediction), tuple(_DIFFERENCES.values())
        pictures.insert(1, ("Reference", draw(_masks_of(reference, classes), colors)))
        pictures.append(("Difference", draw(parts, tints, fill=0.6, line_px=1, dim=0.7)))
    legend = {_scored(name, scores): color for name, color in zip(classes, colors, strict=True)}
    sheet = draw_sheet(pictures, title, note, legend, last_legend)
    return encode(sheet, None if image.ndim == 3 else (*colors, *last_legend.values()))


def _masks_of(label: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """(H, W) class indices -> mask per class, in order."""
    return {name: label == index for index, name in enumerate(classes, start=1)}


def difference(reference: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    """Where two label slices differ: `missed` (reference only), `extra` (prediction only), `other class`."""
    return {
        "missed": (reference != 0) & (prediction == 0),
        "extra": (reference == 0) & (prediction != 0),
        "other class": (reference != 0) & (prediction != 0) & (reference != prediction),
    }


def _scored(name: str, scores: Mapping[str, float | None] | None) -> str:
    if scores is None or name not in scores:
        return name
    value = scores[name]
    return f"{name}  Dice {value:.2f}" if value is not None and np.isfinite(value) else f"{name}  Dice not defined"


def _picture(
    gray: np.ndarray,
    masks: Mapping[str, np.ndarray],
    colors: Sequence[str],
    *,
    pixel_mm: tuple[float, float] | None,
    letters: Letters | None,
    size_px: int,
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
