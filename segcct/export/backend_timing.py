"""The time of a network's forward pass in PyTorch and in each backend that is installed, side by side."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from segcct.errors import PackageError
from segcct.export.backends import BACKENDS
from segcct.export.onnx_export import to_onnx
from segcct.export.verification import random_inputs
from segcct.hardware.precision import autocast

REPEATS = 3
PRECISIONS = {"torch": ("fp32", "bf16"), "onnx": ("fp32",), "openvino": ("fp32", "bf16")}
"""What each can compute in, for a network of fp32 weights."""


def backend_seconds(network: nn.Module, channels: int, size: int) -> dict[str, float]:
    """Seconds of a forward pass of a batch of four on the processor, by backend and precision (`onnx fp32` and so on).
    Backends that are not installed are left out.

    Raises `ModelError` where the network cannot be exported.
    """
    inputs = random_inputs(channels, (size, size))
    network.eval()
    seconds = {f"torch {precision}": _seconds(network, inputs, precision) for precision in PRECISIONS["torch"]}
    with suppress(PackageError):
        content = to_onnx(network, channels, (size, size)).SerializeToString()
        for backend, make in BACKENDS.items():
            for precision in PRECISIONS[backend]:
                with suppress(PackageError):
                    exported = make(content, (size, size), Path("network.onnx"), precision)
                    seconds[f"{backend} {precision}"] = _seconds(exported, inputs, "fp32")
    return seconds


def _seconds(network: nn.Module, inputs: torch.Tensor, precision: str) -> float:
    """The shortest of three forward passes, after one that is not counted."""
    times = []
    with torch.inference_mode(), autocast("cpu", precision):
        for _ in range(1 + REPEATS):
            began = time.perf_counter()
            network(inputs)
            times.append(time.perf_counter() - began)
    return min(times[1:])
