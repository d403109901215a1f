"""The segmentation loss: cross-entropy, soft Dice (MONAI's) and focal terms, weighted by the config."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.config import LossSection
from segcct.errors import ConfigError

_LEAST_DOUBT = 1e-6
"""Below it, 1 - p counts as this: its power has no finite derivative at 0 where gamma is below 1."""


def focal_loss(logits: Tensor, target: Tensor, gamma: float, class_weights: Tensor | None = None) -> Tensor:
    """Logits (B, K, H, W) and target (B, H, W) -> scalar: -(1 - p)^gamma log p of the true class, averaged over pixels.

    With class weights the average is a weighted one, as in the cross-entropy, which it is at gamma 0 (Lin et al. 2017).
    """
    log_p = F.log_softmax(logits, dim=1).gather(1, target[:, None])[:, 0]  # (B, H, W)
    loss = -(1 - log_p.exp()).clamp_min(_LEAST_DOUBT).pow(gamma) * log_p
    if class_weights is None:
        return loss.mean()
    weight = class_weights[target]
    return (weight * loss).sum() / weight.sum()


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
            total = total + section.focal * focal_loss(logits, target, section.focal_gamma, self.class_weights)
        return total
