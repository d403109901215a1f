"""Multiply-accumulates of a network from shapes alone, without torch's own counter, which takes seconds to import.

Tensors on the meta device hold no values, so what only changes values need not run: its result is an empty tensor of
the right shape. Only the functions listed here are known; a network that calls any other is counted by torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]
Counted = tuple[int, tuple[int, ...]]
"""Multiply-accumulates of a call and the shape of its result."""
Rule = Callable[..., Counted]
"""Called with the arguments of the function it stands for."""
Pair = int | tuple[int, int] | str
"""Rows and columns, as convolutions take them."""


def count_macs(network: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-accumulates of one forward pass of a network in evaluation, it and its inputs on the meta device.

    Convolutions, matrix products and attention count, element-wise work does not.
    """
    try:
        with torch.no_grad(), _Counter() as counter:
            network(*inputs)
    except (UnknownCallError, RuntimeError):  # RuntimeError: a view of what in truth lies otherwise in memory
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
    """To build a network on the meta device: initial weights are not drawn, and arithmetic gives shapes alone."""

    rules: Mapping[Function, Rule]

    def __init__(self) -> None:
        super().__init__()
        self.rules = _ARITHMETIC

    def __torch_function__(
        self, function: Function, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if function in _DRAWS:
            return args[0] if args else named["tensor"]
        try:
            macs, shape = self.rules.get(function, _no_rule)(*args, **named)
        except (UnknownCallError, TypeError, ValueError):  # called in another way than its rule knows
            return self.run(function, args, named)
        self.count(macs)
        return torch.empty(shape, dtype=_dtype(function, args, named), device="meta")

    def run(self, function: Function, args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """A function without a rule."""
        return function(*args, **named)

    def count(self, macs: int) -> None:
        """Building does not count."""


class _Counter(ShapesOnly):
    """Adds up the products of the functions that are called while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.rules = _ARITHMETIC | _PRODUCTS | _LAYING_OUT
        self.macs = 0

    def run(self, function: Function, args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        if function not in _FREE:
            raise UnknownCallError
        return function(*args, **named)

    def count(self, macs: int) -> None:
        self.macs += macs


def _dtype(function: Function, args: Sequence[Any], named: Mapping[str, Any]) -> torch.dtype:
    """As asked for, or of the first tensor; without either it is a range of whole numbers."""
    if function in _COMPARISONS:
        return torch.bool
    inside = args[0] if isinstance(args[0], list | tuple) else args
    of_tensors = (each.dtype for each in inside if isinstance(each, Tensor))
    return named.get("dtype") or next(of_tensors, torch.int64)


def _no_rule(*_: object, **__: object) -> Counted:
    raise UnknownCallError


def _same_shape(first: Tensor, *_: object, **__: object) -> Counted:
    return 0, tuple(first.shape)


def _broadcast(left: object, right: object) -> Counted:
    backwards = [side.shape[::-1] if isinstance(side, Tensor) else () for side in (left, right)]
    pairs = list(zip_longest(*backwards, fillvalue=1))
    if any(one != other and 1 not in (one, other) for one, other in pairs):
        raise UnknownCallError
    return 0, tuple(max(pair) for pair in pairs)[::-1]


def _concatenated(parts: Sequence[Tensor], dim: int = 0) -> Counted:
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return 0, tuple(shape)


def _stacked(parts: Sequence[Tensor]) -> Counted:
    return 0, (len(parts), *parts[0].shape)


def _reduced(maps: Tensor, dim: int | tuple[int, ...], *, keepdim: bool = False) -> Counted:
    gone = {each % maps.dim() for each in (dim if isinstance(dim, tuple) else (dim,))}
    sides = [(1 if axis in gone else side) for axis, side in enumerate(maps.shape) if keepdim or axis not in gone]
    return 0, tuple(sides)


def _looked_up(table: Tensor, index: object) -> Counted:
    if not isinstance(index, Tensor) or index.dtype != torch.int64:
        raise UnknownCallError
    return 0, (*index.shape, *table.shape[1:])


def _repeated(maps: Tensor, *times: int) -> Counted:
    return 0, tuple(count * side for count, side in zip_longest(times[::-1], maps.shape[::-1], fillvalue=1))[::-1]


def _pooled(maps: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, **named: bool) -> Counted:
    if any(named.values()):  # rounded up, or with the places of the maxima
        raise UnknownCallError
    return 0, (*maps.shape[:2], *_window_sides(maps, _pair(kernel), stride, padding, dilation))


def _interpolated(maps: Tensor, size: Any = None, scale_factor: Any = None, **_: object) -> Counted:
    if size is None:
        size = [int(side * scale_factor) for side in maps.shape[2:]]
    return 0, (*maps.shape[:2], *size)


def _arange(*bounds: int, **_: object) -> Counted:
    return 0, (len(range(*bounds)),)  # a TypeError where they are no whole numbers


def _linear(rows: Tensor, weight: Tensor, *_: object) -> Counted:
    return rows.numel() * weight.shape[0], (*rows.shape[:-1], weight.shape[0])


def _convolution(
    maps: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Counted:
    del bias, groups  # weight.shape[1] is of one group
    sides = _window_sides(maps, weight.shape[2:], stride, padding, dilation)
    shape = (maps.shape[0], weight.shape[0], *sides)
    return math.prod(shape) * weight[0].numel(), shape


def _transposed_convolution(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
) -> Counted:
    del bias
    steps = [_pair(each) for each in (stride, padding, output_padding, dilation)]
    sides = [
        (side - 1) * step - 2 * pad + apart * (kernel - 1) + more + 1
        for side, kernel, step, pad, more, apart in zip(maps.shape[2:], weight.shape[2:], *steps, strict=True)
    ]
    return maps.numel() * weight[0].numel(), (maps.shape[0], weight.shape[1] * groups, *sides)


def _window_sides(maps: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair, dilation: Pair) -> list[int]:
    steps = [_pair(each) for each in (stride, padding, dilation)]
    return [
        (side + 2 * pad - apart * (width - 1) - 1) // step + 1
        for side, width, step, pad, apart in zip(maps.shape[2:], kernel, *steps, strict=True)
    ]


def _pair(value: Pair) -> tuple[int, int]:
    if isinstance(value, str):  # "same"
        raise UnknownCallError
    return (value, value) if isinstance(value, int) else value


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> Counted:
    """Query times key, then what comes of it times value."""
    rows = query.numel() // query.shape[-1]
    return rows * key.shape[-2] * (key.shape[-1] + value.shape[-1]), (*query.shape[:-1], value.shape[-1])


def _einsum(equation: str, left: Tensor, right: Tensor) -> Counted:
    """Two operands that share every summed index: one product for each combination of indices."""
    before, after = equation.split("->")
    terms = before.split(",")
    if any(index not in after and not all(index in term for term in terms) for index in before if index != ","):
        raise UnknownCallError
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, (left, right), strict=True):
        sizes |= dict(zip(term, operand.shape, strict=True))
    return math.prod(sizes.values()), tuple(sizes[index] for index in after)


_DRAWS = frozenset({Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_})

_COMPARISONS = frozenset({Tensor.ge, Tensor.ne})

_ARITHMETIC: dict[Function, Rule] = {
    **dict.fromkeys((Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, Tensor.__rsub__), _broadcast),
    **dict.fromkeys((*_COMPARISONS, Tensor.remainder), _broadcast),
    Tensor.repeat: _repeated,
    torch.arange: _arange,
    **dict.fromkeys((F.layer_norm, F.batch_norm, F.gelu, F.relu, F.dropout, torch.sigmoid), _same_shape),
    **dict.fromkeys((Tensor.softmax, Tensor.clamp_min, Tensor.neg, torch.roll), _same_shape),
}
_PRODUCTS: dict[Function, Rule] = {
    F.linear: _linear,
    F.conv2d: _convolution,
    F.conv_transpose2d: _transposed_convolution,
    F.scaled_dot_product_attention: _attention,
    torch.functional.einsum: _einsum,
}
_LAYING_OUT: dict[Function, Rule] = {
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
