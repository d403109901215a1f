"""The one table of model names: what each name builds and which options it takes.

A model is one row. Other packages add theirs by `register_model`, in a module that they name as an entry point of the
group `segcct.models`; networks of other libraries come through `ADAPTERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from numbers import Integral
from typing import Literal, get_args

from torch import nn

from segcct.errors import ModelError, PluginError, did_you_mean, unknown_name
from segcct.models.cct_unet import SIZES as CCT_UNET_SIZES
from segcct.models.cct_unet import CctUnetOptions, build_cct_unet
from segcct.models.compact_transformers import (
    PRESETS,
    CctOptions,
    CctUnetClassifier,
    CompactTransformer,
    EncoderOptions,
    Preset,
)
from segcct.models.generator import SIZES as GENERATOR_SIZES
from segcct.models.generator import Generator, GeneratorOptions
from segcct.models.narrow_unet import NarrowUNet, NarrowUNetOptions
from segcct.models.options import ModelOptions, parse_options
from segcct.models.swin_unet import SIZES as SWIN_UNET_SIZES
from segcct.models.swin_unet import SwinUnet, SwinUnetOptions
from segcct.models.unet import UNet, UNetOptions
from segcct.plugins import Registry

Kind = Literal["segmenter", "classifier", "generator", "pretrainer"]

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
    """Channels, classes (with background, except for classifiers) and image size that its cost is given for by
    default: those of the published count where there is one."""


def _published(preset: Preset) -> tuple[int, int, int]:
    """`made_for` of a compact transformer: CIFAR-10 at 32 pixels, ImageNet above."""
    return 3, 10 if preset.image_size == 32 else 1000, preset.image_size


_TABLE = Registry("model", "segcct.models", {})
MODELS: Mapping[str, Entry] = _TABLE
"""Name -> row, without the networks of other libraries; see `register_model`."""

ADAPTERS = {
    "timm:": "segcct.models.adapters.timm_classifiers",
    "timm/": "segcct.models.adapters.timm_encoders",
    "monai/": "segcct.models.adapters.monai_networks",
    "masked/": "segcct.models.masked_encoder",
}
"""Prefix of names -> the module of their rows: `entry(name) -> Entry`, and `NAMES`, those that are tested.

The modules import their library only to build."""

_ENTRIES: list[Entry] = [
    *(
        Entry(
            name,
            "classifier",
            partial(CompactTransformer, preset),
            CctOptions if preset.family == "cct" else EncoderOptions,
            _published(preset),
        )
        for name, preset in PRESETS.items()
    ),
    *(
        Entry(name.replace("unet", "encoder"), "classifier", partial(CctUnetClassifier, size), EncoderOptions)
        for name, size in CCT_UNET_SIZES.items()
    ),
    *(Entry(name, "segmenter", partial(build_cct_unet, size), CctUnetOptions) for name, size in CCT_UNET_SIZES.items()),
    *(Entry(name, "segmenter", partial(SwinUnet, size), SwinUnetOptions) for name, size in SWIN_UNET_SIZES.items()),
    Entry("unet", "segmenter", UNet, UNetOptions),
    Entry("unet_16", "segmenter", NarrowUNet, NarrowUNetOptions),
    *(Entry(name, "generator", partial(Generator, size), GeneratorOptions) for name, size in GENERATOR_SIZES.items()),
]


def register_model(row: Entry) -> None:
    """Add a row to the table, also from outside the package: configs and commands then know its name.

    Raises:
        PluginError: another has the name, or it begins as those of an adapter.
    """
    if row.name.startswith(tuple(ADAPTERS)):
        expected = f"none that begins with {', '.join(ADAPTERS)}"
        raise PluginError("not a name for a model", found=row.name, expected=expected)
    _TABLE.register(row.name, row)


for _row in _ENTRIES:
    register_model(_row)


def model_names(kind: Kind | None = None) -> list[str]:
    """Every valid name, or those of one kind, in the table's order; then those of the adapters that are tested.

    Also valid: `timm:NAME`, any classifier of timm, and `timm/NAME`, its encoder under the decoder of CCT-UNet.

    Args:
        kind: what the networks are for.

    Raises:
        ModelError: there is no such kind.
    """
    if kind not in (None, *get_args(Kind)):
        raise unknown_name(ModelError, "kind of model", str(kind), get_args(Kind))
    rows = [*MODELS.values(), *(entry(name) for names in adapted_names().values() for name in names)]
    return [row.name for row in rows if kind is None or row.kind == kind]


def adapted_names() -> dict[str, list[str]]:
    """Prefix of an adapter -> the names that are tested."""
    return {prefix: [prefix + name for name in import_module(path).NAMES] for prefix, path in ADAPTERS.items()}


def entry(name: str) -> Entry:
    """The row of a name; an adapter makes one for what its library has.

    Raises:
        ModelError: no such name; gives the nearest.
    """
    prefix = next((prefix for prefix in ADAPTERS if name.startswith(prefix)), None)
    if prefix is not None:
        return import_module(ADAPTERS[prefix]).entry(name.removeprefix(prefix))
    if name in MODELS:
        return MODELS[name]
    nearest = did_you_mean(name, model_names(), n=2)
    remedy = "`segcct models` lists the names"
    raise ModelError("unknown model", found=name, remedy=remedy if nearest is None else f"{nearest} {remedy}")


def create_model(
    name: str, in_channels: int, num_classes: int, image_size: int, options: Mapping[str, object] | None = None
) -> nn.Module:
    """Build a model with fresh weights.

        >>> import segcct, torch
        >>> model = segcct.create_model("unet_16", in_channels=1, num_classes=4, image_size=64)
        >>> model(torch.zeros(2, 1, 64, 64)).shape
        torch.Size([2, 4, 64, 64])

    Args:
        name: one of `model_names()`, `timm:NAME` or `timm/NAME`.
        in_channels: channels of the image.
        num_classes: segmenters and generators: background included.
        image_size: side in pixels of the square the model is built for; other sizes and rectangles are taken too.
        options: the model's own options, such as {"positional": "sine"}.

    Returns a module: segmenters map (B, C, H, W) to logits (B, K, H, W), classifiers to (B, K); generators map a mask
    and its conditions to (B, C, H, W), see `Generator.forward`.

    Raises:
        ModelError: unknown name, unknown or ill-typed option, or a number that is not whole or not positive.
    """
    row = entry(name)
    for what, value in (("in_channels", in_channels), ("num_classes", num_classes), ("image_size", image_size)):
        if not isinstance(value, Integral) or value < 1:
            raise ModelError(f"{what} of model {name}", found=repr(value), expected="a whole number of at least 1")
    parsed = parse_options(name, row.options, options)
    return row.build(in_channels=in_channels, num_classes=num_classes, image_size=image_size, options=parsed)
