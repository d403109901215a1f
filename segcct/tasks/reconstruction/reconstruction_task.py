"""Mask to image: masks in, images out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from segcct.config import M2IConfig
from segcct.errors import TrainingError
from segcct.inference.batched_inference import Inference
from segcct.inference.reconstructor import Reconstruction, Reconstructor
from segcct.metrics.image import rmse, rmse_within
from segcct.models.generator import Generator
from segcct.preparation.conditioning import signed_distances, slice_positions
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_sampling import SliceDataset
from segcct.run_folder import RunFolder
from segcct.tasks.reconstruction.reconstruction_loss import ReconstructionLoss
from segcct.tasks.segmentation.training_dataset import Dataset
from segcct.tasks.slice_task import SliceTask
from segcct.training.session import gather


class ConditionedSlices(TorchDataset):
    """Training slices with what the generator is told: distances and position; and the way back to [0, 1]."""

    def __init__(self, slices: SliceDataset, num_classes: int) -> None:
        self.slices = slices
        self.num_classes = num_classes
        self.by_id = {case.case_id: case for case in slices.cases}

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """`SliceDataset`'s sample, distance (K - 1, S, S), position (1,), mean (C,) and sd (C,), float32."""
        sample = self.slices[place]
        case: PreparedCase = self.by_id[sample["case"]]
        index = sample["slice"]
        return {
            **sample,
            "distance": torch.from_numpy(signed_distances(sample["label"].numpy(), self.num_classes)),
            "position": torch.from_numpy(slice_positions(len(case.image))[index : index + 1]),
            "mean": torch.from_numpy(case.mean),
            "sd": torch.from_numpy(case.sd),
        }


class ReconstructionTask(SliceTask):
    """Judged on whole validation cases by what the generator adds to painting each class in its mean: `val_gain` is the
    share of that baseline's foreground RMSE that is gone, over `train.validate_cases` of them.
    """

    name = "reconstruction"
    model_kind = "generator"
    score = "val_gain"
    config: M2IConfig

    def __init__(self, config: M2IConfig, dataset: Dataset | None = None, *, resumed: bool = False) -> None:
        super().__init__(config, dataset, resumed=resumed)
        self.criterion = ReconstructionLoss(config.train.loss)

    @cached_property
    def judged(self) -> list[PreparedCase]:
        """The validation cases that are looked at."""
        holders = [case for case in self.dataset.val if np.any(case.label)]
        return evenly(holders, self.config.train.validate_cases)

    def judged_on(self) -> dict[str, int]:
        return {"cases": len(self.judged)}

    def samples(self, slices: SliceDataset) -> TorchDataset:
        return ConditionedSlices(slices, self.scheme.num_classes)

    def example(self, size: int, device: str) -> dict[str, Any]:
        batch, built = super().example(size, device), self.architecture
        side, channels = built.image_size, built.in_channels
        return {
            **batch,
            "distance": torch.rand(size, built.num_classes - 1, side, side, device=device),
            "position": torch.rand(size, 1, device=device),
            "mean": torch.zeros(size, channels, device=device),
            "sd": torch.ones(size, channels, device=device),
        }

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        image, label = batch["image"], batch["label"]
        mask = nn.functional.one_hot(label, self.scheme.num_classes).permute(0, 3, 1, 2).float()
        generator = cast(Generator, network)
        distance = batch["distance"]
        made = generator(mask, distance, batch["position"], generator.style_of(image, mask, distance))
        loss: Tensor = self.criterion(made, image, label > 0, batch["mean"], batch["sd"])
        return loss

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        how = Inference(self.config.train.batch_size, self.config.train.precision, device)
        reconstructor = Reconstructor(cast(Generator, network), self.card({}), how)
        mine = {case.case_id: figures_of(reconstructor.reconstruct(case)) for case in self.judged[rank::world]}
        scores = summarise(gather(mine, world))
        if self.score not in scores:
            raise TrainingError(
                "no validation case tells which weights are the best: each of its structures has one intensity",
                found=", ".join(case.case_id for case in self.judged[:4]),
                remedy="Change data.split or data.fold",
            )
        return scores

    @staticmethod
    def next_words(config: M2IConfig, run: RunFolder) -> Sequence[object]:
        models = ("--i2m", "SEGMENTER/best", "--m2i", run.best)
        return ("compare", *models, "--input", config.data.root, "--output", run.path / "comparison")


def evenly(cases: Sequence[PreparedCase], most: int) -> list[PreparedCase]:
    """At most so many cases, evenly spaced from the first to the last."""
    places = np.linspace(0, len(cases) - 1, min(most, len(cases))).round().astype(int)
    return [cases[place] for place in places]


def figures_of(made: Reconstruction) -> dict[str, float | None]:
    """What the validation of one case says; None where the case has no foreground.

    The structural similarity is left to `segcct compare`: over every plane it would take longer than the generator.
    """
    return {
        "val_gain": made.gain,
        "val_rmse_foreground": rmse_within(made.original, made.image, made.label > 0),
        "val_rmse": rmse(made.original, made.image),
    }


def summarise(figures: dict[str, dict[str, float | None]]) -> dict[str, float]:
    """Mean of each figure over the cases where it is defined; a figure defined in none is left out."""
    summary = {}
    for name in next(iter(figures.values()), {}):
        values = [value for case in figures.values() if (value := case[name]) is not None]
        if values:
            summary[name] = float(np.mean(values))
    return summary
