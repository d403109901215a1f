"""The training loop of all tasks, on Lightning's trainer. What makes a resumed run exact: batch_seeds.py."""

from __future__ import annotations

import logging
import shlex
import signal
import time
import warnings
from collections import deque
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segcct.config import ScheduleSection
from segcct.errors import SegcctError, TrainingError
from segcct.hardware.precision import autocast
from segcct.model_card import ModelCard, load_card
from segcct.plurals import counted
from segcct.preparation.slice_sampling import EpochSampler
from segcct.progress import Progress, duration, say
from segcct.run_folder import RunFolder
from segcct.training.arithmetic import lightning_devices
from segcct.training.batch_seeds import batch_seed
from segcct.training.checkpoint import StateFile, check_training, identity_of, read_state, unusable
from segcct.training.curves import curves_of, quiet_writer
from segcct.training.network import explaining_batch_norm
from segcct.training.optimization import Clock, averaged_copy, build_optimizer, lr_factor, recalibrate
from segcct.training.processes import is_first_process, progress_bar

CONFIG = "config"
"""Key of last.ckpt that holds the text of config.yaml."""


class Trainable(Protocol):
    """What the loop needs of a `Task` (tasks/task.py)."""

    network: nn.Module
    score: str
    progress: float
    averaged: nn.Module | None
    keeps_last: bool
    look_at_cases: str

    def loader(self, rank: int, world: int) -> DataLoader[Any]: ...
    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor: ...
    def names(self, batch: dict[str, Any]) -> list[str]: ...
    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]: ...
    def card(self, selected_on: dict[str, Any]) -> ModelCard: ...
    def draw(self, network: nn.Module, device: str, folder: Path) -> None: ...


class TrainingModule(pl.LightningModule):
    """A task for Lightning: network, EMA of its weights, loss, optimizer, learning rate by progress."""

    def __init__(self, task: Trainable, train: ScheduleSection, seed: int) -> None:
        super().__init__()
        self.task = task
        self.train_section = train
        self.seed = seed
        self.clock = Clock(train)
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

    def on_train_start(self) -> None:
        self.clock.start()
        batches, added = int(self.trainer.num_training_batches), self.train_section.accumulate
        if added > batches and self.trainer.is_global_zero:
            say(f"train.accumulate is {added}, but an epoch has {batches} batches: each epoch ends with a step on "
                f"those; show more per epoch, or lower it to {batches}")  # fmt: skip
        if self.stop_when_over() and self.clock.budget is not None and self.trainer.is_global_zero:
            say(f"the budget of {duration(self.clock.budget)} is used up; extend it with --train.budget")

    def stop_when_over(self) -> bool:
        """End the training in all processes where the first one's budget is used up, and remember that it was."""
        if self.clock.budget is None or not self.trainer.strategy.broadcast(self.clock.over()):
            return False
        self.clock.ended = self.clock.budget
        self.trainer.should_stop = True
        return True

    def on_train_epoch_start(self) -> None:
        self.losses = []
        self.latest_batches.clear()  # a resumed run has none of an earlier epoch either

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        torch.manual_seed(batch_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))
        progress = self.clock.progress(self.current_epoch, batch_idx, int(self.trainer.num_training_batches))
        if self.clock.budget is not None:
            progress = self.trainer.strategy.broadcast(progress)  # clocks differ, learning rates must not
        self.task.progress = progress
        train = self.train_section
        rate = train.lr * lr_factor(progress, schedule=train.schedule, warmup=train.warmup)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        with explaining_batch_norm():
            loss = self.task.loss(self.network, batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite in epoch {self.current_epoch}, batch {batch_idx}",
                found=f"{loss.item()} on {', '.join(self.task.names(batch))}",
                remedy=f"{self.task.look_at_cases} --train.lr or set --train.precision fp32",
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
        """Give the averaged weights statistics of their own from the latest batches; all processes get the first's."""
        with autocast(self.device.type, self.train_section.precision):
            passes = (partial(self.task.loss, batch=batch) for batch in self.latest_batches)
            recalibrate(self.evaluated_network, passes)
        if self.trainer.world_size > 1:
            for buffer in self.evaluated_network.buffers():
                buffer.copy_(self.trainer.strategy.broadcast(buffer))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        clock = self.clock
        checkpoint["clock"] = {
            "elapsed": clock.elapsed,
            "validation": clock.validation,
            "validations": clock.validations,
            "ended": clock.ended,
        }
        checkpoint["averaged_steps"] = self.averaged_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.clock.before = checkpoint["clock"]["elapsed"]
        self.clock.validation = checkpoint["clock"]["validation"]
        self.clock.validations = checkpoint["clock"].get("validations", 0.0)
        self.clock.ended = checkpoint["clock"]["ended"]
        self.averaged_steps = checkpoint["averaged_steps"]


class ValidationCallback(Checkpoint):
    """After each epoch: validate, save the best weights, write the row of metrics.csv, then last.ckpt."""

    state_key = "EpochEnd"
    """Where last.ckpt keeps `state_dict`: the name of this class in earlier versions."""

    def __init__(self, task: Trainable, run: RunFolder, train: ScheduleSection, following: int) -> None:
        self.task = task
        self.run = run
        self.train = train
        self.following = following
        self.best: dict[str, Any] | None = None
        self.without_better = 0
        self.began = time.monotonic()
        self.progress: Progress | None = None
        self.started = False
        self.config = run.config.read_text(encoding="utf-8") if run.config.is_file() else ""
        """config.yaml when the training begins or is resumed, whatever becomes of the file meanwhile."""

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        checkpoint[CONFIG] = self.config

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "without_better": self.without_better}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
        self.without_better = state_dict["without_better"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = True
        if self._out_of_patience():  # the run was resumed after its early stop
            trainer.should_stop = True
            if trainer.is_global_zero:
                say(f"{self.run.path} ended after {self.without_better} validations without a better score; it stays "
                    "as it is (train.patience)")  # fmt: skip

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.monotonic()
        self.progress = progress_bar(f"epoch {trainer.current_epoch + 1}, batches")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.progress is not None and batch_idx + 1 < trainer.num_training_batches:
            self.progress(batch_idx + 1, int(trainer.num_training_batches))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: TrainingModule) -> None:  # type: ignore[override]
        epoch = trainer.current_epoch
        last = trainer.should_stop or (pl_module.clock.budget is None and epoch + 1 >= self.train.epochs)
        due = last or (epoch + 1) % self.train.validate_every == 0
        if due and not last and self.train.validation_time is not None:
            due = trainer.strategy.broadcast(pl_module.clock.has_time_to_validate())
        scores = self._validate(trainer, pl_module, epoch) if due else {}
        if trainer.is_global_zero:
            self._write_row(trainer, pl_module, epoch, scores)
        trainer.save_checkpoint(self.run.last)

    def _validate(self, trainer: pl.Trainer, module: TrainingModule, epoch: int) -> dict[str, float]:
        began = time.monotonic()
        network, device = module.evaluated_network, str(module.device)
        if self.train.recalibrate:
            module.recalibrate()
        _require_finite(network, epoch)
        scores = self.task.validate(network, device, trainer.global_rank, trainer.world_size)
        score = scores[self.task.score]
        better = self.task.keeps_last or self.best is None or score > self.best["value"]
        self.without_better = 0 if better else self.without_better + 1
        if better:
            self.best = {"metric": self.task.score, "value": score, "epoch": epoch}
            if trainer.is_global_zero:
                self.run.remove_pictures()  # those of earlier weights
                self.run.save_best(network.state_dict(), self.task.card(self.best))
                self.task.draw(network, device, self.run.pictures)
        if self._out_of_patience():
            trainer.should_stop = True
        module.train()
        module.clock.validated(time.monotonic() - began)
        module.stop_when_over()  # where what is left is less than another validation takes
        return scores

    def _out_of_patience(self) -> bool:
        return self.train.patience is not None and self.without_better >= self.train.patience

    def _write_row(self, trainer: pl.Trainer, module: TrainingModule, epoch: int, scores: dict[str, float]) -> None:
        loss = float(torch.stack(module.losses).mean()) if module.losses else float("nan")
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {
            "epoch": epoch,
            "elapsed_s": round(module.clock.elapsed, 1),
            "lr": f"{rate:.3e}",
            "train_loss": f"{loss:.5f}",
        }
        row |= {name: f"{value:.5f}" for name, value in scores.items()}
        self.run.add_metrics(row)
        for name, value in {"train_loss": loss, "lr": rate, **scores}.items():
            for logger in trainer.loggers:
                logger.log_metrics({name: value}, step=epoch)
        say(self._line(module, epoch, loss, scores))

    def _line(self, module: TrainingModule, epoch: int, loss: float, scores: dict[str, float]) -> str:
        clock = module.clock
        total = "" if clock.budget is not None else f"/{clock.epochs}"
        progress = clock.progress(epoch + 1, 0, 1)
        left = clock.budget - clock.elapsed if clock.budget else clock.elapsed / max(progress, 1e-9) * (1 - progress)
        score = f"  {self.task.score} {scores[self.task.score]:.3f}" if scores else ""
        best = f" (best {self.best['value']:.3f})" if scores and self.best else ""
        pace = duration(time.monotonic() - self.began)
        line = f"epoch {epoch + 1}{total}  loss {loss:.3f}{score}{best}  {pace}  {duration(max(left, 0.0))} left"
        whole = clock.budget or clock.elapsed / max(progress, 1e-9)
        everything = duration(max(left, 0.0) + self.following * whole)
        return f"{line}, {everything} for all folds" if self.following else line


def _require_finite(network: nn.Module, epoch: int) -> None:
    """A step can ruin the weights after the loss was still a number; they are neither validated nor saved as best."""
    broken = [name for name, value in network.state_dict().items() if not bool(value.isfinite().all())]
    if broken:
        raise TrainingError(
            f"weights are not finite after epoch {epoch}",
            found=f"NaN or infinity in {len(broken)} tensors, such as {broken[0]}",
            remedy="Lower --train.lr, clip gradients (--train.clip_norm 1) or set --train.precision fp32",
        )


def fit(
    task: Trainable, run: RunFolder, train: ScheduleSection, *, seed: int, resume: bool = False, following: int = 0
) -> dict[str, Any]:
    """Train `task` into `run`; returns what the best weights were selected on.

    With `resume`, continues from last.ckpt. An interrupted run can be resumed. The time left that is shown counts
    `following` folds of the same length too.

    Raises:
        TrainingError: the loss is not finite, or the weights are not.
        KeyboardInterrupt: Ctrl-C.
    """
    torch.manual_seed(batch_seed(seed, 0, 0, 0))
    module = TrainingModule(task, train, seed)
    training = identity_of(task.card({}), seed)
    state = _resumed_state(run, module, training, train) if resume else None
    validation = ValidationCallback(task, run, train, following)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings(), quiet_writer():
        warnings.simplefilter("ignore")  # Lightning's hints about workers and logging intervals
        trainer = pl.Trainer(
            **lightning_devices(train),
            precision="bf16-mixed" if train.precision == "bf16" else "32-true",
            max_epochs=-1 if train.budget is not None else train.epochs,
            min_epochs=0,
            accumulate_grad_batches=train.accumulate,
            gradient_clip_val=train.clip_norm or None,
            callbacks=[validation],
            plugins=[StateFile(training, state)],
            logger=curves_of(train.logger, run, {"model": training["architecture"]["name"], **_settings(train)}),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=run.path,
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, ckpt_path=str(run.last) if resume else None, weights_only=True if resume else None)
        except SystemExit:  # how Lightning passes Ctrl-C on, which it stops listening to
            if on_interrupt is not None:
                signal.signal(signal.SIGINT, on_interrupt)
            if run.last.is_file():
                say(f"stopped in epoch {module.current_epoch + 1}; continue with --resume {shlex.quote(str(run.path))}")
            else:
                say(f"stopped before the first epoch ended: nothing can be resumed; delete {run.path} to start again")
            raise KeyboardInterrupt from None
        except Exception as error:
            if state is None or validation.started or isinstance(error, SegcctError):
                raise
            raise unusable(run.last, error) from error
    best = validation.best
    if best is None:
        raise TrainingError("the training ended before its first validation", remedy="Give it a longer --train.budget")
    if not is_first_process():
        return best
    # A training with a budget that was killed between best/ and last.ckpt may select other weights when resumed.
    stored = load_card(run.best).selected_on
    return {name: stored.get(name, value) for name, value in best.items()}


def _settings(train: ScheduleSection) -> dict[str, Any]:
    """The keys of a training section that name no file."""
    return {
        name: value for name, value in train.model_dump(mode="json").items() if isinstance(value, int | float | str)
    }


def _resumed_state(
    run: RunFolder, module: TrainingModule, training: Mapping[str, Any], train: ScheduleSection
) -> dict[str, Any]:
    """The state in last.ckpt. Raises `RunError` where it is damaged or another training's."""
    state = read_state(run.last)
    check_training(run.last, state, module, training)
    done = int(state["epoch"]) + 1
    if is_first_process():
        run.keep_metrics(done)
        if train.budget is None and done == train.epochs:
            say(f"{run.path} is done after {counted(train.epochs, 'epoch')}; train longer with --train.epochs N")
    return state
