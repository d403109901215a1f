"""One run, on Lightning's trainer: `fit`."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch

from segcct.config import TrainSection
from segcct.errors import TrainingError, is_foreseen
from segcct.hardware.memory import return_freed_memory
from segcct.model_card import load_card
from segcct.plurals import counted
from segcct.progress import say
from segcct.run_folder import RunFolder
from segcct.training.batch_seeds import batch_seed
from segcct.training.checkpoint import StateFile, check_training, identity_of, read_state, unusable
from segcct.training.curves import TRACKERS, Curves, quiet_writer
from segcct.training.device_settings import lightning_devices
from segcct.training.processes import is_first_process
from segcct.training.training_module import Trainable, TrainingModule
from segcct.training.validation_callback import ValidationCallback


def fit(
    task: Trainable, run: RunFolder, train: TrainSection, *, seed: int, resume: bool = False, following: int = 0
) -> dict[str, Any]:
    """Train `task` into `run`; returns what the best weights were selected on.

    Args:
        task: what is trained.
        run: the run folder.
        train: length, optimizer and the rest of the loop.
        seed: of everything random.
        resume: continue from last.ckpt.
        following: folds of the same length that come after this one, counted in the time left.

    Raises:
        TrainingError: the loss is not finite, or the weights are not.
        KeyboardInterrupt: Ctrl-C.
    """
    torch.manual_seed(batch_seed(seed, 0, 0, 0))
    module = TrainingModule(task, train, seed)
    training = identity_of(task.card({}), seed, task.frozen_models)
    state = _resumed_state(run, module, training, train) if resume else None
    validation = ValidationCallback(task, run, train, following)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings(), quiet_writer():
        warnings.simplefilter("ignore")  # Lightning's hints about workers and logging intervals
        trainer = _lightning_trainer(run, train, validation, StateFile(training, state), training)
        try:
            with _interruptible():
                trainer.fit(module, ckpt_path=str(run.last) if resume else None, weights_only=True if resume else None)
        except Exception as error:
            if state is None or validation.started or is_foreseen(error):
                raise
            raise unusable(run.last, error) from error
        finally:
            return_freed_memory()
    best = validation.best
    if best is None:
        length = "--train.epochs" if train.budget is None else "--train.budget"
        raise TrainingError("the training ended before its first validation", remedy=f"Give it a longer {length}")
    if not is_first_process():
        return best
    # A run with a budget that was killed between best/ and last.ckpt may select other weights when resumed.
    stored = load_card(run.best).selected_on
    return {name: stored.get(name, value) for name, value in best.items()}


def _lightning_trainer(
    run: RunFolder,
    train: TrainSection,
    validation: ValidationCallback,
    state_file: StateFile,
    training: Mapping[str, Any],
) -> pl.Trainer:
    settings = {"model": training["architecture"]["name"], **_settings(train)}
    return pl.Trainer(
        **lightning_devices(train),
        precision="bf16-mixed" if train.precision == "bf16" else "32-true",
        max_epochs=-1 if train.budget is not None else train.epochs,
        min_epochs=0,
        accumulate_grad_batches=train.accumulate,
        gradient_clip_val=train.clip_norm or None,
        callbacks=[validation],
        plugins=[state_file],
        logger=Curves(train.logger, run, settings) if train.logger in TRACKERS else False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=run.path,
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C within the block is a `KeyboardInterrupt`, as everywhere."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:  # how Lightning passes Ctrl-C on, which it stops listening to
        if on_interrupt is not None:
            signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None


def _settings(train: TrainSection) -> dict[str, Any]:
    """The keys of a training section that have a number or a word as their value."""
    return {
        name: value for name, value in train.model_dump(mode="json").items() if isinstance(value, int | float | str)
    }


def _resumed_state(
    run: RunFolder, module: TrainingModule, training: Mapping[str, Any], train: TrainSection
) -> dict[str, Any]:
    """The state in last.ckpt. Raises `RunError` where it is damaged or another run's."""
    state = read_state(run.last)
    check_training(run.last, state, module, training)
    done = int(state["epoch"]) + 1
    if is_first_process():
        run.keep_metrics(done)
        if train.budget is None and done == train.epochs:
            say(f"{run.path} is done after {counted(train.epochs, 'epoch')}; train longer with --train.epochs N")
    return state
