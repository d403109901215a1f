"""Slices go through a network in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from segcct.errors import ModelError
from segcct.inference.inference_settings import InferenceSettings
from segcct.runtime import softmax


def padded_pixels(image: np.ndarray, size: int) -> int:
    """Pixels of a slice of (..., h, w) as `pad_to` pads it to that size."""
    return math.prod(max(side, size) for side in image.shape[-2:])


def in_batches(
    step: Callable[[slice], torch.Tensor], count: int, how: InferenceSettings, *, pixels: int
) -> Iterator[np.ndarray]:
    """The results of `step` for the slices 0 to `count`, of `pixels` pixels each, batch by batch; each batch is
    computed when it is asked for."""
    batch = how.batch_of(pixels)
    for start in range(0, count, batch):
        with torch.inference_mode(), how.autocast():
            output = step(slice(start, min(start + batch, count)))
        yield output.cpu().numpy()


def probabilities_of(logits: torch.Tensor) -> torch.Tensor:
    """Softmax over the classes of (B, K, ...), float32; on the processor as runtime.py computes it."""
    logits = logits.float()
    return torch.from_numpy(softmax(logits.numpy())) if logits.device.type == "cpu" else logits.softmax(dim=1)


def finite(values: torch.Tensor) -> torch.Tensor:
    """The output of a network, unchanged. Raises `ModelError` if a value is NaN or infinite."""
    if not all(bool(bound.isfinite()) for bound in values.aminmax()):  # without a copy of them
        raise ModelError(
            "the network gives values that are not finite",
            found="NaN or infinity",
            remedy="Try --precision fp32 (when training, --train.precision fp32); else train with a lower --train.lr",
        )
    return values
