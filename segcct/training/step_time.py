"""How long training steps take: for `--dry-run`, and for `segcct doctor`, which compares machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from segcct.hardware.devices import device_type
from segcct.hardware.memory import keep_freed_memory, return_freed_memory
from segcct.hardware.precision import autocast
from segcct.training.network import explaining_batch_norm


def step_seconds(
    loss_of_batch: Callable[[], Tensor], optimizer: torch.optim.Optimizer, device: str, precision: str
) -> Iterator[float]:
    """Seconds of one training step after another, without end. The first one also warms up."""
    if device_type(device) == "cpu":
        keep_freed_memory()
    try:
        while True:
            began = time.perf_counter()
            with autocast(device, precision), explaining_batch_norm():
                loss = loss_of_batch()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            _synchronize(device)
            yield time.perf_counter() - began
    finally:
        return_freed_memory()


def _synchronize(device: str) -> None:
    """Wait for an accelerator, so that the clock measures work and not its queue."""
    if device_type(device) == "cuda":
        torch.cuda.synchronize()
    elif device_type(device) == "mps":
        torch.mps.synchronize()
