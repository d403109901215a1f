"""What the tasks that train on slices of volumes share: the dataset, its batches, and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from segcct.config import M2IConfig, SegmentationConfig
from segcct.datasets.case import Case
from segcct.datasets.inventory import Inventory
from segcct.datasets.layouts import scheme_of
from segcct.datasets.splits import Splits
from segcct.model_card import Architecture, SchemeCard, reading
from segcct.preparation.slice_grid import SliceGrid
from segcct.preparation.slice_sampling import EpochSampler, SliceDataset
from segcct.tasks.segmentation.training_dataset import Dataset, describe_splits, load_dataset, split_cases
from segcct.tasks.task import Found, Task


class SliceTask(Task):
    """A task on slices of volumes.

    Args:
        config: the experiment.
        dataset: the prepared cases; None: `prepare` reads those of the configuration.
        resumed: see `Task`.
    """

    config: SegmentationConfig | M2IConfig
    dataset: Dataset
    pictures = 0
    """Validation cases that are drawn during training."""
    unlabelled = False
    """The cases of `data.split.unlabelled_list` train too."""

    def __init__(
        self, config: SegmentationConfig | M2IConfig, dataset: Dataset | None = None, *, resumed: bool = False
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
    def scheme_card(self) -> SchemeCard:
        return SchemeCard.of(self.scheme)

    @property
    def reading(self) -> dict[str, Any]:
        return reading(self.config.data)

    def find(self) -> Found:
        data, train = self.config.data, self.config.train
        found = split_cases(data, unlabelled=self.unlabelled, needs_labels=self.needs_labels)
        self.check_splits(found.splits)
        slices = train.slices_per_epoch or count_slices(found.select("train"), found.inventory)
        return Found(describe_splits(found), -(-slices // train.batch_size))

    def prepare(self) -> None:
        needed = {"unlabelled": self.unlabelled, "needs_labels": self.needs_labels}
        self.dataset = load_dataset(self.config.data, pictures=self.pictures, **needed)
        self.check_splits(self.dataset.splits)

    def check_splits(self, splits: Splits) -> None:
        """Raises where the task cannot train with these."""

    def samples(self, slices: SliceDataset) -> TorchDataset:
        """What a batch is made of, by (epoch, index)."""
        return slices

    def loader(self, rank: int, world: int) -> DataLoader:
        data, train = self.config.data, self.config.train
        slices = SliceDataset(
            self.dataset.train,
            augment=self.config.augment,
            image_size=data.image_size,
            seed=self.config.run.seed,
            slices_per_epoch=train.slices_per_epoch,
            foreground_share=data.foreground_fraction,
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
        side, built = self.config.data.image_size, self.architecture
        image = torch.randn(size, built.in_channels, side, side, device=device)
        return {"image": image, "label": torch.randint(built.num_classes, (size, side, side), device=device)}

    def names(self, batch: dict[str, Any]) -> list[str]:
        return [f"{case} slice {int(index)}" for case, index in zip(batch["case"], batch["slice"], strict=True)]

    def judged_on(self) -> dict[str, int]:
        return {"cases": len(self.dataset.val)}


def count_slices(cases: Sequence[Case], inventory: Inventory) -> int:
    """Slices of all cases by their headers; a crop to the foreground leaves fewer.

    Raises `VolumeError` where a header cannot be read.
    """
    count, data = 0, inventory.data
    for case in cases:
        name, files = next(iter(case.channels.items()))
        stored = inventory.header(files[0], data.channels[name])
        grid = SliceGrid.plan(
            stored.shape,
            stored.affine,
            stored.spacing_mm,
            orientation=data.orientation,
            box_of=None,
            target_spacing_mm=None,
            fit=data.fit,
            image_size=data.image_size,
        )
        count += len(files) if len(files) > 1 else grid.slice_shape[0]
    return count
