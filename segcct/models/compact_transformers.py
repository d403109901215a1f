"""The compact transformer classifiers ViT-Lite, CVT and CCT (Hassani et al. 2021): tokenizer, encoder, pooling, head.

Names are those of the released models: `cct_L_PxC_S` has L encoder layers, C convolutions of PxP and was made for
images of side S; `vit_L_P_S` and `cvt_L_P_S` cut the image into PxP patches. Any image size is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from segcct.errors import ModelError
from segcct.models.cct_unet import CctUnetSize, cct_unet_tokenizer
from segcct.models.options import ModelOptions, Rate
from segcct.models.tokenizer import ConvTokenizer, Normalization, PatchTokenizer, conv_block, to_tokens, token_grid
from segcct.models.transformer import Encoder, Positional, SeqPool, init_linear

HIDDEN_WIDTH = 64
"""Output channels of a CCT tokenizer's convolutions before the last."""


class EncoderSize(NamedTuple):
    """The sizes of an encoder, besides its number of layers."""

    heads: int
    """Attention heads."""
    mlp_ratio: float
    """Hidden width of the MLP over `dim`."""
    dim: int
    """Token dimension."""


SIZES = {
    2: EncoderSize(heads=2, mlp_ratio=1, dim=128),
    4: EncoderSize(heads=2, mlp_ratio=1, dim=128),
    6: EncoderSize(heads=4, mlp_ratio=2, dim=256),
    7: EncoderSize(heads=4, mlp_ratio=2, dim=256),
    12: EncoderSize(heads=12, mlp_ratio=4, dim=768),
    14: EncoderSize(heads=6, mlp_ratio=3, dim=384),
}
"""Layers -> sizes, the same in the three families."""


@dataclass(frozen=True)
class Preset:
    """One published variant: the family, the number of layers and how the image becomes tokens."""

    family: str
    """vit, cvt or cct."""
    layers: int
    """Key of `SIZES`."""
    kernel: int
    """Side of the convolutions; of the patches in vit and cvt."""
    convolutions: int
    """Of the tokenizer; 1 in vit and cvt."""
    image_size: int
    """Side of the images that it was published for, in pixels."""

    @classmethod
    def named(cls, name: str) -> Preset:
        """As the name says, such as `cct_7_3x2_32`."""
        family, layers, tokenizer, image_size = name.split("_")
        kernel, _, convolutions = tokenizer.partition("x")
        return cls(family, int(layers), int(kernel), int(convolutions or 1), int(image_size))


_PUBLISHED = (
    "vit_2_4_32 vit_4_4_32 vit_6_4_32 vit_7_4_32 vit_6_8_32 vit_7_8_32 vit_6_16_32 vit_7_16_32 vit_12_16_32 "
    "cvt_2_4_32 cvt_4_4_32 cvt_6_4_32 cvt_7_4_32 cvt_7_2_32 cvt_6_8_32 cvt_7_8_32 cvt_7_16_32 "
    "cct_2_3x2_32 cct_4_3x2_32 cct_6_3x1_32 cct_6_3x2_32 cct_7_3x1_32 cct_7_3x2_32 cct_7_7x1_32 "
    "cct_7_7x2_224 cct_14_7x2_224 cct_14_7x2_384"
)
PRESETS = {name: Preset.named(name) for name in _PUBLISHED.split()}

Pooling = Literal["seqpool", "class_token", "mean"]


class EncoderOptions(ModelOptions):
    """Options of classifiers over the compact encoder."""

    pooling: Pooling | None = None
    """What the head reads: seqpool (attention-weighted mean of the tokens), class_token (a learned token put before
    them) or mean; by default as published: class_token in ViT-Lite, seqpool in CVT and CCT."""
    positional: Positional = "learnable"
    """Positional embedding: learnable, sine (fixed) or none."""
    dropout: Rate = 0.0
    """Dropout of tokens, attention projections and MLP."""
    attention_dropout: Rate = 0.1
    """Dropout of the attention weights."""
    stochastic_depth: Rate = 0.1
    """Drop rate of the last layer's branches; the rates rise linearly from 0."""


class CctOptions(EncoderOptions):
    """Options of CCT, whose tokenizer alone may be normalized and may take longer steps."""

    tokenizer_norm: Normalization = "none"
    """Normalization in the tokenizer: none as published, or batch (learns faster in short runs)."""
    tokenizer_stride: Annotated[int, Field(ge=1, le=4)] | None = None
    """Step of the tokenizer's convolutions, for large images; by default 1 with kernel 3 and 2 with kernel 7. The
    weights are the same: with steps of 2, a 3x2 gives as many tokens at 128 pixels as at 32 without."""


class TokenClassifier(Encoder):
    """The encoder and a linear head over what `pooling` makes of the tokens.

    It is an encoder, and does not hold one: so its weights have the released names, `blocks.` next to `fc.`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        *,
        num_classes: int,
        grid: tuple[int, int],
        pooling: Pooling,
        options: EncoderOptions,
    ) -> None:
        encoder = options.model_dump(include={"positional", "dropout", "attention_dropout", "stochastic_depth"})
        super().__init__(dim, depth, heads, mlp_ratio, grid=grid, class_token=pooling == "class_token", **encoder)
        self.pooling = pooling
        self.attention_pool = SeqPool(dim) if pooling == "seqpool" else None
        self.fc = nn.Linear(dim, num_classes)
        self.fc.apply(init_linear)
        if self.attention_pool is not None:
            init_linear(self.attention_pool)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, D) -> logits (B, K)"""
        encoded = self.encode(tokens, grid)  # (B, N, D); (B, 1 + N, D) with a class token
        if self.attention_pool is not None:
            pooled = self.attention_pool(encoded)  # (B, D)
        else:
            pooled = encoded[:, 0] if self.pooling == "class_token" else encoded.mean(dim=1)  # (B, D)
        return self.fc(pooled)

    def weights(self, token_map: Tensor) -> Tensor:
        """Weight of each token in sequence pooling: (B, D, h, w) -> (B, h, w), each map sums to 1.

        Raises:
            ModelError: this classifier pools in another way.
        """
        if self.attention_pool is None:
            pooling = self.pooling.replace("_", " ")
            raise ModelError("no sequence pooling to show", found=f"pooling: {pooling}", expected="pooling: seqpool")
        grid = (token_map.shape[-2], token_map.shape[-1])
        encoded = self.encode(to_tokens(token_map), grid)  # (B, N, D)
        return self.attention_pool.weights(encoded).reshape(-1, *grid)


class CompactClassifier(nn.Module):
    """Image (B, C, H, W) -> logits (B, K); H and W may differ from the size the model was built for."""

    tokenizer: ConvTokenizer | PatchTokenizer
    classifier: TokenClassifier

    def tokens(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, h, w)"""
        return self.tokenizer(image)

    def token_layers(self) -> list[nn.Module]:
        """The layers of `tokens`, in order, for images whose sides are multiples of the reduction."""
        return [layer for layer in self.tokenizer.modules() if not any(True for _ in layer.children())]

    def forward(self, image: Tensor) -> Tensor:
        token_map = self.tokens(image)  # (B, D, h, w)
        grid = (token_map.shape[-2], token_map.shape[-1])
        return self.classifier(to_tokens(token_map), grid)  # (B, K)

    @torch.no_grad()
    def token_weights(self, image: Tensor) -> Tensor:
        """Weight of each token in sequence pooling: (B, C, H, W) -> (B, h, w), each map sums to 1.

        Raises:
            ModelError: this classifier pools in another way.
        """
        return self.classifier.weights(self.tokens(image))


class CompactTransformer(CompactClassifier):
    """ViT-Lite, CVT or CCT, by a preset."""

    def __init__(
        self, preset: Preset, *, in_channels: int, num_classes: int, image_size: int, options: EncoderOptions
    ) -> None:
        super().__init__()
        size = SIZES[preset.layers]
        if preset.family == "cct":
            assert isinstance(options, CctOptions)
            self.tokenizer = ConvTokenizer(
                in_channels,
                [HIDDEN_WIDTH] * (preset.convolutions - 1) + [size.dim],
                kernel=preset.kernel,
                stride=options.tokenizer_stride,
                norm=options.tokenizer_norm,
            )
        else:
            self.tokenizer = PatchTokenizer(in_channels, size.dim, patch=preset.kernel)
        self.classifier = TokenClassifier(
            size.dim,
            preset.layers,
            size.heads,
            size.mlp_ratio,
            num_classes=num_classes,
            grid=token_grid(self.tokenizer, image_size, image_size),
            pooling=options.pooling or ("class_token" if preset.family == "vit" else "seqpool"),
            options=options,
        )


class CctUnetClassifier(CompactClassifier):
    """The encoder of CCT-UNet as a classifier, to be trained on labeled images before it segments.

    `cct_encoder_s` has the modules of `cct_unet_s` up to its token map under the same names, so the weights of one
    initialize the other; the published classifiers make tokens in another way and share the blocks only.
    """

    def __init__(
        self, size: CctUnetSize, *, in_channels: int, num_classes: int, image_size: int, options: EncoderOptions
    ) -> None:
        super().__init__()
        self.detail = conv_block(in_channels, size.detail)
        self.tokenizer = cct_unet_tokenizer(size)
        self.classifier = TokenClassifier(
            size.widths[-1],
            size.depth,
            size.heads,
            size.mlp_ratio,
            num_classes=num_classes,
            grid=token_grid(self.tokenizer, image_size, image_size),
            pooling=options.pooling or "seqpool",
            options=options,
        )

    def tokens(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H/16, W/16)"""
        return self.tokenizer(self.detail(image))

    def token_layers(self) -> list[nn.Module]:
        return [*self.detail, *super().token_layers()]
