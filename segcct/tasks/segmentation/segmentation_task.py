"""Image to mask: slices in, logits out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from segcct.config import SegmentationConfig
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.splits import Splits
from segcct.inference.batched_inference import Inference
from segcct.inference.inferers import SliceInferer
from segcct.metrics import class_dice
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_sampling import SliceDataset
from segcct.tasks.segmentation.cycle_loss import UNLABELLED, CycleLoss, WithUnlabelled, refuse_seen, risen
from segcct.tasks.segmentation.loss_maps import WithMaps, maps_of_batch
from segcct.tasks.segmentation.segmentation_loss import SegmentationLoss
from segcct.tasks.segmentation.training_dataset import Dataset
from segcct.tasks.slice_task import SliceTask
from segcct.training.session import gather


class SegmentationTask(SliceTask):
    """Judged by the Dice of whole validation volumes on their own grid."""

    name = "segmentation"
    model_kind = "segmenter"
    score = "val_dice"
    config: SegmentationConfig

    def __init__(self, config: SegmentationConfig, dataset: Dataset | None = None, *, resumed: bool = False) -> None:
        super().__init__(config, dataset, resumed=resumed)
        self.criterion = SegmentationLoss(config.train.loss, self.scheme.num_classes)
        model = config.train.cycle_model
        self.cycle = None if model is None else CycleLoss(model, config.data, self.scheme)
        self.pictures, self.unlabelled = config.train.pictures, self.cycle is not None

    def check_splits(self, splits: Splits) -> None:
        refuse_seen(self.config.train.cycle_model, splits)

    def samples(self, slices: SliceDataset) -> TorchDataset:
        samples = slices if self.cycle is None else WithUnlabelled(slices, self.dataset.unlabelled)
        needs = self.criterion.needs
        return WithMaps(samples, needs, self.scheme.num_classes) if needs else samples

    def example(self, size: int, device: str) -> dict[str, Any]:
        batch = super().example(size, device)
        batch |= maps_of_batch(batch["label"], self.criterion.needs, self.scheme.num_classes)
        return {**batch, UNLABELLED: {"image": batch["image"], "position": torch.rand(size, 1, device=device)}}

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        loss: Tensor = self.criterion.to(batch["image"].device)(network(batch["image"]), batch["label"], batch)
        if self.cycle is not None:
            weight = self.config.train.cycle_weight * risen(self.progress)
            loss = loss + weight * cycle_loss(self.cycle, network, batch[UNLABELLED])
        return loss

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        mine = {case.case_id: self._scored(network, device, case)[1] for case in self.dataset.val[rank::world]}
        return summarise(gather(mine, world), self.dataset.scheme)

    def draw(self, network: nn.Module, device: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for case in self.dataset.val:
            if case.case_id in self.dataset.pictured:
                prediction, scores = self._scored(network, device, case)
                self.dataset.pictured[case.case_id].write(folder, prediction, self.dataset.scheme, scores)

    def _scored(
        self, network: nn.Module, device: str, case: PreparedCase
    ) -> tuple[np.ndarray, dict[str, float | None]]:
        """Class indices (X, Y, Z) of a case by inference's own code, and its Dice per class."""
        how = Inference(self.config.train.batch_size, self.config.train.precision, device)
        prediction = SliceInferer()(network, case, how, self.config.data.image_size)
        return prediction, class_dice(prediction, np.asarray(case.full_label), self.dataset.scheme.classes)


def cycle_loss(cycle: CycleLoss, network: nn.Module, unlabelled: dict[str, Tensor]) -> Tensor:
    """The loss of the unlabelled part of a batch."""
    output = network(unlabelled["image"])
    return cycle(output[0] if isinstance(output, list) else output, unlabelled)  # full size first


def summarise(scores: dict[str, dict[str, float | None]], scheme: Scheme) -> dict[str, float]:
    """Mean Dice per class over the cases that hold it, and over cases of each case's mean; the empty are left out."""
    per_case = [[value for value in classes.values() if value is not None] for classes in scores.values()]
    means = [float(np.mean(values)) for values in per_case if values]
    summary = {"val_dice": float(np.mean(means)) if means else 0.0}
    for name in scheme.classes:
        values = [value for classes in scores.values() if (value := classes[name]) is not None]
        if values:
            summary[f"val_dice_{name}"] = float(np.mean(values))
    return summary
