"""The decoder of CCT-UNet, for any feature pyramid: patch expanding, skips, convolutions, Swin blocks.

Patch expanding starts as plain up-sampling and Swin blocks start as a small addition: so they learn from scratch within
minutes, where a plain composition hardly does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange
from torch import nn

from segcct.models.patch_expanding import PatchExpand
from segcct.models.swin import SwinBlock
from segcct.models.tokenizer import conv_block

LAYER_SCALE = 0.01
"""Initial weight of the Swin blocks' contributions."""
WINDOW = 7
SWIN_MLP_RATIO = 2.0


class DecoderStage(nn.Module):
    """Patch expanding, concatenation with the skip, fusion by convolutions, Swin blocks.

    (B, in_channels, h, w) and a skip (B, skip_channels, 2h, 2w) -> (B, out_channels, 2h, 2w).
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        convolutions: int = 2,
        swin_blocks: int = 0,
        swin_heads: int = 1,
    ) -> None:
        super().__init__()
        self.expand = PatchExpand(in_channels, out_channels)
        self.expand.start_as_upsampling()
        widths = [out_channels + skip_channels, *[out_channels] * convolutions]
        self.fuse = nn.Sequential(*(conv_block(*pair) for pair in pairwise(widths)))
        self.swin = nn.Sequential(
            *(
                SwinBlock(
                    out_channels,
                    swin_heads,
                    WINDOW,
                    shifted=index % 2 == 1,
                    mlp_ratio=SWIN_MLP_RATIO,
                    layer_scale=LAYER_SCALE,
                )
                for index in range(swin_blocks)
            )
        )

    def forward(self, maps: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        maps = self.expand(rearrange(maps, "b d h w -> b h w d"))  # (B, 2h, 2w, D)
        maps = torch.cat([rearrange(maps, "b h w d -> b d h w"), skip], dim=1)  # (B, D + skip_channels, 2h, 2w)
        maps = self.fuse(maps)  # (B, D, 2h, 2w)
        if len(self.swin) == 0:
            return maps
        return rearrange(self.swin(rearrange(maps, "b d h w -> b h w d")), "b h w d -> b d h w")


class SwinDecoder(nn.ModuleList):
    """From a feature pyramid back to full resolution, a stage per halving.

    The coarsest stage has Swin blocks; the last has one convolution, at full resolution, where they cost most.

    Args:
        channels: of the pyramid's maps, at full resolution, 1/2, 1/4, ...
        widths: channels of the stages, coarsest first; the last is at full resolution.
        swin_blocks, swin_heads: Swin blocks of the coarsest stage, and their attention heads.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int], *, swin_blocks: int, swin_heads: int) -> None:
        *skips, coarsest = channels
        last = len(widths) - 1
        super().__init__(
            DecoderStage(
                before,
                skip,
                after,
                convolutions=1 if index == last else 2,
                swin_blocks=swin_blocks if index == 0 else 0,
                swin_heads=swin_heads,
            )
            for index, (before, skip, after) in enumerate(
                zip((coarsest, *widths[:-1]), reversed(skips), widths, strict=True)
            )
        )
        self.widths = tuple(widths)

    def forward(self, pyramid: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Maps (B, channels[i], H/2^i, W/2^i) -> the map after every stage, coarsest first, the last (B, D, H, W)."""
        *skips, maps = pyramid
        decoded = []
        for stage, skip in zip(self, reversed(skips), strict=True):
            maps = stage(maps, skip)
            decoded.append(maps)
        return decoded
