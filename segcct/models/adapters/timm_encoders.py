"""timm's encoders under the decoder of CCT-UNet, as `timm/NAME`: any network that gives a feature pyramid."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from segcct.errors import ModelError
from segcct.models.adapters.timm_classifiers import check_timm_name, create_timm, output_shapes
from segcct.models.cct_unet import CctUnet, Pyramid
from segcct.models.options import ModelOptions, Rate
from segcct.models.swin_decoder import SwinDecoder
from segcct.models.tokenizer import conv_block
from segcct.models.zoo import Entry

PREFIX = "timm/"
NAMES = (
    "convnext_atto",
    "pvt_v2_b0",
    "mobilenetv4_conv_small",
    "edgenext_xx_small",
    "swin_tiny_patch4_window7_224",
    "resnet34",
)
_OTHER_ENCODER = f"Choose another encoder, such as {PREFIX}{NAMES[0]}"
STEM_WIDTHS = (16, 32)
"""Channels of the maps at full resolution and 1/2, where the encoder has none."""
WIDEST = 256
SWIN_BLOCKS = 2
SWIN_HEADS = 8


class TimmEncoderOptions(ModelOptions):
    """Options of timm's encoders under the decoder of CCT-UNet."""

    deep_supervision: bool = False
    """In training, also output logits at 1/2, 1/4, ... of the resolution, for losses at these scales."""
    decoder_width: Annotated[int, Field(ge=8, le=64, multiple_of=8)] = 16
    """Channels of the decoder at full resolution, doubled at every halving up to 256."""
    stochastic_depth: Rate = 0.0
    """Drop rate of the encoder's last residual branches, for networks that have it."""


def entry(name: str) -> Entry:
    """The row of timm's encoder `name`. Raises `ModelError` where timm has none of that name."""
    if name not in NAMES:
        check_timm_name(name, PREFIX)
    return Entry(PREFIX + name, "segmenter", partial(_build, name), TimmEncoderOptions)


def _build(name: str, *, in_channels: int, num_classes: int, image_size: int, options: TimmEncoderOptions) -> CctUnet:
    del image_size  # other sizes are taken alike; part of the table's call
    pyramid = TimmPyramid(name, in_channels, options.stochastic_depth)
    halvings = range(len(pyramid.channels) - 2, -1, -1)
    widths = [min(options.decoder_width * 2**halving, WIDEST) for halving in halvings]
    decoder = SwinDecoder(pyramid.channels, widths, swin_blocks=SWIN_BLOCKS, swin_heads=SWIN_HEADS)
    return CctUnet(pyramid, decoder, num_classes, deep_supervision=options.deep_supervision)


class TimmPyramid(Pyramid):
    """The maps of one of timm's networks, and before them those of a convolution at each finer scale.

    Args:
        name: one of timm's names.
        in_channels: channels of the image.
        stochastic_depth: drop rate of the last residual branches.
    """

    def __init__(self, name: str, in_channels: int, stochastic_depth: float) -> None:
        super().__init__()
        rate = {"drop_path_rate": stochastic_depth} if stochastic_depth else {}
        # Swin is built for the size of its released weights, and takes others if asked to.
        self.network = create_timm(
            name, "as an encoder", {"strict_img_size": False}, features_only=True, in_chans=in_channels, **rate
        )
        reductions = self.network.feature_info.reduction()
        first = reductions[0]
        if first not in (2, 4) or reductions != [first * 2**level for level in range(len(reductions))]:
            raise ModelError(
                f"timm's {name} gives no feature pyramid",
                found=f"maps at 1/{', 1/'.join(map(str, reductions))}",
                expected="maps from 1/2 or 1/4 on, each half as large as the one before",
                remedy=_OTHER_ENCODER,
            )
        stems = (in_channels, *STEM_WIDTHS[: first.bit_length() - 1])
        self.stem = nn.ModuleList(
            conv_block(before, after, stride=1 if level == 0 else 2)
            for level, (before, after) in enumerate(pairwise(stems))
        )
        self.channels = (*stems[1:], *self.network.feature_info.channels())
        # Some networks take images of one size only, and some name another size of their maps than they give.
        coarsest = 2 ** (len(self.channels) - 1)
        height, width = 2 * coarsest, 3 * coarsest
        expected = [(1, size, height >> level, width >> level) for level, size in enumerate(self.channels)]
        found = output_shapes(self, in_channels, height, width)
        if found != expected:
            raise ModelError(
                f"timm's {name} cannot encode images of any size",
                found=found,
                expected=f"maps of {expected}",
                remedy=_OTHER_ENCODER,
            )

    def forward(self, image: Tensor) -> list[Tensor]:
        maps, finer = image, []
        for stem in self.stem:
            maps = stem(maps)
            finer.append(maps)
        features = self.network(image)
        if getattr(self.network, "output_fmt", None) == "NHWC":
            features = [each.permute(0, 3, 1, 2) for each in features]
        return [*finer, *features]
