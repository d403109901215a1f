"""Several networks as one: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Networks with one input: (B, C, ...) -> logarithm of the mean of their probabilities (B, K, ...).

    The softmax of that is the mean again.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor, listener: Callable[[Tensor], object] | None = None) -> Tensor:
        """See the class; `listener` is called with the probabilities of each member, (B, K, ...)."""
        total: Tensor | None = None
        for member in self.members:
            probabilities = member(image).float().softmax(dim=1)
            if listener is not None:
                listener(probabilities)
            total = probabilities if total is None else total + probabilities
        assert total is not None
        return log_of(total / len(self.members))


def log_of(probabilities: Tensor) -> Tensor:
    """Logits whose softmax gives probabilities back; a probability of 0 stays finite, and NaN stays NaN."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
