"""What a layout of labelled pictures offers: a cheap first look at names and labels, then the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from segcct.config import PicturesSection
from segcct.config.layout_table import IMAGE_LAYOUTS


@dataclass(frozen=True)
class Labels:
    """Every picture of a dataset by name, in the order of the names."""

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    """Path below the root; within a file of many pictures, its name and the picture's number."""
    labels: np.ndarray
    """(N,) class numbers."""
    sides: tuple[str | None, ...]
    """`train`, `val` or `test` where the dataset itself says so."""
    files: tuple[str, ...]
    """The files all this was read from."""


Pixels = Callable[[], np.ndarray]
"""Decodes one picture: (H, W) or (H, W, 3) uint8. Raises `DataError` naming it."""


@dataclass(frozen=True)
class ImageLayout:
    """One way of storing labelled pictures."""

    name: str
    find: Callable[[PicturesSection], Labels]
    pixels: Callable[[PicturesSection, Labels], Iterator[tuple[str, Pixels]]]
    """Each picture once, in any order."""
    packed: bool = False
    """Pictures are records of larger files, not files of their own."""
    numbered: bool = False
    """The files hold numbers of classes and no names, which `data.class_names` gives."""


def get_image_layout(name: str) -> ImageLayout:
    """The layout of that name; `data.layout` is one."""
    layout: ImageLayout = IMAGE_LAYOUTS[name]
    return layout


def register_image_layout(layout: ImageLayout) -> None:
    """Add a layout to the table. Raises `ValueError` where another has its name."""
    IMAGE_LAYOUTS.register(layout.name, layout)
