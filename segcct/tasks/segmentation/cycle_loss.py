"""The cycle as a training signal: unlabeled slices are segmented, synthesized again by a frozen generator from the
predicted mask, and compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segcct.config import DataSection
from segcct.datasets.label_schemes import Scheme
from segcct.preparation.conditioning import signed_distances
from segcct.tasks.segmentation.frozen_generator import load_frozen
from segcct.tasks.segmentation.unlabeled_slices import augmented


class CycleMethod:
    """I -> M -> I': the mean squared difference between an image and the one generated from its predicted mask.

    The generator is frozen. It gets the argmax of each pixel, as it does for a finished mask; gradients pass straight
    through to the probabilities. From probabilities themselves it could mix any gray value, and the best image would
    not come from the best mask. The difference is squared, since an absolute one pulls as hard at a pixel that is
    nearly right as at one of the wrong class, and hard masks would not converge. No gradient flows through distances
    and style code, so that the mask cannot be changed to change the appearance.

    Args:
        model: `best/` of an M2I run on the same data section.
        data: the segmenter's data section.
        scheme: its label scheme.

    Raises as `load_frozen`.
    """

    views = staticmethod(augmented)

    def __init__(self, model: Path, data: DataSection, scheme: Scheme) -> None:
        self.generator = load_frozen(model, data, scheme)

    def prepare(self, unlabeled: Mapping[str, Tensor], teacher: nn.Module) -> dict[str, Tensor]:
        """As it is."""
        del teacher
        return dict(unlabeled)

    def loss(self, logits: Tensor, unlabeled: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, K, H, W) of the unlabeled part of a batch -> scalar."""
        image = unlabeled["image"]
        generator = self.generator.to(image.device)
        soft = logits.float().softmax(dim=1)
        classes = soft.detach().argmax(dim=1)  # (B, H, W)
        hard = nn.functional.one_hot(classes, soft.shape[1]).permute(0, 3, 1, 2).float()
        distances = np.stack([signed_distances(each, soft.shape[1]) for each in classes.cpu().numpy()])
        distance = torch.from_numpy(distances).to(image.device)
        style = generator.style_of(image, hard, distance)
        mask = hard + (soft - soft.detach())  # (B, K, H, W): the value of the hard mask, the gradient of the soft
        made: Tensor = generator(mask, distance, unlabeled["position"], style)
        return (made.float() - image).square().mean()
