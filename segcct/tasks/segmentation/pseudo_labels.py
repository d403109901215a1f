"""Teacher and student: the averaged network labels unlabeled slices for the network that it is the average of.

The teacher sees a slice as it is, the student the same geometry under a strong change of intensity, with boxes of
other slices pasted in (CutMix). Only pixels that the teacher is sure of count. This combines mean teacher (Tarvainen
and Valpola 2017), FixMatch (Sohn et al. 2020) and UniMatch (Yang et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.config import LossSection, UnlabeledSection
from segcct.preparation.augmentation import Augmenter
from segcct.preparation.intensity_changes import strong_intensity
from segcct.training.network import evaluated_logits

BOX_AREA = (0.02, 0.4)
"""Of a CutMix box, as fractions of the slice."""
BOX_ASPECT = (0.3, 1 / 0.3)
"""Height over width of a box."""
_SMOOTHING = 1e-5


class TeacherMethod:
    """Pseudo-labels of the averaged network.

    Args:
        section: `train.unlabelled`.
        loss: `train.loss`, whose weights of cross-entropy and Dice count here too.
    """

    def __init__(self, section: UnlabeledSection, loss: LossSection) -> None:
        self.confidence = section.confidence
        self.cutmix = section.cutmix
        self.ce, self.dice = loss.ce, loss.dice

    @staticmethod
    def views(image: np.ndarray, augmenter: Augmenter, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """`weak`, for the teacher, and `image`, the same geometry, for the student."""
        weak = augmenter.deform(image, rng)
        return {"weak": weak, "image": strong_intensity(weak, rng)}

    def prepare(self, unlabeled: Mapping[str, Tensor], teacher: nn.Module) -> dict[str, Tensor]:
        """`image` (B, C, S, S) with boxes pasted in, the teacher's `label` (B, S, S) for it, and where it is `sure`;
        `structures` (B, S, S) are those it is sure of before pasting."""
        probabilities = evaluated_logits(teacher, unlabeled["weak"]).float().softmax(dim=1)  # (B, K, S, S)
        confidence, label = probabilities.max(dim=1)  # (B, S, S) each
        image, sure = unlabeled["image"], confidence >= self.confidence
        inside = cutmix_boxes(len(image), image.shape[-2:], self.cutmix).to(image.device)  # (B, S, S)
        return {
            "image": _pasted(image, inside[:, None]),
            "label": _pasted(label, inside),
            "sure": _pasted(sure, inside),
            "structures": (label > 0) & sure,
        }

    def loss(self, logits: Tensor, unlabeled: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy and soft Dice against the pseudo-labels. Pixels that the teacher is not sure of add 0 to the
        cross-entropy, which is still a mean over all pixels, and are left out of the Dice."""
        label, sure = unlabeled["label"], unlabeled["sure"].float()
        log_p = logits.float().log_softmax(dim=1)  # (B, K, S, S)
        entropy = (F.nll_loss(log_p, label, reduction="none") * sure).mean()
        target = F.one_hot(label, log_p.shape[1]).movedim(-1, 1)[:, 1:] * sure[:, None]  # (B, K - 1, S, S)
        found = log_p.exp()[:, 1:] * sure[:, None]
        both, each = (found * target).sum((0, 2, 3)), (found.square() + target).sum((0, 2, 3))  # (K - 1,)
        dice = 1 - (2 * both + _SMOOTHING) / (each + _SMOOTHING)
        return self.ce * entropy + self.dice * dice.mean()


def cutmix_boxes(count: int, size: torch.Size, probability: float) -> Tensor:
    """(count, H, W) bool: a box of random place, area and aspect in each, with that probability.

    Draws from torch's generator, which training seeds at each batch.
    """
    height, width = size
    inside = torch.zeros(count, height, width, dtype=torch.bool)
    for box in inside:
        drawn = torch.rand(5).tolist()
        if drawn[0] >= probability:
            continue
        area = height * width * (BOX_AREA[0] + drawn[1] * (BOX_AREA[1] - BOX_AREA[0]))
        aspect = BOX_ASPECT[0] * (BOX_ASPECT[1] / BOX_ASPECT[0]) ** drawn[2]
        rows = min(height, max(1, round(math.sqrt(area * aspect))))
        columns = min(width, max(1, round(math.sqrt(area / aspect))))
        top, left = int(drawn[3] * (height - rows + 1)), int(drawn[4] * (width - columns + 1))
        box[top : top + rows, left : left + columns] = True
    return inside


def _pasted(values: Tensor, inside: Tensor) -> Tensor:
    """Each row of a batch, with the row before it where `inside` says so."""
    return torch.where(inside, values.roll(1, dims=0), values)
