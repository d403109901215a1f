"""The slice viewer of a page: stacks of pixels embedded once per slice and channel, masks as vector outlines on top.

Masks stay sharp at any size, can be switched off by class, and cost a few kilobytes where pixels would cost hundreds.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from segcct import figures
from segcct.images.volume import Volume

SMALLEST_PX, LARGEST_PX = 320, 640
"""Longer sides that embedded images are brought to at least, and at most."""


@dataclass(frozen=True)
class SliceChoice:
    """The slices of a case that a viewer shows, n of D, through its structures."""

    plane: figures.Plane
    indices: list[int]
    first: int
    """Index of the slice that is shown first."""
    reference: np.ndarray | None
    """(n, H, W) class indices."""
    prediction: np.ndarray
    depth: int

    @classmethod
    def of(cls, grid: Volume, reference: np.ndarray | None, prediction: np.ndarray, count: int) -> SliceChoice:
        """At most `count` slices of a case whose labels are (X, Y, Z) class indices, 0 background."""
        plane = figures.plane_of(grid.shape, grid.affine, grid.spacing_mm)
        prediction = plane.slices(prediction)
        reference = None if reference is None else plane.slices(reference)
        first = figures.best_slice(reference, prediction)
        labels = [prediction] if reference is None else [reference, prediction]
        if not any(label.any() for label in labels):
            labels = [np.ones_like(prediction)]  # without any structure, slices over the whole volume
        indices = figures.spread_slices(labels, count, include=first)
        chosen = None if reference is None else reference[indices]
        return cls(plane, indices, first, chosen, prediction[indices], len(prediction))

    @property
    def labels(self) -> list[np.ndarray]:
        """Reference and prediction, where there are both."""
        return [label for label in (self.reference, self.prediction) if label is not None]

    def pick(self, volume: np.ndarray) -> np.ndarray:
        """(X, Y, Z) -> (n, H, W); (X, Y, Z, 3) of a color image -> (n, H, W, 3)."""
        if volume.ndim == 4:
            return np.stack([self.pick(volume[..., band]) for band in range(3)], axis=-1)
        return self.plane.slices(volume)[self.indices]


@dataclass(frozen=True)
class Channel:
    """Stacks of pixels of one channel, (n, H, W) uint8 or (n, H, W, 3), and the words on how they are shown."""

    stacks: Mapping[str, np.ndarray]
    note: str


@dataclass(frozen=True)
class Layer:
    """One mask of one slice: the legend entry it belongs to and its outline in half pixels."""

    key: str
    path: str


@dataclass(frozen=True)
class Pane:
    """One image of a row: which stack it shows, and which masks on it."""

    title: str
    stack: str
    label: np.ndarray | None = None
    """(n, H, W) class indices, outlined."""
    differs_from: np.ndarray | None = None
    """With it, what is outlined is where `label` differs from this one."""
    style: Literal["", "dim", "thin"] = ""
    """Dim: the pixels recede behind the masks; thin: outlines without areas, as what lies below is the point."""


@dataclass(frozen=True)
class DrawnPane:
    """A pane whose masks are outlines."""

    title: str
    stack: str
    style: str
    layers: tuple[tuple[Layer, ...], ...]
    """Of each slice."""


@dataclass(frozen=True)
class Viewer:
    """Everything the template draws; no array is left in it."""

    key: str
    width: int
    height: int
    """Of the cropped slice, in pixels."""
    cropped: bool
    """The image is a part of the slice."""
    ratio: float
    """Width over height at true proportions."""
    view: str
    letters: figures.Letters | None
    """None where the geometry is not known."""
    scale_text: str
    scale_fraction: float
    """Length of the scale bar as a fraction of the image's width."""
    slices: tuple[int, ...]
    """Slice numbers shown, counted from 1."""
    depth: int
    start: int
    """Position in `slices` that is shown first."""
    channels: Mapping[str, str]
    """Name -> how it is shown."""
    images: Mapping[str, tuple[tuple[str, ...], ...]]
    """Stack -> data URI by channel, then by slice."""
    panes: tuple[DrawnPane, ...]


def build_viewer(
    key: str,
    choice: SliceChoice,
    channels: Mapping[str, Channel],
    panes: Sequence[Pane],
    *,
    quality: int = 82,
    largest_px: int = LARGEST_PX,
) -> Viewer:
    """A viewer of the chosen slices, cropped to the structures and their surroundings.

    Args:
        key: unique on the page, usable as an HTML id.
        choice: the slices.
        channels: name -> its pixels; the first stack of the first one decides on the crop.
        panes: from left to right.
        quality: of the embedded images.
        largest_px: their longer side at most.
    """
    stacks = [channel.stacks for channel in channels.values()]
    first = next(iter(stacks[0].values()))
    box = figures.focus_box(first.max(axis=-1) if first.ndim == 4 else first, choice.labels)
    height, width = (edge.stop - edge.start for edge in box)
    pixel_mm = choice.plane.pixel_mm or (1.0, 1.0)
    bar = figures.scale_bar(width * pixel_mm[1])
    return Viewer(
        key=key,
        width=width,
        height=height,
        cropped=(height, width) != choice.prediction.shape[1:],
        ratio=width * pixel_mm[1] / (height * pixel_mm[0]),
        view=choice.plane.name,
        letters=choice.plane.letters,
        scale_text=f"{bar:g} {'mm' if choice.plane.pixel_mm else 'px'}",
        scale_fraction=bar / (width * pixel_mm[1]),
        slices=tuple(index + 1 for index in choice.indices),
        depth=choice.depth,
        start=choice.indices.index(choice.first),
        channels={name: channel.note for name, channel in channels.items()},
        images={
            name: tuple(
                tuple(data_uri(image[box], quality=quality, largest_px=largest_px) for image in channel[name])
                for channel in stacks
            )
            for name in stacks[0]
        },
        panes=tuple(DrawnPane(p.title, p.stack, p.style, _layers(p, choice, box)) for p in panes),
    )


def data_uri(image: np.ndarray, *, quality: int = 82, largest_px: int = LARGEST_PX) -> str:
    """A windowed slice (H, W) uint8, or (H, W, 3), as an embedded WebP.

    Small slices are enlarged smoothly, so that all browsers show them alike; very large ones are reduced.
    """
    embedded = Image.fromarray(image)
    scale = float(np.clip(1.0, SMALLEST_PX / max(embedded.size), largest_px / max(embedded.size)))
    if scale != 1.0:
        size = (max(1, round(embedded.width * scale)), max(1, round(embedded.height * scale)))
        embedded = embedded.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    embedded.save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _layers(pane: Pane, choice: SliceChoice, box: tuple[slice, slice]) -> tuple[tuple[Layer, ...], ...]:
    if pane.label is None:
        return ((),) * len(choice.indices)
    drawn = []
    for place, label in enumerate(pane.label):
        if pane.differs_from is None:
            masks = {f"k{number}": label[box] == number for number in np.unique(label[label > 0])}
        else:
            differences = figures.difference(pane.differs_from[place][box], label[box])
            masks = {f"d-{name.split()[0]}": mask for name, mask in differences.items()}
        layers = (Layer(name, figures.svg_path(mask)) for name, mask in masks.items())
        drawn.append(tuple(layer for layer in layers if layer.path))
    return tuple(drawn)
