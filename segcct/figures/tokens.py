"""The token weights of a classifier as a heat map over the image."""

from __future__ import annotations

import numpy as np
from PIL import Image

from segcct.figures.colors import heat

_LEAST, _MOST = 0.15, 0.8
"""Opacity of the heat map where the weight is 0, so that the image stays readable, and where it is largest."""
_FULL = 4.0
"""The palest color is at least this many times the mean weight, so that equal weights do not look like a finding."""


def enlarged(image: np.ndarray, size_px: int) -> np.ndarray:
    """A square image (S, S, C) uint8, C 1 or 3, as (size, size, 3); small images keep their pixels visible."""
    square = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).convert("RGB")
    how = Image.Resampling.NEAREST if square.width * 2 <= size_px else Image.Resampling.BICUBIC
    return np.asarray(square.resize((size_px, size_px), how))


def token_overlay(image: np.ndarray, weights: np.ndarray, size_px: int) -> np.ndarray:
    """The image in gray under the heat map of its token weights, as (size, size, 3) uint8.

    Args:
        image: (S, S, C) uint8.
        weights: (h, w); the largest is palest, or four times the mean weight.
        size_px: height and width of the result.
    """
    gray = np.asarray(Image.fromarray(enlarged(image, size_px)).convert("L"), dtype=float)[..., None]
    relative = (weights / max(float(weights.max()), _FULL * float(weights.mean()), 1e-12)).astype(np.float32)
    smooth = np.clip(np.asarray(Image.fromarray(relative).resize((size_px, size_px), Image.Resampling.BICUBIC)), 0, 1)
    opacity = (_LEAST + (_MOST - _LEAST) * smooth)[..., None]
    blended: np.ndarray = np.rint(gray * (1 - opacity) + heat(smooth) * opacity).astype(np.uint8)
    return blended


def tokens_for_half(weights: np.ndarray) -> float:
    """The smallest fraction of the tokens that together hold half of the weight: 0.5 when all weigh the same."""
    ordered = np.sort(weights.ravel())[::-1]
    return float((np.searchsorted(np.cumsum(ordered) / ordered.sum(), 0.5) + 1) / ordered.size)
