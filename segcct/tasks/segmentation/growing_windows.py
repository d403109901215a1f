"""Windows of training slices that grow during training (`train.windows`), for speed: a structure of half a slice's
side is learned from windows at a third of the cost; what lies far from it, from whole slices at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

JITTER = 0.25
"""Largest distance of a window's center from what it is placed around, as a fraction of its side."""


def window_side(windows: Mapping[int, float], progress: float) -> int | None:
    """Side of the windows at `progress` in [0, 1] of training; None for whole slices.

    Args:
        windows: side -> fraction of training until which it is used.
        progress: the fraction that is done.
    """
    return next((side for side, until in sorted(windows.items()) if progress < until), None)


def take_windows(batch: Mapping[str, Any], side: int, centered_fraction: float) -> dict[str, Any]:
    """A square part of each slice, the same of its image, label (B, H, W) and maps; other values stay.

    A fraction `centered_fraction` of the slices with a structure is cropped around the box of their structures; where
    the box is longer than a window, around a pixel of one of their classes, each as likely, so that no end of a long
    structure is left out. The others are cropped anywhere.
    Structures are those of the label, unless `structures` (B, H, W) bool tells which ones to go by, as one class.
    Drawn by torch's generator, which the loop seeds for each batch.
    """
    structures = batch["structures"] if "structures" in batch else batch["label"]
    height, width = structures.shape[-2:]
    places = [_place(each, side, centered_fraction) for each in structures.cpu()]

    def cropped(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.shape[-2:] != (height, width):
            return value
        return torch.stack([part[..., top : top + side, left : left + side]
                            for part, (top, left) in zip(value, places, strict=True)])  # fmt: skip

    return {name: cropped(value) for name, value in batch.items()}


def _place(structures: Tensor, side: int, centered_fraction: float) -> tuple[int, int]:
    """First row and column of a window in a slice (H, W)."""
    centered, *drawn = torch.rand(3).tolist()
    furthest = [max(0, length - side) for length in structures.shape]
    pixels = structures.nonzero()  # (N, 2)
    if not len(pixels) or centered >= centered_fraction:
        top, left = (min(most, int(each * (most + 1))) for each, most in zip(drawn, furthest, strict=True))
        return top, left
    starts = [
        round(middle + (2 * each - 1) * JITTER * side - side / 2)
        for each, middle in zip(drawn, _middle(structures, pixels, side), strict=True)
    ]
    top, left = (min(most, max(0, start)) for start, most in zip(starts, furthest, strict=True))
    return top, left


def _middle(structures: Tensor, pixels: Tensor, side: int) -> list[float]:
    """Row and column that a window is placed around, of a slice whose structures are these pixels (N, 2)."""
    first, stop = pixels.amin(dim=0), pixels.amax(dim=0) + 1
    middle, longer = (first + stop) / 2, stop - first > side  # (2,)
    if longer.any():
        drawn = torch.rand(2).tolist()
        classes = structures[pixels[:, 0], pixels[:, 1]]  # (N,)
        of_class = pixels[classes == _item(classes.unique(), drawn[0])]
        middle = torch.where(longer, _item(of_class, drawn[1]) + 0.5, middle)
    return [float(each) for each in middle]


def _item(items: Tensor, drawn: float) -> Tensor:
    return items[int(drawn * len(items))]
