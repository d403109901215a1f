"""The run folder: what a training run writes and everything later reads.

`runs/<name>/` holds config.yaml, splits.json, metrics.csv, last.ckpt, summary.json, `best/` (model_card.py), and
pretrained.txt if the run began with the weights of another. The folder of a cross-validation holds config.yaml,
folds.json, a run folder per fold and the evaluation of all folds.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcct.errors import RunError
from segcct.files.atomic_file import atomic_path, sweep
from segcct.files.json_file import read_object, write_json
from segcct.files.lock import holder, is_lock
from segcct.files.table_file import read_rows_of, write_records
from segcct.model_card import CARD, ModelCard, recover_model, save_model

if TYPE_CHECKING:
    import torch

_MOST_DIGITS = 9
"""Of an epoch's number; Python refuses to read thousands."""
BUSY = "another process trains into this run"
FOLDS = "folds.json"


class RunFolder:
    """One run's folder and the names of its files, none of which need exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        """The configuration, every key resolved."""
        self.splits = path / "splits.json"
        """Which cases train, validate and test; see `Splits`."""
        self.metrics = path / "metrics.csv"
        """A row per epoch."""
        self.last = path / "last.ckpt"
        """The state after the latest epoch, from which the run is resumed."""
        self.summary = path / "summary.json"
        """What the best weights were selected on; written at the end, so that it tells a finished run."""
        self.pretrained = path / "pretrained.txt"
        """What became of the weights that the run began with, if any."""
        self.best = path / "best"
        """The folder of the best model: weights and card."""
        self.pictures = path / "pictures"
        """The folder of figures that the best model made of validation cases."""
        self.lock = path / ".train.lock"
        """Held by the process that trains."""

    @staticmethod
    def check_free(path: Path) -> None:
        """Raises `RunError` if there is a run, or anything else, at `path`."""
        if not path.exists() or (path.is_dir() and all(is_lock(file) for file in path.iterdir())):
            return
        run, other = RunFolder(path), "choose another name with --run.name"
        owner = holder(run.lock)
        if owner is not None:
            raise RunError(BUSY, file=path, found=owner, remedy=other.capitalize())
        if run.last.is_file() or FoldsFolder.is_at(path):
            remedy = f"Continue it with --resume {shlex.quote(str(path))}, or {other}"
        elif run.config.is_file() or run.splits.is_file():
            remedy = f"No epoch of it has ended, so it cannot be resumed: unless it still trains, delete it, or {other}"
        else:
            remedy = other.capitalize()
        raise RunError("this run exists already and nothing is overwritten", file=path, remedy=remedy)

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new, empty run folder. Raises as `check_free`."""
        cls.check_free(path)
        path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run. Raises `RunError` where it is missing."""
        run = cls(path)
        if not run.config.is_file():
            raise RunError("is not a run folder", file=path, expected="config.yaml in it", remedy="Name runs/<name>")
        for folder in (path, run.pictures):
            sweep(folder)
        recover_model(run.best)
        return run

    def check_resumable(self) -> None:
        """Raises `RunError` where the run holds no state to resume from."""
        if FoldsFolder.is_at(self.path):
            remedy = f"Resume it as a whole, on the command line: --resume {shlex.quote(str(self.path))}"
            raise RunError("is a cross-validation, not a single run", file=self.path, remedy=remedy)
        if not self.last.is_file():
            raise RunError(
                "the run has nothing to resume from",
                file=self.path,
                found=f"no {self.last.name}, which the end of every epoch writes",
                remedy="Start again with --config, under another --run.name or after deleting the folder",
            )

    def how_to_continue(self) -> str:
        """What can be done after an interruption; empty where the folder was not begun."""
        if self.last.is_file() or FoldsFolder.is_at(self.path):
            return f"continue with --resume {shlex.quote(str(self.path))}"
        if self.config.is_file() or self.splits.is_file():
            return f"no epoch has ended, so nothing can be resumed: delete {self.path} to start again"
        return ""

    def write_text(self, file: Path, text: str) -> None:
        """Write one of the run's files atomically, for its owner alone: it may name patients, or their paths."""
        with atomic_path(file, private=True) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def add_metrics(self, row: Mapping[str, Any]) -> None:
        """Append the row of an epoch to metrics.csv. Rows from it on, written before a resume, are removed."""
        self._write_metrics([*self._metrics_before(int(row["epoch"])), row])

    def keep_metrics(self, epochs: int) -> None:
        """Keep the rows of the first `epochs` epochs: a run that was killed may have one more than its last.ckpt."""
        rows = self._metrics_before(epochs)
        if len(rows) < len(self.read_metrics()):
            self._write_metrics(rows)

    def read_metrics(self) -> list[dict[str, str]]:
        """The rows of metrics.csv so far, each as column -> cell, as text. Raises `RunError` where it is damaged."""
        if not self.metrics.is_file():
            return []
        rows = read_rows_of(self.metrics, ("epoch",), error=RunError)
        for row in rows:
            if not row["epoch"].isdecimal() or len(row["epoch"]) > _MOST_DIGITS:
                raise RunError("an epoch is not a number", file=self.metrics, found=repr(row["epoch"][:40]))
        return rows

    def _metrics_before(self, epoch: int) -> list[Mapping[str, Any]]:
        return [row for row in self.read_metrics() if int(row["epoch"]) < epoch]

    def _write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))  # not every epoch is validated
        write_records(self.metrics, columns or ["epoch"], rows)

    def remove_pictures(self) -> None:
        """Remove the figures that were drawn with other weights."""
        for picture in self.pictures.glob("*.png"):
            picture.unlink()

    def save_best(self, weights: Mapping[str, torch.Tensor], card: ModelCard) -> None:
        """Replace `best/` by these weights and their card; a crash leaves the old or the new, never a mixture."""
        save_model(self.best, weights, card)


class FoldsFolder:
    """The folder of a cross-validation.

    Args:
        path: the folder.
        folds: numbers of the folds (`data.fold`).
    """

    def __init__(self, path: Path, folds: Sequence[int]) -> None:
        self.path = path
        self.folds = tuple(sorted(folds))
        self.config = path / "config.yaml"
        """The configuration that the folds share."""
        self.out_of_fold = path / "out_of_fold"
        """The folder of the evaluation: each case predicted by the model of the fold that held it out."""

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether a folder is that of a cross-validation."""
        return (path / FOLDS).is_file()

    @classmethod
    def open(cls, path: Path) -> FoldsFolder:
        """An existing one. Raises `RunError` where folds.json is missing or damaged."""
        folds = read_object(path / FOLDS, "is not a list of folds", error=RunError).get("folds")
        if not isinstance(folds, list) or not folds or not all(type(fold) is int and fold >= 0 for fold in folds):
            raise RunError("is not a list of folds", file=path / FOLDS, found=folds, expected='{"folds": [0, 1, 2]}')
        return cls(path, folds)

    def write(self) -> None:
        """Write folds.json, by which the folder is recognized."""
        write_json(self.path / FOLDS, {"folds": self.folds})

    def fold(self, number: int) -> RunFolder:
        """The run folder of a fold, which need not exist."""
        return RunFolder(self.path / f"fold_{number}")

    def members(self) -> list[Path]:
        """The `best/` folder of every fold. Raises `RunError` if one does not exist yet."""
        runs = [self.fold(number) for number in self.folds]
        missing = [run.path.name for run in runs if not (run.best / CARD).is_file()]
        if missing:
            raise RunError(
                "some of the folds are not trained yet",
                file=self.path,
                found=f"no {', '.join(missing)}",
                remedy=f"Continue with --resume {shlex.quote(str(self.path))}, or name the best/ folders there",
            )
        return [run.best for run in runs]
