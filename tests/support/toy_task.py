"""A tiny task for tests of the trainer, with dropout, batch norm and two classes, and a program that trains it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from segcct.config import SegmentationTrainSection
from segcct.model_card import Architecture, ModelCard, SchemeCard
from segcct.preparation.slice_sampling import EpochSampler
from segcct.run_folder import RunFolder
from segcct.training.trainer import fit

SLICES = 24
HELD = "held in the batch\n"
"""Printed by a process whose training waits to be killed."""


class Noise(Dataset):
    """Images of noise that depend only on (epoch, index)."""

    def __len__(self) -> int:
        return SLICES

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(1000 * place[0] + place[1])
        image = torch.randn(1, 8, 8, generator=generator)
        return {"image": image, "label": (image[0] > 0).long(), "case": f"case{place[1]}", "slice": place[1]}


class ToyTask:
    """Learns the sign of a pixel through dropout and batch norm."""

    score = "val_dice"
    keeps_last = False
    loss_remedy = "Look at these cases with `segcct check`; else lower"
    frozen_models: Mapping[str, str] = {}

    def __init__(self, *, poison: int | None = None, ruin: int | None = None, hold: int | None = None) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 2, 1)
        )
        self.poison = poison
        self.ruin = ruin
        self.hold = hold
        self.batches = 0

    def loader(self, rank: int, world: int) -> DataLoader:
        return DataLoader(Noise(), batch_size=4, sampler=EpochSampler(SLICES, rank=rank, world=world))

    def loss(self, network: nn.Module, batch: dict[str, Any], progress: float) -> Tensor:
        self.batches += 1
        if self.batches == self.hold:
            print(HELD, end="", flush=True)
            time.sleep(600)
        loss = nn.functional.cross_entropy(network(batch["image"]), batch["label"])
        if self.batches == self.ruin:  # a finite loss whose gradient is not finite
            loss = loss + (0 * next(network.parameters())).square().sum().sqrt()
        return loss * float("nan") if self.batches == self.poison else loss

    def names(self, batch: dict[str, Any]) -> list[str]:
        return list(batch["case"])

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        network.eval()
        with torch.no_grad():
            image = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(7)).to(device)
            right = (network(image).argmax(1) == (image[:, 0] > 0)).float().mean()
        return {"val_dice": float(right)}

    def draw(self, network: nn.Module, device: str, folder: Path) -> None:
        """Nothing."""

    def card(self, selected_on: dict[str, Any]) -> ModelCard:
        return ModelCard(
            task="toy",
            architecture=Architecture(name="toy", in_channels=1, num_classes=2, image_size=8),
            data={},
            scheme=SchemeCard(name="binary", classes={"foreground": 1}),
            selected_on=selected_on,
            data_fingerprint="none",
            provenance={},
        )


def main(folder: str, epochs: str, hold: str, resume: str) -> None:
    """Train the toy; tests start this as a process and kill it in the batch `hold` (0: never)."""
    run = RunFolder(Path(folder))
    run.path.mkdir(parents=True, exist_ok=True)
    train = SegmentationTrainSection(epochs=int(epochs), accumulate=2, ema=0.9, lr=0.01)
    fit(ToyTask(hold=int(hold)), run, train, seed=3, resume=resume == "resume")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
