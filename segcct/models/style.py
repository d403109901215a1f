"""Style codes: how a picture looks, in a few numbers that cannot say where things are.

All are pooled over classes: shuffling pixels of a class that lie equally deep in it leaves the code as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PIXEL_FEATURES = 16
"""Features per pixel value that the learned style code pools."""
LEAST_DEVIATION = 0.05
"""Smallest standard deviation a class is painted with, in standardised units."""
LEAST_PIXELS = 1e-3
"""Keeps the means of a class of no pixels at 0."""
RIDGE = 0.05
"""Added to the summed squares of depth: the slope of a class of few or equally deep pixels tends to 0."""


class Moments(nn.Module):
    """How each class looks in each channel: mean, slope towards its inside, and standard deviation around both."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.shape = (3, num_classes, in_channels)
        self.size = 3 * num_classes * in_channels

    def forward(self, image: Tensor, mask: Tensor, depth: Tensor) -> Tensor:
        """Image (B, C, H, W), mask and depth (B, K, H, W) -> (B, 3KC): means (K, C), slopes, deviations."""
        pixels = mask.sum(dim=(2, 3)).clamp_min(LEAST_PIXELS)[..., None]  # (B, K, 1)
        mean = _pooled(image, mask) / pixels
        around = centred(depth, mask)
        spread = torch.einsum("bkhw,bkhw->bk", mask, around.square())[..., None]
        together = _pooled(image, mask * around)
        slope = together / (spread + RIDGE)
        # sum((x - mean - slope t)^2), written out
        rest = _pooled(image.square(), mask) - pixels * mean.square() - 2 * slope * together + slope.square() * spread
        deviation = (rest / pixels).clamp_min(LEAST_DEVIATION**2).sqrt()
        return torch.stack([mean, slope, deviation], dim=1).flatten(1)

    def split(self, style: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The code back into means, slopes and standard deviations, (B, K, C) each."""
        mean, slope, deviation = style[:, : self.size].unflatten(1, self.shape).unbind(dim=1)
        return mean, slope, deviation


def depths(distance: Tensor) -> Tensor:
    """Signed distances (B, K - 1, H, W) -> how deep a pixel lies in each class, (B, K, H, W): 0 outside."""
    background = -distance.amax(dim=1, keepdim=True)
    return torch.cat([background, distance], dim=1).clamp_min(0)


def centred(depth: Tensor, mask: Tensor) -> Tensor:
    """Depth (B, K, H, W) less its mean over the class."""
    total = torch.einsum("bkhw,bkhw->bk", mask, depth)
    return depth - (total / mask.sum(dim=(2, 3)).clamp_min(LEAST_PIXELS))[..., None, None]


def _pooled(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of (B, C, H, W) under each class of (B, K, H, W) -> (B, K, C)."""
    return torch.einsum("bkhw,bchw->bkc", mask, values)


class LearnedStyle(nn.Module):
    """A perceptron on each pixel's values, averaged over each class, projected to a short bounded code."""

    def __init__(self, in_channels: int, num_classes: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.pixel = nn.Sequential(
            nn.Conv2d(in_channels, PIXEL_FEATURES, 1), nn.ReLU(), nn.Conv2d(PIXEL_FEATURES, PIXEL_FEATURES, 1)
        )
        self.project = nn.Linear(num_classes * PIXEL_FEATURES, size)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """(B, C, H, W), (B, K, H, W) -> (B, size) in [-1, 1]."""
        pixels = mask.sum(dim=(2, 3)).clamp_min(LEAST_PIXELS)[..., None]
        return torch.tanh(self.project((_pooled(self.pixel(image), mask) / pixels).flatten(1)))
