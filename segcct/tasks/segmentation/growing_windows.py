"""Windows of training slices that grow during training (`train.windows`), for speed: a structure of half a slice's
side is learned from windows at a third of the cost; what lies far from it, from whole slices at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

JITTER = 0.25
"""Largest distance of a window's center from that of the structures, as a fraction of its side."""


def window_side(windows: Mapping[int, float], progress: float) -> int | None:
    """Side of the windows at `progress` in [0, 1] of the training; None for whole slices.

    Args:
        windows: side -> fraction of the training until which it is used.
        progress: the fraction that is done.
    """
    return next((side for side, until in sorted(windows.items()) if progress < until), None)


def take_windows(batch: Mapping[str, Any], side: int, centered_fraction: float) -> dict[str, Any]:
    """A square part of each slice, the same of its image, label (B, H, W) and maps; other values stay.

    A fraction `centered_fraction` of the slices with a structure is cropped around the box of their structures, the
    others anywhere.
    Structures are those of the label, unless `structures` (B, H, W) bool tells which ones to go by.
    Drawn by torch's generator, which the loop seeds for each batch.
    """
    structures = batch["structures"] if "structures" in batch else batch["label"] > 0
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
    drawn = torch.rand(3)
    centered = bool(drawn[0] < centered_fraction) and bool(structures.any())
    top, left = (
        _start(structures.any(dim=1 - axis), side, float(drawn[1 + axis]), centered=centered) for axis in range(2)
    )
    return top, left


def _start(hit: Tensor, side: int, drawn: float, *, centered: bool) -> int:
    """First index of a window along an axis, of whose indices `hit` holds structures."""
    furthest = max(0, len(hit) - side)
    if not centered:
        return min(furthest, int(drawn * (furthest + 1)))
    at = hit.nonzero()
    middle = (float(at[0]) + float(at[-1]) + 1) / 2 + (2 * drawn - 1) * JITTER * side
    return min(furthest, max(0, round(middle - side / 2)))
