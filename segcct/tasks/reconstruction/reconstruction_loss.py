"""The M2I loss: absolute difference (everywhere, and in the structures), squared difference in the structures,
1 - SSIM, and difference of gradients."""

from __future__ import annotations

import torch
from monai.losses import SSIMLoss
from torch import Tensor, nn

from segcct.config import ReconstructionLossSection

SSIM_WINDOW = 11


class ReconstructionLoss(nn.Module):
    """Weighted sum of the terms; images are standardized, and compared in [0, 1] by the SSIM.

    Args:
        section: the weights.
    """

    def __init__(self, section: ReconstructionLossSection) -> None:
        super().__init__()
        self.section = section
        self.ssim = SSIMLoss(spatial_dims=2, data_range=1.0, win_size=SSIM_WINDOW)

    def forward(self, made: Tensor, image: Tensor, foreground: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Scalar loss.

        Args:
            made: (B, C, H, W) standardized.
            image: (B, C, H, W) standardized.
            foreground: (B, H, W) bool or a fraction in [0, 1].
            mean: (B, C) that brings the image back to [0, 1]: unit = standardized * std + mean.
            std: (B, C).
        """
        # The variances within SSIM are differences of large numbers: never in mixed precision.
        with torch.autocast(made.device.type, enabled=False):
            return self._exact(made.float(), image.float(), foreground[:, None].float(), mean, std)

    def _exact(self, made: Tensor, image: Tensor, inside: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        section = self.section
        difference = (made - image).abs()
        total = section.l1 * difference.mean()
        if section.foreground:
            total = total + section.foreground * _mean_within(difference, inside)
        if section.foreground_squared:
            total = total + section.foreground_squared * _mean_within(difference.square(), inside)
        if section.ssim:
            unit = [each * std[..., None, None] + mean[..., None, None] for each in (made, image)]
            total = total + section.ssim * self.ssim(*unit)
        if section.gradient:
            total = total + section.gradient * gradient_difference(made, image)
        return total


def _mean_within(values: Tensor, inside: Tensor) -> Tensor:
    """Mean of (B, C, H, W) weighted by (B, 1, H, W); 0 where there is none."""
    return (values.mean(1, keepdim=True) * inside).sum() / inside.sum().clamp_min(1)


def gradient_difference(made: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference of the steps to the next pixel, down and across."""
    difference = made - image
    down, across = difference.diff(dim=-2), difference.diff(dim=-1)
    return (down.abs().mean() + across.abs().mean()) / 2
