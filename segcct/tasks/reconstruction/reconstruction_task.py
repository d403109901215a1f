"""Mask to image: masks in, images out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from segcct.config import ReconstructionConfig
from segcct.errors import TrainingError
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.reconstructor import Reconstruction, Reconstructor
from segcct.metrics.image import rmse, rmse_within
from segcct.models.generator import Generator
from segcct.preparation.conditioning import signed_distances
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_sampling import SliceDataset
from segcct.run_folder import RunFolder
from segcct.tasks.reconstruction.reconstruction_loss import ReconstructionLoss
from segcct.tasks.slice_task import SliceTask, mean_scores
from segcct.tasks.training_dataset import TrainingData
from segcct.training.processes import gather


class ConditionedSlices(Dataset[Any]):
    """Training slices with the conditioning of the generator, distances and position, and the scale to [0, 1]."""

    def __init__(self, slices: SliceDataset, num_classes: int) -> None:
        self.slices = slices
        self.num_classes = num_classes
        self.by_id = {case.case_id: case for case in slices.cases}

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """`SliceDataset`'s sample, distance (K - 1, S, S), mean (C,) and std (C,), float32."""
        sample = self.slices[place]
        case: PreparedCase = self.by_id[sample["case"]]
        return {
            **sample,
            "distance": torch.from_numpy(signed_distances(sample["label"].numpy(), self.num_classes)),
            "mean": torch.from_numpy(case.mean),
            "std": torch.from_numpy(case.std),
        }


class ReconstructionTask(SliceTask):
    """Validated on whole cases, `train.validate_cases` of them, by the relative error reduction: `val_gain` is the
    fraction by which the generator's foreground RMSE is below that of filling each class with its mean.
    """

    name = "reconstruction"
    model_kind = "generator"
    score = "val_gain"
    config: ReconstructionConfig

    def __init__(
        self, config: ReconstructionConfig, dataset: TrainingData | None = None, *, resumed: bool = False
    ) -> None:
        super().__init__(config, dataset, resumed=resumed)
        self.criterion = ReconstructionLoss(config.train.loss)

    @cached_property
    def validation_cases(self) -> list[PreparedCase]:
        """Validation cases that hold a structure, evenly spaced where there are more than `train.validate_cases`."""
        cases = [case for case in self.dataset.val if np.any(case.label)]
        count = min(self.config.train.validate_cases, len(cases))
        return [cases[place] for place in np.linspace(0, len(cases) - 1, count).round().astype(int)]

    def validated_on(self) -> dict[str, int]:
        return {"cases": len(self.validation_cases)}

    def samples(self, slices: SliceDataset) -> Dataset[Any]:
        return ConditionedSlices(slices, self.scheme.num_classes)

    def example(self, size: int, device: str) -> dict[str, Any]:
        batch, architecture = super().example(size, device), self.architecture
        pixels, channels = architecture.image_size, architecture.in_channels
        return {
            **batch,
            "distance": torch.rand(size, architecture.num_classes - 1, pixels, pixels, device=device),
            "mean": torch.zeros(size, channels, device=device),
            "std": torch.ones(size, channels, device=device),
        }

    def loss(self, network: nn.Module, batch: dict[str, Any], progress: float) -> Tensor:
        del progress
        image, label = batch["image"], batch["label"]
        mask = nn.functional.one_hot(label, self.scheme.num_classes).permute(0, 3, 1, 2).float()
        generator = cast(Generator, network)
        distance = batch["distance"]
        generated = generator(mask, distance, batch["position"], generator.style_of(image, mask, distance))
        loss: Tensor = self.criterion(generated, image, label > 0, batch["mean"], batch["std"])
        return loss

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        settings = InferenceSettings(self.config.train.batch_size, self.config.train.precision, device)
        reconstructor = Reconstructor(cast(Generator, network), self.card({}), settings)
        cases = self.validation_cases
        mine = {case.case_id: _scores(reconstructor.reconstruct(case)) for case in cases[rank::world]}
        scores = mean_scores(gather(mine, world))
        if self.score not in scores:
            why = "each of its structures has one intensity" if cases else "none holds a structure"
            raise TrainingError(
                f"no validation case can select the best weights: {why}",
                found=", ".join(case.case_id for case in (cases or self.dataset.val)[:4]),
                remedy="Change data.split or data.fold",
            )
        return scores

    @staticmethod
    def next_command(config: ReconstructionConfig, run: RunFolder) -> Sequence[object]:
        models = ("--i2m", "SEGMENTER/best", "--m2i", run.best)
        return ("compare", *models, "--input", config.data.root, "--output", run.path / "comparison")


def _scores(generated: Reconstruction) -> dict[str, float | None]:
    """Scores of one case; None where it has no foreground.

    The structural similarity is left to `segcct compare`: over every plane it would take longer than the generator.
    """
    return {
        "val_gain": generated.gain,
        "val_rmse_foreground": rmse_within(generated.original, generated.image, generated.label > 0),
        "val_rmse": rmse(generated.original, generated.image),
    }
