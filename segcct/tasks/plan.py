"""`--dry-run`: what a training would do, with memory and time measured on a few real steps of the network."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import torch

from segcct.config import Experiment
from segcct.hardware.devices import device_type, pick_device
from segcct.hardware.precision import autocast
from segcct.hardware.processor import limit_threads
from segcct.progress import duration
from segcct.run_folder import RunFolder
from segcct.tasks.task import Task
from segcct.tasks.training_run import checked_task
from segcct.training.arithmetic import synchronize
from segcct.training.optim import build_optimizer
from segcct.training.single_sample import explained

MEASURED_STEPS = 2


@dataclass(frozen=True)
class Plan:
    """Figures of a training that has not begun."""

    splits: str
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
            f"cases       {self.splits}\n"
            f"parameters  {self.parameters:,}\n"
            f"memory      {memory}\n"
            f"time        {self.step_s:.2f} s per step measured here; {total}"
        )


def plan(config: Experiment, *, resume: RunFolder | None = None) -> Plan:
    """Find, check and split the data, build the network and take a few steps on random input. Writes no run.

    Raises `SegcctError` for whatever the training itself would refuse before it prepares the data.
    """
    task = checked_task(config, resume)
    splits, batches = task.find()
    step_s, peak_memory_mb = measured(task)
    train = task.config.train
    return Plan(
        splits=splits,
        parameters=sum(parameter.numel() for parameter in task.network.parameters()),
        step_s=step_s,
        peak_memory_mb=peak_memory_mb,
        training_s=None if train.budget is not None else train.epochs * batches * step_s,
    )


def measured(task: Task) -> tuple[float, float | None]:
    """Seconds per step after one for warming up, and the peak memory of the process or device in MB."""
    train = task.config.train
    device = pick_device(train.device)
    if device_type(device) == "cpu":
        limit_threads(train.devices)
    network, batch = task.network.to(device).train(), task.example(train.batch_size, device)
    optimizer = build_optimizer(network, train)
    began = time.perf_counter()
    for step in range(1 + MEASURED_STEPS):
        if step == 1:
            began = time.perf_counter()
        with autocast(device, train.precision), explained():
            loss = task.loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        synchronize(device)
    step_s = (time.perf_counter() - began) / MEASURED_STEPS
    return step_s, torch.cuda.max_memory_allocated() / 1e6 if device_type(device) == "cuda" else peak_memory_mb()


def peak_memory_mb() -> float | None:
    """The most memory that this process has held so far; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere
