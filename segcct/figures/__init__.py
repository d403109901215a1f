"""Pictures of slices and masks: arrays, spacing and orientation in, PNG bytes (or parts of a page) out."""

from __future__ import annotations

from segcct.figures.choose import best_slice, focus_box, spread_slices
from segcct.figures.colors import EXTRA, HEAT, MISSED, SWAPPED, class_colors, heat
from segcct.figures.drawing import scale_bar
from segcct.figures.intensity_window import Window, fixed_window, window
from segcct.figures.outline import svg_path
from segcct.figures.panels import case_panel, difference
from segcct.figures.plane import Letters, Plane, plane_of

__all__ = [
    "EXTRA",
    "HEAT",
    "MISSED",
    "SWAPPED",
    "Letters",
    "Plane",
    "Window",
    "best_slice",
    "case_panel",
    "class_colors",
    "difference",
    "fixed_window",
    "focus_box",
    "heat",
    "plane_of",
    "scale_bar",
    "spread_slices",
    "svg_path",
    "window",
]
