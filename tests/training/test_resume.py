"""A run that was cut off and resumed sees the very batches of an uninterrupted one and ends with its very weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from segcct.config import SegmentationConfig, settings
from segcct.run_folder import RunFolder
from segcct.tasks.segmentation.segmentation_task import SegmentationTask
from segcct.training.trainer import fit
from segcct.training.training_module import Trainable
from tests.support.small_tasks import SMALL, few_labels, volumes

Shown = list[tuple[list[str], torch.Tensor]]


def train(task: Any, run: RunFolder, *, stop: int | None = None, resume: bool = False) -> Shown:
    """Fit, and be interrupted in batch `stop`; what each batch showed: the names, and the images."""
    shown: Shown = []
    loss = task.loss

    def watched(network: torch.nn.Module, batch: dict[str, Any], progress: float) -> torch.Tensor:
        if len(shown) == stop:
            raise KeyboardInterrupt
        shown.append((task.names(batch), batch["image"].clone()))
        return loss(network, batch, progress)

    task.loss = watched
    with nullcontext() if stop is None else pytest.raises(KeyboardInterrupt):
        fit(task, run, task.config.train, seed=3, resume=resume)
    return shown


class Whole(NamedTuple):
    """An uninterrupted training, without loader processes."""

    task_of: Callable[[int, Path], Trainable]
    folder: Path
    run: RunFolder
    shown: Shown


@pytest.fixture(scope="module", params=[*SMALL.values(), few_labels], ids=[*SMALL, "few_labels"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    run = RunFolder.create(folder / "run")
    return Whole(request.param, folder, run, train(request.param(0, folder), run))


def test_the_very_batches_and_the_very_weights(whole: Whole, tmp_path: Path) -> None:
    """With two loader processes until it is interrupted, and one afterwards; the whole training had none."""
    cut, epoch = RunFolder.create(tmp_path / "cut"), len(whole.shown) // 2
    first, second = ([names for names, _ in part] for part in (whole.shown[:epoch], whole.shown[epoch:]))
    assert first != second
    train(whole.task_of(2, whole.folder), cut, stop=epoch + 1)
    again = train(whole.task_of(1, whole.folder), cut, resume=True)
    assert [names for names, _ in again] == second
    for (_, found), (_, expected) in zip(again, whole.shown[epoch:], strict=True):
        assert torch.equal(found, expected)
    states = [torch.load(run.last, weights_only=True)["state_dict"] for run in (whole.run, cut)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    best = [(run.best / "weights.safetensors").read_bytes() for run in (whole.run, cut)]
    assert best[0] == best[1]


def test_an_optimizer_that_gathers_nothing_is_resumed(tmp_path: Path) -> None:
    """SGD without momentum stores no state."""
    train_section = {"epochs": 1, "optimizer": "sgd", "momentum": 0, "batch_size": 4, "slices_per_epoch": 4}
    content, dataset = volumes(0)

    def task(epochs: int) -> Trainable:
        whole = content | {"model": {"name": "cct_unet_t"}, "train": train_section | {"epochs": epochs}}
        return SegmentationTask(settings.build(SegmentationConfig, whole, {}, source="test"), dataset)

    run = RunFolder.create(tmp_path / "run")
    train(task(1), run)
    assert len(train(task(2), run, resume=True)) == 1
    assert len(run.read_metrics()) == 2
