"""Parameters and multiply-accumulates of a model, counted without computing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segcct.models.generator import Generator
from segcct.models.mac_counter import ShapesOnly, count_macs
from segcct.models.zoo import create_model


@dataclass(frozen=True)
class Cost:
    """Trained and fixed parameters, and multiply-accumulates of the forward pass of one image."""

    parameters: int
    macs: int


def cost(
    name: str, in_channels: int, num_classes: int, image_size: int, options: Mapping[str, object] | None = None
) -> Cost:
    """Cost of one square image; convolutions, matrix products and attention count, element-wise work does not."""
    network, inputs = on_meta(name, in_channels, num_classes, image_size, options)
    return Cost(sum(parameter.numel() for parameter in network.parameters()), count_macs(network, inputs))


def on_meta(
    name: str, in_channels: int, num_classes: int, image_size: int, options: Mapping[str, object] | None = None
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network in evaluation mode and what its forward pass takes for one square image, on the meta device."""
    with torch.device("meta"), ShapesOnly():
        network = create_model(name, in_channels, num_classes, image_size, options).eval()
        side = (image_size, image_size)
        shapes: list[tuple[int, ...]] = [(in_channels, *side)]
        if isinstance(network, Generator):  # mask, distances, position, style
            shapes = [(num_classes, *side), (num_classes - 1, *side), (1,), (network.style_size,)]
        return network, tuple(torch.empty(1, *shape) for shape in shapes)
