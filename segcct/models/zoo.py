"""The one table of model names: what each name builds and which options it takes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from segcct.errors import ModelError
from segcct.models.cct_unet import SIZES as CCT_UNET_SIZES
from segcct.models.cct_unet import CctUnet, CctUnetOptions
from segcct.models.cct_unet_classifier import CctUnetClassifier
from segcct.models.compact import PRESETS, CctOptions, CompactTransformer, EncoderOptions
from segcct.models.generator import SIZES as GENERATOR_SIZES
from segcct.models.generator import Generator, GeneratorOptions
from segcct.models.options import ModelOptions, parse_options
from segcct.models.swin_unet import SIZES as SWIN_UNET_SIZES
from segcct.models.swin_unet import SwinUnet, SwinUnetOptions
from segcct.models.timm_classifiers import PREFIX, TimmOptions, build_timm, check_timm_name
from segcct.models.unet import UNet, UNetOptions

Kind = Literal["segmenter", "classifier", "generator"]

Build = Callable[..., nn.Module]
"""Called with the keywords in_channels, num_classes, image_size and options (an instance of `Entry.options`)."""


@dataclass(frozen=True)
class Entry:
    """One row: a name, what it is for, its builder and the type of its options."""

    name: str
    kind: Kind
    build: Build
    options: type[ModelOptions] = ModelOptions
    made_for: tuple[int, int, int] = (1, 4, 224)
    """Channels, classes (with background, but for classifiers) and image size that its cost is told for by itself:
    those of the published count where there is one."""


def _published(preset: str) -> tuple[int, int, int]:
    """Of a compact transformer: CIFAR-10 at 32 pixels, ImageNet above."""
    size = int(preset.rsplit("_", 1)[1])
    return 3, 10 if size == 32 else 1000, size


_ENTRIES: list[Entry] = [
    *(
        Entry(
            name,
            "classifier",
            partial(CompactTransformer, preset),
            CctOptions if preset.family == "cct" else EncoderOptions,
            _published(name),
        )
        for name, preset in PRESETS.items()
    ),
    *(
        Entry(name.replace("unet", "encoder"), "classifier", partial(CctUnetClassifier, size), EncoderOptions)
        for name, size in CCT_UNET_SIZES.items()
    ),
    *(Entry(name, "segmenter", partial(CctUnet, size), CctUnetOptions) for name, size in CCT_UNET_SIZES.items()),
    *(Entry(name, "segmenter", partial(SwinUnet, size), SwinUnetOptions) for name, size in SWIN_UNET_SIZES.items()),
    Entry("unet", "segmenter", UNet, UNetOptions),
    *(Entry(name, "generator", partial(Generator, size), GeneratorOptions) for name, size in GENERATOR_SIZES.items()),
]


def _table(entries: list[Entry]) -> dict[str, Entry]:
    table: dict[str, Entry] = {}
    for row in entries:
        if row.name in table:
            raise ValueError(f"two models are named {row.name}")
        table[row.name] = row
    return table


MODELS: dict[str, Entry] = _table(_ENTRIES)


def model_names(kind: Kind | None = None) -> list[str]:
    """Every valid name, or those of one kind, in the table's order; any timm classifier is `timm:NAME` beside them."""
    return [name for name, row in MODELS.items() if kind is None or row.kind == kind]


def entry(name: str) -> Entry:
    """The row of a name; `timm:NAME` makes one for any classifier of timm.

    Raises:
        ModelError: no such name; lists the valid ones and the nearest.
    """
    if name in MODELS:
        return MODELS[name]
    if name.startswith(PREFIX):
        timm_name = name.removeprefix(PREFIX)
        check_timm_name(timm_name)
        return Entry(name, "classifier", partial(build_timm, timm_name), TimmOptions, (3, 1000, 224))
    near = difflib.get_close_matches(name, MODELS, n=1)
    raise ModelError(
        "unknown model",
        found=name,
        expected=f"one of {', '.join(MODELS)}, or {PREFIX}NAME for a classifier of timm",
        remedy=f"Did you mean {near[0]}?" if near else None,
    )


def create_model(
    name: str, in_channels: int, num_classes: int, image_size: int, options: Mapping[str, object] | None = None
) -> nn.Module:
    """Builds a model with fresh weights.

    Args:
        name: one of `model_names()`, or `timm:NAME`.
        in_channels: channels of the image.
        num_classes: segmenters and generators: background included.
        image_size: side in pixels the model is built for; other sizes are taken too.
        options: the model's own options, such as {"positional": "sine"}.

    Returns a module: segmenters map (B, C, H, W) to logits (B, K, H, W), classifiers to (B, K); generators map a mask
    and its conditions to (B, C, H, W), see `Generator.forward`.

    Raises:
        ModelError: unknown name, unknown or ill-typed option, or a size that is not positive.
    """
    row = entry(name)
    for what, value in (("in_channels", in_channels), ("num_classes", num_classes), ("image_size", image_size)):
        if value < 1:
            raise ModelError(f"{what} of model {name}", found=value, expected="at least 1")
    parsed = parse_options(name, row.options, options)
    return row.build(in_channels=in_channels, num_classes=num_classes, image_size=image_size, options=parsed)
