"""A task as another package would add it, in one file: a network learns to remove noise from images without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from segcct.config import Experiment, ModelSection, RunSection, TrainSection
from segcct.config.base import Section
from segcct.datasets.split_record import Splits
from segcct.files.json_file import read_object, write_json
from segcct.inference.loaded_model import LoadedModel
from segcct.model_card import Architecture
from segcct.preparation.slice_sampling import EpochSampler
from segcct.tasks.task import DatasetSummary, Outcome, Task, TaskRow, register_task
from segcct.tasks.task_options import EvaluateOptions, PredictOptions, ReportOptions
from segcct.training.processes import gather

SIZE = 32


class ImagesSection(Section):
    root: Path
    """Folder of .npy files, each an image (32, 32)."""


class DenoisingConfig(Experiment):
    run: RunSection = RunSection()
    data: ImagesSection
    model: ModelSection = ModelSection(name="cct_unet_t")
    train: TrainSection = TrainSection()


@dataclass
class Images:
    arrays: dict[str, np.ndarray]
    splits: Splits
    fingerprint: str = "none"
    synthetic: bool = False


class Noisy(Dataset):
    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images.splits.train)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        case = self.images.splits.train[place[1]]
        clean = self.images.arrays[case][None]
        noise = np.random.default_rng(place).normal(size=clean.shape)
        return {"case": case, "clean": clean, "noisy": (clean + noise).astype(np.float32)}


class DenoisingTask(Task):
    name = "denoising"
    model_kind = "segmenter"
    score = "val_gain"
    needs_labels = False
    dataset: Images

    @property
    def architecture(self) -> Architecture:
        return Architecture(name=self.config.model.name, in_channels=1, num_classes=1, image_size=SIZE)

    @property
    def scheme_card(self) -> None:
        return None

    @property
    def reading(self) -> dict[str, Any]:
        return {}

    def find(self) -> DatasetSummary:
        files = sorted(self.config.data.root.glob("*.npy"))
        return DatasetSummary(f"train {len(files) - 1}, val 1", 1)

    def prepare(self) -> None:
        arrays = {file.stem: np.load(file) for file in sorted(self.config.data.root.glob("*.npy"))}
        self.dataset = Images(arrays, Splits(tuple(arrays)[1:], tuple(arrays)[:1]))

    def example(self, size: int, device: str) -> dict[str, Any]:
        clean = torch.rand(size, 1, SIZE, SIZE, device=device)
        return {"clean": clean, "noisy": clean + torch.randn_like(clean)}

    def loader(self, rank: int, world: int) -> DataLoader:
        noisy = Noisy(self.dataset)
        sampler = EpochSampler(len(noisy), rank=rank, world=world)
        return DataLoader(noisy, batch_size=self.config.train.batch_size, sampler=sampler)

    def loss(self, network: nn.Module, batch: dict[str, Any], progress: float) -> Tensor:
        del progress
        return (network(batch["noisy"]) - batch["clean"]).square().mean()

    def names(self, batch: dict[str, Any]) -> list[str]:
        return list(batch["case"])

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        mine = {case: rmse_of(network, self.dataset.arrays[case]) for case in self.dataset.splits.val[rank::world]}
        return {"val_gain": -float(np.mean(list(gather(mine, world).values())))}

    def validated_on(self) -> dict[str, int]:
        return {"images": len(self.dataset.splits.val)}


def rmse_of(network: nn.Module, image: np.ndarray) -> float:
    network.eval()
    with torch.inference_mode():
        return float((network(torch.from_numpy(image)[None, None])[0, 0] - torch.from_numpy(image)).square().mean())


class Denoiser(LoadedModel):
    task, noun, command = "denoising", "a denoiser", "train-denoising"


def predict(model: Sequence[Path], source: Path, output: Path, options: PredictOptions) -> Outcome:
    denoiser = Denoiser.load(model, options.settings)
    output.mkdir(parents=True)
    for file in sorted(source.glob("*.npy")):
        with torch.inference_mode():
            np.save(output / file.name, denoiser.network(torch.from_numpy(np.load(file))[None, None])[0, 0].numpy())
    write_json(output / "predictions.json", {"task": "denoising"})
    return Outcome(f"wrote {output}", ("evaluate", "--prediction", output, "--reference", source, "--output", "scores"))


def evaluate(prediction: Path, reference: Path, output: Path, _: EvaluateOptions) -> Outcome:
    errors = [np.abs(np.load(file) - np.load(reference / file.name)).mean() for file in prediction.glob("*.npy")]
    output.mkdir(parents=True)
    write_json(output / "summary.json", {"task": "denoising", "error": float(np.mean(errors))})
    return Outcome(f"wrote {output}")


def report(evaluation: Path, output: Path, _: ReportOptions) -> Outcome:
    return Outcome(f"the mean error is {read_object(evaluation / 'summary.json')['error']:.3f}")


ROW = TaskRow(
    name="denoising",
    command="train-denoising",
    help="train a network that removes noise from images",
    task="outside_task:DenoisingTask",
    config="outside_task:DenoisingConfig",
    model="outside_task:Denoiser",
    predict="outside_task:predict",
    evaluate="outside_task:evaluate",
    report="outside_task:report",
)
register_task(ROW)
