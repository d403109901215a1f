"""The known step: one training step that machines are compared by, in docs/machines.md and by `segcct doctor`."""

from __future__ import annotations

import time

import torch

from segcct.config import LossSection
from segcct.hardware.precision import autocast
from segcct.models.zoo import create_model
from segcct.tasks.segmentation.segmentation_loss import SegmentationLoss
from segcct.training.arithmetic import synchronize

NAME, CHANNELS, CLASSES, SIZE, BATCH = "cct_unet_s", 1, 4, 224, 8
DESCRIPTION = f"training step of {NAME}, {SIZE} x {SIZE} pixels, batch {BATCH}"
MACHINES = (
    ("two cores with AVX2, no bf16 instructions", {"fp32": 1.30, "bf16": 17.8}),
    ("two cores of an AMD EPYC with bf16 instructions", {"fp32": 0.70, "bf16": 0.37}),
)
"""Seconds of the step elsewhere: two rows of docs/machines.md."""
_COUNTED = 2


def known_step_s(device: str, precision: str, *, repeats: int = _COUNTED) -> float:
    """Seconds of one training step on random input, the best of `repeats` after one that is not counted.

    Where the first step takes longer than five seconds it is the answer: emulated arithmetic is not worth waiting for.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create_model(NAME, CHANNELS, CLASSES, SIZE).to(device).train()
        image = torch.randn(BATCH, CHANNELS, SIZE, SIZE).to(device)
        label = torch.randint(CLASSES, (BATCH, SIZE, SIZE)).to(device)
    criterion = SegmentationLoss(LossSection(), CLASSES).to(device)
    optimizer = torch.optim.AdamW(network.parameters())
    best = float("inf")
    for repeat in range(1 + repeats):
        began = time.perf_counter()
        with autocast(device, precision):
            loss = criterion(network(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        synchronize(device)
        took = time.perf_counter() - began
        if took > 5.0:
            return took
        best = min(best, took) if repeat else best
    return best
