"""Any classifier of the timm library, as `timm:NAME`; timm is imported when one is asked for, not before."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from segcct.errors import ModelError, did_you_mean, short_reason
from segcct.models.options import ModelOptions, Rate
from segcct.models.zoo import Entry

PREFIX = "timm:"
NAMES: tuple[str, ...] = ()


class TimmOptions(ModelOptions):
    """Options every timm classifier has under these names."""

    dropout: Rate = 0.0
    """Dropout before the head."""
    stochastic_depth: Rate = 0.0
    """Drop rate of the last residual branches, for networks that have it."""


def entry(name: str) -> Entry:
    """The row of timm's classifier `name`. Raises `ModelError` where timm has none of that name."""
    check_timm_name(name, PREFIX)
    return Entry(PREFIX + name, "classifier", partial(_build, name), TimmOptions, (3, 1000, 224))


def check_timm_name(name: str, prefix: str) -> None:
    """Raises ModelError when timm has no model `name` (written without the prefix), naming the nearest ones."""
    import timm

    if timm.is_model(name):
        return
    raise ModelError(
        "unknown timm model",
        found=prefix + name,
        expected="a name listed by timm.list_models()",
        remedy=did_you_mean(name.split(".")[0], timm.list_models(), prefix=prefix, n=3),
    )


def create_timm(name: str, purpose: str, fixed_size: Mapping[str, Any], **options: Any) -> Any:
    """timm's network `name`, built with `options` and, if it has them, the options of networks of a fixed image size.

    Raises:
        ModelError: timm cannot build it; says for which purpose.
    """
    import timm

    for sized in (fixed_size, {}):
        try:
            return timm.create_model(name, **sized, **options)
        except TypeError as refused:
            if not any(option in str(refused) for option in sized):
                raise ModelError(f"timm cannot build {name} with these options", found=str(refused)) from refused
        except (AssertionError, AttributeError, ValueError, RuntimeError) as refused:
            found = str(refused) or type(refused).__name__
            raise ModelError(f"timm cannot build {name} {purpose}", found=found) from refused
    raise AssertionError("without sizes no option of theirs is refused")


def output_shapes(network: nn.Module, channels: int, height: int, width: int) -> list[tuple[int, ...]] | str:
    """Shapes of what a network makes of one image, or why it fails: each does in its own way."""
    training = network.training
    image = torch.zeros(1, channels, height, width, device=next(network.parameters()).device)
    try:
        with torch.no_grad():
            output = network.eval()(image)
        return [tuple(maps.shape) for maps in (output if isinstance(output, list) else [output])]
    except Exception as refused:
        return short_reason(refused)
    finally:
        network.train(training)


def _build(name: str, *, in_channels: int, num_classes: int, image_size: int, options: TimmOptions) -> nn.Module:
    """timm's `name` with fresh weights: (B, C, H, W) -> logits (B, K), tried on one image."""
    rates = {"drop_rate": options.dropout, "drop_path_rate": options.stochastic_depth}
    network: nn.Module = create_timm(
        name,
        f"for images of {image_size} pixels",
        {"img_size": image_size},
        in_chans=in_channels,
        num_classes=num_classes,
        **{option: rate for option, rate in rates.items() if rate},
    )
    found = output_shapes(network, in_channels, image_size, image_size)
    if found != [(1, num_classes)]:
        raise ModelError(
            f"timm's {name} cannot classify images of {image_size} pixels",
            found=found,
            expected=f"logits of shape {(1, num_classes)}",
            remedy="Set data.image_size to the size that it was made for, often 224, or choose another model",
        )
    return network
