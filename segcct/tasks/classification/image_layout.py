"""How a dataset of labeled images is read: its layout, and the part of a data section that goes into a model card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segcct.config import ImagesSection
from segcct.config.layout_table import IMAGE_LAYOUTS
from segcct.config.settings import stored_section
from segcct.errors import CheckpointError, SegcctError
from segcct.model_card import CARD

_OF_A_TRAINING = {"root", "cache", "workers", "fold", "split"}
"""Keys that belong to one machine or one run, not to the model."""


@dataclass(frozen=True)
class ClassLabels:
    """Every image of a dataset by name, in the order of the names."""

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    """Path below the root; within a file of many images, its name and the image's number."""
    labels: np.ndarray
    """(N,) class numbers."""
    splits: tuple[str | None, ...]
    """`train`, `val` or `test` where the dataset itself says so."""
    files: tuple[str, ...]
    """The files all this was read from."""
    others: tuple[str, ...] = ()
    """Other files in class folders, which are not read."""

    @staticmethod
    def known_splits(splits: Sequence[str | None]) -> tuple[str | None, ...]:
        """`train` alone does not say which images are for testing: then no image has a split."""
        return (None,) * len(splits) if set(splits) <= {"train"} else tuple(splits)


Decoder = Callable[[], np.ndarray]
"""Decodes one image: (H, W) or (H, W, 3) uint8. Raises `DataError` naming it."""


@dataclass(frozen=True)
class ImageLayout:
    """One way of storing labeled images."""

    name: str
    find: Callable[[ImagesSection], ClassLabels]
    """Names and classes, without the pixels. Raises `DataError` naming the file that is missing or damaged."""
    pixels: Callable[[ImagesSection, ClassLabels], Iterator[tuple[str, Decoder]]]
    """Each image once, in any order."""
    packs: Callable[[str], bool] | None = None
    """Whether a file of that name, below the root, holds many images of the dataset, or their labels; None: every
    image is a file of its own."""
    numbered: bool = False
    """The files hold numbers of classes and no names, which `data.class_names` gives."""


def get_image_layout(name: str) -> ImageLayout:
    """The layout of that name; `data.layout` is one."""
    layout: ImageLayout = IMAGE_LAYOUTS[name]
    return layout


def register_image_layout(layout: ImageLayout) -> None:
    """Add a layout to the table. Raises `PluginError` where another has its name."""
    IMAGE_LAYOUTS.register(layout.name, layout)


def reading(data: ImagesSection) -> dict[str, Any]:
    """The part of a data section that says how images are read."""
    return data.model_dump(mode="json", exclude=_OF_A_TRAINING)


def card_section(data: ImagesSection, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """What a model card holds of a data section, with the normalization that was used."""
    return {**reading(data), "mean": list(mean), "std": list(std)}


def section_of(
    stored: Mapping[str, Any],
    root: Path,
    *,
    file: str | Path = CARD,
    error: type[SegcctError] = CheckpointError,
) -> ImagesSection:
    """The data section of images below `root`, from a model card or another `file`. Raises `error` where it cannot be
    used."""
    return stored_section(ImagesSection, {**stored, "root": root}, file=file, error=error)
