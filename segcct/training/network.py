"""The network of a configuration: its weights are a function of the seed, or loaded where `pretrained` names some.

A resumed run needs neither: its last.ckpt holds every weight, and the file of `pretrained` may be gone by then.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from segcct.errors import ConfigError
from segcct.model_card import Architecture
from segcct.models.zoo import Kind, create_model, entry, model_names
from segcct.progress import say
from segcct.training.trainer import batch_seed


def build_network(architecture: Architecture, kind: Kind, *, seed: int, pretrained: Path | None = None) -> nn.Module:
    """Build the network a training asks for, and say what became of its pretrained weights.

    Raises:
        ConfigError: the model is of another kind than the training.
        ModelError: unknown name or option.
        CheckpointError: the pretrained weights do not fit.
    """
    name, built = architecture.name, architecture
    if entry(name).kind != kind:
        raise ConfigError(
            f"model.name is no {kind}",
            found=f"{name}, a {entry(name).kind}",
            expected=f"one of {', '.join(model_names(kind))}",
        )
    torch.manual_seed(batch_seed(seed, 0, 0, 0))
    network = create_model(name, built.in_channels, built.num_classes, built.image_size, built.options)
    if pretrained is not None:
        from segcct.models.weights import load_pretrained

        say(str(load_pretrained(network, pretrained)))
    return network
