"""The time of a network's forward pass in PyTorch and in each backend that is installed, side by side."""

from __future__ import annotations

import time
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
    """Seconds of a forward pass of a batch of four on the processor, by backend and precision, the best of three after
    one that is not counted; `onnx fp32` and so on. Backends that are not installed are left out.

    Raises `ModelError` where the network cannot be exported.
    """
    inputs = random_inputs(channels, (size, size))
    networks: dict[str, nn.Module] = {f"torch {precision}": network.eval() for precision in PRECISIONS["torch"]}
    try:
        content = to_onnx(network, channels, (size, size)).SerializeToString()
    except PackageError:
        return {name: _seconds(each, inputs, name.split()[1]) for name, each in networks.items()}
    for backend, make in BACKENDS.items():
        for precision in PRECISIONS[backend]:
            try:
                networks[f"{backend} {precision}"] = make(content, (size, size), Path("network.onnx"), precision)
            except PackageError:
                continue
    return {
        name: _seconds(each, inputs, name.split()[1] if name.startswith("torch") else "fp32")
        for name, each in networks.items()
    }


def _seconds(network: nn.Module, inputs: torch.Tensor, precision: str) -> float:
    best = float("inf")
    for repeat in range(1 + REPEATS):
        with torch.inference_mode(), autocast("cpu", precision):
            began = time.perf_counter()
            network(inputs)
            took = time.perf_counter() - began
        best = min(best, took) if repeat else best
    return best
