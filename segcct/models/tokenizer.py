"""From pixels to tokens: the convolutional tokenizer of CCT and the patch tokenizer of ViT-Lite and CVT.

Source: Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021, arXiv 2104.05704. Parameter
names are those of the released checkpoints: `conv_layers.{i}.0.weight`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

Normalization = Literal["none", "batch"]


def to_tokens(feature_map: Tensor) -> Tensor:
    """Lays a map out row by row: (B, D, h, w) -> (B, h*w, D)."""
    return rearrange(feature_map, "b d h w -> b (h w) d")


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Puts tokens back on their grid: (B, h*w, D) -> (B, D, h, w)."""
    return rearrange(tokens, "b (h w) d -> b d h w", h=grid[0], w=grid[1])


def conv_block(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, BatchNorm, ReLU: (B, in_channels, H, W) -> (B, out_channels, H/stride, W/stride)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ConvTokenizer(nn.Module):
    """Stages of convolution without bias -> ReLU -> max pooling, each stage coarser than the one before.

    Args:
        in_channels: channels of the image.
        widths: output channels of every stage; the last is the token dimension. CCT has (64, ..., dim).
        kernel: side of the convolutions, odd and at least 3.
        stride: step of the convolutions; None: the released rule max(1, kernel // 2 - 1).
        norm: "none" as released, or "batch": BatchNorm between convolution and ReLU, which makes short runs
            from scratch learn much faster.
        pool: max pooling 3, stride 2 at the end of each stage, as released; without it only `stride` shrinks the map.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        *,
        kernel: int = 3,
        stride: int | None = None,
        norm: Normalization = "none",
        pool: bool = True,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        stride = max(1, kernel // 2 - 1) if stride is None else stride
        self.reduction = (stride * (2 if pool else 1)) ** len(self.widths)
        stages = []
        for before, after in pairwise((in_channels, *self.widths)):
            conv = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
            nn.init.kaiming_normal_(conv.weight)
            layers: list[nn.Module] = [conv]
            if norm == "batch":
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.ReLU())
            if pool:
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            stages.append(nn.Sequential(*layers))
        self.conv_layers = nn.Sequential(*stages)

    def stages(self, image: Tensor) -> list[Tensor]:
        """The map after every stage, finest first: [(B, widths[i], h_i, w_i)]; the last one holds the tokens."""
        maps = []
        for stage in self.conv_layers:
            image = stage(image)
            maps.append(image)
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, h, w), with h = ceil(H / reduction)."""
        return self.conv_layers(image)


class PatchTokenizer(nn.Module):
    """One linear map (with bias) of every `patch` x `patch` square of pixels, without overlap.

    An image whose sides are no multiples of `patch` is padded by zeros at the bottom and right, so that no pixel is
    left out.
    """

    def __init__(self, in_channels: int, dim: int, *, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.widths = (dim,)
        self.reduction = patch
        conv = nn.Conv2d(in_channels, dim, patch, stride=patch)
        nn.init.kaiming_normal_(conv.weight)
        self.conv_layers = nn.Sequential(nn.Sequential(conv))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, h, w), with h = ceil(H / patch)."""
        below, right = -image.shape[-2] % self.patch, -image.shape[-1] % self.patch
        if below or right:
            image = F.pad(image, (0, right, 0, below))
        return self.conv_layers(image)


def token_grid(tokenizer: ConvTokenizer | PatchTokenizer, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tokens for an image of that size."""
    return -(-height // tokenizer.reduction), -(-width // tokenizer.reduction)
