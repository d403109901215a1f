"""Image to mask: slices in, logits out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from segcct.config import SegmentationConfig
from segcct.datasets.split_record import Splits
from segcct.inference.frozen_generator import check_not_seen, load_frozen
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.inferers import SliceInferer
from segcct.inference.reconstructor import Reconstructor
from segcct.metrics import class_dice
from segcct.metrics.defined_values import defined
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_sampling import SliceDataset
from segcct.tasks.segmentation.cycle_loss import CycleMethod
from segcct.tasks.segmentation.growing_windows import take_windows, window_side
from segcct.tasks.segmentation.loss_maps import WithMaps, maps_of_batch
from segcct.tasks.segmentation.pseudo_labels import TeacherMethod
from segcct.tasks.segmentation.segmentation_loss import SegmentationLoss
from segcct.tasks.segmentation.synthesis import STARTS, Synthesis
from segcct.tasks.segmentation.training_overlays import Scores, save_overlay
from segcct.tasks.segmentation.unlabeled_slices import UNLABELED, UnlabeledMethod, WithUnlabeled, ramp_up
from segcct.tasks.slice_task import SliceTask, mean_scores
from segcct.tasks.training_dataset import TrainingData
from segcct.training.processes import gather


class SegmentationTask(SliceTask):
    """Validated by the Dice of whole validation volumes on their own grid."""

    name = "segmentation"
    model_kind = "segmenter"
    score = "val_dice"
    config: SegmentationConfig

    def __init__(
        self, config: SegmentationConfig, dataset: TrainingData | None = None, *, resumed: bool = False
    ) -> None:
        super().__init__(config, dataset, resumed=resumed)
        self.criterion = SegmentationLoss(config.train.loss, self.scheme.num_classes)
        self.method = self._unlabeled_method()
        self.unlabeled = self.method is not None
        self.synthesis = self._synthesis()
        generators = {
            "augment.generator": config.augment.generator,
            "train.unlabelled.model": config.train.unlabelled.model,
        }
        self.frozen_models = {
            key: Reconstructor.card_of(model).weights_sha256 for key, model in generators.items() if model is not None
        }

    @property
    def stages(self) -> list[float]:
        """See `Task`: windows grow, and generated images and unlabeled cases join in."""
        ends = {*self.config.train.windows.values(), 1.0}
        if self.synthesis is not None:
            ends.add(STARTS)
        if self.method is not None:
            ends.add(self.config.train.unlabelled.start)
        return sorted(ends - {0.0})

    def check_splits(self, splits: Splits) -> None:
        super().check_splits(splits)
        for model in (self.config.train.unlabelled.model, self.config.augment.generator):
            check_not_seen(model, splits)

    def samples(self, slices: SliceDataset) -> Dataset[Any]:
        method = self.method
        samples = slices if method is None else WithUnlabeled(slices, self.dataset.unlabeled, method.views)
        needs = self.criterion.needs
        return WithMaps(samples, needs, self.scheme.num_classes) if needs else samples

    def example(self, size: int, device: str) -> dict[str, Any]:
        batch = super().example(size, device)
        batch |= maps_of_batch(batch["label"], self.criterion.needs, self.scheme.num_classes)
        if self.method is not None:
            image = batch["image"]
            batch[UNLABELED] = {"image": image, "weak": image, "position": torch.rand(size, 1, device=device)}
        return batch

    def loss(self, network: nn.Module, batch: dict[str, Any], progress: float) -> Tensor:
        teacher = network if self.averaged is None else self.averaged
        if self.synthesis is not None and progress >= STARTS:
            batch = self.synthesis.applied(batch, teacher)
            batch |= maps_of_batch(batch["label"], self.criterion.needs, self.scheme.num_classes)
        batch = self._windows(batch, progress)
        criterion, image = self.criterion.to(batch["image"].device), batch["image"]
        section = self.config.train.unlabelled
        if self.method is None or progress < section.start:
            loss: Tensor = criterion(network(image), batch["label"], batch)
            return loss
        unlabeled = self._windows(self.method.prepare(batch[UNLABELED], teacher), progress)
        output = network(torch.cat([image, unlabeled["image"]]))  # in one pass, so that batch norm sees both
        scales = output if isinstance(output, list) else [output]
        labeled = criterion([logits[: len(image)] for logits in scales], batch["label"], batch)
        weight = section.weight * ramp_up(progress - section.start, section.ramp_up)
        total: Tensor = labeled + weight * self.method.loss(scales[0][len(image) :], unlabeled)
        return total

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        mine = {case.case_id: self._predict(network, device, case)[1] for case in self.dataset.val[rank::world]}
        scores = gather(mine, world)
        known = [[value for value in case.values() if value is not None] for case in scores.values()]
        means = [np.mean(values) for values in known if values]
        per_class = {f"val_dice_{name}": mean for name, mean in mean_scores(scores).items()}
        return {"val_dice": float(np.mean(means)) if means else 0.0, **per_class}

    def draw(self, network: nn.Module, device: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for case in self.dataset.val[: self.config.train.pictures]:
            if case.shown is not None:
                prediction, scores = self._predict(network, device, case)
                synthetic = case.case_id in self.dataset.synthetic_cases
                save_overlay(folder, case, prediction, list(self.scheme.classes), scores, synthetic=synthetic)

    def _windows(self, batch: dict[str, Any], progress: float) -> dict[str, Any]:
        """The batch, or windows of it where `train.windows` says so at this point of training."""
        side = window_side(self.config.train.windows, progress)
        return batch if side is None else take_windows(batch, side, self.config.data.foreground_fraction)

    def _synthesis(self) -> Synthesis | None:
        augment = self.config.augment
        if augment.generator is None:
            return None
        generator = load_frozen(augment.generator, self.config.data, self.scheme)
        return Synthesis(
            generator, augment.synthesize, self.scheme.num_classes, lambda case: self.dataset.splits.patient_of(case)
        )

    def _unlabeled_method(self) -> UnlabeledMethod | None:
        section = self.config.train.unlabelled
        if section.method == "teacher":
            return TeacherMethod(section, self.config.train.loss)
        return None if section.model is None else CycleMethod(section.model, self.config.data, self.scheme)

    def _predict(self, network: nn.Module, device: str, case: PreparedCase) -> tuple[np.ndarray, Scores]:
        """Class indices (X, Y, Z) of a case by inference's own code, and its Dice per class."""
        settings = InferenceSettings(self.config.train.batch_size, self.config.train.precision, device)
        prediction = SliceInferer()(network, case, settings, self.config.data.image_size)
        scores = class_dice(prediction, np.asarray(case.full_label), self.scheme.classes)
        return prediction, {name: defined(score) for name, score in scores.items()}
