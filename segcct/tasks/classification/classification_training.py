"""Classification training: from a configuration to a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from segcct.config import ClassificationConfig
from segcct.datasets.splits import Splits
from segcct.files.json_file import write_json
from segcct.hardware.devices import pick_device
from segcct.inference.arithmetic_device import Inference
from segcct.metrics.class_scores import class_scores, confusion, log_losses, top_k
from segcct.model_card import Architecture, ModelCard, SchemeCard
from segcct.progress import say
from segcct.provenance import provenance, versions
from segcct.run_folder import RunFolder
from segcct.tasks.classification.batches import PictureDataset, picture_loader
from segcct.tasks.classification.class_split import describe, divide
from segcct.tasks.classification.classifier import class_probabilities
from segcct.tasks.classification.image_augmentation import PictureAugmenter
from segcct.tasks.classification.image_layout import Labels
from segcct.tasks.classification.image_reading import reading
from segcct.tasks.classification.labeled_images import Collection, find_labels, load_collection
from segcct.tasks.classification.mixing import Mixing
from segcct.tasks.classification.normalization import Normalisation
from segcct.tasks.segmentation.plan import Plan, measured
from segcct.training.arithmetic import settle
from segcct.training.network import build_network
from segcct.training.session import check_run, check_same_dataset, gather, open_run, owning_run
from segcct.training.single_sample import check_batch_size
from segcct.training.trainer import Task, fit, is_first_process, progress_bar

_NAMED = 8
"""Pictures of a batch that a message names."""
_FEW_CLASSES = 5
"""Up to so many classes, top 5 says nothing."""


@dataclass(frozen=True)
class Pictures:
    """A dataset ready for training: the decoded pictures and who is on which side."""

    collection: Collection
    splits: Splits
    normalisation: Normalisation
    train: np.ndarray
    """Rows of the collection."""
    val: np.ndarray


class ClassificationTask(Task):
    """Pictures in, class probabilities out; judged by the share of validation pictures whose class comes first."""

    score = "val_accuracy"
    look_at_cases = "Look at these pictures; else lower"

    def __init__(self, config: ClassificationConfig, pictures: Pictures, network: nn.Module | None = None) -> None:
        self.config = config
        self.pictures = pictures
        classes = len(pictures.collection.classes)
        network = network_of(config, classes) if network is None else network
        # As the batches are laid out: half as fast again on processors.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.augmenter = PictureAugmenter(config.augment, config.data.image_size, pictures.normalisation)
        self.mixing = Mixing(config.augment, config.train.label_smoothing, classes, config.run.seed)

    def loader(self, rank: int, world: int) -> DataLoader:
        config = self.config
        shown = PictureDataset(
            self.pictures.collection,
            self.pictures.train,
            self.augmenter,
            seed=config.run.seed,
            per_epoch=config.train.pictures_per_epoch,
        )
        return picture_loader(
            shown, batch_size=config.train.batch_size, workers=config.data.workers, rank=rank, world=world
        )

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        image, target = self.mixing.apply(batch)
        return F.cross_entropy(network(image).float(), target)

    def names(self, batch: dict[str, Any]) -> list[str]:
        ids = [self.pictures.collection.ids[row] for row in batch["row"].tolist()]
        return ids[:_NAMED] + ([f"{len(ids) - _NAMED} more"] if len(ids) > _NAMED else [])

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        how = Inference(self.config.train.batch_size, self.config.train.precision, device)
        collection, rows = self.pictures.collection, self.pictures.val[rank::world]
        mine = {}
        if len(rows):
            predicted = class_probabilities(network, collection.images, self.pictures.normalisation, how, rows)
            mine[f"{rank:04d}"] = (collection.labels[rows], predicted)
        parts = gather(mine, world).values()
        return scores_of(
            np.concatenate([probabilities for _, probabilities in parts]),
            np.concatenate([labels for labels, _ in parts]),
        )

    def card(self, selected_on: dict[str, Any]) -> ModelCard:
        config, collection = self.config, self.pictures.collection
        return ModelCard(
            task="classification",
            architecture=Architecture(
                name=config.model.name,
                in_channels=config.data.num_channels,
                num_classes=len(collection.classes),
                image_size=config.data.image_size,
                options=config.model.options,
            ),
            data=reading(config.data, self.pictures.normalisation.mean, self.pictures.normalisation.sd),
            scheme=SchemeCard(name="classes", classes={name: n for n, name in enumerate(collection.classes)}),
            selected_on={**selected_on, "pictures": len(self.pictures.val)},
            data_fingerprint=collection.fingerprint,
            provenance=versions(),
        )


def scores_of(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The validation columns of metrics.csv, from (N, K) probabilities and (N,) class numbers."""
    classes = probabilities.shape[1]
    matrix = confusion(labels, probabilities.argmax(axis=1), classes)
    held = [scores.f1 for scores in class_scores(matrix) if scores.support]
    scores = {
        "val_accuracy": float(top_k(probabilities, labels, 1).mean()),
        "val_macro_f1": float(np.mean([0.0 if f1 is None else f1 for f1 in held])),
        "val_log_loss": float(log_losses(probabilities, labels).mean()),
    }
    if classes > _FEW_CLASSES:
        scores["val_top5"] = float(top_k(probabilities, labels, 5).mean())
    return scores


@owning_run
def train_classification(config: ClassificationConfig, *, resume: RunFolder | None = None) -> RunFolder:
    """Train as `config` says, into a new run folder or on in `resume`; returns the run folder.

    Raises `SegcctError` for whatever is wrong with data, model or run, before the folder appears.
    """
    config = settle(config)
    task = _checked_task(config, resume)
    pictures = task.pictures
    run = open_run(config.run, config, pictures.splits, resume=resume)
    best = fit(task, run, config.train, seed=config.run.seed, resume=resume is not None)
    if is_first_process():
        write_json(run.summary, {"selected_on": best, "provenance": provenance(pictures.collection.fingerprint)})
    return run


def _checked_task(config: ClassificationConfig, resume: RunFolder | None) -> ClassificationTask:
    """Network and pictures of a training or its dry run; a wrong name or option shows before pictures are decoded."""
    check_run(config.run, config.train, resume)
    labels = find_labels(config.data)
    network = network_of(config, len(labels.classes), resumed=resume is not None)
    data = config.data
    check_batch_size(network, config.train.batch_size, channels=data.num_channels, side=data.image_size)
    pictures = load_pictures(config, labels)
    if resume is not None:
        check_same_dataset(resume, pictures.splits, pictures.collection.fingerprint)
    return ClassificationTask(config, pictures, network)


def network_of(config: ClassificationConfig, classes: int, *, resumed: bool = False) -> nn.Module:
    """The network of the configuration, for so many classes."""
    return build_network(
        config.model,
        "classifier",
        in_channels=config.data.num_channels,
        num_classes=classes,
        image_size=config.data.image_size,
        seed=config.run.seed,
        resumed=resumed,
    )


def load_pictures(config: ClassificationConfig, labels: Labels | None = None) -> Pictures:
    """Read and divide the dataset, whose labels were found before or are now.

    Raises `DataError` naming every picture that cannot be read.
    """
    collection = load_collection(config.data, found=labels, progress=progress_bar("decoding pictures"))
    splits = divide(collection, config.data)
    if is_first_process():
        say(describe(collection, splits))
    train, val = collection.rows(splits.train), collection.rows(splits.val)
    return Pictures(collection, splits, Normalisation.of(config.data, collection, train), train, val)


def plan_classification(config: ClassificationConfig, *, resume: RunFolder | None = None) -> Plan:
    """Build the network, read and divide the pictures and take two steps on some of them. Writes no run.

    Raises `SegcctError` for whatever the training itself would refuse before its first step.
    """
    config = settle(config)
    task = _checked_task(config, resume)
    pictures = task.pictures
    device, loader = pick_device(config.train.device), task.loader(0, 1)
    batch = next(iter(loader))
    batch |= {name: value.to(device) for name, value in batch.items() if isinstance(value, Tensor)}
    sides = describe(pictures.collection, pictures.splits)
    steps = config.train.epochs * len(loader)
    return measured(sides, task.network, config.train, lambda: task.loss(task.network, batch), steps=steps)
