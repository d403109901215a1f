"""Any classifier of the timm library, as `timm:NAME`; timm is imported when one is asked for, not before."""

from __future__ import annotations

import difflib
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from segcct.errors import ModelError
from segcct.models.options import ModelOptions
from segcct.models.zoo import Entry

PREFIX = "timm:"
NAMES: tuple[str, ...] = ()


class TimmOptions(ModelOptions):
    """Options every timm classifier has under these names."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout before the head."""
    stochastic_depth: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Drop rate of the last residual branches, for networks that have it."""


def entry(name: str) -> Entry:
    """The row of timm's classifier `name`. Raises `ModelError` where timm has none of that name."""
    check_timm_name(name, PREFIX)
    return Entry(PREFIX + name, "classifier", partial(build_timm, name), TimmOptions, (3, 1000, 224))


def check_timm_name(name: str, prefix: str) -> None:
    """Raises ModelError when timm has no model `name` (written without the prefix), naming the nearest ones."""
    import timm

    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
    raise ModelError(
        "unknown timm model",
        found=prefix + name,
        expected="a name listed by timm.list_models()",
        remedy=f"Did you mean {' or '.join(prefix + match for match in near)}?" if near else None,
    )


def build_timm(name: str, *, in_channels: int, num_classes: int, image_size: int, options: TimmOptions) -> nn.Module:
    """Builds timm's `name` with fresh weights: (B, C, H, W) -> logits (B, K).

    Raises:
        ModelError: the network cannot be built for this image size or these options.
    """
    import timm

    given: dict[str, Any] = {"in_chans": in_channels, "num_classes": num_classes}
    if options.dropout:
        given["drop_rate"] = options.dropout
    if options.stochastic_depth:
        given["drop_path_rate"] = options.stochastic_depth
    try:
        return _tried(timm.create_model(name, img_size=image_size, **given), name, in_channels, num_classes, image_size)
    except TypeError as refused:
        # Purely convolutional networks have no image size: they take any.
        if "img_size" not in str(refused):
            raise ModelError(f"timm cannot build {name} with these options", found=str(refused)) from refused
    except (AssertionError, ValueError, RuntimeError) as refused:
        raise ModelError(
            f"timm cannot build {name} for images of {image_size} pixels", found=str(refused) or type(refused).__name__
        ) from refused
    try:
        network = timm.create_model(name, **given)
    except TypeError as refused:
        raise ModelError(f"timm cannot build {name} with these options", found=str(refused)) from refused
    return _tried(network, name, in_channels, num_classes, image_size)


def _tried(network: nn.Module, name: str, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """The network, after one image went through: some are built for a size that they then cannot take."""
    training = network.training
    image = torch.zeros(1, in_channels, image_size, image_size, device=next(network.parameters()).device)
    try:
        with torch.no_grad():
            logits = network.eval()(image)
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    except Exception as refused:  # each network fails in its own way
        found = " ".join(str(refused).split())[:200] or type(refused).__name__
    if found != (1, num_classes):
        raise ModelError(
            f"timm's {name} cannot classify images of {image_size} pixels",
            found=found,
            expected=f"logits of shape {(1, num_classes)}",
            remedy="Set data.image_size to the size that it was made for, often 224, or choose another model",
        )
    return network.train(training)
