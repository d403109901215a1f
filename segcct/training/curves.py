"""The figures of metrics.csv as TensorBoard draws them: a convenience, whose failure is no training's."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger

from segcct.errors import reason_of
from segcct.progress import say


class _Nothing:
    """A writer that writes nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class Curves(TensorBoardLogger):
    """TensorBoard's files below `tensorboard/` of a run; where they cannot be written, the training goes on."""

    def __init__(self, run: Path) -> None:
        super().__init__(run, name="", version="tensorboard")
        self.failed = False

    @property
    def experiment(self) -> Any:
        """TensorBoard's writer; one that does nothing where there can be none."""
        if not self.failed:
            with self._as_far_as_it_goes():
                return super().experiment
        return _Nothing()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # type: ignore[override]
        with self._as_far_as_it_goes():
            super().log_metrics(dict(metrics), step)

    def save(self) -> None:
        with self._as_far_as_it_goes():
            super().save()

    def finalize(self, status: str) -> None:
        with self._as_far_as_it_goes():
            super().finalize(status)

    @contextmanager
    def _as_far_as_it_goes(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self.failed:
                say(f"{self.log_dir}: the curves for TensorBoard are not written any more: {reason_of(error)}")
            self.failed = True


@contextmanager
def quiet_writer() -> Iterator[None]:
    """TensorBoard writes in a thread, whose end on a full disk would be shown as a traceback."""
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
