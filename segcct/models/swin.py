"""Swin blocks on channel-last maps (B, H, W, C): shifted-window attention, and the patches of an image.

Liu et al. 2021 (arXiv 2103.14030), with the parameter names of the released models. patch_expanding.py changes the
resolution of maps. Maps may have any size: windows that overhang are padded, and padding is masked out of the
attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from segcct.models.attention import attention
from segcct.models.transformer import DropPath

MASKED = -100.0
"""What the released models add to the score of a pair that must not attend; exp(-100) is 0 in float32."""


def relative_position_index(window: int) -> torch.Tensor:
    """Row of the bias table for each (query, key) pair of an M x M window, (M*M, M*M), row-major tokens."""
    axis = torch.arange(window)
    rows, columns = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    down = rows[:, None] - rows[None, :] + window - 1  # 0 .. 2M-2
    right = columns[:, None] - columns[None, :] + window - 1
    return down * (2 * window - 1) + right


def partition_windows(maps: torch.Tensor, window: int) -> torch.Tensor:
    """(B, H, W, C) with H, W multiples of M -> (B * H/M * W/M, M*M, C), windows in row-major order."""
    return rearrange(maps, "b (h m) (w n) c -> (b h w) (m n) c", m=window, n=window)


def merge_windows(windows: torch.Tensor, window: int, height: int, width: int) -> torch.Tensor:
    """Inverse of `partition_windows`: (B * H/M * W/M, M*M, C) -> (B, H, W, C)."""
    grid = {"h": height // window, "w": width // window}
    return rearrange(windows, "(b h w) (m n) c -> b (h m) (w n) c", m=window, n=window, **grid)


def window_mask(
    height: int, width: int, window: int, shifts: tuple[int, int], device: torch.device
) -> torch.Tensor | None:
    """Which tokens of a padded, rolled map may attend to each other: (H'/M * W'/M, M*M, M*M) of 0 or -100.

    Tokens attend only within their group: those rolled in from the far side, the padding, and the others.
    None where nothing is padded or rolled, so that every pair may attend.
    """
    padded = (-(-height // window) * window, -(-width // window) * window)
    if padded == (height, width) and shifts == (0, 0):
        return None
    groups = []
    for size, full, shift in zip((height, width), padded, shifts, strict=True):
        position = torch.arange(full, device=device)
        wrapped = position >= full - shift if shift else torch.zeros_like(position, dtype=torch.bool)
        padding = (position + shift) % full >= size
        groups.append(wrapped.long() + 2 * padding.long())
    group = groups[0][:, None] * 4 + groups[1][None, :]  # (H', W')
    tokens = partition_windows(group[None, :, :, None], window).squeeze(-1)  # (windows, M*M)
    return (tokens[:, :, None] != tokens[:, None, :]).float() * MASKED


class WindowAttention(nn.Module):
    """Multi-head attention within one window, with a learned bias per head and relative position (equation 4)."""

    relative_position_index: torch.Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def position_bias(self) -> torch.Tensor:
        """(heads, M*M, M*M), added to the scores."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """tokens (B * windows, M*M, C), mask (windows, M*M, M*M) or None -> (B * windows, M*M, C)."""
        # (B * windows, heads, M*M, C / heads) each
        query, key, value = rearrange(self.qkv(tokens), "b n (qkv h c) -> qkv b h n c", qkv=3, h=self.heads)
        bias = self.position_bias().unsqueeze(0)  # (1, heads, M*M, M*M)
        if mask is not None:
            images = tokens.shape[0] // mask.shape[0]
            bias = (bias + mask.unsqueeze(1)).repeat(images, 1, 1, 1)  # (B * windows, heads, M*M, M*M)
        mixed = attention(query, key, value, bias)
        return self.proj(rearrange(mixed, "b h n c -> b n (h c)"))


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class SwinBlock(nn.Module):
    """Window attention and MLP, each behind a LayerNorm and added to its input (equation 3); (B, H, W, C) in and out.

    Args:
        shifted: windows moved by half a window, so that neighbors exchange; not along a side that one window spans.
        layer_scale: initial weight of both branches, learned per channel (LayerScale, Touvron et al. 2021); None adds
            them unscaled, as Swin does.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        *,
        shifted: bool,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.window = window
        self.shift = window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        if layer_scale is None:
            self.scale1 = self.scale2 = None
        else:
            self.scale1 = nn.Parameter(torch.full((dim,), layer_scale))
            self.scale2 = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = maps + self.drop_path(_scaled(self._attend(self.norm1(maps)), self.scale1))  # (B, H, W, C)
        return maps + self.drop_path(_scaled(self.mlp(self.norm2(maps)), self.scale2))  # (B, H, W, C)

    def _attend(self, maps: torch.Tensor) -> torch.Tensor:
        """Window attention of a map of any size: pad, roll, attend, roll back, crop."""
        height, width = maps.shape[1:3]
        window = self.window
        shifts = (self.shift if height > window else 0, self.shift if width > window else 0)
        mask = window_mask(height, width, window, shifts, maps.device)
        maps = F.pad(maps, (0, 0, 0, (-width) % window, 0, (-height) % window))  # (B, H', W', C)
        full_height, full_width = maps.shape[1:3]
        if any(shifts):
            maps = torch.roll(maps, (-shifts[0], -shifts[1]), dims=(1, 2))
        tokens = self.attn(partition_windows(maps, window), mask)  # (B * windows, M*M, C)
        maps = merge_windows(tokens, window, full_height, full_width)  # (B, H', W', C)
        if any(shifts):
            maps = torch.roll(maps, shifts, dims=(1, 2))
        return maps[:, :height, :width]  # (B, H, W, C)


def _scaled(branch: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    return branch if scale is None else branch * scale


class PatchEmbed(nn.Module):
    """Non-overlapping patches of an image as a normalized map: (B, C, H, W) -> (B, H/patch, W/patch, dim)."""

    def __init__(self, in_channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.norm(rearrange(self.proj(image), "b c h w -> b h w c"))
