"""U-Net (Ronneberger et al. 2015), with padded convolutions: the mask has the image's own size."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn

from segcct.models.options import ModelOptions
from segcct.models.padding import crop_to, pad_to_multiple
from segcct.models.tokenizer import Normalization

WIDTH = 64
"""Channels of the finest level, doubled at each halving."""
HALVINGS = 4


class UNetOptions(ModelOptions):
    """Options of the U-Net."""

    norm: Normalization = "none"
    """none as published, or batch: BatchNorm after each 3x3 convolution, which trains far faster."""


def double_conv(in_channels: int, out_channels: int, norm: Normalization) -> nn.Sequential:
    """Twice a 3x3 convolution and ReLU, with BatchNorm between them if asked for; the size stays."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1, bias=norm == "none"))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """The classic: 2 convolutions per level, max pooling down, 2x2 up-convolution, skips by concatenation.

    It has the published 23 convolution layers. Images of any size are padded inside to a multiple of 16.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        image_size: int,  # noqa: ARG002  (convolutions fit any size; part of the table's call)
        options: UNetOptions,
    ) -> None:
        super().__init__()
        widths = [WIDTH * 2**level for level in range(HALVINGS + 1)]
        self.multiple = 2**HALVINGS
        self.down = nn.ModuleList(
            double_conv(before, after, options.norm) for before, after in pairwise((in_channels, *widths))
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2) for level in reversed(range(HALVINGS))
        )
        self.fuse = nn.ModuleList(
            double_conv(2 * widths[level], widths[level], options.norm) for level in reversed(range(HALVINGS))
        )
        self.head = nn.Conv2d(WIDTH, num_classes, 1)
        self.apply(_initialize)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        height, width = image.shape[-2:]
        maps = self.down[0](pad_to_multiple(image, self.multiple, at_least=2 * self.multiple))  # (B, 64, H, W)
        skips = []
        for level in self.down[1:]:
            skips.append(maps)
            maps = level(self.pool(maps))  # (B, 2D, H/2, W/2) at each level
        for up, fuse in zip(self.up, self.fuse, strict=True):
            maps = fuse(torch.cat([skips.pop(), up(maps)], dim=1))  # (B, D/2, 2H, 2W) at each level
        return crop_to(self.head(maps), height, width)


def _initialize(module: nn.Module) -> None:
    """Weights from N(0, sqrt(2 / N)), N the values that reach one output (He et al. 2015); biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        reach = module.in_channels  # a 2x2 up-convolution of stride 2 reaches each output once per channel
        if isinstance(module, nn.Conv2d):
            reach *= math.prod(module.kernel_size)
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / reach))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
