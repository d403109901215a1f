"""Pictures of slices and masks: arrays, spacing and orientation in, PNG bytes (or parts of a page) out."""

from __future__ import annotations

from segcct.figures.choose import best_slice, content_box, focus_box, spread_slices
from segcct.figures.colors import EXTRA, MISSED, SWAPPED, class_colors
from segcct.figures.drawing import scale_bar
from segcct.figures.intensity_window import Window, fixed_window, window
from segcct.figures.outline import outlines, svg_path
from segcct.figures.panels import case_panel, difference, masks_of, overlay, training_panel
from segcct.figures.plane import Letters, Plane, plane_of

__all__ = [
    "EXTRA",
    "MISSED",
    "SWAPPED",
    "Letters",
    "Plane",
    "Window",
    "best_slice",
    "case_panel",
    "class_colors",
    "content_box",
    "difference",
    "fixed_window",
    "focus_box",
    "masks_of",
    "outlines",
    "overlay",
    "plane_of",
    "scale_bar",
    "spread_slices",
    "svg_path",
    "training_panel",
    "window",
]
