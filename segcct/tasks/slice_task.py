"""What the tasks that train on slices of volumes share: the dataset, its batches, and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from segcct.config import PretrainingConfig, ReconstructionConfig, SegmentationConfig
from segcct.datasets.case import Case
from segcct.datasets.inventory import Inventory
from segcct.datasets.layouts import scheme_of
from segcct.datasets.split_record import Splits
from segcct.errors import SplitError
from segcct.inference.seen_cases import seen_by
from segcct.model_card import Architecture, ModelCard, SchemeCard, reading
from segcct.plurals import counted
from segcct.preparation.input_ranges import ranges_of
from segcct.preparation.intensity_quantiles import mean_quantiles
from segcct.preparation.slice_sampling import EpochSampler, SliceDataset
from segcct.progress import say
from segcct.tasks.task import DatasetSummary, Task
from segcct.tasks.training_dataset import TrainingData, count_slices, describe_splits, find_cases, load_dataset
from segcct.training.processes import is_first_process

SliceConfig = SegmentationConfig | ReconstructionConfig | PretrainingConfig


class SliceTask(Task):
    """A task on slices of volumes.

    Args:
        config: the experiment.
        dataset: the prepared cases; None: `prepare` reads those of the configuration.
        resumed: see `Task`.
    """

    config: SliceConfig
    dataset: TrainingData
    unlabeled = False
    """The cases of `data.split.unlabelled` or `unlabelled_list` train too."""

    def __init__(
        self,
        config: SliceConfig,
        dataset: TrainingData | None = None,
        *,
        resumed: bool = False,
    ) -> None:
        self.scheme = scheme_of(config.data) if dataset is None else dataset.scheme
        if dataset is not None:
            self.dataset = dataset
        self.config = config
        super().__init__(config, resumed=resumed)

    @property
    def architecture(self) -> Architecture:
        data, model = self.config.data, self.config.model
        return Architecture(
            name=model.name,
            in_channels=len(data.channels),
            num_classes=self.scheme.num_classes,
            image_size=data.image_size,
            options=model.options,
        )

    @property
    def scheme_card(self) -> SchemeCard | None:
        return SchemeCard.of(self.scheme)

    @property
    def reading(self) -> dict[str, Any]:
        return reading(self.config.data)

    def find(self) -> DatasetSummary:
        data, train = self.config.data, self.config.train
        inventory = find_cases(data, needs_labels=self.needs_labels)
        self.check_splits(inventory.splits)
        slices = train.slices_per_epoch or count_slices(self.epoch_cases(inventory), inventory)
        return DatasetSummary(describe_splits(inventory, unlabeled=self.unlabeled), -(-slices // train.batch_size))

    def prepare(self) -> None:
        self.dataset = load_dataset(self.config.data, unlabeled=self.unlabeled, needs_labels=self.needs_labels)
        self.check_splits(self.dataset.splits)

    def epoch_cases(self, inventory: Inventory) -> list[Case]:
        """The cases whose slices are an epoch."""
        return inventory.splits.select(inventory.cases, "train")

    def check_splits(self, splits: Splits) -> None:
        """Raises `SegcctError` where the task cannot train on these splits; warns of held-out cases that the weights to
        start from were trained on."""
        weights = self.config.model.pretrained
        try:
            seen = None if weights is None else seen_by(weights, splits)
        except SplitError:  # of another run, which this one does without
            seen = None
        if seen and is_first_process():
            cases = f"{len(seen)} of the {counted(len(splits.val + splits.test), 'validation or test case')}"
            say(f"warning: by their names, {weights} was trained on {cases}, such as {seen[0]}: their scores would be "
                "too good")  # fmt: skip

    def samples(self, slices: SliceDataset) -> Dataset[Any]:
        """What a batch is made of, by (epoch, index)."""
        return slices

    def loader(self, rank: int, world: int) -> DataLoader[Any]:
        data, train = self.config.data, self.config.train
        slices = SliceDataset(
            self.dataset.train,
            augment=self.config.augment,
            image_size=data.image_size,
            seed=self.config.run.seed,
            slices_per_epoch=train.slices_per_epoch,
            foreground_fraction=data.foreground_fraction,
            needs_labels=self.needs_labels,
        )
        return DataLoader(
            self.samples(slices),
            batch_size=train.batch_size,
            sampler=EpochSampler(len(slices), rank=rank, world=world),
            num_workers=data.workers,
            persistent_workers=data.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def example(self, size: int, device: str) -> dict[str, Any]:
        pixels, architecture = self.config.data.image_size, self.architecture
        image = torch.randn(size, architecture.in_channels, pixels, pixels, device=device)
        label = torch.randint(architecture.num_classes, (size, pixels, pixels), device=device)
        return {"image": image, "label": label, "position": torch.rand(size, 1, device=device)}

    def card(self, selected_on: dict[str, Any]) -> ModelCard:
        """See `Task`; once weights are selected, also with the statistics of the training cases."""
        card = super().card(selected_on)
        if not selected_on:
            return card
        return card.model_copy(
            update={"intensity_quantiles": self.intensity_quantiles, "input_ranges": self.input_ranges}
        )

    @cached_property
    def intensity_quantiles(self) -> list[list[float]] | None:
        """Intensity quantiles of the training cases, for model.json."""
        return mean_quantiles(self.dataset.train)

    @cached_property
    def input_ranges(self) -> dict[str, list[list[float]]] | None:
        """Input ranges of the training cases, for model.json."""
        return ranges_of(self.dataset.train)

    def names(self, batch: dict[str, Any]) -> list[str]:
        return [f"{case} slice {int(index)}" for case, index in zip(batch["case"], batch["slice"], strict=True)]

    def validated_on(self) -> dict[str, int]:
        return {"cases": len(self.dataset.val)}


def mean_scores(cases: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """The mean of each score over the cases where it is defined; a score that no case defines is left out.

    Args:
        cases: case -> name of a score -> its value.
    """
    means = {}
    for name in next(iter(cases.values()), {}):
        values = [value for scores in cases.values() if (value := scores[name]) is not None]
        if values:
            means[name] = float(np.mean(values))
    return means
