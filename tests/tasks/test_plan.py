"""The plan of a training: what it says where a system does not tell everything, and how its time is computed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segcct.config import SegmentationConfig, SegmentationTrainSection, settings
from segcct.errors import TrainingError
from segcct.tasks import training_run
from segcct.tasks.training_run import Plan, mean_of_stages, training_steps
from tests.support.toy_pair import data_section


def test_a_plan_without_a_known_peak_of_memory():
    assert "memory      not known here\n" in str(Plan("train 4 cases", 1000, 0.5, None, 30.0))


@pytest.mark.parametrize(("processes", "steps"), [(1, 3 * 10), (4, 3 * 3), (5, 3 * 2)])
def test_processes_share_the_batches_of_an_epoch(processes, steps):
    assert training_steps(SegmentationTrainSection(epochs=3, devices=processes, device="cpu"), 10) == steps


def test_a_plan_of_a_resumed_run_counts_the_epochs_that_are_left():
    assert training_steps(SegmentationTrainSection(epochs=10), 7, done=9) == 7


def test_each_stage_of_a_training_counts_by_its_length():
    """Small windows at first, and whole slices at the end, are the time of all steps."""

    def seconds_at(progress: float) -> float:
        return 1.0 if progress < 0.5 else 4.0 if progress < 0.75 else 8.0

    ends = (0.5, 0.75, 1.0)
    assert mean_of_stages(ends, seconds_at, by_time=False) == pytest.approx(0.5 * 1 + 0.25 * 4 + 0.25 * 8)
    # 160 s: 80 steps in the first half, 10 in the third quarter, 5 in the last
    assert mean_of_stages(ends, seconds_at, by_time=True) == pytest.approx(160 / (80 + 10 + 5))
    assert mean_of_stages((1.0,), seconds_at, by_time=True) == 8.0


class LaterTwo:
    """Half of the training sees one sample in a batch, the other half two, as with cases that have no label."""

    stages = (0.5, 1.0)

    def __init__(self, config: SegmentationConfig, *, resumed: bool) -> None:
        self.network = nn.BatchNorm1d(2)

    def example(self, size: int, device: str) -> dict[str, Any]:
        return {"image": torch.zeros(size, 2)}

    def loss(self, network: nn.Module, batch: dict[str, Any], progress: float) -> Tensor:
        loss: Tensor = network(batch["image"].repeat(1 if progress < 0.5 else 2, 1)).sum()
        return loss


def test_a_batch_of_one_is_refused_whenever_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "task_of", lambda _: SimpleNamespace(load=lambda: LaterTwo))
    train = {"batch_size": 1, "device": "cpu", "precision": "fp32"}
    content = {"data": data_section().model_dump(mode="json"), "train": train}
    with pytest.raises(TrainingError, match="cannot be trained on a batch of one"):
        training_run._checked_task(settings.build(SegmentationConfig, content, {}, source="test"), None)
