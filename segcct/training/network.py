"""The network of a configuration: its weights are a function of the seed, or loaded where `pretrained` names some.

A resumed run needs neither: its last.ckpt holds every weight, and the file of `pretrained` may be gone by then.
"""

from __future__ import annotations

import torch
from torch import nn

from segcct.config import ModelSection
from segcct.errors import ConfigError
from segcct.models.zoo import Kind, create_model, entry, model_names
from segcct.progress import say
from segcct.training.trainer import batch_seed


def build_network(
    model: ModelSection,
    kind: Kind,
    *,
    in_channels: int,
    num_classes: int,
    image_size: int,
    seed: int,
    resumed: bool = False,
) -> nn.Module:
    """Build the network a training asks for, and say what became of its pretrained weights.

    Raises:
        ConfigError: the model is of another kind than the training.
        ModelError: unknown name or option.
        CheckpointError: the pretrained weights do not fit.
    """
    found = entry(model.name).kind
    if found != kind:
        raise ConfigError(
            f"model.name is no {kind}",
            found=f"{model.name}, a {found}",
            expected=f"one of {', '.join(model_names(kind))}",
        )
    torch.manual_seed(batch_seed(seed, 0, 0, 0))
    network = create_model(model.name, in_channels, num_classes, image_size, model.options)
    if model.pretrained is not None and not resumed:
        from segcct.models.weights import load_pretrained

        say(str(load_pretrained(network, model.pretrained)))
    return network
