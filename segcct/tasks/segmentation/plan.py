"""`--dry-run`: what a training would do, with memory and time measured on a few real steps of the network."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segcct.config import DataSection, M2IConfig, ScheduleSection, SegmentationConfig
from segcct.datasets.case import Case
from segcct.datasets.image_headers import read_header
from segcct.datasets.layouts import scheme_of
from segcct.hardware.cores import limit_threads
from segcct.hardware.devices import device_type, pick_device
from segcct.hardware.precision import autocast
from segcct.preparation.slice_grid import SliceGrid
from segcct.progress import duration
from segcct.run_folder import RunFolder
from segcct.tasks.segmentation.cycle_loss import refuse_seen
from segcct.tasks.segmentation.segmentation_loss import SegmentationLoss
from segcct.tasks.segmentation.segmentation_training import cycle_loss, cycle_of, network_of
from segcct.tasks.segmentation.training_dataset import describe_sides, divide
from segcct.training.arithmetic import settle, synchronize
from segcct.training.optim import build_optimizer
from segcct.training.session import check_run
from segcct.training.single_sample import explained

MEASURED_STEPS = 2


@dataclass(frozen=True)
class Plan:
    """Figures of a training that has not begun."""

    sides: str
    parameters: int
    step_s: float
    peak_memory_mb: float | None
    """None where the system does not tell."""
    training_s: float | None
    """Seconds of all training steps; None with a budget."""

    def __str__(self) -> str:
        total = "see the budget" if self.training_s is None else f"about {duration(self.training_s)} of training steps"
        peak = self.peak_memory_mb
        memory = "not known here" if peak is None else f"{peak:,.0f} MB at the peak of a training step"
        return (
            f"cases       {self.sides}\n"
            f"parameters  {self.parameters:,}\n"
            f"memory      {memory}\n"
            f"time        {self.step_s:.2f} s per step measured here; {total}"
        )


def plan(config: SegmentationConfig, *, resume: RunFolder | None = None) -> Plan:
    """Find, check and split the cases, build the network and take two steps on random input. Writes nothing.

    Raises `SegcctError` for whatever the training itself would refuse before it prepares the cases.
    """
    config = settle(config)
    check_run(config.run, config.train, resume)
    scheme = scheme_of(config.data)
    network = network_of(config, scheme, resumed=resume is not None)
    device, train, side = pick_device(config.train.device), config.train, config.data.image_size
    criterion = SegmentationLoss(train.loss, scheme.num_classes).to(device)
    image = torch.randn(train.batch_size, len(config.data.channels), side, side, device=device)
    label = torch.randint(scheme.num_classes, (train.batch_size, side, side), device=device)
    cycle = cycle_of(config, scheme)
    division = divide(config.data, unlabelled=cycle is not None)
    refuse_seen(train.cycle_model, division.splits)
    steps = count_steps(division.splits.select(division.cases, "train"), config)
    unlabelled = {"image": image, "position": torch.rand(train.batch_size, 1, device=device)}

    def loss() -> Tensor:
        value: Tensor = criterion(network(image), label)
        return value if cycle is None else value + train.cycle_weight * cycle_loss(cycle, network, unlabelled)

    return measured(describe_sides(division), network, train, loss, steps=steps)


def count_steps(cases: Sequence[Case], config: SegmentationConfig | M2IConfig) -> int:
    """Batches of the whole training on these cases; see `count_slices`."""
    train = config.train
    slices = train.slices_per_epoch or count_slices(cases, config.data)
    return train.epochs * -(-slices // train.batch_size)


def count_slices(cases: Sequence[Case], data: DataSection) -> int:
    """Slices of all cases by their headers; a crop to the foreground leaves fewer.

    Raises `VolumeError` where a header cannot be read.
    """
    count = 0
    for case in cases:
        name, files = next(iter(case.channels.items()))
        stored = read_header(files[0], data.channels[name])
        grid = SliceGrid.plan(
            stored.shape,
            stored.affine,
            stored.spacing_mm,
            orientation=data.orientation,
            box_of=None,
            target_spacing_mm=None,
            fit=data.fit,
            image_size=data.image_size,
        )
        count += len(files) if len(files) > 1 else grid.slice_shape[0]
    return count


def measured(sides: str, network: nn.Module, train: ScheduleSection, loss: Callable[[], Tensor], *, steps: int) -> Plan:
    """The plan of a training: seconds per step after one for warming up, peak memory of the process or device.

    Args:
        sides: who trains, validates and tests, in words.
        network: moved to the device and trained a little.
        train: precision, optimiser, budget.
        loss: of a batch on the device.
        steps: of the whole training.
    """
    device = pick_device(train.device)
    if device_type(device) == "cpu":
        limit_threads(train.devices)
    network.to(device).train()
    optimizer = build_optimizer(network, train)
    began = time.perf_counter()
    for step in range(1 + MEASURED_STEPS):
        if step == 1:
            began = time.perf_counter()
        with autocast(device, train.precision), explained():
            value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        value.item()
        synchronize(device)
    step_s = (time.perf_counter() - began) / MEASURED_STEPS
    return Plan(
        sides=sides,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        step_s=step_s,
        peak_memory_mb=torch.cuda.max_memory_allocated() / 1e6 if device_type(device) == "cuda" else peak_memory_mb(),
        training_s=None if train.budget is not None else steps * step_s,
    )


def peak_memory_mb() -> float | None:
    """The most memory that this process has held so far; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere
