"""CCT-UNet: the compact convolutional transformer as the encoder of a U-shaped network.

The image becomes tokens at 1/16 through the convolutional tokenizer, whose stages are the skip connections; encoder
blocks let every token see the whole image; patch expanding (Cao et al. 2021) leads back to full resolution. Tokenizer
and encoder are the modules of the CCT classifiers, under the same names, so weights go from one to the other.

What makes it learn from scratch within minutes, besides the decoder's start: the tokenizer is normalized, the encoder's
output is added to the token map through a small learned scale instead of replacing it, and the logits are scaled up.
The scale starts at 1 instead where tokenizer and encoder come whole from a classifier of the same tokenizer or from
masked pre-training, which use the encoder's output as it is (weight_names.py): it is useful from the first step on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from segcct.models.options import ModelOptions
from segcct.models.padding import crop_to, pad_to_multiple
from segcct.models.stored_names import store_under
from segcct.models.swin_decoder import LAYER_SCALE, SwinDecoder
from segcct.models.tokenizer import ConvTokenizer, conv_block, to_map, to_tokens
from segcct.models.transformer import Encoder

LOGIT_SCALE = 4.0
"""Logits per unit of the head's output. Adam moves all weights alike, so the logits of a head with few channels would
grow slowly, and the loss would fall only as fast as the network grows confident."""


@dataclass(frozen=True)
class CctUnetSize:
    """The sizes of one variant."""

    detail: int
    """Channels of the full-resolution map that goes to the last decoder stage."""
    widths: tuple[int, ...]
    """Channels of the tokenizer's stages, at 1/2, 1/4, ...; the last is the token dimension."""
    depth: int
    """Encoder blocks."""
    heads: int
    """Attention heads of each."""
    mlp_ratio: float
    """Hidden width of their MLPs over the token dimension."""
    decoder: tuple[int, ...]
    """Channels of the decoder's stages, coarsest first, as many as `widths`; the last is at full resolution."""
    swin_heads: int
    """Attention heads of the Swin blocks."""
    swin_blocks: int = 2
    """Swin blocks of the coarsest decoder stage."""


SIZES: dict[str, CctUnetSize] = {
    "cct_unet_t": CctUnetSize(
        detail=16, widths=(32, 64, 96, 128), depth=6, heads=2, mlp_ratio=1, decoder=(96, 64, 32, 16), swin_heads=3
    ),
    "cct_unet_s": CctUnetSize(
        detail=16, widths=(32, 64, 128, 256), depth=4, heads=4, mlp_ratio=2, decoder=(128, 64, 32, 16), swin_heads=4
    ),
    "cct_unet_b": CctUnetSize(
        detail=32, widths=(64, 128, 256, 384), depth=14, heads=6, mlp_ratio=3, decoder=(256, 128, 64, 32), swin_heads=8
    ),
}


class CctUnetOptions(ModelOptions):
    """Options of CCT-UNet."""

    deep_supervision: bool = False
    """In training, also output logits at 1/2, 1/4, ... of the resolution, for losses at these scales."""
    encoder_depth: Annotated[int, Field(ge=0)] | None = None
    """Encoder blocks; default: those of the variant."""
    swin_blocks: Annotated[int, Field(ge=0)] | None = None
    """Swin blocks of the coarsest decoder stage; default: those of the variant."""


def cct_unet_tokenizer(size: CctUnetSize) -> ConvTokenizer:
    """The tokenizer of a variant: (B, detail, H, W) -> (B, widths[-1], H/16, W/16), each stage half as large.

    The steps of its convolutions halve the map, not pooling, and BatchNorm makes it learn from scratch.
    """
    return ConvTokenizer(size.detail, size.widths, norm="batch", stride=2, pool=False)


class Pyramid(nn.Module):
    """An encoder that goes with the decoder: (B, C, H, W) -> [(B, channels[i], H/2^i, W/2^i)]."""

    channels: tuple[int, ...]
    """Of its maps at full resolution, 1/2, 1/4, ...; H and W are multiples of the last one's reduction."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        raise NotImplementedError


class CctPyramid(Pyramid):
    """Maps of the image at full resolution and after every stage of the tokenizer; tokens see each other in the last.

    Args:
        size: the variant.
        in_channels: channels of the image.
        image_size: size in pixels that the positional table is built for.
    """

    def __init__(self, size: CctUnetSize, *, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.channels = (size.detail, *size.widths)
        side = -(-image_size // 2 ** len(size.widths))
        self.detail = conv_block(in_channels, size.detail)
        self.tokenizer = cct_unet_tokenizer(size)
        # Attention dropout would keep the attention off its fused path: a tenth of the training step.
        self.encoder = Encoder(
            size.widths[-1], size.depth, size.heads, size.mlp_ratio, grid=(side, side), attention_dropout=0.0
        )
        self.encoder_scale = nn.Parameter(torch.full((size.widths[-1],), LAYER_SCALE))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        detail = self.detail(image)  # (B, D, H, W)
        *finer, maps = self.tokenizer.stages(detail)  # (B, D, H/2, W/2), ... (B, D, H/16, W/16)
        grid = (maps.shape[-2], maps.shape[-1])
        encoded = self.encoder(to_tokens(maps), grid)  # (B, N, D)
        return [detail, *finer, maps + to_map(encoded * self.encoder_scale, grid)]


class CctUnet(nn.Module):
    """A feature pyramid and the decoder, for images of any size: padded inside, with logits at the size of the image.

    Args:
        pyramid: an encoder.
        decoder: built for its channels.
        num_classes: background included.
        deep_supervision: in training, also output logits at the lower scales.
    """

    pyramid: Pyramid

    def __init__(self, pyramid: Pyramid, decoder: SwinDecoder, num_classes: int, *, deep_supervision: bool) -> None:
        super().__init__()
        self.multiple = 2 ** (len(pyramid.channels) - 1)
        self.pyramid = pyramid
        self.decoder = decoder
        self.head = nn.Conv2d(decoder.widths[-1], num_classes, 1)
        coarse = decoder.widths[-2::-1] if deep_supervision else ()  # from 1/2 down
        self.coarse_heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in coarse)

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W).

        With deep supervision, in training: the list of logits at full, 1/2, 1/4, 1/8 resolution (sides rounded up).
        """
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, self.multiple, at_least=2 * self.multiple)
        # Channels last: convolutions are faster so on processors, and LayerNorm and linear layers need no copy.
        # `contiguous` would leave the strides of one channel as they are, and the convolutions go by them.
        pyramid = self.pyramid(image.to(memory_format=torch.channels_last))  # [(B, channels[i], H/2^i, W/2^i)]
        *coarse, finest = self.decoder(pyramid)  # ... (B, D, H/4, W/4), (B, D, H/2, W/2), (B, D, H, W)
        logits = _logits_of(self.head, finest, height, width)  # (B, K, H, W)
        if not (self.training and len(self.coarse_heads)):
            return logits
        scales = [logits]
        for head, maps in zip(self.coarse_heads, reversed(coarse), strict=True):
            height, width = -(-height // 2), -(-width // 2)
            scales.append(_logits_of(head, maps, height, width))  # (B, K, H/2, W/2), (B, K, H/4, W/4), ...
        return scales


def _logits_of(head: nn.Module, maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Logits of a (padded) map, cropped to the size asked for."""
    return crop_to(head(maps) * LOGIT_SCALE, height, width)


def build_cct_unet(
    size: CctUnetSize, *, in_channels: int, num_classes: int, image_size: int, options: CctUnetOptions
) -> CctUnet:
    """One of `SIZES`, with the blocks that the options ask for."""
    size = size if options.encoder_depth is None else replace(size, depth=options.encoder_depth)
    size = size if options.swin_blocks is None else replace(size, swin_blocks=options.swin_blocks)
    pyramid = CctPyramid(size, in_channels=in_channels, image_size=image_size)
    decoder = SwinDecoder(pyramid.channels, size.decoder, swin_blocks=size.swin_blocks, swin_heads=size.swin_heads)
    network = CctUnet(pyramid, decoder, num_classes, deep_supervision=options.deep_supervision)
    store_under(network, {"pyramid.": ""})  # as the classifiers do, which have the same modules
    return network
