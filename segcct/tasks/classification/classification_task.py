"""Image to class: images in, class probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from segcct.config import ClassificationConfig
from segcct.datasets.split_record import Splits
from segcct.inference.inference_settings import InferenceSettings
from segcct.metrics.class_scores import log_losses, top_k
from segcct.model_card import Architecture, SchemeCard
from segcct.progress import say
from segcct.tasks.classification.batches import TrainingImages, image_loader
from segcct.tasks.classification.class_quantities import FEW_CLASSES
from segcct.tasks.classification.class_split import describe_class_splits, make_class_splits
from segcct.tasks.classification.classifier import class_probabilities
from segcct.tasks.classification.image_augmentation import ImageAugmenter, Mixing
from segcct.tasks.classification.image_layout import ClassLabels, card_section, get_image_layout
from segcct.tasks.classification.labeled_images import LabeledImages, load_labeled_images
from segcct.tasks.classification.normalization import Normalization
from segcct.tasks.task import DatasetSummary, Task
from segcct.training.processes import gather, is_first_process, progress_bar

_NAMED = 8
"""Images of a batch that a message names."""


@dataclass(frozen=True)
class ClassificationDataset:
    """A dataset ready for training: the decoded images and their splits."""

    images: LabeledImages
    splits: Splits
    normalization: Normalization
    train: np.ndarray
    """Rows of the images."""
    val: np.ndarray
    synthetic = False

    @property
    def fingerprint(self) -> str:
        """Digest of the files' names and contents."""
        return self.images.fingerprint


class ClassificationTask(Task):
    """Selected by accuracy on the validation images.

    Args:
        config: the experiment.
        dataset: the images; None: `prepare` reads those of the configuration.
        resumed: see `Task`.
    """

    name = "classification"
    model_kind = "classifier"
    score = "val_accuracy"
    loss_remedy = "Look at these images; else lower"
    config: ClassificationConfig
    dataset: ClassificationDataset

    def __init__(
        self, config: ClassificationConfig, dataset: ClassificationDataset | None = None, *, resumed: bool = False
    ) -> None:
        self.config = config
        self.labels: ClassLabels | None = None
        if dataset is None:
            self.labels = get_image_layout(config.data.layout).find(config.data)
            self.classes = self.labels.classes
        else:
            self.dataset, self.classes = dataset, dataset.images.classes
        super().__init__(config, resumed=resumed)
        # As the batches are laid out: half as fast again on processors.
        self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mixing = Mixing(config.augment, config.train.label_smoothing, len(self.classes), config.run.seed)

    @property
    def architecture(self) -> Architecture:
        data, model = self.config.data, self.config.model
        return Architecture(
            name=model.name,
            in_channels=data.num_channels,
            num_classes=len(self.classes),
            image_size=data.image_size,
            options=model.options,
        )

    @property
    def scheme_card(self) -> SchemeCard:
        return SchemeCard(name="classes", classes={name: n for n, name in enumerate(self.classes)})

    @property
    def reading(self) -> dict[str, Any]:
        normalization = self.dataset.normalization
        return card_section(self.config.data, normalization.mean, normalization.std)

    @cached_property
    def augmenter(self) -> ImageAugmenter:
        """The augmentation of the training images."""
        return ImageAugmenter(self.config.augment, self.config.data.image_size, self.dataset.normalization)

    def find(self) -> DatasetSummary:
        self.prepare()
        return DatasetSummary(describe_class_splits(self.dataset.images, self.dataset.splits), len(self.loader(0, 1)))

    def prepare(self) -> None:
        self.dataset = load_dataset(self.config, self.labels)
        self.augmenter  # noqa: B018 - what timm does not understand shows now

    def example(self, size: int, device: str) -> dict[str, Any]:
        built = self.architecture
        image = torch.randn(size, built.in_channels, built.image_size, built.image_size, device=device)
        label = torch.randint(built.num_classes, (size,), device=device)
        return {"image": image.to(memory_format=torch.channels_last), "label": label, "epoch": 0, "first": 0}

    def loader(self, rank: int, world: int) -> DataLoader[Any]:
        config = self.config
        images = TrainingImages(
            self.dataset.images,
            self.dataset.train,
            self.augmenter,
            seed=config.run.seed,
            per_epoch=config.train.images_per_epoch,
        )
        return image_loader(
            images, batch_size=config.train.batch_size, workers=config.data.workers, rank=rank, world=world
        )

    def loss(self, network: nn.Module, batch: dict[str, Any], progress: float) -> Tensor:
        del progress
        image, target = self.mixing.apply(batch)
        return F.cross_entropy(network(image).float(), target)

    def names(self, batch: dict[str, Any]) -> list[str]:
        ids = [self.dataset.images.ids[row] for row in batch["row"].tolist()]
        return ids[:_NAMED] + ([f"{len(ids) - _NAMED} more"] if len(ids) > _NAMED else [])

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        how = InferenceSettings(self.config.train.batch_size, self.config.train.precision, device)
        images, rows = self.dataset.images, self.dataset.val[rank::world]
        mine = {}
        if len(rows):
            predicted = class_probabilities(network, images.pixels, self.dataset.normalization, how, rows)
            mine[f"{rank:04d}"] = (images.labels[rows], predicted)
        parts = gather(mine, world).values()
        return validation_scores(
            np.concatenate([probabilities for _, probabilities in parts]),
            np.concatenate([labels for labels, _ in parts]),
        )

    def validated_on(self) -> dict[str, int]:
        return {"images": len(self.dataset.val)}


def validation_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The validation columns of metrics.csv, from (N, K) probabilities and (N,) class numbers."""
    from sklearn.metrics import f1_score

    predicted = probabilities.argmax(axis=1)
    scores = {
        "val_accuracy": float(top_k(probabilities, labels, 1).mean()),
        "val_macro_f1": float(f1_score(labels, predicted, labels=np.unique(labels), average="macro")),
        "val_log_loss": float(log_losses(probabilities, labels).mean()),
    }
    if probabilities.shape[1] > FEW_CLASSES:
        scores["val_top5"] = float(top_k(probabilities, labels, 5).mean())
    return scores


def load_dataset(config: ClassificationConfig, labels: ClassLabels | None = None) -> ClassificationDataset:
    """Read and split the dataset; `labels` is what the layout found, if it was asked before.

    Raises `DataError` naming every image that cannot be read.
    """
    images = load_labeled_images(config.data, labels, progress=progress_bar("decoding images"))
    splits = make_class_splits(images, config.data)
    if is_first_process():
        say(describe_class_splits(images, splits))
    train, val = images.rows(splits.train), images.rows(splits.val)
    return ClassificationDataset(images, splits, Normalization.of(config.data, images, train), train, val)
