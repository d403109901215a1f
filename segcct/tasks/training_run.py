"""Trains as a configuration says, or prints the plan of the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import torch
from torch import nn

from segcct.config import Experiment, TrainSection
from segcct.files.json_file import write_json
from segcct.hardware.devices import device_type, pick_device
from segcct.hardware.memory import peak_memory_mb
from segcct.hardware.processor import limit_threads
from segcct.progress import duration
from segcct.provenance import provenance
from segcct.run_folder import RunFolder
from segcct.tasks.task import Task, task_of
from segcct.training.curves import check_logger
from segcct.training.device_settings import resolve_precision
from segcct.training.network import check_batch_size
from segcct.training.optimization import build_optimizer
from segcct.training.processes import is_first_process
from segcct.training.session import begin_run, check_epochs, check_same_dataset, locked_run
from segcct.training.step_time import step_seconds
from segcct.training.trainer import fit

MEASURED_STEPS = 2


def train(config: Experiment, *, resume: RunFolder | None = None, following: int = 0) -> RunFolder:
    """Train as `config` says, into a new run folder or on in `resume`; returns the run folder. `following`: folds that
    are trained after this one, for the time left.

    Raises `SegcctError` for whatever is wrong with data, model or run, before the folder appears.
    """
    with locked_run(config.run, resume) as run:
        task = _checked_task(config, resume)
        task.prepare()
        config, dataset = task.config, task.dataset
        if resume is not None:
            check_same_dataset(run, dataset.splits, dataset.fingerprint)
        begin_run(run, config, dataset.splits, resumed=resume is not None)
        if task.transferred and is_first_process():
            run.write_text(run.pretrained, f"{task.transferred}\n")
        best = fit(task, run, config.train, seed=config.run.seed, resume=resume is not None, following=following)
        if is_first_process():
            write_json(run.summary, {"selected_on": best, "provenance": provenance(dataset.fingerprint)}, private=True)
        return run


@dataclass(frozen=True)
class Plan:
    """What a run would take: memory and time are measured on a few steps."""

    splits: str
    parameters: int
    step_s: float
    """On average over the run."""
    peak_memory_mb: float | None
    """None where the system does not report it."""
    training_s: float | None
    """Seconds of all training steps, of a resumed run those that are left; None with a budget."""

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

    Raises `SegcctError` for whatever the run itself would refuse before it prepares the data.
    """
    if resume is None:
        RunFolder.check_free(config.run.path)
    task = _checked_task(config, resume)
    dataset, train = task.find(), task.config.train
    done = 0 if resume is None else len(resume.read_metrics())
    step_s = _step_s(task)
    on_gpu = device_type(pick_device(train.device)) == "cuda"
    return Plan(
        splits=dataset.splits,
        parameters=sum(parameter.numel() for parameter in task.network.parameters()),
        step_s=step_s,
        peak_memory_mb=torch.cuda.max_memory_allocated() / 1e6 if on_gpu else peak_memory_mb(),
        training_s=None if train.budget is not None else training_steps(train, dataset.batches, done) * step_s,
    )


def training_steps(train: TrainSection, batches: int, done: int = 0) -> int:
    """Training steps of the epochs that are not done, of `batches` each: processes that train together share them."""
    return (train.epochs - done) * -(-batches // train.devices)


def mean_of_stages(ends: Sequence[float], seconds_at: Callable[[float], float], *, by_time: bool) -> float:
    """Seconds of a step on average over a run.

    Args:
        ends: where each stage of training ends, as fractions of it.
        seconds_at: measures a step at such a fraction; called once within each stage.
        by_time: these are fractions of its time, so that a stage of fast steps has more of them; else of its steps.
    """
    stages = [(end - begin, seconds_at(_late_in_stage(end))) for begin, end in pairwise((0.0, *ends))]
    if by_time:
        return 1 / sum(share / seconds for share, seconds in stages)
    return sum(share * seconds for share, seconds in stages)


def _checked_task(config: Experiment, resume: RunFolder | None) -> Task:
    """The task of a configuration, of which all is checked but its data."""
    config = resolve_precision(config)
    if resume is not None:
        check_epochs(resume, config.train)
    check_logger(config.train.logger)
    task = task_of(config).load()(config, resumed=resume is not None)

    def losses_of_one(network: nn.Module) -> None:
        for end in task.stages:
            task.loss(network, task.example(1, "cpu"), _late_in_stage(end))

    check_batch_size(task.network, config.train.batch_size, losses_of_one)
    return task


def _late_in_stage(end: float) -> float:
    """The last progress of the stage that ends at `end`: at `end` itself the next one begins."""
    return math.nextafter(end, 0.0)


def _step_s(task: Task) -> float:
    """Seconds per training step on average: of each stage, after one for warming up."""
    train = task.config.train
    device = pick_device(train.device)
    if device_type(device) == "cpu":
        limit_threads(train.devices)
    network, batch = task.network.to(device).train(), task.example(train.batch_size, device)
    optimizer = build_optimizer(network, train)

    def seconds_at(progress: float) -> float:
        steps = step_seconds(lambda: task.loss(network, batch, progress), optimizer, device, train.precision)
        next(steps)
        return sum(islice(steps, MEASURED_STEPS)) / MEASURED_STEPS

    return mean_of_stages(task.stages, seconds_at, by_time=train.budget is not None)
