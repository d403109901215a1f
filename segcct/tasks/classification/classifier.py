"""Class probabilities of images, computed in one way for prediction and for validation during training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segcct.config import ImagesSection
from segcct.errors import CheckpointError, ModelError
from segcct.inference.batched_inference import finite, in_batches
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.loaded_model import LoadedModel
from segcct.model_card import ModelCard, check_fit
from segcct.tasks.classification.image_layout import section_of
from segcct.tasks.classification.normalization import Normalization


def class_probabilities(
    network: nn.Module,
    images: np.ndarray,
    normalization: Normalization,
    how: InferenceSettings,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Class probabilities (n, K) float32 of images (N, S, S, C) uint8, or of some rows of them.

    The images may be memory-mapped: one batch is read at a time. Raises `ModelError` where the probabilities are
    not finite.
    """
    rows = np.arange(len(images)) if rows is None else rows
    network.eval()

    def softmax(part: slice) -> Tensor:
        batch = normalized(images[rows[part]], normalization).to(how.device)  # (B, C, S, S)
        return finite(network(batch).float().softmax(dim=1))

    return np.concatenate(list(in_batches(softmax, len(rows), how, pixels=math.prod(images.shape[1:3]))))


def normalized(images: np.ndarray, normalization: Normalization) -> Tensor:
    """(B, S, S, C) uint8 -> (B, C, S, S) float32."""
    return normalization.apply(np.asarray(images).transpose(0, 3, 1, 2))


def normalization_of(data: ImagesSection) -> Normalization:
    """The normalization in a model card."""
    return Normalization(tuple(data.mean or ()), tuple(data.std or ()))


class Renormalized(nn.Module):
    """Images under one normalization -> under another, (B, C, S, S) both."""

    factor: Tensor
    offset: Tensor

    def __init__(self, source: Normalization, target: Normalization) -> None:
        super().__init__()
        (mean, std), (other_mean, other_std) = (
            (torch.tensor(each.mean).view(-1, 1, 1), torch.tensor(each.std).view(-1, 1, 1)) for each in (source, target)
        )
        self.register_buffer("factor", std / other_std)
        self.register_buffer("offset", (mean - other_mean) / other_std)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return images * self.factor + self.offset


class Classifier(LoadedModel):
    """A trained classification model: (B, C, H, W) -> logits (B, K).

    classifier = Classifier.load("runs/cifar10_cct_7_3x1/best")
    classifier.classes, classifier.probabilities(images)  # (N, S, S, C) uint8 -> (N, K)
    """

    task, noun, command = "classification", "a classification model", "train-cls"
    gives_probabilities = True

    def __init__(self, network: nn.Module, card: ModelCard, how: InferenceSettings | None = None) -> None:
        super().__init__(network.to(memory_format=torch.channels_last), card, how)  # type: ignore[call-overload]
        self.classes: tuple[str, ...] = tuple(card.classes)
        self.data = section_of(card.data, Path())
        self.normalization = normalization_of(self.data)

    @classmethod
    def check_card(cls, card: ModelCard, file: Path) -> None:
        """The card must say how images are read, with as many channels as the network has."""
        data = section_of(card.data, Path(), file=file)
        if sorted(card.classes.values()) != list(range(len(card.classes))):
            raise CheckpointError("the classes are not numbered from 0", file=file)
        check_fit(card, file, num_classes=len(card.classes))
        channels, size = card.architecture.in_channels, card.architecture.image_size
        if (data.num_channels, data.image_size) != (channels, size) or data.mean is None or data.std is None:
            raise CheckpointError(
                "architecture and data contradict each other",
                file=file,
                found=f"{channels} channels at {size} pixels",
                expected=f"{data.num_channels} at {data.image_size} pixels, with the mean and deviation of each",
            )

    @classmethod
    def interface(cls, card: ModelCard) -> dict[str, Any]:
        """Also how images are read; each member keeps its own normalization, which is that of its training images."""
        data = section_of(card.data, Path())
        reading = {"layout": data.layout, "channels": data.channels, "fit": data.fit}
        return super().interface(card) | reading

    @classmethod
    def member_network(cls, network: nn.Module, own: ModelCard, common: ModelCard) -> nn.Module:
        """The network of a member, for images normalized as `common` says."""
        ours, theirs = (section_of(card.data, Path()) for card in (common, own))
        if (ours.mean, ours.std) == (theirs.mean, theirs.std):
            return network
        return nn.Sequential(Renormalized(normalization_of(ours), normalization_of(theirs)), network)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Softmax over `classes`: (N, S, S, C) uint8 -> (N, K) float32."""
        return class_probabilities(self.network, images, self.normalization, self.how)

    def token_weights(self, images: np.ndarray) -> np.ndarray:
        """The weight of each token in sequence pooling: (N, S, S, C) uint8 -> (N, h, w), each map sums to 1.

        Raises:
            ModelError: the network does not pool its tokens by weights.
        """
        token_weights: Any = getattr(self.network, "token_weights", None)
        if token_weights is None:
            raise ModelError("this network has no sequence pooling to show", found=self.card.architecture.name)

        def step(part: slice) -> Tensor:
            weights: Tensor = token_weights(normalized(images[part], self.normalization).to(self.how.device))
            return weights.float()

        how, pixels = replace(self.how, precision="fp32"), math.prod(images.shape[1:3])
        return np.concatenate(list(in_batches(step, len(images), how, pixels=pixels)))
