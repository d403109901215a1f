"""Slices of cases without labels, as the second half of each training batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from segcct.preparation.augmentation import Augmenter
from segcct.preparation.conditioning import slice_positions
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_sampling import SliceDataset
from segcct.preparation.training_window import take_window

UNLABELED = "unlabeled"
"""Key of the unlabeled part of a batch."""

Views = Callable[[np.ndarray, Augmenter, np.random.Generator], dict[str, np.ndarray]]
"""(C, h, w) in [0, 1], as the augmenter takes it -> the views of it that a method needs, (C, S, S) each; `image` is the
one that is segmented."""


class UnlabeledMethod(Protocol):
    """How unlabeled slices train a network: `train.unlabelled.method`."""

    @property
    def views(self) -> Views:
        """What it sees of a slice."""

    def prepare(self, unlabeled: Mapping[str, Tensor], teacher: nn.Module) -> dict[str, Tensor]:
        """The unlabeled part of a batch before it is segmented: `image` (B, C, S, S) and what `loss` needs.

        Args:
            unlabeled: `views` and `position` of the slices.
            teacher: the network with averaged weights.
        """

    def loss(self, logits: Tensor, unlabeled: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, K, S, S) of `image`, and what `prepare` gave -> scalar."""


class WithUnlabeled(Dataset[Any]):
    """Labeled slices, each with a slice of an unlabeled case, drawn uniformly from all of them."""

    def __init__(self, labeled: SliceDataset, cases: Sequence[PreparedCase], views: Views) -> None:
        self.labeled = labeled
        self.cases = tuple(cases)
        self.views = views
        self.starts = np.cumsum([0, *(len(case.image) for case in cases)])  # first slice of each case

    def __len__(self) -> int:
        return len(self.labeled)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """The labeled sample, and under `UNLABELED`: the views (C, S, S), standardized, and position (1,)."""
        epoch, index = place
        rng = np.random.default_rng([self.labeled.seed, epoch, index, 1])
        drawn = int(rng.integers(self.starts[-1]))
        number = int(np.searchsorted(self.starts, drawn, side="right")) - 1
        case, position = self.cases[number], drawn - int(self.starts[number])
        empty = np.zeros(case.image.shape[2:], dtype=np.uint8)
        augmenter = self.labeled.augmenter
        image, _ = take_window(case.image[position], empty, self.labeled.image_size, rng, margin=augmenter.margin)
        views = self.views(image, augmenter, rng)
        unlabeled = {name: torch.from_numpy(case.standardize(view)) for name, view in views.items()}
        unlabeled["position"] = torch.from_numpy(slice_positions(len(case.image))[position : position + 1])
        return {**self.labeled[place], UNLABELED: unlabeled}


def ramp_up(progress: float, over: float) -> float:
    """Factor of the weight of the unlabeled loss at `progress` in [0, 1] of training: it rises from 0 to 1 until
    `over`, because there is nothing to learn from the first masks."""
    return 1.0 if over == 0 else min(1.0, progress / over)
