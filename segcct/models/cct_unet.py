"""CCT-UNet: the compact convolutional transformer as the encoder of a U-shaped network.

The image becomes tokens at 1/16 through the convolutional tokenizer, whose stages are the skip connections; encoder
blocks let every token see the whole image; patch expanding (Cao et al. 2021) leads back to full resolution. Tokenizer
and encoder are the modules of the CCT classifiers, under the same names, so weights go from one to the other.

Five choices make it learn from scratch within minutes, where a plain composition of these parts hardly does: the
tokenizer is normalised, the encoder's output is added to the token map through a small learnt scale instead of
replacing it, patch expanding starts as plain up-sampling, Swin blocks start as a small addition, and the head's output
is scaled up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from segcct.models.options import ModelOptions
from segcct.models.padding import crop_to, pad_to_multiple
from segcct.models.swin import PatchExpand, SwinBlock
from segcct.models.tokenizer import ConvTokenizer, to_map, to_tokens
from segcct.models.transformer import Encoder

LAYER_SCALE = 0.01
"""Initial weight of the encoder's and the Swin blocks' contributions."""
LOGIT_SCALE = 4.0
"""Logits per unit of the head's output. Adam moves all weights alike, so the logits of a head with few channels would
grow slowly, and the loss would fall only as fast as the network grows confident."""
WINDOW = 7
SWIN_MLP_RATIO = 2.0


@dataclass(frozen=True)
class CctUnetSize:
    """The sizes of one variant."""

    detail: int
    """Channels of the full-resolution map that is kept for the last decoder stage."""
    widths: tuple[int, ...]
    """Channels of the tokenizer's stages, at 1/2, 1/4, ...; the last is the token dimension."""
    depth: int
    """Encoder blocks."""
    heads: int
    mlp_ratio: float
    """Attention heads and hidden width (over the token dimension) of the encoder blocks."""
    decoder: tuple[int, ...]
    """Channels of the decoder's stages, coarsest first, as many as `widths`; the last is at full resolution."""
    swin_blocks: int
    swin_heads: int
    """Swin blocks of the coarsest decoder stage, and their attention heads."""


SIZES: dict[str, CctUnetSize] = {
    "cct_unet_t": CctUnetSize(16, (32, 64, 96, 128), 6, 2, 1, (96, 64, 32, 16), 2, 3),
    "cct_unet_s": CctUnetSize(16, (32, 64, 128, 256), 4, 4, 2, (128, 64, 32, 16), 2, 4),
    "cct_unet_b": CctUnetSize(32, (64, 128, 256, 384), 14, 6, 3, (256, 128, 64, 32), 2, 8),
}


class CctUnetOptions(ModelOptions):
    """Options of CCT-UNet."""

    deep_supervision: bool = False
    """In training, also answer at 1/2, 1/4, ... of the resolution, for losses at these scales."""


def conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution, BatchNorm, ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


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
        maps = self.expand(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, D, 2h, 2w)
        maps = self.fuse(torch.cat([maps, skip], dim=1))
        if len(self.swin) == 0:
            return maps
        return self.swin(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class CctUnet(nn.Module):
    """CCT-UNet for images of any size and any number of channels: padded inside, answered at the image's own size."""

    def __init__(
        self, size: CctUnetSize, *, in_channels: int, num_classes: int, image_size: int, options: CctUnetOptions
    ) -> None:
        super().__init__()
        self.multiple = 2 ** len(size.widths)
        side = -(-image_size // self.multiple)
        self.detail = conv_block(in_channels, size.detail)
        self.tokenizer = ConvTokenizer(size.detail, size.widths, norm="batch", stride=2, pool=False)
        # Attention dropout would keep the attention off its fused path: a tenth of the training step.
        self.encoder = Encoder(
            size.widths[-1], size.depth, size.heads, size.mlp_ratio, grid=(side, side), attention_dropout=0.0
        )
        self.encoder_scale = nn.Parameter(torch.full((size.widths[-1],), LAYER_SCALE))
        self.decoder = nn.ModuleList(_decoder_stages(size))
        self.head = nn.Conv2d(size.decoder[-1], num_classes, 1)
        coarse = size.decoder[-2::-1] if options.deep_supervision else ()  # from 1/2 down
        self.coarse_heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in coarse)

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W).

        With deep supervision, in training: the list of logits at full, 1/2, 1/4, 1/8 resolution (sides rounded up).
        """
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, self.multiple, at_least=2 * self.multiple)
        # Channels last: convolutions are faster so on processors, and LayerNorm and linear layers need no copy.
        detail = self.detail(image.contiguous(memory_format=torch.channels_last))
        *skips, maps = self.tokenizer.stages(detail)  # (B, D, H/2, W/2), ... (B, D, H/16, W/16)
        maps = self._encode(maps)
        decoded = []
        for stage, skip in zip(self.decoder, [*reversed(skips), detail], strict=True):
            maps = stage(maps, skip)  # (B, D, H/8, W/8), ... (B, D, H, W)
            decoded.append(maps)
        logits = _answer(self.head, maps, height, width)
        if not (self.training and len(self.coarse_heads)):
            return logits
        coarse = [
            _answer(head, coarse, -(-height // 2**halvings), -(-width // 2**halvings))
            for halvings, (head, coarse) in enumerate(zip(self.coarse_heads, decoded[-2::-1], strict=True), start=1)
        ]
        return [logits, *coarse]

    def _encode(self, maps: torch.Tensor) -> torch.Tensor:
        """The token map (B, D, h, w), with what the encoder makes of its tokens added."""
        grid = (maps.shape[-2], maps.shape[-1])
        encoded = self.encoder(to_tokens(maps), grid)  # (B, N, D)
        return maps + to_map(encoded * self.encoder_scale, grid)


def _answer(head: nn.Module, maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Logits of a (padded) map, cropped to the size asked for."""
    return crop_to(head(maps) * LOGIT_SCALE, height, width)


def _decoder_stages(size: CctUnetSize) -> Sequence[DecoderStage]:
    """Coarsest first: Swin blocks in the coarsest; one convolution at full resolution, where they cost most."""
    inputs = (size.widths[-1], *size.decoder[:-1])
    skips = (*size.widths[-2::-1], size.detail)
    last = len(size.decoder) - 1
    return [
        DecoderStage(
            before,
            skip,
            after,
            convolutions=1 if index == last else 2,
            swin_blocks=size.swin_blocks if index == 0 else 0,
            swin_heads=size.swin_heads,
        )
        for index, (before, skip, after) in enumerate(zip(inputs, skips, size.decoder, strict=True))
    ]
