"""Optimizer, learning-rate schedule as a function of progress, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from segcct.config import TrainSection
from segcct.training.muon import Muon, orthogonal_weights

POLY_EXPONENT = 0.9


def build_optimizer(network: nn.Module, train: TrainSection) -> torch.optim.Optimizer:
    """The optimizer that `train.optimizer` names, for the weights that are trained."""
    return OPTIMIZERS[train.optimizer](network, train)


def _groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay acts on matrices, kernels and positional tables, not on biases, norms and scales: timm's rule, by
    which the compact transformers were trained. (Swin's own training spares its tables of relative positions too.)"""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _adamw(network: nn.Module, train: TrainSection) -> torch.optim.Optimizer:
    groups = _groups(network.parameters(), train.weight_decay)
    return torch.optim.AdamW(groups, lr=train.lr, fused=True)  # four times as fast on a processor


def _sgd(network: nn.Module, train: TrainSection) -> torch.optim.Optimizer:
    return torch.optim.SGD(_groups(network.parameters(), train.weight_decay), lr=train.lr, momentum=train.momentum)


def _muon(network: nn.Module, train: TrainSection) -> torch.optim.Optimizer:
    orthogonal = orthogonal_weights(network)
    apart = set(map(id, orthogonal))
    groups = _groups((p for p in network.parameters() if id(p) not in apart), train.weight_decay)
    groups.append({
        "params": orthogonal, "weight_decay": train.weight_decay,
        "orthogonal": True, "lr_factor": train.muon_lr / train.lr,
    })  # fmt: skip
    # torch.optim.Muon always iterates in bf16, which takes several times as long where it is emulated.
    arithmetic = torch.bfloat16 if train.precision == "bf16" else torch.float32
    return Muon(groups, train.lr, arithmetic=arithmetic, fused=True)


OPTIMIZERS: Mapping[str, Callable[[nn.Module, TrainSection], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "sgd": _sgd,
    "muon": _muon,
}
"""Value of `train.optimizer` -> how it is built. A group may have an `lr_factor`, by which its rate is multiplied."""

SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda rest: 0.5 * (1.0 + math.cos(math.pi * rest)),
    "poly": lambda rest: (1.0 - rest) ** POLY_EXPONENT,
}
"""Value of `train.schedule` -> the fraction of the peak, from 1 to 0, at a fraction of training after the warm-up:
cosine (Loshchilov and Hutter 2017, equation 5, without restarts), poly (Chen et al. 2017, DeepLab)."""


def rate_key(train: TrainSection) -> str:
    """The option of the learning rate of most weights, for the remedy of an error."""
    return "--train.muon_lr" if train.optimizer == "muon" else "--train.lr"


def lr_factor(progress: float, *, schedule: str, warmup: float) -> float:
    """Learning rate as a fraction of its peak, at `progress` in [0, 1] of training.

    Rises linearly over `warmup`, then falls to 0 by one of `SCHEDULES`.
    """
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    rest = min((progress - warmup) / max(1.0 - warmup, 1e-9), 1.0)
    return SCHEDULES[schedule](rest)


def averaged_copy(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights and buffers, with a decay that warms up: min(d, (1+n)/(10+n)) at
    step n, as in TensorFlow's ExponentialMovingAverage."""

    def average(averages: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor | int) -> None:
        count = float(steps)
        weight = min(decay, (1.0 + count) / (10.0 + count))
        for averaged, value in zip(averages, current, strict=True):
            if averaged.is_floating_point():
                averaged.lerp_(value.to(averaged.dtype), 1.0 - weight)
            else:
                averaged.copy_(value)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True).requires_grad_(False)


@torch.no_grad()
def recalibrate(network: nn.Module, passes: Iterable[Callable[[nn.Module], object]]) -> None:
    """Compute BatchNorm's running statistics again: plain means over forward passes in training mode."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean
    network.train()
    for forward in passes:
        forward(network)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
