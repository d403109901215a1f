"""Colors of classes, distinct from gray and from each other, also for color-blind readers; and of error maps.

The table was chosen greedily: each color is the one farthest (CIE Lab) from those before it, in normal sight and under
the protan, deutan and tritan simulations of Machado, Oliveira and Fernandes (2009). A test holds the distances.
"""

from __future__ import annotations

import colorsys

import numpy as np

_TABLE = (
    "#ffb224", "#2f9bff", "#f0286e", "#dff08c", "#19f0e0", "#c24fa3", "#8a8a0f", "#7b5cff",
    "#ee8866", "#99eeaa", "#eeaaff", "#dd22cc", "#44bb99", "#008833", "#ddbb55", "#bbff55",
)  # fmt: skip

MISSED = "#ff6a5a"
"""Reference only, where the difference is drawn."""
EXTRA = "#35c9f5"
"""Prediction only."""
SWAPPED = "#ffe066"
"""Structure in both, of another class."""
HEAT = ("#000004", "#1f0c48", "#550f6d", "#88226a", "#ba3655", "#e35933", "#f98c0a", "#f9c932", "#fcffa4")
"""Stops of the scale of error maps, equally spaced from 0 to 1: black to pale yellow, of steadily increasing lightness
(after `inferno`)."""


def class_colors(count: int) -> tuple[str, ...]:
    """Colors (`#rrggbb`) of `count` classes, background not counted.

    The first n colors are the same for every count, so a class keeps its color. Beyond sixteen classes hues are
    spread by the golden ratio: distinct, but not necessarily so for color-blind readers.
    """
    return _TABLE[:count] + tuple(_generated(index) for index in range(len(_TABLE), count))


def rgb(color: str) -> tuple[int, int, int]:
    """`#rrggbb` -> (r, g, b) in 0..255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def heat(fraction: np.ndarray) -> np.ndarray:
    """Values of any shape, 0 (black) to 1 (palest), clipped -> (..., 3) uint8."""
    stops = np.array([rgb(color) for color in HEAT], dtype=float)
    places = np.linspace(0, len(stops) - 1, 256)
    table = np.stack([np.interp(places, np.arange(len(stops)), band) for band in stops.T], axis=1)  # (256, 3)
    index = np.clip(np.rint(np.nan_to_num(fraction) * 255), 0, 255).astype(np.uint8)
    colors: np.ndarray = table.round().astype(np.uint8)[index]
    return colors


def _generated(index: int) -> str:
    hue = index * 0.618034 % 1.0
    lightness = (0.55, 0.68, 0.80)[index % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
