"""Muon: momentum whose update of each matrix is made orthogonal (kellerjordan.github.io/posts/muon, 2024).

torch.optim.Muon, where there is one, takes matrices alone; here a kernel is the matrix of its output channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from segcct.models.weight_names import is_head

MOMENTUM = 0.95
STEPS = 5
SMALLEST_SIDE = 8
"""A matrix with fewer rows or columns is left to AdamW."""
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration: steepest at 0, without convergence to exactly 1."""


class Muon(torch.optim.AdamW):
    """Muon for the groups that say `orthogonal`, AdamW for the others.

    Args:
        groups: of parameters, as for AdamW.
        lr: learning rate of groups that have none.
        arithmetic: type in which updates are made orthogonal.
        fused: of AdamW.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        *,
        arithmetic: torch.dtype = torch.float32,
        fused: bool | None = None,
    ) -> None:
        super().__init__(groups, lr=lr, fused=fused)
        self.arithmetic = arithmetic

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; the gradients of the orthogonal groups are None afterwards."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"] if group.get("orthogonal") else ():
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], group["weight_decay"])
                    parameter.grad = None  # AdamW skips it
        super().step()
        return loss

    def _update(self, parameter: Tensor, lr: float, weight_decay: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros(())  # AdamW expects it where a state is loaded
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - MOMENTUM)
        update = orthogonalized(gradient.lerp_(buffer, MOMENTUM).flatten(1), self.arithmetic)  # Nesterov's
        rows, columns = update.shape
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(update.view_as(parameter), alpha=-lr * math.sqrt(max(1, rows / columns)))


def orthogonalized(matrix: Tensor, arithmetic: torch.dtype = torch.float32) -> Tensor:
    """(rows, columns) -> nearly U V^T of its singular value decomposition, by Newton-Schulz iterations."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = ((matrix.T if tall else matrix) / (matrix.norm() + 1e-7)).to(arithmetic)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


def orthogonal_weights(network: nn.Module) -> list[Tensor]:
    """Trained matrices of linear layers and kernels of convolutions without groups, large enough for Muon; those that
    give the classes are left to AdamW too, since orthogonal updates are for hidden layers."""
    layers = (nn.Linear, nn.Conv2d, nn.Conv3d)
    weights = [module.weight for name, module in network.named_modules()
               if isinstance(module, layers) and getattr(module, "groups", 1) == 1
               and not _gives_classes(name)]  # fmt: skip
    return [weight for weight in dict.fromkeys(weights)
            if weight.requires_grad and min(weight.flatten(1).shape) >= SMALLEST_SIDE]  # fmt: skip


def _gives_classes(layer: str) -> bool:
    """Whether it is a head, or part of one, by its name. A `classifier` that holds layers has hidden ones too."""
    parts = layer.split(".")
    holders = (parts[:count] for count in range(1, len(parts)))
    heads = [parts, *(holder for holder in holders if holder[-1] != "classifier")]
    return any(is_head(".".join([*head, "weight"])) for head in heads)
