"""Style codes: how an image looks, in a few numbers that cannot encode where things are.

All are pooled over classes. Except for the trend, shuffling pixels of a class that lie equally deep in it changes
nothing. The trend, two numbers per channel, says to which side the foreground is brighter (coils, bias field) and is
taken out of the others. A class of fewer than `MIN_PIXELS` pixels is filled up to that number with the image's own mean
and standard deviation: a class of one pixel would have that pixel as its style, and a misplaced speck would be
reconstructed exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PIXEL_FEATURES = 16
"""Features per pixel value that the learned style code pools."""
MIN_STD = 0.05
"""Smallest standard deviation of a class, in standardized units."""
MIN_PIXELS = 16
"""Pixels from which on a class is not filled up."""
_EPSILON = 1e-3
"""Keeps means over no pixels at 0."""
RIDGE = 0.05
"""Added to the summed squares of depth: the slope of a class of few or equally deep pixels tends to 0."""
TREND_RIDGE = 0.05
"""The same for the trend: that of a few pixels, or of pixels in a line, tends to 0."""


class Moments(nn.Module):
    """How each class looks in each channel: mean, slope towards its inside, and standard deviation around both; and the
    trend of each channel along rows and columns of the foreground, common to all classes, which these three leave out.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.shape = (3, num_classes, in_channels)
        self.size = 3 * num_classes * in_channels + 2 * in_channels

    def forward(self, image: Tensor, mask: Tensor, depth: Tensor) -> Tensor:
        """Image (B, C, H, W), mask and depth (B, K, H, W) -> (B, 3KC + 2C): means (K, C), slopes, deviations, trend."""
        fit = _DepthFit(mask, depth)
        position = foreground_position(mask)  # (B, 2, H, W)
        trend = fit.trend(image, position)  # (B, 2, C)
        image = image - torch.einsum("bphw,bpc->bchw", position, trend)
        sums, class_mean, slope = fit.lines(image)  # (B, K, C) each
        # sum((x - class_mean - slope t)^2), written out
        squares = _pooled(image.square(), mask) - fit.pixels * class_mean.square()
        squares = squares - 2 * slope * fit.products(image) + slope.square() * fit.squared_depth
        overall = image.mean(dim=(2, 3))[:, None]  # (B, 1, C)
        mean = filled_up(sums, fit.pixels, overall)
        variance = filled_up(squares, fit.pixels, image.var(dim=(2, 3), correction=0)[:, None])
        std = variance.clamp_min(MIN_STD**2).sqrt()
        of_classes = torch.stack([mean, slope, std], dim=1)  # (B, 3, K, C)
        return torch.cat([of_classes.flatten(1), trend.flatten(1)], dim=1)

    def split(self, style: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The code back into means, slopes and standard deviations, (B, K, C) each, and the trend (B, 2, C)."""
        of_classes = self.shape[0] * self.shape[1] * self.shape[2]
        mean, slope, std = style[:, :of_classes].unflatten(1, self.shape).unbind(dim=1)
        return mean, slope, std, style[:, of_classes : self.size].unflatten(1, (2, self.shape[2]))


class _DepthFit:
    """Least squares of maps on the depth in each class: a straight line per class and channel."""

    def __init__(self, mask: Tensor, depth: Tensor) -> None:
        self.mask = mask
        self.pixels = mask.sum(dim=(2, 3))[..., None]  # (B, K, 1)
        self.depth = centered(depth, mask)
        self.squared_depth = torch.einsum("bkhw,bkhw->bk", mask, self.depth.square())[..., None]

    def products(self, maps: Tensor) -> Tensor:
        """Sum of value times depth, (B, C, H, W) -> (B, K, C)."""
        return _pooled(maps, self.mask * self.depth)

    def lines(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) -> sums, means and slopes (B, K, C); the slope of few or equally deep pixels tends to 0."""
        sums = _pooled(maps, self.mask)
        slope = self.products(maps) / (self.squared_depth + RIDGE) * (self.pixels / MIN_PIXELS).clamp_max(1)
        return sums, sums / self.pixels.clamp_min(_EPSILON), slope

    def trend(self, image: Tensor, position: Tensor) -> Tensor:
        """(B, 2, C): the plane through the foreground in what the lines leave, by least squares with a ridge."""
        inside = 1 - self.mask[:, :1]
        places, values = self._residuals(position) * inside, self._residuals(image) * inside
        gram = torch.einsum("bphw,bqhw->bpq", places, places) + TREND_RIDGE * torch.eye(2, device=image.device)
        return torch.linalg.solve(gram, torch.einsum("bphw,bchw->bpc", places, values))

    def _residuals(self, maps: Tensor) -> Tensor:
        """The maps minus their lines."""
        _, mean, slope = self.lines(maps)
        lines = torch.einsum("bkhw,bkc->bchw", self.mask, mean)
        return maps - lines - torch.einsum("bkhw,bkc->bchw", self.mask * self.depth, slope)


def foreground_position(mask: Tensor) -> Tensor:
    """(B, K, H, W) -> (B, 2, H, W) rows and columns from the center of the foreground, in half sides; 0 outside.

    A soft mask is weighted by how far it is foreground.
    """
    height, width = mask.shape[-2:]
    half = max(height, width) / 2
    rows, columns = (torch.arange(side, device=mask.device, dtype=mask.dtype) / half for side in (height, width))
    position = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]  # (1, 2, H, W)
    inside = 1 - mask[:, :1]
    pixels = inside.sum(dim=(2, 3), keepdim=True)  # (B, 1, 1, 1)
    center = (position * inside).sum(dim=(2, 3), keepdim=True) / pixels.clamp_min(_EPSILON)  # (B, 2, 1, 1)
    return (position - center) * inside


def filled_up(sums: Tensor, pixels: Tensor, default: Tensor) -> Tensor:
    """Means (B, K, C) of classes by their sums (B, K, C) and numbers of pixels (B, K, 1).

    A class of fewer than `MIN_PIXELS` is filled up with the image's `default` (B, 1, C); one of none has just that.
    """
    lacking = (MIN_PIXELS - pixels).clamp_min(0)
    return (sums + lacking * default) / (pixels + lacking)


def depths(distance: Tensor) -> Tensor:
    """Signed distances (B, K - 1, H, W) -> how deep a pixel lies in each class, (B, K, H, W): 0 outside."""
    background = -distance.amax(dim=1, keepdim=True)
    return torch.cat([background, distance], dim=1).clamp_min(0)


def centered(depth: Tensor, mask: Tensor) -> Tensor:
    """Depth (B, K, H, W) minus its mean over the class."""
    total = torch.einsum("bkhw,bkhw->bk", mask, depth)
    return depth - (total / mask.sum(dim=(2, 3)).clamp_min(_EPSILON))[..., None, None]


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
        features = self.pixel(image)  # (B, PIXEL_FEATURES, H, W)
        pixels, default = mask.sum(dim=(2, 3))[..., None], features.mean(dim=(2, 3))[:, None]
        means = filled_up(_pooled(features, mask), pixels, default)  # (B, K, PIXEL_FEATURES)
        return torch.tanh(self.project(means.flatten(1)))
