"""I2M training: from a configuration to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segcct.config import SegmentationConfig
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import scheme_of
from segcct.files.json_file import write_json
from segcct.inference.predictor import Inference, segment
from segcct.metrics import class_dice
from segcct.model_card import Architecture, ModelCard, SchemeCard, reading
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_sampling import EpochSampler, SliceDataset
from segcct.provenance import provenance, versions
from segcct.run_folder import RunFolder
from segcct.tasks.segmentation.cycle_loss import UNLABELLED, CycleLoss, WithUnlabelled, refuse_seen, risen
from segcct.tasks.segmentation.segmentation_loss import SegmentationLoss
from segcct.tasks.segmentation.training_dataset import Dataset, load_dataset
from segcct.training.arithmetic import settle
from segcct.training.network import build_network
from segcct.training.session import check_run, check_same_dataset, gather, open_run, owning_run
from segcct.training.single_sample import check_batch_size
from segcct.training.trainer import Task, fit, is_first_process


class SegmentationTask(Task):
    """Slices in, logits out; judged by the Dice of whole validation volumes on their own grid."""

    score = "val_dice"

    def __init__(self, config: SegmentationConfig, dataset: Dataset, network: nn.Module | None = None) -> None:
        self.config = config
        self.dataset = dataset
        self.network = network_of(config, dataset.scheme) if network is None else network
        self.criterion = SegmentationLoss(config.train.loss, dataset.scheme.num_classes)
        self.cycle = cycle_of(config, dataset.scheme)

    def loader(self, rank: int, world: int) -> DataLoader:
        data, train = self.config.data, self.config.train
        labelled = SliceDataset(
            self.dataset.train,
            augment=self.config.augment,
            image_size=data.image_size,
            seed=self.config.run.seed,
            slices_per_epoch=train.slices_per_epoch,
            foreground_share=data.foreground_share,
        )
        slices = labelled if self.cycle is None else WithUnlabelled(labelled, self.dataset.unlabelled)
        return DataLoader(
            slices,
            batch_size=train.batch_size,
            sampler=EpochSampler(len(slices), rank=rank, world=world),
            num_workers=data.workers,
            persistent_workers=data.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        loss: Tensor = self.criterion.to(batch["image"].device)(network(batch["image"]), batch["label"])
        if self.cycle is not None:
            weight = self.config.train.cycle_weight * risen(self.progress)
            loss = loss + weight * cycle_loss(self.cycle, network, batch[UNLABELLED])
        return loss

    def names(self, batch: dict[str, Any]) -> list[str]:
        return [f"{case} slice {int(index)}" for case, index in zip(batch["case"], batch["slice"], strict=True)]

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        mine = {case.case_id: self._scored(network, device, case)[1] for case in self.dataset.val[rank::world]}
        return summarise(gather(mine, world), self.dataset.scheme)

    def draw(self, network: nn.Module, device: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for case in self.dataset.val:
            if case.case_id in self.dataset.pictured:
                prediction, scores = self._scored(network, device, case)
                self.dataset.pictured[case.case_id].write(folder, prediction, self.dataset.scheme, scores)

    def _scored(
        self, network: nn.Module, device: str, case: PreparedCase
    ) -> tuple[np.ndarray, dict[str, float | None]]:
        """Class indices (X, Y, Z) of a case by inference's own code, and its Dice per class."""
        how = Inference(self.config.train.batch_size, self.config.train.precision, device)
        prediction = segment(network, case, how, self.config.data.image_size)
        return prediction, class_dice(prediction, np.asarray(case.full_label), self.dataset.scheme.classes)

    def card(self, selected_on: dict[str, Any]) -> ModelCard:
        config, scheme = self.config, self.dataset.scheme
        return ModelCard(
            task="segmentation",
            architecture=Architecture(
                name=config.model.name,
                in_channels=len(config.data.channels),
                num_classes=scheme.num_classes,
                image_size=config.data.image_size,
                options=config.model.options,
            ),
            data=reading(config.data),
            scheme=SchemeCard.of(scheme),
            selected_on={**selected_on, "cases": len(self.dataset.val)},
            data_fingerprint=self.dataset.fingerprint,
            synthetic=self.dataset.synthetic,
            provenance=versions(),
        )


@owning_run
def train_segmentation(config: SegmentationConfig, *, resume: RunFolder | None = None) -> RunFolder:
    """Train as `config` says, into a new run folder or on in `resume`; returns the run folder.

    Raises `SegcctError` for whatever is wrong with data, model or run, before the folder appears.
    """
    config = settle(config)
    check_run(config.run, config.train, resume)
    scheme = scheme_of(config.data)
    # A wrong name or option shows before hours of preparation.
    network = network_of(config, scheme, resumed=resume is not None)
    SegmentationLoss(config.train.loss, scheme.num_classes)
    data = config.data
    check_batch_size(network, config.train.batch_size, channels=len(data.channels), side=data.image_size)
    cycle = cycle_of(config, scheme)
    dataset = load_dataset(config.data, pictures=config.train.pictures, unlabelled=cycle is not None)
    refuse_seen(config.train.cycle_model, dataset.splits)
    task = SegmentationTask(config, dataset, network)
    if resume is not None:
        check_same_dataset(resume, dataset.splits, dataset.fingerprint)
    run = open_run(config.run, config, dataset.splits, resume=resume)
    best = fit(task, run, config.train, seed=config.run.seed, resume=resume is not None)
    if is_first_process():
        write_json(run.summary, {"selected_on": best, "provenance": provenance(dataset.fingerprint)})
    return run


def network_of(config: SegmentationConfig, scheme: Scheme, *, resumed: bool = False) -> nn.Module:
    """The network of the configuration, with a class per structure of the scheme and the background."""
    return build_network(
        config.model,
        "segmenter",
        in_channels=len(config.data.channels),
        num_classes=scheme.num_classes,
        image_size=config.data.image_size,
        seed=config.run.seed,
        resumed=resumed,
    )


def cycle_of(config: SegmentationConfig, scheme: Scheme) -> CycleLoss | None:
    """The loss of the unlabelled cases; None for a training without them."""
    model = config.train.cycle_model
    return None if model is None else CycleLoss(model, config.data, scheme)


def cycle_loss(cycle: CycleLoss, network: nn.Module, unlabelled: dict[str, Tensor]) -> Tensor:
    """The loss of the unlabelled part of a batch."""
    output = network(unlabelled["image"])
    return cycle(output[0] if isinstance(output, list) else output, unlabelled)  # full size first


def summarise(scores: dict[str, dict[str, float | None]], scheme: Scheme) -> dict[str, float]:
    """Mean Dice per class over the cases that hold it, and over cases of each case's mean; the empty are left out."""
    per_case = [[value for value in classes.values() if value is not None] for classes in scores.values()]
    means = [float(np.mean(values)) for values in per_case if values]
    summary = {"val_dice": float(np.mean(means)) if means else 0.0}
    for name in scheme.classes:
        values = [value for classes in scores.values() if (value := classes[name]) is not None]
        if values:
            summary[f"val_dice_{name}"] = float(np.mean(values))
    return summary
