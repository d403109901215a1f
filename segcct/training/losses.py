"""The segmentation loss: cross-entropy, soft Dice and focal terms, weighted by the config, from MONAI's losses."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss, FocalLoss
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.config import LossSection
from segcct.errors import ConfigError


class SegmentationLoss(nn.Module):
    """Weighted sum of cross-entropy, Dice and focal loss; deeper scales of the decoder join with halved weights.

    The Dice term is soft, over the whole batch (a slice without the structure then does no harm), with squared
    denominator and smoothing 1e-5, as in the Swin-Unet recipe.

    Args:
        section: the weights.
        num_classes: classes, background included.
    """

    class_weights: Tensor | None

    def __init__(self, section: LossSection, num_classes: int) -> None:
        super().__init__()
        weights = section.class_weights
        if weights is not None and len(weights) != num_classes:
            raise ConfigError(
                "train.loss.class_weights does not fit the classes",
                found=f"{len(weights)} weights",
                expected=f"{num_classes}, background first",
            )
        self.section = section
        self.register_buffer("class_weights", None if weights is None else torch.tensor(weights), persistent=False)
        self.dice = DiceLoss(
            include_background=section.dice_background,
            to_onehot_y=True,
            softmax=True,
            squared_pred=True,
            batch=True,
            smooth_nr=1e-5,
            smooth_dr=1e-5,
        )
        self.focal = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=section.focal_gamma, weight=weights)

    def forward(self, output: Tensor | list[Tensor], target: Tensor) -> Tensor:
        """Logits (B, K, H, W), or a list of them from full to lower scales, and target (B, H, W) -> scalar."""
        outputs = output if isinstance(output, list) else [output]
        total = self._at_one_scale(outputs[0].float(), target)
        for depth, logits in enumerate(outputs[1:]):
            small = F.interpolate(target[:, None].float(), size=logits.shape[-2:], mode="nearest-exact")[:, 0].long()
            weight = self.section.deep_supervision * 0.5**depth
            total = total + weight * self._at_one_scale(logits.float(), small)
        return total

    def _at_one_scale(self, logits: Tensor, target: Tensor) -> Tensor:
        section = self.section
        total = logits.new_zeros(())
        if section.ce:
            total = total + section.ce * F.cross_entropy(logits, target, weight=self.class_weights)
        if section.dice:
            total = total + section.dice * self.dice(logits, target[:, None])
        if section.focal:
            total = total + section.focal * self.focal(logits, target[:, None])
        return total
