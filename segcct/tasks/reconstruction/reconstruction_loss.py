"""The M2I loss: a weighted sum of the terms of one table, which are named as their weights in `train.loss`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from monai.losses import SSIMLoss
from torch import Tensor, nn

from segcct.config import ReconstructionLossSection
from segcct.metrics.image import SSIM_WINDOW

_SSIM = SSIMLoss(spatial_dims=2, data_range=1.0, win_size=SSIM_WINDOW)


@dataclass(frozen=True)
class Images:
    """What terms compare, float32."""

    made: Tensor
    """(B, C, H, W) standardized."""
    image: Tensor
    """(B, C, H, W) standardized."""
    foreground: Tensor
    """(B, 1, H, W), a fraction in [0, 1]."""
    mean: Tensor
    """(B, C) that brings an image back to [0, 1]: unit = standardized * std + mean."""
    std: Tensor
    """(B, C)."""

    @property
    def difference(self) -> Tensor:
        """(B, C, H, W)."""
        return self.made - self.image

    def within_foreground(self, values: Tensor) -> Tensor:
        """Mean of (B, C, H, W) in the structures; 0 where there is none."""
        return (values.mean(1, keepdim=True) * self.foreground).sum() / self.foreground.sum().clamp_min(1)

    def unit(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1]."""
        return images * self.std[..., None, None] + self.mean[..., None, None]


def gradient_difference(made: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference of the steps to the next pixel, down and across."""
    difference = made - image
    down, across = difference.diff(dim=-2), difference.diff(dim=-1)
    return (down.abs().mean() + across.abs().mean()) / 2


def _one_minus_ssim(images: Images) -> Tensor:
    loss: Tensor = _SSIM(images.unit(images.made), images.unit(images.image))
    return loss


TERMS: Mapping[str, Callable[[Images], Tensor]] = {
    "l1": lambda images: images.difference.abs().mean(),
    "foreground": lambda images: images.within_foreground(images.difference.abs()),
    "foreground_squared": lambda images: images.within_foreground(images.difference.square()),
    "ssim": _one_minus_ssim,
    "gradient": lambda images: gradient_difference(images.made, images.image),
}
"""Key of `ReconstructionLossSection` -> a scalar."""


class ReconstructionLoss(nn.Module):
    """Weighted sum of the terms.

    Args:
        section: the weights.
    """

    def __init__(self, section: ReconstructionLossSection) -> None:
        super().__init__()
        self.weights: dict[str, float] = {name: weight for name, weight in section if weight}

    def forward(self, made: Tensor, image: Tensor, foreground: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Scalar loss; see `Images`, but `foreground` is (B, H, W), bool or a fraction."""
        # The variances within SSIM are differences of large numbers: never in mixed precision.
        with torch.autocast(made.device.type, enabled=False):
            images = Images(made.float(), image.float(), foreground[:, None].float(), mean, std)
            total = images.made.new_zeros(())
            for name, weight in self.weights.items():
                total = total + weight * TERMS[name](images)
            return total
