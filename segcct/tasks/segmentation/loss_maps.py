"""Maps of a label that a loss term asks for, computed where the slices are augmented: in the loader's processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segcct.preparation.conditioning import signed_distances

LabelMap = Callable[[np.ndarray, int], np.ndarray]
"""Class indices (H, W) and number of classes -> (C, H, W) float32."""

MAPS: dict[str, LabelMap] = {"distance": signed_distances}
"""Key of a batch -> its map. distance: (K - 1, H, W) in [-1, 1], positive inside each class, negative outside."""


class WithMaps(Dataset[Any]):
    """The samples of a dataset, each with maps of its label.

    Args:
        samples: a dataset whose samples hold a `label`.
        needs: keys of `MAPS`.
        num_classes: background included.
    """

    def __init__(self, samples: Any, needs: Iterable[str], num_classes: int) -> None:
        self.samples = samples
        self.maps = {name: MAPS[name] for name in needs}
        self.num_classes = num_classes

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: Any) -> dict[str, Any]:
        sample = self.samples[place]
        return {**sample, **_maps_of(sample["label"], self.maps, self.num_classes)}


def maps_of_batch(label: Tensor, needs: Iterable[str], num_classes: int) -> dict[str, Tensor]:
    """The same for a batch: label (B, H, W) -> (B, C, H, W) each, on its device."""
    maps = {name: MAPS[name] for name in needs}
    samples = [_maps_of(each, maps, num_classes) for each in label.cpu()]
    return {name: torch.stack([sample[name] for sample in samples]).to(label.device) for name in maps}


def _maps_of(label: Tensor, maps: Mapping[str, LabelMap], num_classes: int) -> dict[str, Tensor]:
    return {name: torch.from_numpy(make(label.numpy(), num_classes)) for name, make in maps.items()}
