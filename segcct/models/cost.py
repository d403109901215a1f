"""Parameters, multiply-accumulates and memory of a model, counted without computing anything."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

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


def activation_bytes(network: nn.Module, image: Tensor) -> int:
    """The most bytes that the results of a network's functions take at a time on the processor, in fp32.

    Args:
        network: in evaluation mode, on the meta device.
        image: (B, C, ...), likewise.
    """
    with torch.no_grad(), _Allocations() as allocations:
        network(image)
    return allocations.peak


class _Allocations(ShapesOnly):
    """Counts the bytes of tensors from the function that returns them until nothing refers to them."""

    def __init__(self) -> None:
        super().__init__(counting=True)
        self.counting = False  # a function without a rule is run: what it returns is counted too
        self.peak = 0
        self._bytes = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function is functional.dropout or (kwargs or {}).get("inplace"):
            return args[0]
        result = super().__torch_function__(function, types, args, kwargs)
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        copies = 0
        if function in (functional.conv2d, functional.conv_transpose2d):
            copies = args[0].nbytes + result.nbytes  # oneDNN brings both into an order of its own
        self.peak = max(self.peak, self._bytes + copies)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._alive:  # a view
            return

        def release(_: object) -> None:
            del self._alive[key]
            self._bytes -= size

        self._bytes += size
        self._alive[key] = weakref.ref(storage, release)
