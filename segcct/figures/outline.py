"""Borders of masks as polygons on a half-pixel lattice, drawn by Pillow in PNGs and as paths in HTML."""

from __future__ import annotations

import numpy as np


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed border lines of a mask, halfway between pixel centers in and out (marching squares).

    Args:
        mask: (H, W) bool.

    Returns:
        polygons (N, 2) int of (x, y) in half pixels from the picture's top left corner, without the closing point and
        without points on straight stretches; outer borders and holes alike.
    """
    from skimage.measure import find_contours

    if not mask.any():
        return []
    padded = np.pad(mask, 1).astype(np.float32)
    # +1 turns pixel centers into distances from the corner in half pixels; -2 takes the padding off.
    lines = [np.rint(line[:-1] * 2 + 1 - 2).astype(int)[:, ::-1] for line in find_contours(padded, 0.5)]
    return [_without_straight_points(line) for line in lines]


def svg_path(mask: np.ndarray) -> str:
    """The outlines as SVG path data in half pixels (`viewBox="0 0 2W 2H"`), to be filled by the even-odd rule."""
    parts = []
    for line in outlines(mask):
        steps = np.diff(line, axis=0)
        moves = "".join(f"{x}" + (f"{y}" if y < 0 else f" {y}") + " " for x, y in steps.tolist()).strip()
        parts.append(f"M{line[0, 0]} {line[0, 1]}l{moves}z")
    return "".join(parts)


def _without_straight_points(line: np.ndarray) -> np.ndarray:
    before, after = line - np.roll(line, 1, axis=0), np.roll(line, -1, axis=0) - line
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    corners: np.ndarray = line[turns]
    return corners
