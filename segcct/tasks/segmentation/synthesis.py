"""M2I as augmentation: some labeled slices are replaced by deformed masks and the images that a frozen generator makes
of them, in the appearance of a slice of another patient in the batch, labeled or not (`augment.synthesize`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.models.generator import Generator
from segcct.preparation.conditioning import distance_px, signed_distances
from segcct.tasks.segmentation.unlabeled_slices import UNLABELED
from segcct.training.network import evaluated_logits

STARTS = 0.2
"""Fraction of training after which slices are replaced: then the network can tell which images are good."""
LEAST_DICE = 0.7
"""Of each class, between a mask and what the network finds in its image; below it, the slice stays as it was."""
SCALES = (0.8, 1.25)
ELASTIC = 0.018
"""Standard deviation of the displacement of a coarse grid, as a fraction of the side."""
ELASTIC_GRID = 6
THICKNESS_PX = 1.5
"""Largest shift of a border."""


class Synthesis:
    """Replaces a fraction of the labeled slices of a batch.

    Args:
        generator: mask, distances, position and style -> image.
        fraction: of the slices.
        num_classes: background included.
    """

    def __init__(
        self, generator: Generator, fraction: float, num_classes: int, patient_of: Callable[[str], str] = str
    ) -> None:
        self.generator = generator
        self.patient_of = patient_of
        self.fraction = fraction
        self.num_classes = num_classes

    def applied(self, batch: Mapping[str, Any], judge: nn.Module) -> dict[str, Any]:
        """The batch with some of `image` (B, C, S, S) and `label` (B, S, S) replaced; others are as they were.

        Draws from torch's generator, which training seeds at each batch.

        Args:
            batch: also holds `position` (B, 1), ids of the cases as `case` if they are known, and perhaps slices
                without labels, whose appearance half of the images then take.
            judge: the network that must recover a mask from its image, in any mode.
        """
        image, label = batch["image"], batch["label"]
        chosen = torch.nonzero(torch.rand(len(image)) < self.fraction).flatten().to(image.device)
        if not len(chosen):
            return dict(batch)
        with torch.no_grad():
            wanted = self._deformed(label[chosen].cpu()).to(label.device)
            like, of = self._appearances(batch, chosen, judge)
            style = self.generator.to(image.device).style_of(like, *self._conditions(of))
            made = self.generator(*self._conditions(wanted), batch["position"][chosen], style).to(image.dtype)
            good = _agreement(evaluated_logits(judge, made).argmax(dim=1), wanted, self.num_classes) >= LEAST_DICE
            good &= _holds(of, wanted, self.num_classes)
        image, label, place = image.clone(), label.clone(), chosen[good]
        image[place], label[place] = made[good], wanted[good]
        return {**batch, "image": image, "label": label}

    def _appearances(self, batch: Mapping[str, Any], chosen: Tensor, judge: nn.Module) -> tuple[Tensor, Tensor]:
        """Image (N, C, S, S) and mask (N, S, S) of another slice for each chosen one: the next of another patient in
        the batch, or with probability 1/2 one without labels, whose mask is what the judge finds."""
        other = self._others(batch, chosen.tolist())
        image, label = batch["image"][other], batch["label"][other]
        if UNLABELED in batch:
            views = batch[UNLABELED]
            unlabeled = views.get("weak", views["image"])
            places = torch.nonzero(torch.rand(len(chosen)) < 0.5).flatten().to(image.device)  # (M,)
            image[places] = unlabeled[chosen[places] % len(unlabeled)]
            if len(places):
                label[places] = evaluated_logits(judge, image[places]).argmax(dim=1)
        return image, label

    def _others(self, batch: Mapping[str, Any], chosen: Sequence[int]) -> list[int]:
        """The next slice of another patient for each chosen one; of a batch of one patient, the next."""
        count = len(batch["image"])
        patients = list(map(self.patient_of, batch["case"])) if "case" in batch else list(map(str, range(count)))

        def other(place: int) -> int:
            following = [(place + step) % count for step in range(1, count)]
            return next((each for each in following if patients[each] != patients[place]), (place + 1) % count)

        return [other(place) for place in chosen]

    def _conditions(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """One-hot mask (B, K, S, S) and distances (B, K - 1, S, S)."""
        mask = F.one_hot(label, self.num_classes).movedim(-1, 1).float()
        distances = np.stack([signed_distances(each, self.num_classes) for each in label.cpu().numpy()])
        return mask, torch.from_numpy(distances).to(label.device)

    def _deformed(self, label: Tensor) -> Tensor:
        """(B, S, S) -> the same, scaled about the middle of its structures, bent, with thicker or thinner classes."""
        return torch.stack([self._thickened(_moved(each)) for each in label])

    def _thickened(self, label: Tensor) -> Tensor:
        """The border of the foreground is moved, and those between its classes: no background gets between two."""
        distances = torch.from_numpy(distance_px(signed_distances(label.numpy(), self.num_classes)))  # (K - 1, S, S)
        foreground = torch.from_numpy(distance_px(signed_distances((label > 0).numpy(), 2))[0])
        absent = ~F.one_hot(label, self.num_classes).flatten(0, 1).any(0)[1:]
        distances[absent] = -torch.inf
        shifts = THICKNESS_PX * (2 * torch.rand(self.num_classes, 1, 1) - 1)
        nearest = (distances + shifts[1:]).argmax(dim=0) + 1
        return torch.where(foreground + shifts[0] > 0, nearest, 0)


def _moved(label: Tensor) -> Tensor:
    """(S, S) class indices, scaled and bent, nearest neighbor."""
    side = label.shape[-1]
    inside = torch.nonzero(label)
    middle = inside.float().mean(dim=0) if len(inside) else torch.full((2,), side / 2)
    scale = SCALES[0] * (SCALES[1] / SCALES[0]) ** torch.rand(())
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([rows, columns]).float()  # (2, S, S)
    coarse = ELASTIC * side * torch.randn(1, 2, ELASTIC_GRID, ELASTIC_GRID)
    bend = F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)[0]
    source = (places - middle[:, None, None]) / scale + middle[:, None, None] + bend
    unit = 2 * source.flip(0).movedim(0, -1) / (side - 1) - 1  # (S, S, 2): x, y in [-1, 1]
    moved = F.grid_sample(label[None, None].float(), unit[None], mode="nearest", align_corners=True)
    return moved[0, 0].round().long()


def _agreement(found: Tensor, wanted: Tensor, num_classes: int) -> Tensor:
    """(B,): the lowest Dice of the classes that `wanted` (B, S, S) holds; 0 where it holds none."""
    one, other = (F.one_hot(each, num_classes)[..., 1:].float() for each in (found, wanted))  # (B, S, S, K - 1)
    sizes = other.sum((1, 2))
    dice = 2 * (one * other).sum((1, 2)) / (one.sum((1, 2)) + sizes).clamp_min(1)
    present = sizes > 0
    return torch.where(present, dice, 1.0).amin(1) * present.any(1)


def _holds(label: Tensor, wanted: Tensor, num_classes: int) -> Tensor:
    """(B,): a slice holds each class of the other, so that its appearance is known."""
    held, needed = (F.one_hot(each, num_classes).flatten(1, 2).any(1) for each in (label, wanted))  # (B, K)
    return (held | ~needed).all(1)
