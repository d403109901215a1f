"""Models with random weights: for tests, and to measure time and memory, which do not depend on the weights."""

from __future__ import annotations

from pathlib import Path

import torch

from segcct.config import DataSection
from segcct.datasets.layouts import scheme_of
from segcct.model_card import Architecture, ModelCard, SchemeCard, reading, save_model
from segcct.models.zoo import create_model, entry


def save_untrained(best: Path, name: str, data: DataSection) -> Path:
    """Write the `best/` folder of a network for this data, with the same weights in every process, and return it."""
    scheme = scheme_of(data)
    built = Architecture(
        name=name, in_channels=len(data.channels), num_classes=scheme.num_classes, image_size=data.image_size
    )
    torch.manual_seed(0)
    network = create_model(name, built.in_channels, built.num_classes, built.image_size)
    card = ModelCard(
        task="reconstruction" if entry(name).kind == "generator" else "segmentation",
        architecture=built,
        data=reading(data),
        scheme=SchemeCard.of(scheme),
        selected_on={},
        data_fingerprint="",
        provenance={},
    )
    save_model(best, network.state_dict(), card)
    return best
