"""The square part of a slice that a training step sees."""

from __future__ import annotations

import numpy as np

from segcct.runtime import pad_to


def take_window(
    image: np.ndarray, label: np.ndarray, side: int, rng: np.random.Generator, *, wanted: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(C, h, w) and (h, w) -> (C, side, side) and (side, side).

    A larger slice is cropped at a random place; where it holds the `wanted` class, the window contains a pixel of that
    class, drawn uniformly. A smaller slice is padded with 0 equally on both sides (`pad_to`). A slice of this size is
    returned unchanged, without a random draw.
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
    rows, columns = slice(top, top + side), slice(left, left + side)
    return pad_to(image[:, rows, columns], side)[0], pad_to(label[rows, columns], side)[0]


def _start(length: int, side: int, anchor: int | None, rng: np.random.Generator) -> int:
    """First row or column of the window, uniform over the places that contain the anchor."""
    if length <= side:
        return 0
    low, high = (0, length - side) if anchor is None else (max(0, anchor - side + 1), min(anchor, length - side))
    return int(rng.integers(low, high + 1))
