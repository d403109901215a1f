"""The cycle as a training signal: unlabelled slices are segmented, painted by a frozen generator, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from segcct.config import DataSection
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.splits import Splits
from segcct.errors import ConfigError
from segcct.inference.reconstructor import Reconstructor
from segcct.preparation.conditioning import signed_distances, slice_positions
from segcct.preparation.prepared_case import Preparation, PreparedCase
from segcct.preparation.slice_sampling import SliceDataset
from segcct.preparation.training_window import take_window
from segcct.progress import say

UNLABELLED = "unlabelled"
"""Key of the unlabelled part of a batch."""
RISE = 0.3
"""Share of the training over which the weight of the cycle rises: the first masks are no masks to paint from."""


class WithUnlabelled(Dataset):
    """Labelled slices, each with an augmented slice of an unlabelled case beside it, drawn from all alike."""

    def __init__(self, labelled: SliceDataset, cases: Sequence[PreparedCase]) -> None:
        self.labelled = labelled
        self.cases = tuple(cases)
        self.starts = np.cumsum([0, *(len(case.image) for case in cases)])  # first slice of each case, counted through

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """The labelled sample, and under `UNLABELLED`: image (C, S, S) standardised, position (1,)."""
        epoch, index = place
        rng = np.random.default_rng([self.labelled.seed, epoch, index, 1])
        through = int(rng.integers(self.starts[-1]))
        number = int(np.searchsorted(self.starts, through, side="right")) - 1
        case, position = self.cases[number], through - int(self.starts[number])
        nothing = np.zeros(case.image.shape[2:], dtype=np.uint8)
        image, nothing = take_window(case.image[position], nothing, self.labelled.image_size, rng)
        image, _ = self.labelled.augmenter.apply(image, nothing, rng)
        unlabelled = {
            "image": torch.from_numpy(case.standardise(image)),
            "position": torch.from_numpy(slice_positions(len(case.image))[position : position + 1]),
        }
        return {**self.labelled[place], UNLABELLED: unlabelled}


class CycleLoss:
    """I -> M -> I': the mean squared difference of the image that the predicted mask explains from the image itself.

    The generator is frozen. It paints the likeliest class of each pixel, as it does for a finished mask; gradients
    pass straight through to the soft mask. Painted softly, probabilities could be dithered into any grey value, and the
    best image would not come from the best mask. The difference is squared, since an absolute one pulls as hard at a
    pixel that is nearly right as at one of the wrong class, and hard masks would not settle. Distances and style code
    are taken as given, so that the mask cannot be bent to change the appearance.

    Args:
        model: `best/` of an M2I run on the same data section.
        data: the segmenter's data section.
        scheme: its label scheme.

    Raises:
        ConfigError: the generator has other channels, classes or preparation. `RunError`, `CheckpointError`,
            `ModelError`: it cannot be loaded.
    """

    def __init__(self, model: Path, data: DataSection, scheme: Scheme) -> None:
        reconstructor = Reconstructor.load(model)
        _same("channels", list(reconstructor.data.channels), list(data.channels))
        _same("label scheme", dict(reconstructor.scheme.classes), dict(scheme.classes))
        _same("preparation", reconstructor.preparation.to_json(), Preparation.of(data).to_json())
        self.generator = reconstructor.network.requires_grad_(False).eval()

    def __call__(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, K, H, W) of the unlabelled part of a batch -> scalar."""
        image = batch["image"]
        generator = self.generator.to(image.device)
        soft = logits.float().softmax(dim=1)
        likeliest = soft.detach().argmax(dim=1)  # (B, H, W)
        hard = nn.functional.one_hot(likeliest, soft.shape[1]).permute(0, 3, 1, 2).float()
        known = np.stack([signed_distances(each, soft.shape[1]) for each in likeliest.cpu().numpy()])
        distance = torch.from_numpy(known).to(image.device)
        style = generator.style_of(image, hard, distance)
        mask = hard + (soft - soft.detach())  # (B, K, H, W): the value of the hard mask, the gradient of the soft
        made = generator(mask, distance, batch["position"], style)
        return (made.float() - image).square().mean()


def refuse_seen(model: Path | None, splits: Splits) -> None:
    """Raises `ConfigError` where the generator was trained, with labels, on patients that validate or test here; says
    so where that is not known, for `best/` alone does not name them."""
    if model is None:
        return
    if not (model.parent / "splits.json").is_file():
        say(f"{model}: no splits.json beside it, so it is not known whether it was trained on validation or test cases")
        return
    kept = {name: splits.patients.get(name, name) for name in (*splits.val, *splits.test)}
    seen = Splits.load(model.parent / "splits.json").trained_on(kept)
    if seen:
        raise ConfigError(
            f"the generator of train.cycle_model was trained on {len(seen)} of {len(kept)} validation and test cases",
            file=model,
            found=", ".join(seen[:4]),
            remedy="Train it on the same split (same data.split and data.fold)",
        )


def risen(progress: float) -> float:
    """Share of its weight that the cycle has when a share `progress` of the training is behind."""
    return min(1.0, progress / RISE)


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ConfigError(
            f"the generator of train.cycle_model has another {what} than this training",
            found=found,
            expected=expected,
            remedy="Train it with the same data section (segcct train-m2i)",
        )
