"""A batch of one under BatchNorm: one value per channel has no spread to normalize by, and torch refuses it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from segcct.errors import TrainingError

_TOO_FEW = "Expected more than 1 value per channel when training"


@contextmanager
def explained() -> Iterator[None]:
    """Torch's refusal as a `TrainingError`."""
    try:
        yield
    except ValueError as error:
        if _TOO_FEW not in str(error):
            raise
        raise TrainingError(
            "this network cannot be trained on a batch of one",
            found="a BatchNorm layer that sees one value per channel",
            expected="two samples or more in every batch of an epoch",
            remedy="Raise --train.batch_size, or change it where only the last batch of an epoch is that small",
        ) from None


def check_batch_size(network: nn.Module, batch_size: int, loss_of_one: Callable[[nn.Module], object]) -> None:
    """Raises `TrainingError` where every batch is one sample and the network does not train on that.

    Args:
        network: stays as it is.
        batch_size: samples in a batch.
        loss_of_one: takes a copy of the network through a batch of one sample.
    """
    if batch_size > 1 or not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules()):
        return
    with torch.no_grad(), explained():
        loss_of_one(copy.deepcopy(network).train())
