"""The training images in batches. The image at a position of an epoch and its augmentation are a function of
(seed, epoch, index) alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from segcct.preparation.slice_sampling import EpochSampler
from segcct.tasks.classification.image_augmentation import DRAWS, ImageAugmenter
from segcct.tasks.classification.labeled_images import LabeledImages


class TrainingImages(Dataset[Any]):
    """Training images by (epoch, index), a batch at a time.

    The positions of all epochs run through the images repeatedly, each time in a new order; an epoch may be shorter or
    longer than one pass. No state is kept between batches, so that they do not depend on the number of loader
    processes.

    Args:
        images: the dataset.
        rows: its training images.
        augmenter: augments and standardizes them.
        seed: of the order and of the augmentation.
        per_epoch: positions in an epoch; None: as many as there are images.
    """

    def __init__(
        self,
        images: LabeledImages,
        rows: np.ndarray,
        augmenter: ImageAugmenter,
        *,
        seed: int,
        per_epoch: int | None = None,
    ) -> None:
        self.images = images
        self.rows = rows
        self.augmenter = augmenter
        self.seed = seed
        self.length = len(rows) if per_epoch is None else per_epoch
        self._memo: dict[tuple[str, int], np.ndarray] = {}

    def __len__(self) -> int:
        return self.length

    def __getitems__(self, places: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The batch of these (epoch, index): image (B, C, S, S), label (B,), row (B,), epoch, first index."""
        epoch, first = places[0]
        index = np.array([place for _, place in places])
        rows = self.rows_at(epoch, index)
        draws = self._drawn("draws", epoch)
        seeds = [(self.seed, epoch, int(place)) for place in index]
        return {
            "image": self.augmenter.apply(self._read(rows), draws[index], seeds),
            "label": torch.from_numpy(self.images.labels[rows]),
            "row": torch.from_numpy(rows),
            "epoch": epoch,
            "first": first,
        }

    def rows_at(self, epoch: int, index: np.ndarray) -> np.ndarray:
        """The image at each of these positions of an epoch, as a row of the dataset."""
        passes, place = np.divmod(epoch * self.length + index, len(self.rows))
        rows = np.empty(len(index), dtype=np.int64)
        for number in np.unique(passes).tolist():
            order = self._drawn("order", number)
            rows[passes == number] = self.rows[order[place[passes == number]]]
        return rows

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """(B, S, S, C) uint8; read in the order of the file, which is faster on a disk."""
        order = np.argsort(rows, kind="stable")
        pixels = self.images.pixels
        batch = np.empty((len(rows), *pixels.shape[1:]), dtype=np.uint8)
        batch[order] = pixels[rows[order]]
        return batch

    def _drawn(self, what: Literal["order", "draws"], number: int) -> np.ndarray:
        """The order of a pass, (N,), or draws of an epoch, (length, DRAWS), kept for this one and the one before."""
        if (what, number) not in self._memo:
            self._memo.pop((what, number - 2), None)
            generator = np.random.default_rng([self.seed, number, 0 if what == "order" else 1])
            drawn = generator.permutation(len(self.rows)) if what == "order" else generator.random((self.length, DRAWS))
            self._memo[what, number] = drawn
        return self._memo[what, number]


def image_loader(
    images: TrainingImages, *, batch_size: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader[Any]:
    """Batches of one process, in the dataset's order.

    A last batch of one image is left out where there are others: one value per channel has no variance that BatchNorm
    could train on.
    """
    sampler = EpochSampler(len(images), rank=rank, world=world)
    return DataLoader(
        images,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=len(sampler) > batch_size > 1 and len(sampler) % batch_size == 1,
        num_workers=workers,
        collate_fn=_unchanged,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _unchanged(batch: Any) -> Any:
    return batch
