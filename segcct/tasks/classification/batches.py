"""The training pictures in batches: which picture a position of an epoch shows, and what it undergoes, is a function
of (seed, epoch, index) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from segcct.preparation.slice_sampling import EpochSampler
from segcct.tasks.classification.image_augmentation import DRAWS, PictureAugmenter
from segcct.tasks.classification.labeled_images import Collection


class PictureDataset(Dataset):
    """Training pictures by (epoch, index), a batch at a time.

    The positions of all epochs go through the pictures again and again, each time in another order; an epoch may be
    shorter or longer than once through. Nothing is remembered between batches, so any number of loader processes
    gives the same ones.

    Args:
        collection: the dataset.
        rows: its training pictures.
        augmenter: changes and standardises them.
        seed: of the order and of the changes.
        per_epoch: positions in an epoch; None: as many as there are pictures.
    """

    def __init__(
        self,
        collection: Collection,
        rows: np.ndarray,
        augmenter: PictureAugmenter,
        *,
        seed: int,
        per_epoch: int | None = None,
    ) -> None:
        self.stored = collection.stored
        self.labels = collection.labels
        self.rows = rows
        self.augmenter = augmenter
        self.seed = seed
        self.length = len(rows) if per_epoch is None else per_epoch
        self._kept: dict[tuple[str, int], np.ndarray] = {}

    def __len__(self) -> int:
        return self.length

    def __getitems__(self, places: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The batch of these (epoch, index): image (B, C, S, S), label (B,), row (B,), epoch, first index."""
        epoch, first = places[0]
        index = np.array([place for _, place in places])
        rows = self.shown(epoch, index)
        image = self.augmenter.apply(
            self._read(rows), self._draws(epoch)[index], [(self.seed, epoch, int(place)) for place in index]
        )
        label = torch.from_numpy(self.labels[rows])
        return {"image": image, "label": label, "row": torch.from_numpy(rows), "epoch": epoch, "first": first}

    def shown(self, epoch: int, index: np.ndarray) -> np.ndarray:
        """The picture at each of these positions of an epoch, as a row of the collection."""
        through, place = np.divmod(epoch * self.length + index, len(self.rows))
        rows = np.empty(len(index), dtype=np.int64)
        for turn in np.unique(through):
            rows[through == turn] = self.rows[self._order(int(turn))[place[through == turn]]]
        return rows

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """(B, S, S, C) uint8; rows in the order of the file, which a disk likes better."""
        order = np.argsort(rows, kind="stable")
        images = np.empty((len(rows), *self.stored["image"].shape[1:]), dtype=np.uint8)
        images[order] = self.stored["image"][rows[order]]
        return images

    def _order(self, turn: int) -> np.ndarray:
        return self._remembered(
            "order", turn, lambda: np.random.default_rng([self.seed, turn, 0]).permutation(len(self.rows))
        )

    def _draws(self, epoch: int) -> np.ndarray:
        return self._remembered(
            "draws", epoch, lambda: np.random.default_rng([self.seed, epoch, 1]).random((self.length, DRAWS))
        )

    def _remembered(self, what: str, number: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What is a function of the seed and a number, kept for the number at hand and the one before."""
        if (what, number) not in self._kept:
            self._kept.pop((what, number - 2), None)
            self._kept[what, number] = make()
        return self._kept[what, number]


def picture_loader(
    pictures: PictureDataset, *, batch_size: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader:
    """Batches of one process, in the dataset's order.

    A last batch of one picture is left out where there are others: one value per channel has no spread that BatchNorm
    could train on.
    """
    sampler = EpochSampler(len(pictures), rank=rank, world=world)
    return DataLoader(
        pictures,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=len(sampler) > batch_size > 1 and len(sampler) % batch_size == 1,
        num_workers=workers,
        collate_fn=_as_it_is,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _as_it_is(batch: Any) -> Any:
    return batch
