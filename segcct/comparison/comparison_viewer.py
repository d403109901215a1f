"""One case of the comparison in the slice viewer: original, reference, prediction, reconstruction, error map."""

from __future__ import annotations

import numpy as np

from segcct import figures
from segcct.comparison import cases
from segcct.figures.heat import heat
from segcct.report.viewer import SMALLEST_PX, Channel, Pane, SliceChoice, Viewer, build_viewer

FULL_ERROR = 0.4
"""Fraction of the window's width that is the palest color of an error map; the same for every case of a page."""
_WINDOW_VOXELS = 1e6
"""About as many voxels are enough for the percentiles of a window."""
_QUALITY = 76
"""Of the embedded images, each as small as the viewer takes them: a page holds three stacks per channel."""


def case_viewer(key: str, compared: cases.Compared, *, count: int) -> Viewer:
    """The viewer of a case, of up to `count` slices through its structures.

    Args:
        key: unique on the page, usable as an HTML id.
        compared: the case.
    """
    choice = SliceChoice.of(compared.grid, compared.reference, compared.prediction, count)
    panes = [
        Pane("Original", "original"),
        Pane("Predicted mask", "original", choice.prediction),
        Pane("Reconstruction", "reconstruction"),
        Pane("Error map", "error", choice.prediction, style="thin"),
    ]
    if choice.reference is not None:
        panes.insert(1, Pane("Reference", "original", choice.reference))
    channels = {name: _channel(channel, choice) for name, channel in compared.channels.items()}
    return build_viewer(key, choice, channels, panes, quality=_QUALITY, largest_px=SMALLEST_PX)


def _channel(channel: cases.Channel, choice: SliceChoice) -> Channel:
    """Original and reconstruction under one window, that of the original, and their difference as colors."""
    step = max(1, round((channel.original.size / _WINDOW_VOXELS) ** (1 / 3)))
    window = figures.window(channel.original[::step, ::step, ::step])
    original, reconstruction = choice.pick(channel.original), choice.pick(channel.reconstruction)
    error = heat(np.abs(original - reconstruction) / (window.high - window.low) / FULL_ERROR)
    stacks = {"original": window.apply(original), "reconstruction": window.apply(reconstruction), "error": error}
    return Channel(stacks, f", normalized to 0..1: {window.text}, the same for original and reconstruction")
