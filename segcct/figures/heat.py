"""The colors of an error map: black, purple, orange, pale yellow, evenly rising in lightness (after `inferno`)."""

from __future__ import annotations

import numpy as np

HEAT = ("#000004", "#1f0c48", "#550f6d", "#88226a", "#ba3655", "#e35933", "#f98c0a", "#f9c932", "#fcffa4")
"""Stops of the scale, evenly spaced from 0 to 1."""


def heat(share: np.ndarray) -> np.ndarray:
    """Values of any shape, 0 (black) to 1 (palest), clipped -> (..., 3) uint8."""
    stops = np.array([[int(color[place : place + 2], 16) for place in (1, 3, 5)] for color in HEAT], dtype=float)
    table = np.stack([np.interp(np.linspace(0, 8, 256), np.arange(9), stops[:, band]) for band in range(3)], axis=1)
    index = np.clip(np.rint(np.nan_to_num(share) * 255), 0, 255).astype(np.uint8)
    colors: np.ndarray = table.round().astype(np.uint8)[index]
    return colors
