"""The compact transformer encoder, shared by classifiers and segmenters.

Source: Hassani et al. 2021 and its released models. Parameter names are those of the released checkpoints, where the
prefix of the encoder is `classifier.`; in segmenters the same module has the prefix `encoder.`.
"""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.models.attention import attention

Positional = Literal["learnable", "sine", "none"]


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016), per sample: in training, drops a branch with probability `rate`, and scales
    the others by 1 / (1 - rate)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) -> the same shape."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        mask = branch.new_empty((branch.shape[0],) + (1,) * (branch.dim() - 1)).bernoulli_(keep)
        return branch * mask / keep


class Attention(nn.Module):
    """Multi-head self-attention; queries, keys and values come from one linear map without bias."""

    def __init__(self, dim: int, heads: int, *, attention_dropout: float, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads = heads
        self.attention_dropout = attention_dropout
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        q, k, v = rearrange(self.qkv(x), "b n (qkv h d) -> qkv b h n d", qkv=3, h=self.heads)  # (B, heads, N, d) each
        drop = self.attention_dropout if self.training else 0.0
        x = rearrange(attention(q, k, v, dropout=drop), "b h n d -> b n (h d)")  # (B, N, D)
        return self.proj_drop(self.proj(x))


class EncoderBlock(nn.Module):
    """One encoder layer as released: `norm1` replaces the residual stream instead of being added to it."""

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: float,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.pre_norm = nn.LayerNorm(dim)
        self.self_attn = Attention(dim, heads, attention_dropout=attention_dropout, dropout=dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, int(dim * mlp_ratio))
        self.linear2 = nn.Linear(int(dim * mlp_ratio), dim)
        self.drop = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        x = x + self.drop_path(self.self_attn(self.pre_norm(x)))  # (B, N, D)
        x = self.norm1(x)  # (B, N, D)
        hidden = self.drop(F.gelu(self.linear1(x)))  # (B, N, D * mlp_ratio)
        return x + self.drop_path(self.drop(self.linear2(hidden)))  # (B, N, D)


class SeqPool(nn.Linear):
    """Sequence pooling (Hassani et al. 2021): the mean of the tokens weighted by softmax(g(x)) over N, g linear to one
    score. It is g itself, not a module that holds it: so its weights have the released names."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 1)

    def weights(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, N), rows sum to 1."""
        return super().forward(tokens).squeeze(-1).softmax(dim=1)  # (B, N)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, D)"""
        return torch.einsum("bn,bnd->bd", self.weights(tokens), tokens)


def sine_table(count: int, dim: int) -> Tensor:
    """Fixed table over the flattened token index: sine on even, cosine on odd columns i of p / 10000^(2 (i // 2) / dim)
    (Vaswani et al. 2017, section 3.5).

    Returns (1, count, dim) in [-1, 1].
    """
    column = torch.arange(dim)
    position = torch.arange(count, dtype=torch.float64).unsqueeze(1)
    angle = position / 10000.0 ** (2 * (column // 2).double() / dim)  # (N, D)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float().unsqueeze(0)


def resize_table(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Bilinear resize of a positional table; rows before the grid (a class token) are kept.

    Args:
        table: (1, lead + old[0] * old[1], D).

    Returns (1, lead + new[0] * new[1], D).
    """
    if old == new:
        return table
    lead = table.shape[1] - old[0] * old[1]
    grid = rearrange(table[:, lead:], "one (h w) d -> one d h w", h=old[0], w=old[1])
    grid = F.interpolate(grid, size=new, mode="bilinear", align_corners=False)
    return torch.cat([table[:, :lead], rearrange(grid, "one d h w -> one (h w) d")], dim=1)


def init_linear(module: nn.Module) -> None:
    """Truncated normal of standard deviation 0.02 and bias 0 for linear maps; for `module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    """Positional table, encoder blocks, final LayerNorm.

    Args:
        dim: token dimension.
        depth, heads, mlp_ratio: layers, attention heads, hidden width of the MLP over `dim`.
        grid: rows and columns of tokens the positional table is built for; other grids get it resized (bilinear).
        positional: "learnable" (trained, truncated normal 0.2), "sine" (fixed) or "none".
        class_token: put a learned token before the others.
        dropout, attention_dropout: on tokens, projections and MLP; on the attention weights.
        stochastic_depth: drop rate of the last block; the rates rise linearly from 0.
    """

    positional_emb: Tensor | None

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        *,
        grid: tuple[int, int],
        positional: Positional = "learnable",
        class_token: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        stochastic_depth: float = 0.1,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.grid = grid
        self.positional = positional
        self.class_emb = nn.Parameter(torch.zeros(1, 1, dim)) if class_token else None
        count = grid[0] * grid[1] + int(class_token)
        if positional == "learnable":
            self.positional_emb = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, dim), std=0.2))
        elif positional == "sine":
            self.register_buffer("positional_emb", sine_table(count, dim))
        else:
            self.positional_emb = None
        self.drop = nn.Dropout(dropout)
        rates = [stochastic_depth * layer / max(1, depth - 1) for layer in range(depth)]
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, heads, mlp_ratio, dropout=dropout, attention_dropout=attention_dropout, drop_path=rate)
            for rate in rates
        )
        self.norm = nn.LayerNorm(dim)
        self.apply(init_linear)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Encodes the tokens of a grid.

        Args:
            tokens: (B, N, D), N = grid[0] * grid[1], row by row.
            grid: rows and columns of tokens.

        Returns (B, N, D), normalized; with a class token (B, 1 + N, D), the class token first.
        """
        return self.encode(tokens, grid)

    def encode(self, tokens: Tensor, grid: tuple[int, int], keep: Tensor | None = None) -> Tensor:
        """As `forward`, but of the tokens with the (B, V) indices `keep` alone, each at its own position: (B, V, D)."""
        x = tokens
        if self.class_emb is not None:
            x = torch.cat([self.class_emb.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + N, D)
        if self.positional_emb is not None:
            x = x + resize_table(self.positional_emb, self.grid, grid)
        if keep is not None:
            x = x.gather(1, keep[..., None].expand(-1, -1, self.dim))  # (B, V, D)
        x = self.drop(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
