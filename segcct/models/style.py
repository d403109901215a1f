"""Style codes: how a picture looks, in a few numbers that cannot say where things are.

All are pooled over classes: shuffling pixels of a class that lie equally deep in it leaves the code as it is. A class
of fewer than `LEAST_PIXELS` pixels is filled up to that number with the image's own mean and deviation, for a class of
one pixel would have that pixel as its style, and a speck that does not belong there would be reconstructed exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PIXEL_FEATURES = 16
"""Features per pixel value that the learned style code pools."""
LEAST_DEVIATION = 0.05
"""Smallest standard deviation a class is painted with, in standardised units."""
LEAST_PIXELS = 16
"""Pixels from which a class speaks for itself alone."""
_SOME = 1e-3
"""Keeps means over no pixels at 0."""
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
        pixels = mask.sum(dim=(2, 3))[..., None]  # (B, K, 1)
        sums, squares = _pooled(image, mask), _pooled(image.square(), mask)  # (B, K, C)
        own = sums / pixels.clamp_min(_SOME)
        around = centred(depth, mask)
        spread = torch.einsum("bkhw,bkhw->bk", mask, around.square())[..., None]
        together = _pooled(image, mask * around)
        slope = together / (spread + RIDGE) * (pixels / LEAST_PIXELS).clamp_max(1)
        # sum((x - own - slope t)^2), written out
        rest = squares - pixels * own.square() - 2 * slope * together + slope.square() * spread
        overall = image.mean(dim=(2, 3))[:, None]  # (B, 1, C)
        mean = filled_up(sums, pixels, overall)
        variance = filled_up(rest, pixels, image.var(dim=(2, 3), correction=0)[:, None])
        deviation = variance.clamp_min(LEAST_DEVIATION**2).sqrt()
        return torch.stack([mean, slope, deviation], dim=1).flatten(1)

    def split(self, style: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The code back into means, slopes and standard deviations, (B, K, C) each."""
        mean, slope, deviation = style[:, : self.size].unflatten(1, self.shape).unbind(dim=1)
        return mean, slope, deviation


def filled_up(sums: Tensor, pixels: Tensor, usual: Tensor) -> Tensor:
    """Means (B, K, C) of classes by their sums (B, K, C) and numbers of pixels (B, K, 1).

    A class of fewer than `LEAST_PIXELS` is filled up with the image's `usual` (B, 1, C); one of none has just that.
    """
    lacking = (LEAST_PIXELS - pixels).clamp_min(0)
    return (sums + lacking * usual) / (pixels + lacking)


def depths(distance: Tensor) -> Tensor:
    """Signed distances (B, K - 1, H, W) -> how deep a pixel lies in each class, (B, K, H, W): 0 outside."""
    background = -distance.amax(dim=1, keepdim=True)
    return torch.cat([background, distance], dim=1).clamp_min(0)


def centred(depth: Tensor, mask: Tensor) -> Tensor:
    """Depth (B, K, H, W) less its mean over the class."""
    total = torch.einsum("bkhw,bkhw->bk", mask, depth)
    return depth - (total / mask.sum(dim=(2, 3)).clamp_min(_SOME))[..., None, None]


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
        seen = self.pixel(image)  # (B, PIXEL_FEATURES, H, W)
        means = filled_up(_pooled(seen, mask), mask.sum(dim=(2, 3))[..., None], seen.mean(dim=(2, 3))[:, None])
        return torch.tanh(self.project(means.flatten(1)))
