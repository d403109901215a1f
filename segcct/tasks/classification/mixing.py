"""Mixup and CutMix of a batch, and its soft targets: timm's, drawn as a function of (seed, epoch, first index)."""

from __future__ import annotations

from typing import Any

import torch
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from segcct.config import PictureAugmentSection
from segcct.tasks.classification.timm_random import seeded_generators


class Mixing:
    """Turns a batch into mixed pictures and soft targets.

    Args:
        section: alphas of mixup and CutMix and how often and how long they are used.
        label_smoothing: share of each target spread over all classes, whether the batch is mixed or not.
        num_classes: K.
        seed: of the draw.
    """

    def __init__(self, section: PictureAugmentSection, label_smoothing: float, num_classes: int, seed: int) -> None:
        self.label_smoothing = label_smoothing
        self.num_classes = num_classes
        self.seed = seed
        self.epochs = section.mix_epochs
        self.mixup = None
        if section.mix and (section.mixup or section.cutmix):
            self.mixup = Mixup(
                mixup_alpha=section.mixup,
                cutmix_alpha=section.cutmix,
                prob=section.mix,
                label_smoothing=label_smoothing,
                num_classes=num_classes,
            )

    def apply(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Pictures (B, C, S, S) and targets (B, K) that sum to 1. Each picture is mixed with its mirror in the batch.

        timm mixes pairs; of an odd batch the last picture stays as it is.
        """
        image, label, epoch = batch["image"], batch["label"], batch["epoch"]
        pairs = len(image) - len(image) % 2
        if self.mixup is None or not pairs or (self.epochs is not None and epoch >= self.epochs):
            return image, mixup_target(label, self.num_classes, 1.0, self.label_smoothing)
        with seeded_generators() as seed:
            seed(self.seed, epoch, batch["first"], 2)
            mixed, target = self.mixup(image[:pairs].clone(), label[:pairs])
        rest = mixup_target(label[pairs:], self.num_classes, 1.0, self.label_smoothing)
        return torch.cat([mixed, image[pairs:]]), torch.cat([target, rest])
