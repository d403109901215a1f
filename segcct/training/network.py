"""The network of a configuration: its weights are a function of the seed, or loaded where `pretrained` names some.

A resumed run needs neither: its last.ckpt holds every weight, and the file of `pretrained` may be gone by then.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from segcct.errors import ConfigError, TrainingError
from segcct.model_card import Architecture
from segcct.models.zoo import Kind, create_model, entry, model_names
from segcct.progress import say
from segcct.training.batch_seeds import batch_seed

_BATCH_NORM_REFUSAL = "Expected more than 1 value per channel when training"


def build_network(
    architecture: Architecture, kind: Kind, *, seed: int, pretrained: Path | None = None
) -> tuple[nn.Module, str]:
    """Build the network a configuration asks for, and say what became of its pretrained weights; returns both.

    Raises:
        ConfigError: the model is of another kind than the task.
        ModelError: unknown name or option.
        CheckpointError: the pretrained weights do not fit.
    """
    name = architecture.name
    if entry(name).kind != kind:
        raise ConfigError(
            f"model.name is not a {kind}",
            found=f"{name}, a {entry(name).kind}",
            expected=f"one of {', '.join(model_names(kind))}",
        )
    torch.manual_seed(batch_seed(seed, 0, 0, 0))
    network = create_model(
        name, architecture.in_channels, architecture.num_classes, architecture.image_size, architecture.options
    )
    if pretrained is None:
        return network, ""
    from segcct.models.weights import load_pretrained

    report = str(load_pretrained(network, pretrained))
    say(report)
    return network, report


def check_batch_size(network: nn.Module, batch_size: int, losses_of_one: Callable[[nn.Module], object]) -> None:
    """Raises `TrainingError` where every batch is one sample and BatchNorm cannot train on that.

    Args:
        network: stays as it is.
        batch_size: samples in a batch.
        losses_of_one: takes a copy of the network through a batch of one sample, at each stage of training.
    """
    if batch_size > 1 or not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules()):
        return
    with torch.no_grad(), explaining_batch_norm():
        losses_of_one(copy.deepcopy(network).train())


@torch.no_grad()
def evaluated_logits(network: nn.Module, image: Tensor) -> Tensor:
    """Logits (B, K, H, W) at full size, of a network in evaluation mode and without gradients; its mode is left as it
    was."""
    training = network.training
    network.eval()
    output = network(image)
    network.train(training)
    torch.clear_autocast_cache()  # up to PyTorch 2.10 later passes would get the weights cast here, without a gradient
    logits: Tensor = output[0] if isinstance(output, list) else output  # with deep supervision, full size first
    return logits


@contextmanager
def explaining_batch_norm() -> Iterator[None]:
    """A `TrainingError` instead of torch's, where BatchNorm gets one value per channel, which has no variance."""
    try:
        yield
    except ValueError as error:
        if _BATCH_NORM_REFUSAL not in str(error):
            raise
        raise TrainingError(
            "this network cannot be trained on a batch of one",
            found="a BatchNorm layer that sees one value per channel",
            expected="two samples or more in every batch of an epoch",
            remedy="Raise --train.batch_size, or change it where only the last batch of an epoch is that small",
        ) from None
