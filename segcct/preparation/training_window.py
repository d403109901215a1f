"""The square part of a slice that a training step sees."""

from __future__ import annotations

import numpy as np


def take_window(
    image: np.ndarray,
    label: np.ndarray,
    side: int,
    rng: np.random.Generator,
    *,
    wanted: int | None = None,
    margin: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """(C, h, w) and (h, w) -> (C, S, S) and (S, S), S = side, or up to side + 2 margin where a slice is larger.

    A larger slice is cropped to `side` at a random place; where it holds the `wanted` class, the window contains a
    pixel of that class, drawn uniformly. A smaller slice is padded with 0 equally on both sides, as `pad_to` does. A
    slice of this size is returned unchanged, without a random draw. Around this lies a margin, 0 where the slice ends.
    """
    height, width = label.shape
    anchor: tuple[int, int] | None = None
    if wanted is not None and (height > side or width > side):
        places = np.flatnonzero(label == wanted)
        if len(places):
            row, column = divmod(int(places[rng.integers(len(places))]), width)
            anchor = row, column
    top = _start(height, side, anchor[0] if anchor else None, rng)
    left = _start(width, side, anchor[1] if anchor else None, rng)
    margin = min(margin, max(0, top, left, height - side - top, width - side - left))
    place = top - margin, left - margin, side + 2 * margin
    return _part(image, *place), _part(label, *place)


def _start(length: int, side: int, anchor: int | None, rng: np.random.Generator) -> int:
    """First row or column of the window, uniform over the places that contain the anchor; below 0 where the slice is
    shorter."""
    if length <= side:
        return -((side - length) // 2)
    low, high = (0, length - side) if anchor is None else (max(0, anchor - side + 1), min(anchor, length - side))
    return int(rng.integers(low, high + 1))


def _part(array: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """(..., h, w) -> (..., side, side) from that row and column on, with 0 outside the array."""
    height, width = array.shape[-2:]
    inside = array[..., max(0, top) : top + side, max(0, left) : left + side]
    around = [(max(0, -start), max(0, start + side - length)) for start, length in ((top, height), (left, width))]
    return np.pad(inside, [(0, 0)] * (array.ndim - 2) + around) if np.any(around) else inside
