"""Models with random weights."""

from __future__ import annotations

from pathlib import Path

from segcct.config import ReconstructionConfig, SegmentationConfig, settings
from segcct.datasets.layouts import scheme_of
from segcct.model_card import Architecture, ModelCard, SchemeCard, reading, save_model
from segcct.models.zoo import create_model
from tests.support.documents import ROOT


def save_untrained(folder: Path, name: str, config: str, overrides: dict[str, object]) -> None:
    """Write a best/ folder with random weights for the data section of a config."""
    task, kind = (
        ("reconstruction", ReconstructionConfig) if name.startswith("m2i") else ("segmentation", SegmentationConfig)
    )
    data = settings.load(kind, ROOT / "configs" / config, overrides).data
    scheme = scheme_of(data)
    built = Architecture(
        name=name, in_channels=len(data.channels), num_classes=scheme.num_classes, image_size=data.image_size
    )
    network = create_model(name, built.in_channels, built.num_classes, built.image_size)
    card = ModelCard(
        task=task,
        architecture=built,
        data=reading(data),
        scheme=SchemeCard.of(scheme),
        selected_on={},
        data_fingerprint="",
        synthetic=True,
        provenance={},
    )
    save_model(folder, network.state_dict(), card)
