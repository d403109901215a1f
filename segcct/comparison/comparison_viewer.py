"""One case of the comparison as a row of pictures: original, reference, prediction, reconstruction, error map.

Three stacks of pixels are embedded per channel (original, reconstruction, error); masks are vector outlines on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segcct import figures
from segcct.comparison.cases import Channel, Compared
from segcct.figures.heat import heat
from segcct.report.viewer import SMALLEST_PX, Layer, data_uri

FULL_ERROR = 0.4
"""Share of the window's width that is the palest colour of an error map; the same for every case of a page."""
ORIGINAL, MADE, ERROR = "o", "r", "e"
"""Stacks of pixels, as the page's ids name them."""
_WINDOW_VOXELS = 1e6
"""About as many voxels are enough for the percentiles of a window."""
_QUALITY = 76
"""Of the pictures, each of which is as small as the viewer takes them: a page holds three stacks per channel."""


@dataclass(frozen=True)
class Pane:
    """One picture of the row; layers per slice, in the row's slice order."""

    title: str
    stack: str
    layers: tuple[tuple[Layer, ...], ...]
    thin: bool = False
    """Outlines without areas: what lies below is the point."""


@dataclass(frozen=True)
class Row:
    """Everything the template draws of one case; no array is left in it."""

    key: str
    width: int
    height: int
    cropped: bool
    ratio: float
    view: str
    letters: figures.Letters | None
    scale_text: str
    scale_share: float
    slices: tuple[int, ...]
    """Slice numbers shown, counted from 1."""
    depth: int
    start: int
    channels: tuple[str, ...]
    windows: tuple[str, ...]
    images: Mapping[str, tuple[tuple[str, ...], ...]]
    """Stack -> data URI by channel, then by slice."""
    panes: tuple[Pane, ...]


def build_row(key: str, compared: Compared, *, count: int) -> Row:
    """The row of a case, of up to `count` slices through its structures.

    Args:
        key: unique on the page, usable as an HTML id.
        compared: the case.
    """
    grid = compared.grid
    plane = figures.plane_of(grid.shape, grid.affine, grid.spacing_mm)
    prediction = plane.slices(compared.prediction)
    reference = None if compared.reference is None else plane.slices(compared.reference)
    labels = [label for label in (reference, prediction) if label is not None]
    first = figures.best_slice(reference, prediction)
    chosen = figures.spread_slices(labels, count, include=first)
    if not any(label.any() for label in labels):
        chosen = _evenly(len(prediction), count, first)
    stacks = [_stacks(channel, plane, chosen) for channel in compared.channels.values()]
    box = figures.focus_box(stacks[0].original, [label[chosen] for label in labels])
    height, width = (edge.stop - edge.start for edge in box)
    pixel_mm = plane.pixel_mm or (1.0, 1.0)
    bar = figures.scale_bar(width * pixel_mm[1])
    return Row(
        key=key,
        width=width,
        height=height,
        cropped=(height, width) != prediction.shape[1:],
        ratio=width * pixel_mm[1] / (height * pixel_mm[0]),
        view=plane.name,
        letters=plane.letters,
        scale_text=f"{bar:g} {'mm' if plane.pixel_mm else 'px'}",
        scale_share=bar / (width * pixel_mm[1]),
        slices=tuple(index + 1 for index in chosen),
        depth=len(prediction),
        start=chosen.index(first),
        channels=tuple(compared.channels),
        windows=tuple(stack.window for stack in stacks),
        images={
            name: tuple(
                tuple(data_uri(picture[box], quality=_QUALITY, largest_px=SMALLEST_PX) for picture in stack.of(name))
                for stack in stacks
            )
            for name in (ORIGINAL, MADE, ERROR)
        },
        panes=_panes([label[chosen][(slice(None), *box)] for label in labels], len(compared.figures["classes"])),
    )


@dataclass(frozen=True)
class _Stack:
    """The chosen slices of one channel: (n, H, W) uint8, and (n, H, W, 3) for the error."""

    original: np.ndarray
    made: np.ndarray
    error: np.ndarray
    window: str

    def of(self, name: str) -> np.ndarray:
        return {ORIGINAL: self.original, MADE: self.made, ERROR: self.error}[name]


def _stacks(channel: Channel, plane: figures.Plane, chosen: Sequence[int]) -> _Stack:
    """Original and reconstruction under one window, that of the original."""
    step = max(1, round((channel.original.size / _WINDOW_VOXELS) ** (1 / 3)))
    shown = figures.window(channel.original[::step, ::step, ::step])
    original, made = (plane.slices(volume)[chosen] for volume in (channel.original, channel.reconstruction))
    error = np.abs(original - made) / (shown.high - shown.low) / FULL_ERROR
    return _Stack(shown.apply(original), shown.apply(made), heat(error), shown.text)


def _panes(labels: Sequence[np.ndarray], classes: int) -> tuple[Pane, ...]:
    """`labels`: reference (where there is one) and prediction, (n, h, w) each."""
    layers = [tuple(_layers(plane, classes) for plane in label) for label in labels]
    plain: tuple[tuple[Layer, ...], ...] = ((),) * len(layers[-1])
    return (
        Pane("Original", ORIGINAL, plain),
        *((Pane("Reference", ORIGINAL, layers[0]),) if len(labels) > 1 else ()),
        Pane("Predicted mask", ORIGINAL, layers[-1]),
        Pane("Reconstruction", MADE, plain),
        Pane("Error map", ERROR, layers[-1], thin=True),
    )


def _layers(label: np.ndarray, classes: int) -> tuple[Layer, ...]:
    layers = (Layer(f"k{number}", figures.svg_path(label == number)) for number in range(1, classes + 1))
    return tuple(layer for layer in layers if layer.path)


def _evenly(depth: int, count: int, include: int) -> list[int]:
    """Slices over the whole volume, for a case without any structure."""
    spread = sorted(set(np.rint(np.linspace(0, depth - 1, min(count, depth))).astype(int).tolist()))
    spread[int(np.argmin([abs(index - include) for index in spread]))] = include
    return spread
