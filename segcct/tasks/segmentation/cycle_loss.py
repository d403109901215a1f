"""The cycle as a training signal: unlabeled slices are segmented, synthesized again by a frozen generator from the
predicted mask, and compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from segcct.config import DataSection
from segcct.datasets.label_schemes import Scheme
from segcct.inference.frozen_generator import cycle_error, load_frozen
from segcct.preparation.augmentation import Augmenter


class CycleMethod:
    """The `cycle_error` of the unlabeled slices of a batch.

    Args:
        model: `best/` of an M2I run on the same data section.
        data: the segmenter's data section.
        scheme: its label scheme.

    Raises as `load_frozen`.
    """

    def __init__(self, model: Path, data: DataSection, scheme: Scheme) -> None:
        self.generator = load_frozen(model, data, scheme)

    @staticmethod
    def views(image: np.ndarray, augmenter: Augmenter, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One view, augmented as labeled slices are."""
        return {"image": augmenter.apply(image, np.zeros(image.shape[1:], dtype=np.uint8), rng)[0]}

    def prepare(self, unlabeled: Mapping[str, Tensor], teacher: nn.Module) -> dict[str, Tensor]:
        """As it is."""
        del teacher
        return dict(unlabeled)

    def loss(self, logits: Tensor, unlabeled: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, K, H, W) of the unlabeled part of a batch -> scalar."""
        return cycle_error(self.generator, logits, unlabeled["image"], unlabeled["position"])
