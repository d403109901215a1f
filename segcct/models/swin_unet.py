"""Swin-Unet (Cao et al. 2021, arXiv 2105.05537): a U-shaped network of Swin blocks only, with the released parameter
names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import Field
from torch import nn

from segcct.models.options import ModelOptions, Rate
from segcct.models.padding import crop_to, pad_to_multiple
from segcct.models.patch_expanding import PatchExpand, PatchMerging
from segcct.models.swin import PatchEmbed, SwinBlock
from segcct.models.transformer import init_linear

Upsample = Literal["expand", "bilinear", "transposed"]


@dataclass(frozen=True)
class SwinUnetSize:
    """Channels of the finest stage, then blocks and attention heads per encoder stage, bottleneck last."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]


SIZES: dict[str, SwinUnetSize] = {
    "swin_unet_tiny": SwinUnetSize(96, (2, 2, 2, 2), (3, 6, 12, 24)),
    "swin_unet_base": SwinUnetSize(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


class SwinUnetOptions(ModelOptions):
    """Options of Swin-Unet; the first two are the paper's ablations."""

    upsample: Upsample = "expand"
    """How the decoder doubles the resolution: patch expanding, bilinear, or transposed convolution."""
    skips: Annotated[int, Field(ge=0, le=3)] = 3
    """Skip connections, finest first: 1 joins 1/4, 2 also 1/8, 3 also 1/16."""
    window: Annotated[int, Field(ge=2)] = 7
    """Side of the attention windows; 7 suits 224 pixels, 12 suits 384."""
    stochastic_depth: Rate = 0.2
    """Drop rate of the deepest block; the rates rise linearly from 0."""


class BilinearExpand(nn.Module):
    """Ablation of patch expanding: bilinear interpolation, then a linear layer and LayerNorm; (B, H, W, C) maps."""

    def __init__(self, dim: int, out_dim: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(dim, out_dim, bias=False)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = rearrange(maps, "b h w c -> b c h w")
        maps = F.interpolate(maps, scale_factor=self.scale, mode="bilinear", align_corners=False)
        maps = rearrange(maps, "b c h w -> b h w c")  # (B, scale*H, scale*W, C)
        return self.norm(self.expand(maps))  # (B, scale*H, scale*W, out_dim)


class TransposedExpand(nn.Module):
    """Ablation of patch expanding: transposed convolution, then LayerNorm; (B, H, W, C) maps."""

    def __init__(self, dim: int, out_dim: int, scale: int) -> None:
        super().__init__()
        self.expand = nn.ConvTranspose2d(dim, out_dim, kernel_size=scale, stride=scale)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = self.expand(rearrange(maps, "b h w c -> b c h w"))  # (B, out_dim, scale*H, scale*W)
        return self.norm(rearrange(maps, "b c h w -> b h w c"))  # (B, scale*H, scale*W, out_dim)


EXPANDERS = {"expand": PatchExpand, "bilinear": BilinearExpand, "transposed": TransposedExpand}


class SwinStage(nn.Module):
    """Swin blocks at one resolution, plain and shifted in turn, then the change of resolution given, if any."""

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        drop_paths: Sequence[float],
        *,
        downsample: nn.Module | None = None,
        upsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(dim, heads, window, shifted=index % 2 == 1, drop_path=rate)
            for index, rate in enumerate(drop_paths)
        )
        self.downsample = downsample
        self.upsample = upsample

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            maps = block(maps)  # (B, H, W, C)
        if self.downsample is not None:
            maps = self.downsample(maps)  # (B, H/2, W/2, 2C)
        return maps if self.upsample is None else self.upsample(maps)  # (B, 2H, 2W, C/2)


def _drop_paths(deepest: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates rising linearly from 0 over all blocks, grouped by stage."""
    total = sum(depths)
    rates = [deepest * index / max(1, total - 1) for index in range(total)]
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return [rates[start : start + depth] for start, depth in zip(starts, depths, strict=True)]


class SwinUnetBody(nn.Module):
    """The released network: (B, C, H, W), H and W multiples of 2^(stages + 1) -> logits (B, classes, H, W).

    The decoder mirrors the encoder's stages but the last, the bottleneck, and its rates of stochastic depth.
    """

    def __init__(self, size: SwinUnetSize, in_channels: int, num_classes: int, options: SwinUnetOptions) -> None:
        super().__init__()
        embed_dim, depths, heads, window = size.embed_dim, size.depths, size.heads, options.window
        last = len(depths) - 1
        dims = [embed_dim * 2**stage for stage in range(len(depths))]
        rates = _drop_paths(options.stochastic_depth, depths)
        expander = EXPANDERS[options.upsample]

        self.patch_embed = PatchEmbed(in_channels, embed_dim, patch=4)
        self.layers = nn.ModuleList(
            SwinStage(
                dims[stage],
                heads[stage],
                window,
                rates[stage],
                downsample=PatchMerging(dims[stage]) if stage < last else None,
            )
            for stage in range(len(depths))
        )
        self.norm = nn.LayerNorm(dims[last])
        self.layers_up = nn.ModuleList([expander(dims[last], dims[last - 1], 2)])
        self.concat_back_dim = nn.ModuleList([nn.Identity()])
        for stage in reversed(range(last)):
            joined = nn.Linear(2 * dims[stage], dims[stage]) if stage < options.skips else nn.Identity()
            self.concat_back_dim.append(joined)
            upsampling = expander(dims[stage], dims[stage - 1], 2) if stage > 0 else None
            self.layers_up.append(SwinStage(dims[stage], heads[stage], window, rates[stage], upsample=upsampling))
        self.norm_up = nn.LayerNorm(embed_dim)
        self.up = expander(embed_dim, embed_dim, 4)
        self.output = nn.Conv2d(embed_dim, num_classes, kernel_size=1, bias=False)
        self.skips = options.skips
        self.apply(init_linear)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = self.patch_embed(image)  # (B, H/4, W/4, D)
        stage_inputs = []  # what the skip connections carry
        for layer in self.layers:  # encoder: Swin blocks, then patch merging; the last stage is the bottleneck
            stage_inputs.append(maps)
            maps = layer(maps)  # (B, H/8, W/8, 2D), (B, H/16, W/16, 4D), (B, H/32, W/32, 8D), unchanged
        maps = self.layers_up[0](self.norm(maps))  # (B, H/16, W/16, 4D)
        for index in range(1, len(self.layers_up)):  # decoder: skip connection, Swin blocks, then patch expanding
            stage = len(self.layers) - 1 - index
            if stage < self.skips:
                maps = torch.cat([maps, stage_inputs[stage]], dim=-1)  # twice the channels, which a linear layer halves
            maps = self.concat_back_dim[index](maps)
            maps = self.layers_up[index](maps)  # (B, H/8, W/8, 2D), (B, H/4, W/4, D), unchanged
        maps = self.up(self.norm_up(maps))  # (B, H, W, D)
        return self.output(rearrange(maps, "b h w d -> b d h w"))  # (B, K, H, W)


class SwinUnet(nn.Module):
    """Swin-Unet for images of any size: padded inside to a multiple of 32, with logits at the size of the image.

    One channel is repeated to three, as published; any other number of channels has its own patch embedding.
    """

    def __init__(
        self,
        size: SwinUnetSize,
        *,
        in_channels: int,
        num_classes: int,
        image_size: int,  # noqa: ARG002  (the windows fit any size; part of the table's call)
        options: SwinUnetOptions,
    ) -> None:
        super().__init__()
        self.multiple = 2 ** (len(size.depths) + 1)
        self.swin_unet = SwinUnetBody(size, 3 if in_channels == 1 else in_channels, num_classes, options)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, self.multiple)
        if image.shape[1] == 1:
            image = image.expand(-1, 3, -1, -1)  # (B, 1, H, W) -> (B, 3, H, W)
        return crop_to(self.swin_unet(image), height, width)
