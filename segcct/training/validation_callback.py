"""What follows every epoch of training: validation, best/, metrics.csv, last.ckpt, and the line that says so."""

from __future__ import annotations

import math
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import nn

from segcct.config import TrainSection
from segcct.errors import TrainingError
from segcct.plurals import counted
from segcct.progress import Progress, duration, say
from segcct.run_folder import RunFolder
from segcct.training.checkpoint import CONFIG
from segcct.training.optimization import rate_key
from segcct.training.processes import progress_bar
from segcct.training.training_module import Trainable, TrainingModule


class ValidationCallback(Checkpoint):
    """After each epoch: validate, save the best weights, write the row of metrics.csv, then last.ckpt."""

    def __init__(self, task: Trainable, run: RunFolder, train: TrainSection, following: int) -> None:
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
        """config.yaml as it was when the run began or was resumed."""

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
                validations = counted(self.without_better, "validation")
                say(f"{self.run.path} stays as it is: it ended after {validations} without a better score "
                    "(train.patience)")  # fmt: skip

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
        module.share_statistics()
        _require_finite(network, epoch, rate_key(module.train_section))
        scores = self.task.validate(network, device, trainer.global_rank, trainer.world_size)
        score = scores[self.task.score]
        if not math.isfinite(score):  # nothing would ever be better
            raise TrainingError(f"{self.task.score} is not finite after epoch {epoch}", found=score)
        better = self.task.keeps_last or self.best is None or score > self.best["value"]
        self.without_better = 0 if better else self.without_better + 1
        if better:
            self.best = {"metric": self.task.score, "value": score, "epoch": epoch}
            if trainer.is_global_zero:
                self.run.remove_pictures()  # they were drawn with earlier weights
                self.run.save_best(network.state_dict(), self.task.card(self.best))
                self.task.draw(network, device, self.run.pictures)
        if self._out_of_patience():
            trainer.should_stop = True
        module.train()
        module.clock.validated(time.monotonic() - began)
        module.stop_when_over()  # if the rest of the budget is too short for another validation
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
        for logger in trainer.loggers:
            logger.log_metrics({"train_loss": loss, "lr": rate, **scores}, step=epoch)
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


def _require_finite(network: nn.Module, epoch: int, rate: str) -> None:
    """Raises `TrainingError` for weights that the last step ruined, though its loss was finite: they are neither
    validated nor saved as best. `rate`: the option of the learning rate."""
    broken = [name for name, value in network.state_dict().items() if not bool(value.isfinite().all())]
    if broken:
        raise TrainingError(
            f"weights are not finite after epoch {epoch}",
            found=f"NaN or infinity in {len(broken)} tensors, such as {broken[0]}",
            remedy=f"Lower {rate}, clip gradients (--train.clip_norm 1) or set --train.precision fp32",
        )
