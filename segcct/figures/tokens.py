"""Which parts of a picture a classifier weighs: its token weights as heat over the picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from segcct.figures.heat import heat

_LEAST = 0.15
"""Opacity of the heat where the weight is nothing: the picture stays readable below it."""
_MOST = 0.8
_FULL = 4.0
"""Times the even share that is shown palest at least, so that even weights do not look like a find."""


def enlarged(image: np.ndarray, side_px: int) -> np.ndarray:
    """A square picture (S, S, C) uint8, C 1 or 3, as (side, side, 3); small pictures keep their pixels visible."""
    picture = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).convert("RGB")
    how = Image.Resampling.NEAREST if picture.width * 2 <= side_px else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((side_px, side_px), how))


def token_overlay(image: np.ndarray, shares: np.ndarray, side_px: int) -> np.ndarray:
    """The picture in gray under the heat of its tokens' weights, as (side, side, 3) uint8.

    Args:
        image: (S, S, C) uint8.
        shares: (h, w), the weight of each token; the largest is shown palest, or four times the even share.
        side_px: side of the result.
    """
    gray = np.asarray(Image.fromarray(enlarged(image, side_px)).convert("L"), dtype=float)[..., None]
    relative = (shares / max(float(shares.max()), _FULL * float(shares.mean()), 1e-12)).astype(np.float32)
    smooth = Image.fromarray(relative).resize((side_px, side_px), Image.Resampling.BICUBIC)
    weight = np.clip(np.asarray(smooth), 0.0, 1.0)
    opacity = (_LEAST + (_MOST - _LEAST) * weight)[..., None]
    blended: np.ndarray = np.rint(gray * (1 - opacity) + heat(weight) * opacity).astype(np.uint8)
    return blended


def tokens_for_half(shares: np.ndarray) -> float:
    """The smallest share of the tokens that together hold half of the weight: 0.5 when all weigh the same."""
    ordered = np.sort(shares.ravel())[::-1]
    return float((np.searchsorted(np.cumsum(ordered) / ordered.sum(), 0.5) + 1) / ordered.size)
