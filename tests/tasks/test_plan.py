"""The plan of a training: what it says where a system does not tell everything."""

from __future__ import annotations

from types import SimpleNamespace

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
