"""Multiply-accumulates of a network from shapes alone, without torch's own counter, which takes seconds to import.

Tensors on the meta device hold no values, so what only changes values need not run: its result is an empty tensor of
the right shape. Only the functions listed here are known; a network that calls any other is counted by torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]
Rule = Callable[..., tuple[int, tuple[int, ...]]]
"""Called with the arguments of the function it stands for -> multiply-accumulates and the shape of the result."""
Pair = int | tuple[int, int] | str
"""Rows and columns, as convolutions take them."""


def count_macs(network: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-accumulates of one forward pass of a network in evaluation mode, it and its inputs on the meta device.

    Convolutions, matrix products and attention count, element-wise work does not.
    """
    try:
        with torch.no_grad(), ShapesOnly(counting=True) as counter:
            network(*inputs)
    except (UnknownCallError, RuntimeError):  # RuntimeError: a view that the true memory layout does not allow
        return count_by_torch(network, inputs)
    return counter.macs


def count_by_torch(network: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """The same for any network, by running every operation on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    return int(counter.get_total_flops()) // 2


class UnknownCallError(Exception):
    """The network calls a function that is not listed here, or in a way that is not."""


class ShapesOnly(TorchFunctionMode):
    """To build a network on the meta device: initial weights are not drawn, and arithmetic gives shapes alone.

    Args:
        counting: adds up the products in `macs`; raises `UnknownCallError` at a function that may hide some.
    """

    def __init__(self, *, counting: bool = False) -> None:
        super().__init__()
        self.counting = counting
        self.rules = _ARITHMETIC | _PRODUCTS | _REARRANGEMENTS if counting else _ARITHMETIC
        self.macs = 0

    def __torch_function__(
        self, function: Function, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if function in _INITIALIZERS:
            return args[0] if args else named["tensor"]
        if function is torch.linspace:  # MONAI's SwinUNETR reads rates of stochastic depth from it
            return function(*args, **{"device": "cpu", **named})
        try:
            macs, shape = self.rules[function](*args, **named)
        except (UnknownCallError, LookupError, TypeError, ValueError):  # no rule, or called otherwise than it knows
            if self.counting and function not in _FREE:
                raise UnknownCallError from None
            return function(*args, **named)
        self.macs += macs
        return torch.empty(shape, dtype=_dtype(function, args, named), device="meta")


def _dtype(function: Function, args: Sequence[Any], named: Mapping[str, Any]) -> torch.dtype:
    """As asked for, or of the first tensor; without either it is a range of whole numbers."""
    if function in _COMPARISONS:
        return torch.bool
    inside = args[0] if isinstance(args[0], list | tuple) else args
    of_tensors = (each.dtype for each in inside if isinstance(each, Tensor))
    return named.get("dtype") or next(of_tensors, torch.int64)


def _same_shape(first: Tensor, *_: object, **__: object) -> tuple[int, tuple[int, ...]]:
    return 0, tuple(first.shape)


def _broadcast(left: object, right: object) -> tuple[int, tuple[int, ...]]:
    shapes = [tuple(operand.shape) if isinstance(operand, Tensor) else () for operand in (left, right)]
    return 0, np.broadcast_shapes(*shapes)


def _concatenated(parts: Sequence[Tensor], dim: int = 0) -> tuple[int, tuple[int, ...]]:
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return 0, tuple(shape)


def _stacked(parts: Sequence[Tensor]) -> tuple[int, tuple[int, ...]]:
    return 0, (len(parts), *parts[0].shape)


def _reduced(maps: Tensor, dim: int | tuple[int, ...], *, keepdim: bool = False) -> tuple[int, tuple[int, ...]]:
    reduced = {each % maps.dim() for each in (dim if isinstance(dim, tuple) else (dim,))}
    sides = [(1 if axis in reduced else side) for axis, side in enumerate(maps.shape) if keepdim or axis not in reduced]
    return 0, tuple(sides)


def _looked_up(table: Tensor, index: object) -> tuple[int, tuple[int, ...]]:
    if not isinstance(index, Tensor) or index.dtype != torch.int64:
        raise UnknownCallError
    return 0, (*index.shape, *table.shape[1:])


def _repeated(maps: Tensor, *times: int) -> tuple[int, tuple[int, ...]]:
    return 0, tuple(count * side for count, side in zip_longest(times[::-1], maps.shape[::-1], fillvalue=1))[::-1]


def _pooled(
    maps: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, **named: bool
) -> tuple[int, tuple[int, ...]]:
    if any(named.values()):  # rounded up, or with the places of the maxima
        raise UnknownCallError
    return 0, (*maps.shape[:2], *_window_sides(maps, _pair(kernel), stride, padding, dilation))


def _interpolated(maps: Tensor, size: Any = None, scale_factor: Any = None, **_: object) -> tuple[int, tuple[int, ...]]:
    if size is None:
        size = [int(side * scale_factor) for side in maps.shape[2:]]
    return 0, (*maps.shape[:2], *size)


def _arange(*bounds: int, **_: object) -> tuple[int, tuple[int, ...]]:
    return 0, (len(range(*bounds)),)  # a TypeError where they are no whole numbers


def _linear(rows: Tensor, weight: Tensor, *_: object) -> tuple[int, tuple[int, ...]]:
    return rows.numel() * weight.shape[0], (*rows.shape[:-1], weight.shape[0])


def _convolution(
    maps: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[int, tuple[int, ...]]:
    del bias, groups  # weight.shape[1] is of one group
    sides = _window_sides(maps, weight.shape[2:], stride, padding, dilation)
    shape = (maps.shape[0], weight.shape[0], *sides)
    return math.prod(shape) * weight[0].numel(), shape


def _transposed_convolution(
    maps: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], *others: Pair
) -> tuple[int, tuple[int, ...]]:
    del bias
    if others != ((0, 0), (0, 0), 1, (1, 1)):  # padding, output padding, groups, dilation
        raise UnknownCallError
    sizes = zip(maps.shape[2:], weight.shape[2:], stride, strict=True)
    sides = [(side - 1) * step + kernel for side, kernel, step in sizes]
    return maps.numel() * weight[0].numel(), (maps.shape[0], weight.shape[1], *sides)


def _window_sides(maps: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair, dilation: Pair) -> list[int]:
    steps = [_pair(each) for each in (stride, padding, dilation)]
    return [
        (side + 2 * pad - spread * (width - 1) - 1) // step + 1
        for side, width, step, pad, spread in zip(maps.shape[2:], kernel, *steps, strict=True)
    ]


def _pair(value: Pair) -> tuple[int, int]:
    if isinstance(value, str):  # "same"
        raise UnknownCallError
    return (value, value) if isinstance(value, int) else value


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> tuple[int, tuple[int, ...]]:
    """Query times key, then what comes of it times value."""
    rows = query.numel() // query.shape[-1]
    return rows * key.shape[-2] * (key.shape[-1] + value.shape[-1]), (*query.shape[:-1], value.shape[-1])


def _einsum(equation: str, left: Tensor, right: Tensor) -> tuple[int, tuple[int, ...]]:
    """Two operands that share every summed index: one product for each combination of indices."""
    before, after = equation.split("->")
    terms = before.split(",")
    if any(index not in after and not all(index in term for term in terms) for index in before if index != ","):
        raise UnknownCallError
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, (left, right), strict=True):
        sizes |= dict(zip(term, operand.shape, strict=True))
    return math.prod(sizes.values()), tuple(sizes[index] for index in after)


_INITIALIZERS = frozenset(
    {Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_}
)

_COMPARISONS = frozenset({Tensor.ge, Tensor.ne})

_ARITHMETIC: dict[Function, Rule] = {
    **dict.fromkeys((Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, Tensor.__rsub__), _broadcast),
    **dict.fromkeys((*_COMPARISONS, Tensor.remainder), _broadcast),
    Tensor.repeat: _repeated,
    torch.arange: _arange,
    **dict.fromkeys((F.layer_norm, F.batch_norm, F.gelu, F.relu, F.dropout, torch.sigmoid), _same_shape),
    **dict.fromkeys((F.leaky_relu, Tensor.softmax, Tensor.clamp_min, Tensor.neg), _same_shape),
    **dict.fromkeys((torch.roll, torch.zeros_like), _same_shape),
}
_PRODUCTS: dict[Function, Rule] = {
    F.linear: _linear,
    F.conv2d: _convolution,
    F.conv_transpose2d: _transposed_convolution,
    F.scaled_dot_product_attention: _attention,
    torch.functional.einsum: _einsum,
}
_REARRANGEMENTS: dict[Function, Rule] = {
    torch.cat: _concatenated,
    torch.stack: _stacked,
    Tensor.__getitem__: _looked_up,
    Tensor.sum: _reduced,
    Tensor.amax: _reduced,
    F.interpolate: _interpolated,
    F.max_pool2d: _pooled,
}

_ATTRIBUTES = [getattr(Tensor, name).__get__ for name in ("shape", "device", "dtype")]

_FREE = frozenset(
    {
        *(Tensor.reshape, Tensor.view, Tensor.transpose, Tensor.permute, Tensor.flatten, Tensor.unflatten),
        *(Tensor.squeeze, Tensor.unsqueeze, Tensor.expand, Tensor.contiguous, Tensor.__getitem__),
        *(Tensor.unbind, Tensor.chunk, Tensor.split, Tensor.dim),
        *(Tensor.to, Tensor.long, Tensor.float, *_ATTRIBUTES),
        *(torch.functional.meshgrid, F.pad, torch._C._set_grad_enabled),
    }
)
"""Functions without products, run as they are: their meta kernels are fast."""
