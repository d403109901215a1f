"""One training step by which machines are compared, in docs/machines.md and by `segcct doctor`, and the forward pass of
the same network in each backend."""

from __future__ import annotations

from itertools import islice

import torch

from segcct.config import LossSection
from segcct.export.backend_timing import backend_seconds
from segcct.models.zoo import create_model
from segcct.tasks.segmentation.segmentation_loss import SegmentationLoss
from segcct.training.step_time import step_seconds

NAME, CHANNELS, CLASSES, SIZE, BATCH = "cct_unet_s", 1, 4, 224, 8
DESCRIPTION = f"training step of {NAME}, {SIZE} x {SIZE} pixels, batch {BATCH}"
MACHINES = (
    ("two cores of an AMD EPYC with AVX2, no bf16 instructions", {"fp32": 1.62, "bf16": 22.6}),
    ("two cores of an AMD EPYC (Zen 5) with bf16 instructions", {"fp32": 0.51, "bf16": 0.29}),
)
"""Seconds of the step elsewhere: two rows of docs/machines.md."""
_ENOUGH_S = 5.0


def backend_times_s() -> dict[str, float]:
    """Seconds of a forward pass on the processor by backend and precision; see `backend_seconds`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create_model(NAME, CHANNELS, CLASSES, SIZE)
    return backend_seconds(network, CHANNELS, SIZE)


def reference_step_s(device: str, precision: str) -> float:
    """Seconds of one training step on random input, the better of two after one that is not counted.

    Where that one takes longer than five seconds it is the answer: emulated arithmetic is not worth waiting for.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create_model(NAME, CHANNELS, CLASSES, SIZE).to(device).train()
        image = torch.randn(BATCH, CHANNELS, SIZE, SIZE).to(device)
        label = torch.randint(CLASSES, (BATCH, SIZE, SIZE)).to(device)
    criterion = SegmentationLoss(LossSection(), CLASSES).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    steps = step_seconds(lambda: criterion(network(image), label), optimizer, device, precision)
    first = next(steps)
    return first if first > _ENOUGH_S else min(islice(steps, 2))
