"""The encoder of CCT-UNet as a classifier, to be trained on labeled images before it segments.

`cct_encoder_s` has the modules of `cct_unet_s` up to its token map under the same names, so the weights of one start
the other whole; the published classifiers (`cct_7_3x2_32`, ...) make tokens in another way and share the blocks only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segcct.models.cct_unet import CctUnetSize
from segcct.models.compact import EncoderOptions, TokenClassifier
from segcct.models.tokenizer import ConvTokenizer, conv_block, to_tokens, token_grid


class CctUnetClassifier(nn.Module):
    """Image (B, C, H, W) -> logits (B, K); H and W may differ from the size the model was built for."""

    def __init__(
        self, size: CctUnetSize, *, in_channels: int, num_classes: int, image_size: int, options: EncoderOptions
    ) -> None:
        super().__init__()
        self.detail = conv_block(in_channels, size.detail)
        self.tokenizer = ConvTokenizer(size.detail, size.widths, norm="batch", stride=2, pool=False)
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

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.tokenizer(self.detail(image))  # (B, D, H/16, W/16)
        return self.classifier(to_tokens(tokens), (tokens.shape[-2], tokens.shape[-1]))  # (B, K)

    @torch.no_grad()
    def token_shares(self, image: Tensor) -> Tensor:
        """How much sequence pooling weighs each token: (B, C, H, W) -> (B, h, w), each map sums to 1."""
        return self.classifier.shares(self.tokenizer(self.detail(image)))
