"""The training set as slices: which slice a position of an epoch shows is a function of (seed, epoch, index) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from segcct.config import AugmentSection
from segcct.errors import DataError
from segcct.preparation.augmentation import Augmenter
from segcct.preparation.conditioning import slice_positions
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.training_window import take_window


class SliceDataset(Dataset[Any]):
    """Augmented, standardized training slices.

    A fraction of the positions, `foreground_fraction`, shows a structure: a class is drawn uniformly from those of the
    cases, then a case uniformly from those with the class, then one of its slices with the class, so that rare classes
    and cases with few slices are seen too. The other positions go through all slices of all cases in an order
    shuffled per epoch, each slice at most once in `len` positions when `len` is at most their number.

    Where labels are not needed, a case without one has an empty mask.

    Samples do not depend on each other, so any number of loader processes gives the same batches.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        *,
        augment: AugmentSection,
        image_size: int,
        seed: int,
        slices_per_epoch: int | None = None,
        foreground_fraction: float,
        needs_labels: bool = True,
    ) -> None:
        unlabeled = [case.case_id for case in cases if case.present is None and needs_labels]
        if not cases or unlabeled:
            raise DataError(
                "no labeled cases to train on",
                found="no case" if not cases else f"no label for {', '.join(unlabeled[:5])}",
                expected="a label for every training case",
            )
        self.cases = tuple(cases)
        self.augmenter = Augmenter(augment, image_size)
        self.image_size = image_size
        self.seed = seed
        self.foreground_fraction = foreground_fraction
        self.starts = np.cumsum([0, *(case.grid.slice_shape[0] for case in cases)])  # first slice of each case
        self.slices_of_class = _slices_of_class(cases)
        self.length = int(self.starts[-1]) if slices_per_epoch is None else slices_per_epoch
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """Sample `index` of `epoch`: image (C, S, S) float32 standardized, label (S, S) int64, position (1,),
        case id, slice."""
        epoch, index = place
        rng = np.random.default_rng([self.seed, epoch, index])
        number, position, wanted = self.draw(epoch, index, rng)
        case = self.cases[number]
        image = case.image[position]
        mask = np.zeros(image.shape[1:], dtype=np.uint8) if case.label is None else case.label[position]
        image, mask = take_window(image, mask, self.image_size, rng, wanted=wanted, margin=self.augmenter.margin)
        image, mask = self.augmenter.apply(image, mask, rng)
        return {
            "image": torch.from_numpy(case.standardize(image)),
            "label": torch.from_numpy(mask.astype(np.int64)),
            "position": torch.from_numpy(slice_positions(len(case.image))[position : position + 1]),
            "case": case.case_id,
            "slice": position,
        }

    def draw(self, epoch: int, index: int, rng: np.random.Generator) -> tuple[int, int, int | None]:
        """Case number, slice and, for a foreground draw, the class it was drawn for."""
        if self.slices_of_class and rng.random() < self.foreground_fraction:
            wanted = sorted(self.slices_of_class)[rng.integers(len(self.slices_of_class))]
            cases = self.slices_of_class[wanted]
            number, slices = cases[rng.integers(len(cases))]
            return number, int(slices[rng.integers(len(slices))]), wanted
        if self._order[0] != epoch:  # all slices shuffled: a function of (seed, epoch), stored for this epoch
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(int(self.starts[-1]))
        order = self._order[1]
        position = int(order[index % len(order)])
        number = int(np.searchsorted(self.starts, position, side="right")) - 1
        return number, position - int(self.starts[number]), None


class EpochSampler(Sampler[tuple[int, int]]):
    """Positions (epoch, index) of one epoch for one of `world` processes: rank, rank + world, rank + 2 world, ...

    Every process gets ceil(length / world) positions; where world does not divide length, the first positions are
    shown again at the end (at most world - 1 of them). The order is plain, because `SliceDataset` shuffles by epoch.
    """

    def __init__(self, length: int, *, rank: int = 0, world: int = 1) -> None:
        self.length = length
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Call before each epoch; the trainer does."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, (step * self.world + self.rank) % self.length) for step in range(len(self)))


def _slices_of_class(cases: Sequence[PreparedCase]) -> dict[int, list[tuple[int, np.ndarray]]]:
    """Class index -> (case number, its slices with the class), for every class but background."""
    slices: dict[int, list[tuple[int, np.ndarray]]] = {}
    for number, case in enumerate(cases):
        if case.present is not None:
            for index in np.flatnonzero(case.present[:, 1:].any(axis=0)) + 1:
                slices.setdefault(int(index), []).append((number, np.flatnonzero(case.present[:, index])))
    return slices
