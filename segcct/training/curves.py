"""The rows of metrics.csv for TensorBoard, MLflow or Weights & Biases (`train.logger`), by Lightning's loggers.

Where they cannot be written, training goes on without them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from segcct.errors import is_out_of_memory, reason_of
from segcct.extras import import_extra
from segcct.files.json_file import read_object, write_json
from segcct.progress import say
from segcct.run_folder import RunFolder
from segcct.training.processes import is_first_process

TRACKER = "tracker.json"
"""File of a run folder with the id of its run in the tracker, which a resumed run continues."""
PROJECT = "segcct"


class Tracker(NamedTuple):
    """A row of `TRACKERS`."""

    title: str
    make: Callable[[RunFolder, str | None], Logger]
    """(run, its id in the tracker, None for a new one) -> the logger."""
    package: str = ""
    """Package that it needs, which is also the name of the extra; empty for TensorBoard, which is always installed."""


def _tensorboard(run: RunFolder, _: str | None) -> Logger:
    return TensorBoardLogger(run.path, name="", version="tensorboard")


def _mlflow(run: RunFolder, run_id: str | None) -> Logger:
    server = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{run.path.absolute().parent / 'mlflow.db'}")
    return MLFlowLogger(PROJECT, run.path.name, server, run_id=run_id)


def _wandb(run: RunFolder, run_id: str | None) -> Logger:
    return WandbLogger(run.path.name, run.path, id=run_id, project=os.environ.get("WANDB_PROJECT", PROJECT))


TRACKERS: Mapping[str, Tracker] = {
    "tensorboard": Tracker("TensorBoard", _tensorboard),
    "mlflow": Tracker("MLflow", _mlflow, "mlflow"),
    "wandb": Tracker("Weights & Biases", _wandb, "wandb"),
}
"""Value of `train.logger` -> where the curves go; with its other values, csv and none, only metrics.csv has them."""


def check_logger(name: str) -> None:
    """Raises `PackageError` where the package of a `train.logger` is not installed."""
    if name in TRACKERS and (package := TRACKERS[name].package):
        import_extra(package, package)


class Curves(Logger):
    """A logger whose first failure is reported, and ends the logging but not the run.

    Args:
        name: key of `TRACKERS`.
        run: the run folder.
        settings: describe a new run in MLflow and Weights & Biases; without paths.
    """

    def __init__(self, name: str, run: RunFolder, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.tracker = TRACKERS[name]
        self.run = run
        self.logger: Logger | None = None
        """Lightning's for the tracker; None where it could not be made."""
        self.failed = False
        """It has failed, and is not called again."""
        with self._tolerated():
            run_id = _stored_id(run, name)
            self.logger = self.tracker.make(run, run_id)
            if self.tracker.package and run_id is None and is_first_process():
                self.logger.log_hyperparams(dict(settings))
                write_json(run.path / TRACKER, {"logger": name, "id": str(self.logger.version)})

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.run.path)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Lightning's are the arguments of its module."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # type: ignore[override]
        self._call(lambda logger: logger.log_metrics(dict(metrics), step))

    def save(self) -> None:
        self._call(lambda logger: logger.save())

    def finalize(self, status: str) -> None:
        self._call(lambda logger: logger.finalize(status))
        if isinstance(self.logger, WandbLogger):  # else the next run of this process is logged to this one
            self._call(lambda logger: logger.experiment.finish())

    def _call(self, action: Callable[[Any], object]) -> None:
        """Do something with the tracker's logger, unless it has failed before."""
        if self.logger is not None and not self.failed:
            with self._tolerated():
                action(self.logger)

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each tracker fails in its own way
            if is_out_of_memory(error):
                raise
            if not self.failed:
                reason = reason_of(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                reason = next(iter(reason.splitlines()), "")
                say(f"{self.run.path}: the curves for {self.tracker.title} are no longer written: {reason}")
            self.failed = True


def _stored_id(run: RunFolder, name: str) -> str | None:
    """The id of a run in a tracker; None where it is new there."""
    file: Path = run.path / TRACKER
    if not file.is_file():
        return None
    stored = read_object(file)
    return str(stored["id"]) if stored.get("logger") == name and "id" in stored else None


@contextmanager
def quiet_writer() -> Iterator[None]:
    """Within the block, TensorBoard's writer thread prints no traceback when the disk is full."""
    usual = threading.excepthook

    def hook(arguments: Any) -> None:
        module = type(arguments.thread).__module__
        if not (isinstance(arguments.exc_value, OSError) and module.startswith("tensorboard")):
            usual(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual
