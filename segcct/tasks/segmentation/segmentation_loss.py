"""The segmentation loss: a weighted sum of the terms of one table, to which other packages can add.

A term is a module that maps logits (B, K, H, W) and a batch to a scalar. The batch holds the `label` (B, H, W) and
the maps that the term needs, such as `distance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, combinations

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.config import LossSection
from segcct.errors import ConfigError
from segcct.models.padding import crop_to, pad_to_multiple
from segcct.plugins import Registry
from segcct.tasks.segmentation.loss_maps import MAPS

_SMALLEST_ERROR = 1e-6
"""Below it, 1 - p counts as this: its power has no finite derivative at 0 where gamma is below 1."""

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class LossTerm:
    """One row: how a term is built, and what it needs of a batch besides the label."""

    build: Callable[[LossSection, int], nn.Module]
    """Called with `train.loss` and the number of classes, background included."""
    needs: frozenset[str] = frozenset()
    """Keys of `loss_maps.MAPS`."""

    def __post_init__(self) -> None:
        if unknown := self.needs - MAPS.keys():
            raise ValueError(f"a loss term needs {', '.join(sorted(unknown))}, not one of {', '.join(MAPS)}")


class ClassWeightedTerm(nn.Module):
    """A term that weighs classes as `train.loss.class_weights` says."""

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
        self.register_buffer("class_weights", None if weights is None else torch.tensor(weights), persistent=False)


class CrossEntropy(ClassWeightedTerm):
    """Cross-entropy."""

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch["label"], weight=self.class_weights)


class Focal(ClassWeightedTerm):
    """-(1 - p)^gamma log p of the true class, averaged over pixels (Lin et al. 2017).

    With class weights the average is a weighted one, as in the cross-entropy, which it is at gamma 0.
    """

    def __init__(self, section: LossSection, num_classes: int) -> None:
        super().__init__(section, num_classes)
        self.gamma = section.focal_gamma

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        target = batch["label"]
        log_p = F.log_softmax(logits, dim=1).gather(1, target[:, None])[:, 0]  # (B, H, W)
        loss = -(1 - log_p.exp()).clamp_min(_SMALLEST_ERROR).pow(self.gamma) * log_p
        if self.class_weights is None:
            return loss.mean()
        weight = self.class_weights[target]
        return (weight * loss).sum() / weight.sum()


class Dice(nn.Module):
    """Soft Dice (MONAI's) over the whole batch, since single slices may lack a structure; with squared
    denominator and smoothing 1e-5, as in the Swin-Unet recipe."""

    def __init__(self, section: LossSection, num_classes: int) -> None:
        super().__init__()
        del num_classes
        self.dice = DiceLoss(
            include_background=section.dice_background,
            to_onehot_y=True,
            softmax=True,
            squared_pred=True,
            batch=True,
            smooth_nr=1e-5,
            smooth_dr=1e-5,
        )

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        loss: Tensor = self.dice(logits, batch["label"][:, None])
        return loss


LOSS_TERMS = Registry(
    "loss term",
    "segcct.losses",
    {"ce": LossTerm(CrossEntropy), "dice": LossTerm(Dice), "focal": LossTerm(Focal)},
)
"""Key of `LossSection.weights` -> its row."""

register_loss_term = LOSS_TERMS.register


class SegmentationLoss(nn.Module):
    """Weighted sum of terms; deeper scales of the decoder join with halved weights, and the sums of the finest logits.

    Losses over all subsets of the logits, with equal weights, are those of MUTATION (Rahman and Marculescu 2023).

    Args:
        section: the weights.
        num_classes: classes, background included.

    Raises:
        ConfigError: an unknown term, or class weights for another number of classes.
    """

    def __init__(self, section: LossSection, num_classes: int) -> None:
        super().__init__()
        self.deep_supervision = section.deep_supervision
        self.logit_sums = section.logit_sums
        self.weights = section.weights
        rows: dict[str, LossTerm] = {name: LOSS_TERMS[_checked(name)] for name in self.weights}
        self.terms = nn.ModuleDict({name: row.build(section, num_classes) for name, row in rows.items()})
        self.needs = frozenset().union(*(row.needs for row in rows.values()))
        """Maps that the batch must hold, see `loss_maps`."""

    def forward(self, output: Tensor | list[Tensor], target: Tensor, maps: Batch | None = None) -> Tensor:
        """Logits (B, K, H, W), or a list of them from full to lower scales (1/2, 1/4 ... with sides rounded up), target
        (B, H, W), and maps (B, C, H, W) by name (others are passed over) -> scalar."""
        outputs = output if isinstance(output, list) else [output]
        needed = {name: (maps or {})[name] for name in self.needs}
        total = self._at_one_scale(outputs[0].float(), {**needed, "label": target})
        for depth, logits in enumerate(outputs[1:] if self.deep_supervision else ()):
            small = _resized(needed, target, logits.shape[-2:])
            total = total + self.deep_supervision * 0.5**depth * self._at_one_scale(logits.float(), small)
        if self.logit_sums and len(outputs) > 1:
            total = total + self.logit_sums * self._of_sums(outputs[:3], needed, target)
        used = len(outputs) if self.deep_supervision else 3 if self.logit_sums else 1
        for logits in outputs[used:]:
            total = total + 0.0 * logits.sum()  # processes that train together wait for a gradient of every weight
        return total

    def _of_sums(self, outputs: list[Tensor], needed: Batch, target: Tensor) -> Tensor:
        """Mean loss over the sums of every subset of some logits, at the scale of the second."""
        size = outputs[1].shape[-2:]
        half = [_at_size(logits.float(), size) for logits in outputs]
        small = _resized(needed, target, size)
        subsets = chain.from_iterable(combinations(half, count) for count in range(1, len(half) + 1))
        return torch.stack([self._at_one_scale(sum(subset[1:], subset[0]), small) for subset in subsets]).mean()

    def _at_one_scale(self, logits: Tensor, batch: Batch) -> Tensor:
        total = logits.new_zeros(())
        for name, term in self.terms.items():
            total = total + self.weights[name] * term(logits, batch)
        return total


def _resized(maps: Batch, target: Tensor, size: torch.Size) -> dict[str, Tensor]:
    """A batch's maps and label at a lower scale of the decoder."""
    small = {name: _at_size(value, size) for name, value in maps.items()}
    return {**small, "label": _shrunk(target, size)}


def _reduction(larger: torch.Size, size: torch.Size) -> int:
    """By how much (..., H, W) is reduced to `size`, a power of 2. Sides are rounded up: 13 pixels at 1/8 stand for 104,
    of which a slice of 100 holds the first."""
    return 1 << math.ceil(math.log2(max(larger[-2] / size[-2], larger[-1] / size[-1])))


def _at_size(maps: Tensor, size: torch.Size) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear; places stay, also where sides were rounded up."""
    if maps.shape[-1] < size[-1]:
        enlarged = F.interpolate(maps, scale_factor=float(_reduction(size, maps.shape)), mode="bilinear")
        return crop_to(enlarged, size[-2], size[-1])
    return F.interpolate(pad_to_multiple(maps, _reduction(maps.shape, size)), size=size, mode="bilinear")


def _shrunk(target: Tensor, size: torch.Size) -> Tensor:
    """(B, H, W) -> (B, *size), nearest neighbor. At 1/2, 1/4 ... the center lies between two pixels: the one before it
    and the one after it are taken in turn, since always the latter would shift all borders by half a pixel."""
    step = _reduction(target.shape, size)
    whole = pad_to_multiple(target[:, None].float(), step)[:, 0].long()  # as the network pads its image
    before, after = (whole[:, start::step, start::step] for start in ((step - 1) // 2, step // 2))  # (B, *size) each
    rows, columns = (torch.arange(length, device=target.device) for length in size)
    return torch.where((rows[:, None] + columns) % 2 == 1, after, before)


def _checked(name: str) -> str:
    try:
        return LOSS_TERMS.checked(name)
    except ValueError as error:
        raise ConfigError("unknown term in train.loss.terms", found=name, expected=error) from None
