"""metrics.csv for TensorBoard; where its files cannot be written, the training goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger

from segcct.errors import reason_of
from segcct.progress import say


class _NullWriter:
    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class Curves(TensorBoardLogger):
    """Writes below `tensorboard/` of a run."""

    def __init__(self, run: Path) -> None:
        super().__init__(run, name="", version="tensorboard")
        self.failed = False

    @property
    def experiment(self) -> Any:
        """TensorBoard's writer, or one that writes nothing after a failure."""
        if not self.failed:
            with self._tolerated():
                return super().experiment
        return _NullWriter()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # type: ignore[override]
        with self._tolerated():
            super().log_metrics(dict(metrics), step)

    def save(self) -> None:
        with self._tolerated():
            super().save()

    def finalize(self, status: str) -> None:
        with self._tolerated():
            super().finalize(status)

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self.failed:
                say(f"{self.log_dir}: the curves for TensorBoard are no longer written: {reason_of(error)}")
            self.failed = True


@contextmanager
def quiet_writer() -> Iterator[None]:
    """TensorBoard writes in a thread, which would print a traceback where the disk is full."""
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
