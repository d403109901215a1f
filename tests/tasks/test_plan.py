"""The plan of a training: what it says where a system does not tell everything."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from torch import nn

from segcct.config import SegmentationTrainSection
from segcct.tasks import training_run
from segcct.tasks.task import DatasetSummary
from segcct.tasks.training_run import Plan


def test_a_plan_without_a_known_peak_of_memory():
    assert "memory      not known here\n" in str(Plan("train 4 cases", 1000, 0.5, None, 30.0))


def test_processes_share_the_batches_of_an_epoch(monkeypatch):
    config = SimpleNamespace(train=SegmentationTrainSection(epochs=3, devices=4, device="cpu"))
    task = SimpleNamespace(find=lambda: DatasetSummary("", 10), network=nn.Linear(1, 1), config=config)
    monkeypatch.setattr(training_run, "_checked_task", lambda *_: task)
    monkeypatch.setattr(training_run, "_step_s", lambda _: 2.0)
    assert training_run.plan(config).training_s == 3 * 3 * 2.0


def test_each_stage_of_a_training_counts_by_its_length(monkeypatch):
    """Small windows at first, and whole slices at the end, are the time of all steps."""
    config = SimpleNamespace(train=SegmentationTrainSection(device="cpu"))
    task = SimpleNamespace(
        stages=(0.5, 0.75, 1.0), config=config, network=nn.Linear(1, 1), progress=1.0, example=lambda *_: {}
    )

    def steps(*_: object) -> Iterator[float]:
        while True:
            yield 1.0 if task.progress < 0.5 else 4.0 if task.progress < 0.75 else 8.0

    monkeypatch.setattr(training_run, "step_seconds", steps)
    assert training_run._step_s(task) == pytest.approx(0.5 * 1 + 0.25 * 4 + 0.25 * 8)
