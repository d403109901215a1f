"""The M2I generator: from a mask to the image that it explains (SPADE-like modulation, Park et al. 2019).

The mask is all that the generator is conditioned on in space. Appearance (contrast, scanner) comes in as a style code
of a few numbers, which cannot carry a shape: see style.py.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.errors import ModelError
from segcct.models.options import ModelOptions
from segcct.models.padding import crop_to, pad_to_multiple
from segcct.models.style import LearnedStyle, Moments, centered, depths, foreground_position
from segcct.models.tokenizer import conv_block

HALVINGS = 4
FIRST_MIXTURE = -2.0
"""Initial logit of the fraction of the decoder's mixture of classes; the rest is the mask's own."""

SIZES = {"m2i_s": (16, 32, 64, 96, 128)}
"""Channels at full size, 1/2, 1/4, 1/8 and 1/16."""


class GeneratorOptions(ModelOptions):
    """Options of the generators."""

    style: Literal["none", "moments", "learned"] = "moments"
    """Appearance that the generator is conditioned on: nothing; mean, slope towards the inside and standard deviation
    of each channel in each class, and its trend across the foreground; or these and a learned code of `style_size`
    numbers."""
    style_size: Annotated[int, Field(ge=1, le=16)] = 8
    """Length of the learned code."""
    distance: bool = True
    """Use the signed distances; without them a soft mask alone decides, and gradients reach it unbroken."""


class SpadeNorm(nn.Module):
    """Normalize, then scale and shift: by the mask at every pixel, by the style everywhere the same."""

    def __init__(self, width: int, style_size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.by_mask = nn.Conv2d(width, 2 * width, 1)
        self.by_style = nn.Linear(style_size, 2 * width, bias=False) if style_size else None

    def forward(self, maps: Tensor, layout: Tensor, style: Tensor) -> Tensor:
        """maps and layout (B, D, H, W), style (B, S) -> (B, D, H, W)."""
        modulation = self.by_mask(layout)  # (B, 2D, H, W)
        if self.by_style is not None:
            modulation = modulation + self.by_style(style)[..., None, None]
        scale, shift = modulation.chunk(2, dim=1)
        return F.relu(self.norm(maps) * (1 + scale) + shift)


class UpBlock(nn.Module):
    """Twice the size: project, enlarge, modulate, mix, modulate."""

    def __init__(self, before: int, width: int, style_size: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(before, width, 1, bias=False)
        self.first = SpadeNorm(width, style_size)
        self.mix = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = SpadeNorm(width, style_size)

    def forward(self, maps: Tensor, layout: Tensor, style: Tensor) -> Tensor:
        """(B, D', H, W), layout (B, D, 2H, 2W) -> (B, D, 2H, 2W)."""
        maps = self.project(maps)  # (B, D, H, W)
        maps = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)  # (B, D, 2H, 2W)
        maps = self.first(maps, layout, style)
        return self.second(self.mix(maps), layout, style)


class Generator(nn.Module):
    """Mask, distances, slice position and style -> image.

    An encoder reads the mask down to 1/16; its maps modulate a decoder on the way up at every scale. The decoder does
    not synthesize intensities: it predicts per pixel how the classes mix there and how far the pixel lies from their
    intensity, in their standard deviations. The intensity (mean, slope, standard deviation, trend) comes with the
    style, so that another contrast needs no training.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int, int],
        *,
        in_channels: int,
        num_classes: int,
        image_size: int,  # noqa: ARG002  (convolutions fit any size; part of the table's call)
        options: GeneratorOptions,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ModelError(
                "num_classes of a generator", found=num_classes, expected="at least 2, background included"
            )
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.uses_distance = options.distance
        self.multiple = 2**HALVINGS
        self.moments = None if options.style == "none" else Moments(in_channels, num_classes)
        self.learned = (
            LearnedStyle(in_channels, num_classes, options.style_size) if options.style == "learned" else None
        )
        code_size = 0 if self.learned is None else self.learned.size
        self.moments_size: int = 0 if self.moments is None else self.moments.size
        self.style_size: int = self.moments_size + code_size
        self.palette = nn.Parameter(torch.zeros(num_classes, in_channels)) if self.moments is None else None
        inputs = num_classes + (num_classes - 1 if options.distance else 0) + 1
        self.encoder = nn.ModuleList(
            conv_block(before, width, stride=1 if level == 0 else 2)
            for level, (before, width) in enumerate(pairwise((inputs, *widths)))
        )
        self.bottleneck = SpadeNorm(widths[-1], code_size)
        self.decoder = nn.ModuleList(
            UpBlock(widths[level + 1], widths[level], code_size) for level in reversed(range(HALVINGS))
        )
        self.head = nn.Conv2d(widths[0], num_classes + 1 + in_channels, 3, padding=1)
        nn.init.normal_(self.head.weight, std=0.01)  # begins near the class-mean fill
        first = torch.zeros(num_classes + 1 + in_channels)
        first[num_classes] = FIRST_MIXTURE
        self.head.bias = nn.Parameter(first)

    def style_of(self, image: Tensor, mask: Tensor, distance: Tensor) -> Tensor:
        """Style code (B, S) of standardized images (B, C, H, W); mask and distance as in `forward`."""
        codes = [image.new_zeros(len(image), 0, dtype=torch.float32)]
        # Means of squares over thousands of pixels need more digits than mixed precision has.
        with _full_precision(image):
            image, mask = image.float(), mask.float()
            if self.moments is not None:
                codes.append(self.moments(image, mask, self._depths(distance)))
            if self.learned is not None:
                codes.append(self.learned(image, mask))
        return torch.cat(codes, dim=1)

    def forward(self, mask: Tensor, distance: Tensor, position: Tensor, style: Tensor) -> Tensor:
        """The standardized image.

        Args:
            mask: (B, K, H, W) soft or one-hot, background first, any H and W.
            distance: (B, K - 1, H, W) as `segcct.preparation.conditioning.signed_distances` gives them.
            position: (B, 1) place of the slice in its volume, in [0, 1].
            style: (B, S) from `style_of`.

        Returns (B, C, H, W) float32.
        """
        height, width = mask.shape[-2:]
        conditions = [mask, distance] if self.uses_distance else [mask]
        conditions.append(position[..., None, None].expand(-1, -1, height, width))
        maps = pad_to_multiple(torch.cat(conditions, dim=1), self.multiple, at_least=2 * self.multiple)
        layouts = []
        for level in self.encoder:
            maps = level(maps)  # (B, D, H / 2^level, W / 2^level)
            layouts.append(maps)
        layout = layouts.pop()
        code = style[:, self.moments_size :]  # (B, learned numbers)
        maps = self.bottleneck(layout, layout, code)  # (B, D, H/16, W/16)
        for block in self.decoder:
            maps = block(maps, layouts.pop(), code)  # (B, D, H/8, W/8), ... (B, D, H, W)
        output = crop_to(self.head(maps), height, width)  # (B, K + 1 + C, H, W)
        with _full_precision(output):
            return self._synthesized(mask.float(), distance, output.float(), style.float())

    def _depths(self, distance: Tensor) -> Tensor:
        """(B, K, H, W): how deep each pixel lies in each class; nowhere where distances are not used."""
        deep = depths(distance.float())
        return deep if self.uses_distance else torch.zeros_like(deep)

    def _synthesized(self, mask: Tensor, distance: Tensor, output: Tensor, style: Tensor) -> Tensor:
        """Mask (B, K, H, W), distances and the decoder's output (B, K + 1 + C, H, W) -> (B, C, H, W)."""
        mixture, fraction, offset = output.split([self.num_classes, 1, self.in_channels], dim=1)
        # (B, K, H, W), sums to 1 like the mask
        classes = mask + torch.sigmoid(fraction) * (mixture.softmax(dim=1) - mask)
        if self.moments is None:
            return torch.einsum("bkhw,kc->bchw", classes, self.palette) + offset
        mean, slope, std, trend = self.moments.split(style)  # (B, K, C) three times, (B, 2, C)
        depth = centered(self._depths(distance), mask)
        flat = torch.einsum("bkhw,bkc->bchw", classes, mean) + torch.einsum("bkhw,bkc->bchw", classes * depth, slope)
        flat = flat + torch.einsum("bphw,bpc->bchw", foreground_position(mask), trend)
        return flat + torch.einsum("bkhw,bkc->bchw", classes, std) * offset


def _full_precision(like: Tensor) -> AbstractContextManager[object]:
    """No mixed precision, on any device."""
    return nullcontext() if like.device.type == "meta" else torch.autocast(like.device.type, enabled=False)
