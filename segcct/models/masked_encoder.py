"""Masked pre-training of a compact encoder without labels: MAE and Masked Modeling Duo, as `masked/NAME`.

The image is masked in blocks before the tokenizer, whose convolutions look beyond their token: what a visible token
says does not depend on masked pixels. The encoder sees visible tokens only. So does BatchNorm in the tokenizer, as in
sparse convolutions (SparK, Tian et al. 2023, arXiv 2301.03580): statistics that count the zeros too have a smaller
variance, and all maps would shrink when fine-tuning shows whole images.

mae (He et al. 2022, arXiv 2111.06377): a small decoder fills the masked tokens with their pixels. They are not
normalized per patch: that leaves out what is easiest to predict, which helps in hundreds of epochs but taught less
within minutes.
m2d (Niizumi et al. 2022, arXiv 2210.14648): a predictor fills them with the embeddings of a target encoder, which sees
the masked blocks only and whose weights are a moving average of the encoder's. In m2d_all the target sees the whole
image. The predictor of m2d is built like the decoder of mae and stored under its name. Unlike in the paper, embeddings
are standardized over the tokens of the batch before they are standardized per token: in short runs with small
batches the encoder otherwise learned one embedding for all tokens, which is trivial to predict.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Annotated, Any, Literal

import torch
from einops import rearrange, repeat
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.errors import ModelError, did_you_mean
from segcct.models.cct_unet import SIZES as CCT_UNET_SIZES
from segcct.models.compact_transformers import (
    PRESETS,
    CctOptions,
    CctUnetClassifier,
    CompactClassifier,
    CompactTransformer,
    EncoderOptions,
)
from segcct.models.options import ModelOptions
from segcct.models.stored_names import store_under
from segcct.models.tokenizer import to_tokens, token_grid
from segcct.models.transformer import Encoder
from segcct.models.weight_names import MASKED
from segcct.models.zoo import Entry

PREFIX = "masked/"
NAMES: tuple[str, ...] = ()
"""Not listed among models: they are made by the task that trains them."""
DECODER_WIDTH, DECODER_DEPTH, DECODER_HEADS = 128, 2, 4
ENCODER_OPTIONS: dict[str, Any] = {"pooling": "mean", "attention_dropout": 0.0, "stochastic_depth": 0.0}
"""Masking is all the noise that an encoder needs (He et al. 2022)."""
_ENCODERS = frozenset(PRESETS) | frozenset(CCT_UNET_SIZES)

Method = Literal["mae", "m2d", "m2d_all"]


class MaskedEncoderOptions(ModelOptions):
    """Options of masked pre-training."""

    method: Method = "mae"
    """What is predicted of masked tokens: mae: their pixels; m2d, m2d_all: what another encoder says of them."""
    block_px: Annotated[int, Field(ge=1, le=256)] = 16
    """Side of the blocks that are masked, in pixels; a multiple of the tokenizer's reduction."""


def entry(name: str) -> Entry:
    """The row of the encoder of `name`. Raises `ModelError` where that is not a compact network."""
    if name not in _ENCODERS:
        raise ModelError(
            "no masked pre-training for this network",
            found=name,
            expected=f"{', '.join(CCT_UNET_SIZES)} or a compact transformer, such as cct_7_7x2_224",
            remedy=did_you_mean(name, _ENCODERS),
        )
    return Entry(PREFIX + name, "pretrainer", partial(_build, name), MaskedEncoderOptions)


def _build(
    name: str, *, in_channels: int, num_classes: int, image_size: int, options: MaskedEncoderOptions
) -> MaskedEncoder:
    sizes = {"in_channels": in_channels, "num_classes": num_classes, "image_size": image_size}
    if name in CCT_UNET_SIZES:
        size, encoder_options = CCT_UNET_SIZES[name], EncoderOptions(**ENCODER_OPTIONS)
        encoder: CompactClassifier = CctUnetClassifier(size, **sizes, options=encoder_options)
    else:
        kind = CctOptions if PRESETS[name].family == "cct" else EncoderOptions
        encoder = CompactTransformer(PRESETS[name], **sizes, options=kind(**ENCODER_OPTIONS))
    return MaskedEncoder(encoder, in_channels=in_channels, image_size=image_size, options=options)


class MaskedEncoder(nn.Module):
    """A compact encoder, and what its pre-training needs in addition, which is stored under names of its own.

    Args:
        encoder: tokenizer and encoder; its head is dropped.
        in_channels: channels of the image.
        image_size: side of the square images.
        options: method and blocks.

    Raises `ModelError` where blocks and tokens do not fit the image.
    """

    def __init__(
        self, encoder: CompactClassifier, *, in_channels: int, image_size: int, options: MaskedEncoderOptions
    ) -> None:
        super().__init__()
        self.method = options.method
        self.block_px, self.patch_px = options.block_px, encoder.tokenizer.reduction
        if self.block_px % self.patch_px or image_size % self.block_px or image_size == self.block_px:
            raise ModelError(
                "blocks of pre-training do not fit",
                found=f"blocks of {self.block_px} pixels, images of {image_size}",
                expected=f"blocks that are a multiple of {self.patch_px} pixels, the reduction of the tokenizer, and "
                "divide the image into four or more",
            )
        self.grid = token_grid(encoder.tokenizer, image_size, image_size)
        encoder.classifier.fc = nn.Identity()  # type: ignore[assignment]
        self.encoder = encoder
        dim = encoder.classifier.dim
        self.masked = nn.ModuleDict({
            "into_decoder": nn.Linear(dim, DECODER_WIDTH),
            "decoder": Encoder(
                DECODER_WIDTH, DECODER_DEPTH, DECODER_HEADS, 2, grid=self.grid, positional="sine",
                attention_dropout=0.0, stochastic_depth=0.0,
            ),
            "head": nn.Linear(DECODER_WIDTH, in_channels * self.patch_px**2 if self.method == "mae" else dim),
        })  # fmt: skip
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, DECODER_WIDTH), std=0.02))
        self.target: CompactClassifier | None = None
        if self.method != "mae":
            self.target = copy.deepcopy(encoder).requires_grad_(False)
        store_under(
            self,
            {"encoder.": "", "masked.": MASKED, "mask_token": f"{MASKED}mask_token", "target.": f"{MASKED}target."},
        )

    def draw_visible(self, count: int, ratio: float, generator: torch.Generator | None = None) -> Tensor:
        """(count, h, w) bool over tokens: what stays visible where a fraction `ratio` of the blocks is masked, the same
        number in each image and at least one of each kind."""
        per_block = self.block_px // self.patch_px
        rows, columns = (side // per_block for side in self.grid)
        blocks = rows * columns
        visible = min(max(1, round((1 - ratio) * blocks)), blocks - 1)
        order = torch.rand(count, blocks, generator=generator).argsort(dim=1)
        drawn = (order < visible).reshape(count, rows, columns)
        return repeat(drawn, "b r c -> b (r p) (c q)", p=per_block, q=per_block)

    def masked_image(self, image: Tensor, visible: Tensor) -> Tensor:
        """The image (B, C, S, S), standardized, with 0, the mean, wherever (B, h, w) tokens are not visible."""
        pixels = repeat(visible, "b r c -> b 1 (r p) (c q)", p=self.patch_px, q=self.patch_px)
        return image * pixels

    def encode(self, image: Tensor, visible: Tensor) -> Tensor:
        """The encoder's embedding of visible tokens: (B, C, S, S) and (B, h, w) -> (B, V, D), row by row."""
        return _encoded(self.encoder, self.masked_image(image, visible), visible)

    def forward(self, image: Tensor, visible: Tensor) -> Tensor:
        """(B, C, S, S) and (B, h, w) -> what is predicted of all tokens, (B, N, P)."""
        latent = self.encode(image, visible)  # (B, V, D)
        latent = self.masked["into_decoder"](latent)  # (B, V, W)
        places = _places(visible)  # (B, V)
        tokens = self.mask_token.to(latent.dtype).repeat(len(image), self.grid[0] * self.grid[1], 1)  # (B, N, W)
        tokens = tokens.scatter(1, places[..., None].expand_as(latent), latent)  # visible tokens at their places
        tokens = self.masked["decoder"](tokens, self.grid)  # (B, N, W)
        predicted: Tensor = self.masked["head"](tokens)  # (B, N, P)
        return predicted

    @torch.no_grad()
    def targets(self, image: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """What masked tokens should be, (B, N - V, P), and which of them count, (B, N - V).

        mae: their pixels, standardized; patches of one value in each channel do not count. m2d: the target's embedding,
        standardized over the tokens of the batch and then per token.
        """
        masked = ~visible
        if self.target is None:
            patches = rearrange(image, "b c (r p) (s q) -> b (r s) (c p q)", p=self.patch_px, q=self.patch_px)
            patches = _taken(patches, _places(masked))  # (B, N - V, C p p)
            channels = rearrange(patches, "b n (c x) -> b n c x", c=image.shape[1])  # each has a background of its own
            return patches, (channels.std(dim=3) > 0).any(dim=2)
        embedding = _standardized(self._target_embedding(self.target, image, masked).float())
        return embedding, torch.ones_like(embedding[..., 0], dtype=torch.bool)

    def _target_embedding(self, target: CompactClassifier, image: Tensor, masked: Tensor) -> Tensor:
        """The target's embedding of masked tokens, (B, N - V, D), of which it sees these (m2d) or all (m2d_all)."""
        target.eval()
        if self.method == "m2d":
            return _encoded(target, self.masked_image(image, masked), masked)
        tokens = to_tokens(target.tokens(image))  # (B, N, D)
        return _taken(target.classifier.encode(tokens, self.grid), _places(masked))

    def loss_and_score(self, image: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and score over the masked tokens that count: scalars.

        mae: the mean squared error, and the explained variance of the pixels. m2d: the squared distance of unit vectors
        (Grill et al. 2020, equation 2), and their cosine similarity. A score is at most 1.
        """
        target, counted = self.targets(image, visible)  # (B, N - V, P), (B, N - V)
        target = target.float()[counted]  # (M, P)
        predicted = _taken(self(image, visible), _places(~visible)).float()[counted]  # (M, P)
        if not len(target):  # an empty image
            return predicted.sum() + 0.0 * self.mask_token.sum(), predicted.new_zeros(())
        if self.target is None:
            error = F.mse_loss(predicted, target)
            return error, 1 - error.detach() / target.var(correction=0).clamp_min(1e-12)
        similarity = F.cosine_similarity(predicted, target, dim=-1).mean()
        return 2 - 2 * similarity, similarity.detach()

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """Move the target's weights and statistics towards the encoder's: target = decay target + (1 - decay) encoder;
        the method mae has no target."""
        if self.target is None:
            return
        encoder = self.encoder.state_dict()
        for name, value in self.target.state_dict().items():
            if value.is_floating_point():
                value.lerp_(encoder[name], 1 - decay)
            else:  # BatchNorm's number of batches
                value.copy_(encoder[name])

    def pixels(self, predicted: Tensor) -> Tensor:
        """The predicted patches (B, N, C p p) of mae as images (B, C, S, S)."""
        rows, columns = self.grid
        side = self.patch_px
        return rearrange(predicted, "b (r s) (c p q) -> b c (r p) (s q)", r=rows, s=columns, p=side, q=side)


def _encoded(encoder: CompactClassifier, image: Tensor, visible: Tensor) -> Tensor:
    """The embedding of visible tokens by an encoder that sees these alone: (B, V, D)."""
    maps = image.to(memory_format=torch.channels_last)  # see CctUnet
    for layer in encoder.token_layers():
        maps = _normalized(layer, maps, visible) if isinstance(layer, nn.BatchNorm2d) else layer(maps)
    grid = (maps.shape[-2], maps.shape[-1])
    return encoder.classifier.encode(to_tokens(maps), grid, keep=_places(visible))


def _normalized(norm: nn.BatchNorm2d, maps: Tensor, visible: Tensor) -> Tensor:
    """BatchNorm of the pixels of visible tokens; the others become 0: (B, D, H, W) -> (B, D, H, W)."""
    side = maps.shape[-1] // visible.shape[-1]
    seen = repeat(visible, "b r c -> b (r p) (c q)", p=side, q=side)
    pixels = maps.movedim(1, -1)  # (B, H, W, D)
    normalized: Tensor = norm(pixels[seen].T[None, ..., None])  # (1, D, P, 1)
    return normalized.new_zeros(pixels.shape).index_put((seen,), normalized[0, ..., 0].T).movedim(-1, 1)


def _standardized(embedding: Tensor) -> Tensor:
    """(B, N, D), each feature over all tokens, so that what they have in common is taken out, then each token."""
    tokens = embedding.flatten(0, 1)  # (B N, D)
    embedding = (embedding - tokens.mean(0)) / (tokens.std(0, correction=0) + 1e-6)
    return F.layer_norm(embedding, embedding.shape[-1:])


def _places(mask: Tensor) -> Tensor:
    """(B, h, w) with equally many True in each -> their token indices (B, V), in order."""
    return mask.flatten(1).nonzero()[:, 1].reshape(len(mask), -1)


def _taken(tokens: Tensor, places: Tensor) -> Tensor:
    """(B, N, D) and (B, V) -> (B, V, D)."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))
