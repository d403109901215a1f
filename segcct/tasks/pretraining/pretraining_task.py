"""Masked pre-training: images in, an encoder out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from segcct.config import PretrainingConfig
from segcct.datasets.case import Case
from segcct.datasets.inventory import Inventory
from segcct.figures import window
from segcct.files.atomic_file import atomic_path
from segcct.hardware.precision import autocast
from segcct.inference.loaded_model import LoadedModel
from segcct.model_card import Architecture, SchemeCard
from segcct.models.masked_encoder import PREFIX, MaskedEncoder
from segcct.preparation.prepared_case import PreparedCase
from segcct.run_folder import RunFolder
from segcct.runtime import pad_to
from segcct.tasks.slice_task import SliceTask, mean_scores
from segcct.tasks.training_dataset import TrainingData
from segcct.training.processes import gather

_DECAY_RISE = 0.8
"""How much nearer to 1 `train.target_decay` is at the end, as a fraction of its distance at the start."""
_MOST_SLICES = 8
"""Of a validation case, evenly spaced."""


class PretrainedEncoder(LoadedModel):
    """What a pre-training leaves: an encoder to start from (`model.pretrained`)."""

    task, noun, command = "pretraining", "a pre-trained encoder", "pretrain"


class PretrainingTask(SliceTask):
    """The last weights are kept. They are validated by how well masked blocks of validation cases are filled:
    `val_explained`, the explained variance of pixels, or `val_similarity`, which is not comparable between methods.
    """

    name = "pretraining"
    model_kind = "pretrainer"
    needs_labels = False
    keeps_last = True
    config: PretrainingConfig

    def __init__(
        self, config: PretrainingConfig, dataset: TrainingData | None = None, *, resumed: bool = False
    ) -> None:
        super().__init__(config, dataset, resumed=resumed)
        self.unlabeled = config.data.split.names_unlabeled
        self.score = "val_explained" if config.train.method == "mae" else "val_similarity"

    def epoch_cases(self, inventory: Inventory) -> list[Case]:
        """See `SliceTask`; also those that train without labels."""
        return [*super().epoch_cases(inventory), *inventory.unlabeled]

    def prepare(self) -> None:
        """See `Task`; cases that train without labels train like the others."""
        super().prepare()
        dataset = self.dataset
        self.dataset = replace(dataset, train=[*dataset.train, *dataset.unlabeled], unlabeled=[])

    @property
    def architecture(self) -> Architecture:
        plain, train = super().architecture, self.config.train
        options = {**plain.options, "method": train.method, "block_px": train.block_px}
        return plain.model_copy(update={"name": PREFIX + plain.name, "options": options})

    @property
    def scheme_card(self) -> SchemeCard | None:
        return None

    def loss(self, network: nn.Module, batch: dict[str, Any], progress: float) -> Tensor:
        masked, train = cast(MaskedEncoder, network), self.config.train
        if masked.training:
            decay = 1 - (1 - train.target_decay) * (1 - _DECAY_RISE * progress)  # of a step
            masked.update_target(decay ** (1 / train.accumulate))  # once per batch
        image = batch["image"]
        visible = masked.draw_visible(len(image), train.mask_ratio).to(image.device)
        loss, _ = masked.loss_and_score(image, visible)
        return loss

    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        mine = {case.case_id: self._scores(network, device, case) for case in self.dataset.val[rank::world]}
        return mean_scores(gather(mine, world))

    def draw(self, network: nn.Module, device: str, folder: Path) -> None:
        if self.config.train.method != "mae":
            return
        folder.mkdir(exist_ok=True)
        for case in self.dataset.val[: self.config.train.pictures]:
            image, visible = self._masked_slices(cast(MaskedEncoder, network), device, case, 1)
            masked = cast(MaskedEncoder, network.eval())
            with torch.inference_mode(), autocast(device, self.config.train.precision):
                filled = masked.pixels(masked(image, visible)).float()
                shown, seen = (masked.masked_image(each, visible) for each in (image, torch.ones_like(image)))
            panels = [image, shown, torch.where(seen > 0, image, filled)]
            with atomic_path(folder / f"{case.case_id}.png", private=True) as temporary:
                _side_by_side([panel[0, 0].cpu().numpy() for panel in panels]).save(temporary, format="PNG")

    @staticmethod
    def next_command(config: PretrainingConfig, run: RunFolder) -> Sequence[object]:
        del config
        # docs/how-to/pretrain.md
        gently = ("--train.optimizer", "adamw", "--train.lr", "7e-4", "--train.warmup", "0.1")
        return ("train-seg", "--config", "CONFIG", "--model.pretrained", run.best, *gently)

    def _scores(self, network: nn.Module, device: str, case: PreparedCase) -> dict[str, float | None]:
        masked = cast(MaskedEncoder, network.eval())
        image, visible = self._masked_slices(masked, device, case, _MOST_SLICES)
        with torch.inference_mode(), autocast(device, self.config.train.precision):
            loss, score = masked.loss_and_score(image, visible)
        return {self.score: float(score), "val_loss": float(loss)}

    def _masked_slices(
        self, network: MaskedEncoder, device: str, case: PreparedCase, most: int
    ) -> tuple[Tensor, Tensor]:
        """Slices (n, C, S, S) of a case, the same in every validation, cut to the middle, and their masks."""
        size, count = self.config.data.image_size, len(case.image)
        places = np.unique(np.linspace(0, count - 1, most + 2).round().astype(int)[1:-1])
        unit, _ = pad_to(np.asarray(case.image[places]), size)
        top, left = ((side - size) // 2 for side in unit.shape[-2:])
        image = torch.from_numpy(case.standardize(unit[..., top : top + size, left : left + size])).to(device)
        generator = torch.Generator().manual_seed(0)
        return image, network.draw_visible(len(image), self.config.train.mask_ratio, generator).to(device)


def _side_by_side(images: Sequence[np.ndarray]) -> Image.Image:
    """Gray images (H, W) in the intensity window of the first."""
    seen = window(images[0])
    return Image.fromarray(np.concatenate([np.pad(seen.apply(image), ((0, 0), (0, 4))) for image in images], axis=1))
