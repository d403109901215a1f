"""Segmenters of MONAI in 2-D, as `monai/NAME`; MONAI is imported when one is built, not before.

Images of any size are padded inside; the logits have the size of the image, as with the other segmenters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from segcct.errors import ModelError, did_you_mean
from segcct.models.options import ModelOptions, Rate
from segcct.models.padding import crop_to, pad_to_multiple
from segcct.models.stored_names import store_under
from segcct.models.transformer import resize_table
from segcct.models.zoo import Entry

PREFIX = "monai/"
WIDEST = 512
"""Most channels of the networks whose width doubles at every halving, as in nnU-Net."""
UNETR_PATCH = 16
_POSITIONS = "vit.patch_embedding.position_embeddings"
_ONE_AT_A_TIME = threading.Lock()
"""Threads that predict images share a network, and a UNETR keeps the grid and the table of its current image."""

Width = Annotated[int, Field(ge=8, le=256, multiple_of=8)]


class DynUnetOptions(ModelOptions):
    """Options of MONAI's DynUNet, the network of nnU-Net."""

    filters: Width = 32
    """Channels at full resolution, doubled at every halving up to 512."""
    levels: Annotated[int, Field(ge=3, le=8)] = 6
    """Resolutions, the full one included."""
    res_block: bool = False
    """Residual blocks, as in nnU-Net's ResEnc variants."""
    dropout: Rate = 0.0
    """Dropout of the convolutions."""
    deep_supervision: bool = False
    """In training, also output logits from the decoder's two coarser levels, enlarged to full resolution."""


class SwinUnetrOptions(ModelOptions):
    """Options of MONAI's SwinUNETR."""

    feature_size: Annotated[int, Field(ge=12, le=192, multiple_of=12)] = 24
    """Channels at full resolution, a multiple of 12."""
    use_v2: bool = False
    """A residual convolution before each stage (SwinUNETR-V2)."""
    dropout: Rate = 0.0
    """Dropout of tokens and projections."""
    stochastic_depth: Rate = 0.0
    """Drop rate of the deepest block."""


class UnetrOptions(ModelOptions):
    """Options of MONAI's UNETR."""

    feature_size: Width = 16
    """Channels at full resolution."""
    hidden_size: Annotated[int, Field(ge=8, le=1536)] = 768
    """Dimension of the tokens, a multiple of `num_heads`."""
    mlp_dim: Annotated[int, Field(ge=8, le=6144)] = 3072
    """Hidden width of the token layers."""
    num_heads: Annotated[int, Field(ge=1, le=64)] = 12
    """Attention heads."""
    dropout: Rate = 0.0
    """Dropout of tokens and projections."""


class AttentionUnetOptions(ModelOptions):
    """Options of MONAI's AttentionUnet."""

    filters: Width = 32
    """Channels at full resolution, doubled at every halving up to 512."""
    levels: Annotated[int, Field(ge=2, le=7)] = 5
    """Resolutions, the full one included."""
    dropout: Rate = 0.0
    """Dropout of the convolutions."""


class SegResNetOptions(ModelOptions):
    """Options of MONAI's SegResNet."""

    filters: Width = 32
    """Channels at full resolution, doubled at every halving."""
    dropout: Rate = 0.0
    """Dropout before the encoder."""


class MedNextOptions(ModelOptions):
    """Options of MONAI's MedNeXt-S."""

    kernel_size: Annotated[int, Field(ge=3, le=7)] = 3
    """Side of the depthwise convolutions, odd."""
    deep_supervision: bool = False
    """In training, also output logits at 1/2, 1/4, 1/8 and 1/16 of the resolution."""


class MonaiSegmenter(nn.Module):
    """One of MONAI's networks: (B, C, H, W) -> logits (B, K, H, W), for any H and W.

    Args:
        network: MONAI's.
        multiple: height and width of its images must be multiples of it.
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple
        first: dict[int, str] = {}
        names = {name: first.setdefault(id(value), name) for name, value in self.state_dict(keep_vars=True).items()}
        # DynUNet has some weights twice.
        store_under(self, {name: once for name, once in names.items() if name != once})

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W); with deep supervision, in training, a list of them, full size first."""
        padded = pad_to_multiple(image, self.multiple, at_least=2 * self.multiple)
        output = self.through(padded)
        if isinstance(output, Tensor) and output.dim() == image.dim():
            return crop_to(output, image.shape[-2], image.shape[-1])
        scales = output.unbind(1) if isinstance(output, Tensor) else output  # (B, scales, K, H, W), or one map a scale
        logits = []
        for maps in scales:
            reduction = padded.shape[-2] // maps.shape[-2]
            logits.append(crop_to(maps, *(-(-side // reduction) for side in image.shape[-2:])))
        return logits

    def through(self, image: Tensor) -> Any:
        """What the network makes of a padded image."""
        return self.network(image)


class AnySizeUnetr(MonaiSegmenter):
    """UNETR, whose positional table is resized (bilinear) to the tokens of an image of another size."""

    def __init__(self, network: Any, multiple: int) -> None:
        for block in network.vit.blocks:  # has weights for attention to other tokens, which nothing here trains
            block.norm_cross_attn = block.cross_attn = nn.Identity()
        super().__init__(network, multiple)

    def through(self, image: Tensor) -> Any:
        network: Any = self.network
        grid = (image.shape[-2] // UNETR_PATCH, image.shape[-1] // UNETR_PATCH)
        with _ONE_AT_A_TIME:
            network.proj_view_shape = [*grid, network.hidden_size]
            table = resize_table(network.get_parameter(_POSITIONS), network.feat_size, grid)
            return torch.func.functional_call(network, {_POSITIONS: table}, (image,))


@dataclass(frozen=True)
class _Network:
    options: type[ModelOptions]
    arguments: Callable[[Any, int], dict[str, Any]]
    """Options and image size -> keywords of MONAI's class."""
    multiple: Callable[[Any], int]
    """Options -> what height and width of images must be multiples of."""


def _dyn_unet(options: DynUnetOptions, _: int) -> dict[str, Any]:
    strides = [1] + [2] * (options.levels - 1)
    return {
        "kernel_size": [3] * options.levels,
        "strides": strides,
        "upsample_kernel_size": strides[1:],
        "filters": _doubled(options.filters, options.levels),
        "dropout": options.dropout or None,
        "res_block": options.res_block,
        "deep_supervision": options.deep_supervision,
        "deep_supr_num": min(2, options.levels - 2),
    }


def _swin_unetr(options: SwinUnetrOptions, _: int) -> dict[str, Any]:
    rates = {"drop_rate": options.dropout, "dropout_path_rate": options.stochastic_depth}
    return {"feature_size": options.feature_size, "use_v2": options.use_v2, **rates}


def _unetr(options: UnetrOptions, image_size: int) -> dict[str, Any]:
    sizes = options.model_dump(exclude={"dropout"})
    return {
        **sizes,
        "img_size": max(2, -(-image_size // UNETR_PATCH)) * UNETR_PATCH,
        "dropout_rate": options.dropout,
    }


def _attention_unet(options: AttentionUnetOptions, _: int) -> dict[str, Any]:
    channels, strides = _doubled(options.filters, options.levels), [2] * (options.levels - 1)
    return {"channels": channels, "strides": strides, "dropout": options.dropout}


def _seg_res_net(options: SegResNetOptions, _: int) -> dict[str, Any]:
    return {"init_filters": options.filters, "dropout_prob": options.dropout or None}


def _doubled(filters: int, levels: int) -> list[int]:
    return [min(filters * 2**level, WIDEST) for level in range(levels)]


_NETWORKS = {
    "DynUNet": _Network(DynUnetOptions, _dyn_unet, lambda options: 2 ** (options.levels - 1)),
    "SwinUNETR": _Network(SwinUnetrOptions, _swin_unetr, lambda _: 32),
    "UNETR": _Network(UnetrOptions, _unetr, lambda _: UNETR_PATCH),
    "AttentionUnet": _Network(AttentionUnetOptions, _attention_unet, lambda options: 2 ** (options.levels - 1)),
    "SegResNet": _Network(SegResNetOptions, _seg_res_net, lambda _: 8),
    "MedNeXtS": _Network(MedNextOptions, lambda options, _: options.model_dump(), lambda _: 16),
}
NAMES = tuple(_NETWORKS)


def entry(name: str) -> Entry:
    """The row of MONAI's network `name`. Raises `ModelError` where this adapter does not have it."""
    if name not in _NETWORKS:
        expected = f"one of {', '.join(PREFIX + each for each in NAMES)}"
        remedy = did_you_mean(name, NAMES, prefix=PREFIX)
        raise ModelError("unknown MONAI network", found=PREFIX + name, expected=expected, remedy=remedy)
    return Entry(PREFIX + name, "segmenter", partial(_build, name), _NETWORKS[name].options)


def _build(name: str, *, in_channels: int, num_classes: int, image_size: int, options: ModelOptions) -> MonaiSegmenter:
    from monai.networks import nets

    row = _NETWORKS[name]
    arguments = row.arguments(options, image_size)
    try:
        network = getattr(nets, name)(spatial_dims=2, in_channels=in_channels, out_channels=num_classes, **arguments)
    except (AssertionError, TypeError, ValueError) as refused:
        raise ModelError(f"MONAI cannot build {name} with these options", found=str(refused)) from refused
    return (AnySizeUnetr if name == "UNETR" else MonaiSegmenter)(network, row.multiple(options))
