"""U-Net of few channels, as semi-supervised methods on ACDC train it (SSL4MIS, github.com/HiLab-git/SSL4MIS)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from segcct.models.options import ModelOptions, Rate
from segcct.models.padding import crop_to, pad_to_multiple

WIDTHS = (16, 32, 64, 128, 256)
"""Channels per level, the finest first; 1.8 million parameters."""
DROPOUT = (0.1, 0.2, 0.4, 0.6, 1.0)
"""In the encoder, per level, as fractions of the rate of the coarsest."""


class NarrowUNetOptions(ModelOptions):
    """Options of the narrow U-Net."""

    dropout: Rate = 0.5
    """Drop rate of the coarsest level of the encoder; finer levels have less, a tenth of it at the finest."""


def double_conv(in_channels: int, out_channels: int, dropout: float = 0.0) -> nn.Sequential:
    """Twice a 3x3 convolution, BatchNorm and LeakyReLU, with dropout between them; the size stays."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(inplace=True),
    )


class NarrowUNet(nn.Module):
    """Max pooling down; up by a 1x1 convolution and bilinear interpolation; skips by concatenation.

    Images of any size are padded inside to a multiple of 16.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        image_size: int,  # noqa: ARG002  (convolutions fit any size; part of the table's call)
        options: NarrowUNetOptions,
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            double_conv(before, after, options.dropout * fraction)
            for (before, after), fraction in zip(pairwise((in_channels, *WIDTHS)), DROPOUT, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        upward = list(pairwise(reversed(WIDTHS)))  # (256, 128), (128, 64) ...
        self.reduce = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for coarse, fine in upward)
        self.fuse = nn.ModuleList(double_conv(2 * fine, fine) for _, fine in upward)
        self.head = nn.Conv2d(WIDTHS[0], num_classes, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        height, width = image.shape[-2:]
        multiple = 2 ** len(self.fuse)
        first, *finest = cast(nn.Sequential, self.down[0])
        maps = first(pad_to_multiple(image, multiple, at_least=2 * multiple))
        maps = maps.contiguous(memory_format=torch.channels_last)  # a fifth faster on processors
        for layer in finest:
            maps = layer(maps)
        skips = []
        for level in self.down[1:]:
            skips.append(maps)
            maps = level(self.pool(maps))  # (B, 2D, H/2, W/2) at each level
        for reduce, fuse in zip(self.reduce, self.fuse, strict=True):
            up = F.interpolate(reduce(maps), scale_factor=2.0, mode="bilinear", align_corners=True)  # (B, D/2, 2H, 2W)
            maps = fuse(torch.cat([skips.pop(), up], dim=1))  # (B, D/2, 2H, 2W) at each level
        return crop_to(self.head(maps), height, width)
