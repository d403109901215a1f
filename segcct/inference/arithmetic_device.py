"""How slices go through a network: batch, arithmetic, device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from segcct.errors import ModelError
from segcct.hardware.cores import limit_threads
from segcct.hardware.devices import pick_device
from segcct.hardware.precision import Choice, choose_precision
from segcct.hardware.precision import autocast as autocast_on

__all__ = ["Inference", "autocast", "finite", "in_batches", "pick_device"]


@dataclass(frozen=True)
class Inference:
    """How slices go through a network."""

    batch_size: int = 16
    precision: str = "auto"
    """fp32 or bf16; `auto` becomes the faster one of the two on this device."""
    device: str = "cpu"
    """`auto` becomes a GPU where there is one, else cpu."""
    protocol: str = "soft"
    """soft: probabilities are resampled to the input grid; transunet: the published slice protocol."""
    choice: Choice = field(init=False, compare=False)
    """How `precision` was chosen."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ModelError("a batch holds at least one slice", found=f"batch size {self.batch_size}")
        if self.device == "auto":
            object.__setattr__(self, "device", pick_device())
        if self.device == "cpu":
            limit_threads()
        object.__setattr__(self, "choice", choose_precision(self.precision, self.device))
        object.__setattr__(self, "precision", self.choice.precision)


def autocast(how: Inference) -> torch.autocast:
    """The arithmetic of `how`."""
    return autocast_on(how.device, how.precision)


def in_batches(step: Callable[[slice], torch.Tensor], count: int, how: Inference) -> Iterator[np.ndarray]:
    """What `step` makes of the rows 0 to `count`, a batch of them at a time and no earlier than it is asked for."""
    for start in range(0, count, how.batch_size):
        with torch.inference_mode(), autocast(how):
            made = step(slice(start, min(start + how.batch_size, count)))
        yield made.cpu().numpy()


def finite(values: torch.Tensor) -> torch.Tensor:
    """The values of a network as they are. Raises `ModelError` where one is NaN or infinite."""
    if not bool(values.isfinite().all()):
        raise ModelError(
            "the network gives values that are not finite",
            found="NaN or infinity",
            remedy="Try --precision fp32 (when training, --train.precision fp32); else train with a lower --train.lr",
        )
    return values
