"""A network that is small enough to be exported in a second, and cards for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segcct.export.model_file import read_exported
from segcct.export.onnx_export import export_onnx, set_facts
from segcct.model_card import Architecture, ModelCard
from segcct.models.options import ModelOptions
from segcct.models.zoo import Entry
from segcct.runtime import METADATA_KEY
from tests.support.toy_pair import card, data_section

NAME = "small_for_export"
SIZE = 48


class Small(nn.Module):
    """Three convolutions, so that the border of a slice matters."""

    def __init__(self, *, in_channels: int, num_classes: int, image_size: int, options: ModelOptions) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, num_classes, 3, padding=1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 4 * self.layers(image)


ROW = Entry(NAME, "segmenter", Small)
"""Row of `MODELS`, while a test loads the network from a folder."""


def network(channels: int = 1) -> nn.Module:
    torch.manual_seed(channels)
    return Small(in_channels=channels, num_classes=3, image_size=SIZE, options=ModelOptions()).eval()


def model_card(channels: int = 1, **data: Any) -> ModelCard:
    patterns = {name: f"*_{name}.nii.gz" for name in ("ct", "mr")[:channels]}
    section = data_section(**{"image_size": SIZE, "channels": patterns, **data})
    built = Architecture(name=NAME, in_channels=channels, num_classes=3, image_size=SIZE)
    return card("segmentation", section, architecture=built, weights_sha256="0" * 64)


@cache
def exported(channels: int = 1) -> Any:
    """The `onnx.ModelProto` of `network`; not to be changed but by `written`."""
    return export_onnx(network(channels), model_card(channels), (SIZE, SIZE))


def written(file: Path, card: ModelCard, *, channels: int = 1) -> Path:
    """The exported model in a file, with the metadata of a card."""
    model = exported(channels)
    set_facts(model, card, (SIZE, SIZE), precision="fp32")
    file.write_bytes(model.SerializeToString())
    read_exported(file)
    return file


def change_facts(file: Path, change: Callable[[Any], Any]) -> None:
    """Change the metadata of a file, however it may be."""
    import onnx

    model = onnx.load(file)
    (stored,) = [prop for prop in model.metadata_props if prop.key == METADATA_KEY]
    facts = json.loads(stored.value)
    change(facts)
    stored.value = json.dumps(facts)
    file.write_bytes(model.SerializeToString())
