"""Image to mask: slices in, logits out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from segcct.config import SegmentationConfig
from segcct.datasets.split_record import Splits
from segcct.inference.batched_inference import Inference
from segcct.inference.inferers import SliceInferer
from segcct.metrics import class_dice
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_sampling import SliceDataset
from segcct.tasks.segmentation.cycle_loss import UNLABELED, CycleLoss, WithUnlabeled, check_not_seen, ramp_up
from segcct.tasks.segmentation.loss_maps import WithMaps, maps_of_batch
from segcct.tasks.segmentation.segmentation_loss import SegmentationLoss
from segcct.tasks.segmentation.training_overlays import Scores, save_overlay
from segcct.tasks.slice_task import SliceTask, mean_scores
from segcct.tasks.training_dataset import Dataset
from segcct.training.processes import gather


class SegmentationTask(SliceTask):
    """Validated by the Dice of whole validation volumes on their own grid."""

    name = "segmentation"
    model_kind = "segmenter"
    score = "val_dice"
    config: SegmentationConfig

    def __init__(self, config: SegmentationConfig, dataset: Dataset | None = None, *, resumed: bool = False) -> None:
        super().__init__(config, dataset, resumed=resumed)
        self.criterion = SegmentationLoss(config.train.loss, self.scheme.num_classes)
        model = config.train.cycle_model
        self.cycle = None if model is None else CycleLoss(model, config.data, self.scheme)
        self.unlabeled = self.cycle is not None

    def check_splits(self, splits: Splits) -> None:
        check_not_seen(self.config.train.cycle_model, splits)

    def samples(self, slices: SliceDataset) -> TorchDataset[Any]:
        samples = slices if self.cycle is None else WithUnlabeled(slices, self.dataset.unlabeled)
        needs = self.criterion.needs
        return WithMaps(samples, needs, self.scheme.num_classes) if needs else samples

    def example(self, size: int, device: str) -> dict[str, Any]:
        batch = super().example(size, device)
        batch |= maps_of_batch(batch["label"], self.criterion.needs, self.scheme.num_classes)
        return {**batch, UNLABELED: {"image": batch["image"], "position": torch.rand(size, 1, device=device)}}

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        loss: Tensor = self.criterion.to(batch["image"].device)(network(batch["image"]), batch["label"], batch)
        if self.cycle is not None:
            unlabeled = batch[UNLABELED]
            output = network(unlabeled["image"])
            logits = output[0] if isinstance(output, list) else output  # full size first
            loss = loss + self.config.train.cycle_weight * ramp_up(self.progress) * self.cycle(logits, unlabeled)
        return loss

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        mine = {case.case_id: self._predict(network, device, case)[1] for case in self.dataset.val[rank::world]}
        scores = gather(mine, world)
        defined = [[value for value in case.values() if value is not None] for case in scores.values()]
        means = [np.mean(values) for values in defined if values]
        per_class = {f"val_dice_{name}": mean for name, mean in mean_scores(scores).items()}
        return {"val_dice": float(np.mean(means)) if means else 0.0, **per_class}

    def draw(self, network: nn.Module, device: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for case in self.dataset.val[: self.config.train.pictures]:
            if case.shown is not None:
                prediction, scores = self._predict(network, device, case)
                synthetic = case.case_id in self.dataset.synthetic_cases
                save_overlay(folder, case, prediction, list(self.scheme.classes), scores, synthetic=synthetic)

    def _predict(self, network: nn.Module, device: str, case: PreparedCase) -> tuple[np.ndarray, Scores]:
        """Class indices (X, Y, Z) of a case by inference's own code, and its Dice per class."""
        settings = Inference(self.config.train.batch_size, self.config.train.precision, device)
        prediction = SliceInferer()(network, case, settings, self.config.data.image_size)
        return prediction, class_dice(prediction, np.asarray(case.full_label), self.scheme.classes)
