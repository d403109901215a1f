"""M2I training: from a configuration to a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from segcct.config import M2IConfig
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import scheme_of
from segcct.errors import TrainingError
from segcct.files.json_file import write_json
from segcct.hardware.devices import pick_device
from segcct.inference.arithmetic_device import Inference
from segcct.inference.reconstructor import Reconstruction, Reconstructor
from segcct.metrics.image import rmse, rmse_within
from segcct.model_card import Architecture, ModelCard, SchemeCard, reading
from segcct.models.generator import Generator
from segcct.preparation.conditioning import signed_distances, slice_positions
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_sampling import EpochSampler, SliceDataset
from segcct.provenance import provenance, versions
from segcct.run_folder import RunFolder
from segcct.tasks.reconstruction.reconstruction_loss import ReconstructionLoss
from segcct.tasks.segmentation.plan import Plan, count_steps, measured
from segcct.tasks.segmentation.training_dataset import Dataset, describe_sides, divide, load_dataset
from segcct.training.arithmetic import settle
from segcct.training.network import build_network
from segcct.training.session import check_run, check_same_dataset, gather, open_run, owning_run
from segcct.training.trainer import Task, fit, is_first_process


class ConditionedSlices(TorchDataset):
    """Training slices with what the generator is told: distances and position; and the way back to [0, 1]."""

    def __init__(self, slices: SliceDataset, num_classes: int) -> None:
        self.slices = slices
        self.num_classes = num_classes
        self.by_id = {case.case_id: case for case in slices.cases}

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """`SliceDataset`'s sample, distance (K - 1, S, S), position (1,), mean (C,) and sd (C,), float32."""
        sample = self.slices[place]
        case: PreparedCase = self.by_id[sample["case"]]
        index = sample["slice"]
        return {
            **sample,
            "distance": torch.from_numpy(signed_distances(sample["label"].numpy(), self.num_classes)),
            "position": torch.from_numpy(slice_positions(len(case.image))[index : index + 1]),
            "mean": torch.from_numpy(case.mean),
            "sd": torch.from_numpy(case.sd),
        }


class ReconstructionTask(Task):
    """Masks in, images out; judged on whole validation cases by what the generator adds to painting each class in its
    mean: `val_gain` is the share of that baseline's foreground RMSE that is gone, over `train.validate_cases` of them.
    """

    score = "val_gain"

    def __init__(self, config: M2IConfig, dataset: Dataset, network: Generator | None = None) -> None:
        self.config = config
        self.dataset = dataset
        self.network = network_of(config, dataset.scheme) if network is None else network
        self.criterion = ReconstructionLoss(config.train.loss)
        holders = [case for case in dataset.val if np.any(case.label)]
        self.judged = evenly(holders, config.train.validate_cases)

    def loader(self, rank: int, world: int) -> DataLoader:
        data, train = self.config.data, self.config.train
        slices = SliceDataset(
            self.dataset.train,
            augment=self.config.augment,
            image_size=data.image_size,
            seed=self.config.run.seed,
            slices_per_epoch=train.slices_per_epoch,
            foreground_share=data.foreground_share,
        )
        return DataLoader(
            ConditionedSlices(slices, self.dataset.scheme.num_classes),
            batch_size=train.batch_size,
            sampler=EpochSampler(len(slices), rank=rank, world=world),
            num_workers=data.workers,
            persistent_workers=data.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        image, label = batch["image"], batch["label"]
        mask = nn.functional.one_hot(label, self.dataset.scheme.num_classes).permute(0, 3, 1, 2).float()
        generator = cast(Generator, network)
        distance = batch["distance"]
        made = generator(mask, distance, batch["position"], generator.style_of(image, mask, distance))
        loss: Tensor = self.criterion(made, image, label > 0, batch["mean"], batch["sd"])
        return loss

    def names(self, batch: dict[str, Any]) -> list[str]:
        return [f"{case} slice {int(index)}" for case, index in zip(batch["case"], batch["slice"], strict=True)]

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        how = Inference(self.config.train.batch_size, self.config.train.precision, device)
        reconstructor = Reconstructor(cast(Generator, network), self.card({}), how)
        mine = {case.case_id: figures_of(reconstructor.reconstruct(case)) for case in self.judged[rank::world]}
        scores = summarise(gather(mine, world))
        if self.score not in scores:
            raise TrainingError(
                "no validation case tells which weights are the best: each of its structures has one intensity",
                found=", ".join(case.case_id for case in self.judged[:4]),
                remedy="Change data.split or data.fold",
            )
        return scores

    def card(self, selected_on: dict[str, Any]) -> ModelCard:
        config, scheme = self.config, self.dataset.scheme
        return ModelCard(
            task="reconstruction",
            architecture=Architecture(
                name=config.model.name,
                in_channels=len(config.data.channels),
                num_classes=scheme.num_classes,
                image_size=config.data.image_size,
                options=config.model.options,
            ),
            data=reading(config.data),
            scheme=SchemeCard.of(scheme),
            selected_on={**selected_on, "cases": len(self.judged)},
            data_fingerprint=self.dataset.fingerprint,
            synthetic=self.dataset.synthetic,
            provenance=versions(),
        )


def network_of(config: M2IConfig, scheme: Scheme, *, resumed: bool = False) -> Generator:
    """The generator of the configuration."""
    network = build_network(
        config.model,
        "generator",
        in_channels=len(config.data.channels),
        num_classes=scheme.num_classes,
        image_size=config.data.image_size,
        seed=config.run.seed,
        resumed=resumed,
    )
    return cast(Generator, network)


def evenly(cases: Sequence[PreparedCase], most: int) -> list[PreparedCase]:
    """At most so many cases, evenly spaced from the first to the last."""
    places = np.linspace(0, len(cases) - 1, min(most, len(cases))).round().astype(int)
    return [cases[place] for place in places]


def figures_of(made: Reconstruction) -> dict[str, float | None]:
    """What the validation of one case says; None where the case has no foreground.

    The structural similarity is left to `segcct compare`: over every plane it would take longer than the generator.
    """
    return {
        "val_gain": made.gain,
        "val_rmse_foreground": rmse_within(made.original, made.image, made.label > 0),
        "val_rmse": rmse(made.original, made.image),
    }


def summarise(figures: dict[str, dict[str, float | None]]) -> dict[str, float]:
    """Mean of each figure over the cases where it is defined; a figure defined in none is left out."""
    summary = {}
    for name in next(iter(figures.values()), {}):
        values = [value for case in figures.values() if (value := case[name]) is not None]
        if values:
            summary[name] = float(np.mean(values))
    return summary


@owning_run
def train_reconstruction(config: M2IConfig, *, resume: RunFolder | None = None) -> RunFolder:
    """Train as `config` says, into a new run folder or on in `resume`; returns the run folder.

    Raises `SegcctError` for whatever is wrong with data, model or run, before the folder appears.
    """
    config = settle(config)
    check_run(config.run, config.train, resume)
    # A wrong name or option shows before hours of preparation.
    network = network_of(config, scheme_of(config.data), resumed=resume is not None)
    dataset = load_dataset(config.data)
    task = ReconstructionTask(config, dataset, network)
    if resume is not None:
        check_same_dataset(resume, dataset.splits, dataset.fingerprint)
    run = open_run(config.run, config, dataset.splits, resume=resume)
    best = fit(task, run, config.train, seed=config.run.seed, resume=resume is not None)
    if is_first_process():
        write_json(run.summary, {"selected_on": best, "provenance": provenance(dataset.fingerprint)})
    return run


def plan_reconstruction(config: M2IConfig, *, resume: RunFolder | None = None) -> Plan:
    """Find, check and split the cases, build the generator and take two steps on random input. Writes nothing.

    Raises `SegcctError` for whatever the training itself would refuse before it prepares the cases.
    """
    config = settle(config)
    check_run(config.run, config.train, resume)
    data, train, device = config.data, config.train, pick_device(config.train.device)
    scheme = scheme_of(data)
    network = network_of(config, scheme, resumed=resume is not None)
    division = divide(data)
    criterion = ReconstructionLoss(train.loss).to(device)
    batch, side, channels = train.batch_size, data.image_size, len(data.channels)
    image = torch.randn(batch, channels, side, side, device=device)
    mask = torch.randn(batch, scheme.num_classes, side, side, device=device).softmax(dim=1)
    distance, position = mask[:, 1:], torch.rand(batch, 1, device=device)
    mean, sd = torch.zeros(batch, channels, device=device), torch.ones(batch, channels, device=device)

    def loss() -> Tensor:
        made = network(mask, distance, position, network.style_of(image, mask, distance))
        return cast(Tensor, criterion(made, image, mask[:, 0] < 0.5, mean, sd))

    steps = count_steps(division.splits.select(division.cases, "train"), config)
    return measured(describe_sides(division), network, train, loss, steps=steps)
