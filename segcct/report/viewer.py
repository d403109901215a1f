"""The slice viewer of a page: pixels embedded once per slice and channel, masks as vector outlines on top.

Masks stay sharp at any size, can be switched off by class, and cost a few kilobytes where pixels would cost hundreds.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segcct import figures

SMALLEST_PX, _LARGEST_PX = 320, 640
"""Longer sides that embedded pictures are brought to at least, and at most."""


@dataclass(frozen=True)
class Layer:
    """One mask of one slice: the legend entry it belongs to and its outline in half pixels."""

    key: str
    path: str


@dataclass(frozen=True)
class Pane:
    """One picture of a row, such as `Reference`; layers per slice, in the viewer's slice order."""

    title: str
    layers: tuple[tuple[Layer, ...], ...]
    dim: bool = False


@dataclass(frozen=True)
class Viewer:
    """Everything the template draws; no array is left in it."""

    key: str
    width: int
    height: int
    """Of the cropped slice, in pixels."""
    cropped: bool
    """The picture is a part of the slice."""
    ratio: float
    """Width over height at true proportions."""
    view: str
    letters: figures.Letters | None
    scale_text: str
    scale_share: float
    """Length of the scale bar as a share of the picture's width."""
    slices: tuple[int, ...]
    """Slice numbers shown, counted from 1."""
    depth: int
    start: int
    """Position in `slices` that is shown first."""
    channels: tuple[str, ...]
    windows: tuple[str, ...]
    images: tuple[tuple[str, ...], ...]
    """Data URI by channel, then by slice."""
    panes: tuple[Pane, ...]

    @property
    def known_geometry(self) -> bool:
        return self.letters is not None


def build_viewer(
    key: str,
    channels: Mapping[str, np.ndarray],
    reference: np.ndarray | None,
    prediction: np.ndarray,
    plane: figures.Plane,
    classes: Sequence[str],
    *,
    count: int,
    shown: figures.Window | None = None,
) -> Viewer:
    """A viewer of up to `count` slices through the structures of a case.

    Args:
        key: unique on the page, usable as an HTML id.
        channels: name -> (X, Y, Z) intensities, or (X, Y, Z, 3) uint8 of a colour picture.
        reference: (X, Y, Z) class indices, or None.
        prediction: the same.
        plane: how the volume is laid on the page.
        classes: names of the indices 1, 2, ...
        shown: window of every channel; by default percentiles of each.
    """
    windows, stacks = {}, {}
    for name, image in channels.items():
        windows[name], stacks[name] = _windowed(image, plane, shown)
    labels = {
        title: plane.slices(label)
        for title, label in (("Reference", reference), ("Prediction", prediction))
        if label is not None
    }
    first = figures.best_slice(labels.get("Reference"), labels["Prediction"])
    chosen = figures.spread_slices(labels.values(), count, include=first)
    grey = next(iter(stacks.values()))[chosen]
    box = figures.focus_box(grey.max(axis=-1) if grey.ndim == 4 else grey, [label[chosen] for label in labels.values()])
    height, width = (edge.stop - edge.start for edge in box)
    parts = {title: [label[index][box] for index in chosen] for title, label in labels.items()}
    pixel_mm = plane.pixel_mm or (1.0, 1.0)
    bar = figures.scale_bar(width * pixel_mm[1])
    return Viewer(
        key=key,
        width=width,
        height=height,
        cropped=(height, width) != labels["Prediction"].shape[1:],
        ratio=width * pixel_mm[1] / (height * pixel_mm[0]),
        view=plane.name,
        letters=plane.letters,
        scale_text=f"{bar:g} {'mm' if plane.pixel_mm else 'px'}",
        scale_share=bar / (width * pixel_mm[1]),
        slices=tuple(index + 1 for index in chosen),
        depth=next(iter(stacks.values())).shape[0],
        start=chosen.index(first),
        channels=tuple(channels),
        windows=tuple(windows.values()),
        images=tuple(tuple(data_uri(stack[index][box]) for index in chosen) for stack in stacks.values()),
        panes=_panes(parts, classes),
    )


def data_uri(picture: np.ndarray, *, quality: int = 82, largest_px: int = _LARGEST_PX) -> str:
    """A windowed slice (H, W) uint8, or (H, W, 3), as an embedded WebP.

    Small slices are enlarged smoothly, so that browsers of every make show them alike; very large ones are reduced.
    """
    image = Image.fromarray(picture)
    scale = float(np.clip(1.0, SMALLEST_PX / max(image.size), largest_px / max(image.size)))
    if scale != 1.0:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _windowed(image: np.ndarray, plane: figures.Plane, shown: figures.Window | None) -> tuple[str, np.ndarray]:
    """The window in words, and slices (D, H, W) uint8, or (D, H, W, 3) of a colour picture."""
    if image.ndim == 4:
        bands = [plane.slices(image[..., band]) for band in range(3)]
        return "as stored, not windowed", np.stack(bands, axis=-1)
    shown = figures.window(image) if shown is None else shown
    return shown.text, shown.apply(plane.slices(image))


def _panes(shown: Mapping[str, Sequence[np.ndarray]], classes: Sequence[str]) -> tuple[Pane, ...]:
    count = len(shown["Prediction"])
    panes = [Pane("Image", ((),) * count)]
    for title, labels in shown.items():
        panes.append(Pane(title, tuple(_class_layers(label, len(classes)) for label in labels)))
    if "Reference" in shown:
        pairs = zip(shown["Reference"], shown["Prediction"], strict=True)
        panes.append(Pane("Difference", tuple(_difference_layers(*pair) for pair in pairs), dim=True))
    return tuple(panes)


def _class_layers(label: np.ndarray, count: int) -> tuple[Layer, ...]:
    layers = (Layer(f"k{index}", figures.svg_path(label == index)) for index in range(1, count + 1))
    return tuple(layer for layer in layers if layer.path)


def _difference_layers(reference: np.ndarray, prediction: np.ndarray) -> tuple[Layer, ...]:
    masks = figures.difference(reference, prediction)
    layers = (Layer(f"d-{name.split()[0]}", figures.svg_path(mask)) for name, mask in masks.items())
    return tuple(layer for layer in layers if layer.path)
