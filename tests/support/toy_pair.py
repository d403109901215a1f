"""A segmenter and a generator that are simple enough to know their results, on synthetic cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from segcct.config import DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.images.volume import Volume
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.inference.reconstructor import Reconstructor
from segcct.model_card import Architecture, ModelCard, SchemeCard, reading, save_model
from segcct.models.generator import Generator
from segcct.models.zoo import create_model

SIDE = 32
CLASSES = {"low": 3, "high": 7}
INTENSITIES = (10.0, 50.0, 90.0)
"""Of background, low and high, in [0, 100]."""
HOW = InferenceSettings(batch_size=4, device="cpu")


class Nearest(nn.Module):
    """The class whose intensity is nearest: right on images without noise."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        unit = image[:, :1] * 0.25 + 0.5  # rule clip standardizes by mean 0.5 and std 0.25
        return torch.cat([-100 * (unit - each / 100).square() for each in INTENSITIES], dim=1)


def data_section(**more: object) -> DataSection:
    return DataSection.model_validate({
        "layout": "folder",
        "root": "nowhere",
        "channels": {"ct": "*.nii.gz"},
        "scheme": "custom",
        "labels": CLASSES,
        "orientation": "native",
        "fit": "pad",
        "image_size": SIDE,
        "intensity": {"rule": "clip", "low": 0, "high": 100},
        **more,
    })  # fmt: skip


def card(task: str, data: DataSection, **more: object) -> ModelCard:
    built = Architecture(name="m2i_s", in_channels=len(data.channels), num_classes=3, image_size=data.image_size)
    card = ModelCard(
        task=task,
        architecture=built,
        data=reading(data),
        scheme=SchemeCard(name="custom", classes=CLASSES),
        selected_on={},
        data_fingerprint="",
        provenance={},
    )
    return card.model_copy(update=more)


def predictor(**more: object) -> Predictor:
    return Predictor(Nearest(), card("segmentation", data_section(**more)), HOW)


def class_filler(**more: object) -> Reconstructor:
    """A generator that fills each class with its own intensity and adds nothing."""
    data = data_section(**more)
    network = create_model("m2i_s", len(data.channels), 3, SIDE, {"style": "none"})
    assert isinstance(network, Generator)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
        network.head.bias[3] = -30.0  # weight of the decoder's own mixture
        for index, intensity in enumerate(INTENSITIES):
            network.palette[index] = (intensity / 100 - 0.5) / 0.25
    return Reconstructor(network, card("reconstruction", data), HOW)


def save_class_filler(folder: Path, **more: object) -> Path:
    """`class_filler` as a best/ folder."""
    made = class_filler(**more)
    built = made.card.architecture.model_copy(update={"options": {"style": "none"}})
    save_model(folder, made.network.state_dict(), made.card.model_copy(update={"architecture": built}))
    return folder


def loaded_case(*, foreground: bool = True, noise: float = 4.0, labeled: bool = True) -> LoadedCase:
    """Five noisy slices of 36 x 30 with a disc in a square."""
    rows, columns, slices = np.meshgrid(np.arange(36), np.arange(30), np.arange(5), indexing="ij")
    index = np.zeros((36, 30, 5), dtype=np.uint8)
    if foreground:
        index[6:28, 5:25, 1:] = 1
        index[(rows - 16) ** 2 + (columns - 14) ** 2 < 36 - 4 * slices] = 2
        index[..., 0] = 0
    rng = np.random.default_rng(0)
    image = np.asarray(INTENSITIES, dtype=np.float32)[index] + rng.normal(0, noise, index.shape).astype(np.float32)
    grid = Volume(image, np.diag([1.5, 2.0, 6.0, 1.0]), (1.5, 2.0, 6.0), None, None)
    label = np.asarray([0, 3, 7], dtype=np.uint8)[index] if labeled else None
    return LoadedCase(Case("toy", "toy", {"ct": (Path("toy.nii.gz"),)}), image[None], grid, label)
