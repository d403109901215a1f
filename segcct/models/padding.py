"""Pad an image batch to a size the network can halve, and crop its output back."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pad_to_multiple(image: torch.Tensor, multiple: int, *, at_least: int = 0) -> torch.Tensor:
    """Grow (B, C, H, W) at its bottom and right until H and W are multiples of `multiple`, and `at_least` large.

    The border pixels are repeated: after z-scoring, the background is seldom 0, and zeros would draw an edge.
    An image that fits already is returned unchanged.
    """
    sizes = (-(-max(side, at_least) // multiple) * multiple for side in image.shape[-2:])
    rows, columns = (size - side for size, side in zip(sizes, image.shape[-2:], strict=True))
    if rows == 0 and columns == 0:
        return image
    return F.pad(image, (0, columns, 0, rows), mode="replicate")  # (B, C, H + rows, W + columns)


def crop_to(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The top left `height` x `width` of (..., H, W): undoes `pad_to_multiple`."""
    return maps[..., :height, :width]
