"""A task as Lightning's module: what is done at every step. batch_seeds.py says why a resumed run is exact."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segcct.config import TrainSection
from segcct.errors import TrainingError
from segcct.hardware.precision import autocast
from segcct.model_card import ModelCard
from segcct.preparation.slice_sampling import EpochSampler
from segcct.progress import duration, say
from segcct.training.batch_seeds import batch_seed
from segcct.training.clock import Clock
from segcct.training.network import explaining_batch_norm
from segcct.training.optimization import averaged_copy, build_optimizer, lr_factor, rate_key, recalibrate


class Trainable(Protocol):
    """What the loop needs of a `Task` (tasks/task.py). That mypy accepts one where `fit` is called keeps them equal."""

    network: nn.Module
    score: str
    averaged: nn.Module | None
    keeps_last: bool
    loss_remedy: str
    frozen_models: Mapping[str, str]

    def loader(self, rank: int, world: int) -> DataLoader[Any]: ...
    def loss(self, network: nn.Module, batch: dict[str, Any], progress: float) -> Tensor: ...
    def names(self, batch: dict[str, Any]) -> list[str]: ...
    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]: ...
    def card(self, selected_on: dict[str, Any]) -> ModelCard: ...
    def draw(self, network: nn.Module, device: str, folder: Path) -> None: ...


class TrainingModule(pl.LightningModule):
    """A task as Lightning's module: network, EMA of its weights, loss, optimizer, learning rate by progress."""

    def __init__(self, task: Trainable, train: TrainSection, seed: int) -> None:
        super().__init__()
        self.task = task
        self.train_section = train
        self.seed = seed
        self.clock = Clock(train)
        self.progress = 0.0
        """Fraction of training that was done at the latest batch."""
        self.network = task.network
        self.averaged = averaged_copy(task.network, train.ema) if train.ema else None
        task.averaged = None if self.averaged is None else self.averaged.module
        self.losses: list[Tensor] = []
        self.latest_batches: deque[dict[str, Any]] = deque(maxlen=train.recalibrate)
        self.averaged_steps = 0

    @property
    def evaluated_network(self) -> nn.Module:
        """The network that is validated and saved: the EMA where there is one."""
        return self.network if self.averaged is None else self.averaged.module

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the current epoch on.

        Lightning makes the iterator, and so starts the loader's workers, before it sets the sampler's epoch: those of
        a resumed run would begin with the batches of epoch 0.
        """
        loader = self.task.loader(self.trainer.global_rank, self.trainer.world_size)
        epochs = cast(Any, self.trainer.fit_loop.epoch_progress.current)  # current_epoch lags behind a checkpoint
        cast(EpochSampler, loader.sampler).set_epoch(epochs.processed)
        return loader

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.network, self.train_section)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients together. Lightning's own method refuses fused optimizers in bf16, although
        their gradients are not scaled."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val)

    def on_train_start(self) -> None:
        self.clock.start()
        batches, added = int(self.trainer.num_training_batches), self.train_section.accumulate
        if added > batches and self.trainer.is_global_zero:
            say(f"train.accumulate is {added}, but an epoch has {batches} batches, so it is one step: lower it to "
                f"{batches}, or make epochs longer")  # fmt: skip
        if self.stop_when_over() and self.clock.budget is not None and self.trainer.is_global_zero:
            say(f"the budget of {duration(self.clock.budget)} is used up; extend it with --train.budget")

    def stop_when_over(self) -> bool:
        """Whether the budget of the first process is used up; if so, training ends in all processes."""
        if self.clock.budget is None or not self.trainer.strategy.broadcast(self.clock.over()):
            return False
        self.clock.ended = self.clock.budget
        self.trainer.should_stop = True
        return True

    def on_train_epoch_start(self) -> None:
        self.losses = []
        if self.clock.budget is None:  # by a budget, the last epoch may end after a batch
            self.latest_batches.clear()  # a resumed run has none of an earlier epoch either

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        torch.manual_seed(batch_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))
        self.progress = self.clock.progress(self.current_epoch, batch_idx, int(self.trainer.num_training_batches))
        if self.clock.budget is not None:
            self.progress = self.trainer.strategy.broadcast(self.progress)  # clocks differ, learning rates must not
        train = self.train_section
        rate = train.lr * lr_factor(self.progress, schedule=train.schedule, warmup=train.warmup)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        with explaining_batch_norm():
            loss = self.task.loss(self.network, batch, self.progress)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite in epoch {self.current_epoch}, batch {batch_idx}",
                found=f"{loss.item()} on {', '.join(self.task.names(batch))}",
                remedy=f"{self.task.loss_remedy} {rate_key(self.train_section)} or set --train.precision fp32",
            )
        self.losses.append(loss.detach())
        self.latest_batches.append(batch)
        train = self.train_section
        # Lightning divides by `accumulate`, also where an epoch's last batches are fewer than that.
        remaining = int(self.trainer.num_training_batches) - (batch_idx - batch_idx % train.accumulate)
        return loss * (train.accumulate / min(train.accumulate, remaining))

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        if self.averaged is not None and self.global_step > self.averaged_steps:
            self.averaged.update_parameters(self.network)
        self.averaged_steps = self.global_step
        self.stop_when_over()

    def recalibrate(self) -> None:
        """Compute BatchNorm's statistics for the averaged weights from the latest batches."""
        with autocast(self.device.type, self.train_section.precision):
            passes = (partial(self.task.loss, batch=batch, progress=self.progress) for batch in self.latest_batches)
            recalibrate(self.evaluated_network, passes)

    def share_statistics(self) -> None:
        """Give all processes the buffers of the first one, which are saved: each process had other batches."""
        if self.trainer.world_size > 1:
            for buffer in self.evaluated_network.buffers():
                buffer.copy_(self.trainer.strategy.broadcast(buffer))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["clock"] = self.clock.state_dict()
        checkpoint["averaged_steps"] = self.averaged_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.clock.load_state_dict(checkpoint["clock"])
        self.averaged_steps = checkpoint["averaged_steps"]
