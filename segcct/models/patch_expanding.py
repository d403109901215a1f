"""Patch merging (Liu et al. 2021) and patch expanding (Cao et al. 2021): half and a multiple of a map's resolution.

Maps are channel-last (B, H, W, C); parameter names as in the released models.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import nn


class PatchMerging(nn.Module):
    """Half the resolution, twice the channels: (B, H, W, C), H and W even -> (B, H/2, W/2, 2C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        corners = [maps[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
        maps = torch.cat(corners, dim=-1)  # (B, H/2, W/2, 4C)
        return self.reduction(self.norm(maps))  # (B, H/2, W/2, 2C)


class PatchExpand(nn.Module):
    """Patch expanding: a linear layer makes scale^2 sub-pixels of each pixel, then a LayerNorm.

    (B, H, W, dim) -> (B, scale*H, scale*W, out_dim). Channels run fastest within the linear layer's output, unlike in
    PixelShuffle, as in Cao et al.
    """

    def __init__(self, dim: int, out_dim: int, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(dim, scale * scale * out_dim, bias=False)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = self.expand(maps)  # (B, H, W, scale*scale*out_dim)
        maps = rearrange(maps, "b h w (p q c) -> b (h p) (w q) c", p=self.scale, q=self.scale)
        return self.norm(maps)  # (B, scale*H, scale*W, out_dim)

    @torch.no_grad()
    def start_as_upsampling(self) -> None:
        """Give the sub-pixels of a pixel equal weights: at first the layer repeats pixels and learns to differ."""
        one = self.expand.weight[: self.norm.normalized_shape[0]].clone()
        self.expand.weight.copy_(one.repeat(self.scale * self.scale, 1))
