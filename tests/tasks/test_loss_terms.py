"""A loss term from outside the package: one file with its function and what it needs of a batch."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from segcct.config import LossSection, SegmentationConfig, settings
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError, PluginError
from segcct.preparation.prepared_case import prepare_case
from segcct.run_folder import RunFolder
from segcct.tasks.segmentation import segmentation_loss
from segcct.tasks.segmentation.loss_maps import maps_of_batch
from segcct.tasks.segmentation.segmentation_loss import LOSS_TERMS, LossTerm, SegmentationLoss
from segcct.tasks.segmentation.segmentation_task import SegmentationTask
from segcct.tasks.training_dataset import TrainingData
from segcct.training.trainer import fit
from tests.support.toy_pair import class_filler, data_section, loaded_case

FILE = '''
"""Kervadec et al. 2019: probability mass weighted by its distance from the structure."""

from torch import nn

from segcct.tasks.segmentation.segmentation_loss import LossTerm, register_loss_term


class Boundary(nn.Module):
    def __init__(self, section, num_classes):
        super().__init__()
        self.shapes = []

    def forward(self, logits, batch):
        self.shapes.append(tuple(batch["distance"].shape))
        return -(logits.softmax(dim=1)[:, 1:] * batch["distance"]).mean()


register_loss_term("boundary", LossTerm(Boundary, needs=frozenset({"distance"})))
'''


@pytest.fixture
def boundary(tmp_path: Path) -> Iterator[None]:
    """The module is imported, as its entry point would."""
    file = tmp_path / "boundary_term.py"
    file.write_text(FILE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("boundary_term", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["boundary_term"] = module
    spec.loader.exec_module(module)
    yield
    del sys.modules["boundary_term"], LOSS_TERMS._added["boundary"]


def test_it_trains_with_the_distance_map_that_it_asks_for(boundary: None, tmp_path: Path) -> None:
    content = {
        "data": data_section().model_dump(mode="json"),
        "model": {"name": "cct_unet_t"},
        "train": {"epochs": 2, "batch_size": 2, "slices_per_epoch": 2, "pictures": 0, "precision": "fp32"},
    }
    overrides = {"train.loss.terms.boundary": 0.5, "train.loss.dice": 0}
    config = settings.build(SegmentationConfig, content, overrides, source="test")
    case = prepare_case(loaded_case(), class_filler().preparation, class_filler().scheme)
    dataset = TrainingData(class_filler().scheme, Splits(("toy",), ()), [case], [case], "")
    task = SegmentationTask(config, dataset)
    batch = next(iter(task.loader(0, 1)))
    expected = maps_of_batch(batch["label"], {"distance"}, task.scheme.num_classes)["distance"]
    assert torch.equal(batch["distance"], expected)
    assert ((batch["distance"] > 0).any(1) == (batch["label"] > 0)).all()
    assert task.loss(task.network, task.example(2, "cpu"), 1.0).isfinite()  # a dry run
    term = task.criterion.terms["boundary"]
    term.shapes.clear()
    fit(task, RunFolder.create(tmp_path / "run"), config.train, seed=0)
    assert term.shapes == [(2, task.scheme.num_classes - 1, 32, 32)] * 2  # two steps


def test_it_joins_at_every_scale_with_its_weight(boundary: None) -> None:
    logits = torch.randn(1, 3, 8, 8)
    label = torch.zeros(1, 8, 8, dtype=torch.long)
    label[0, 2:6, 2:6] = 1
    maps = maps_of_batch(label, {"distance"}, 3)
    alone = SegmentationLoss(LossSection(ce=0, dice=0, terms={"boundary": 1}, deep_supervision=0.5), 3)
    full = -(logits.softmax(1)[:, 1:] * maps["distance"]).mean()
    assert alone(logits, label, maps).item() == pytest.approx(full.item(), rel=1e-5)
    alone([logits, logits[..., ::2, ::2]], label, maps)
    assert alone.terms["boundary"].shapes[-1] == (1, 2, 4, 4)
    added = SegmentationLoss(LossSection(terms={"boundary": 0.25}), 3)
    plain = SegmentationLoss(LossSection(), 3)(logits, label)
    assert added(logits, label, maps).item() == pytest.approx((plain + 0.25 * full).item(), rel=1e-5)


def test_an_unknown_term_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"train\.loss\.terms .*focl.*'focal'"):
        SegmentationLoss(LossSection(terms={"focl": 1}), 3)


def test_a_weight_stands_in_one_place() -> None:
    with pytest.raises(ValueError, match=r"train\.loss\.dice"):
        LossSection(terms={"dice": 1})


def test_two_terms_of_one_name_and_a_map_that_nobody_makes_are_refused() -> None:
    with pytest.raises(PluginError, match="'dice' already"):
        segmentation_loss.register_loss_term("dice", LossTerm(segmentation_loss.Dice))
    with pytest.raises(ValueError, match="needs skeleton"):
        LossTerm(segmentation_loss.Dice, needs=frozenset({"skeleton"}))
