"""How far the masks of an ensemble's members agree, counted in the pass that averages their probabilities."""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement

import numpy as np
import torch
from torch import Tensor, nn


class MemberAgreement:
    """Voxels that the members of an ensemble assign to each class, by pairs of members, summed over a case.

    Args:
        members: M.
        classes: K, background first.
    """

    def __init__(self, members: int, classes: int) -> None:
        self.voxels = np.zeros((members, members, classes), dtype=np.int64)
        """[i, j, k], j >= i: voxels that members i and j both assign to class k; for j = i, those of one member."""
        self.foreground = np.zeros((members, members), dtype=np.int64)
        """[i, j]: voxels that both assign to any class but background."""

    def add(self, masks: np.ndarray) -> None:
        """Count a part of a case: the class indices (M, ...) of the members."""
        classes = self.voxels.shape[-1]
        flat = masks.reshape(len(masks), -1).astype(np.intp)
        for i, j in combinations_with_replacement(range(len(flat)), 2):
            joint = np.bincount(flat[i] * classes + flat[j], minlength=classes**2).reshape(classes, classes)
            self.voxels[i, j] += joint.diagonal()
            self.foreground[i, j] += joint[1:, 1:].sum()

    def dice(self, class_index: int) -> float | None:
        """Mean Dice over the pairs of members, for one class."""
        return _mean_dice(self.voxels[..., class_index])

    @property
    def foreground_dice(self) -> float | None:
        """The same for all classes together."""
        return _mean_dice(self.foreground)


def _mean_dice(both: np.ndarray) -> float | None:
    """(M, M) -> mean over the pairs of which at least one has a voxel; None without such a pair."""
    sums = {(i, j): both[i, i] + both[j, j] for i, j in combinations(range(len(both)), 2)}
    scores = [2 * both[pair] / total for pair, total in sums.items() if total]
    return float(np.mean(scores)) if scores else None


class CountingEnsemble(nn.Module):
    """An ensemble that also counts how far its members agree on one case: (B, C, ...) -> logits (B, K, ...).

    Where windows overlap, each counts.

    Args:
        ensemble: an `Ensemble`, or one whose callers share batches.
        agreement: what is counted.
        inside: rows and columns of the output that are counted, the others being padding.
    """

    def __init__(self, ensemble: nn.Module, agreement: MemberAgreement, inside: tuple[slice, slice]) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.agreement = agreement
        self.inside = inside

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        masks: list[Tensor] = []
        logits: Tensor = self.ensemble(image, lambda each: masks.append(each.argmax(dim=1).to(torch.uint8)))
        rows, columns = self.inside
        self.agreement.add(torch.stack(masks)[..., rows, columns].cpu().numpy())
        return logits
