"""train.logger: what TensorBoard, MLflow and Weights & Biases get, also of a resumed run; and what a tracker that fails
or is missing does to the training."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pytorch_lightning.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segcct.cli import main
from segcct.config import SegmentationTrainSection
from segcct.errors import PackageError
from segcct.run_folder import RunFolder
from segcct.training import curves
from segcct.training.trainer import fit
from tests.conftest import training_command
from tests.support import toy_task


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run")


class Recorder(Logger):
    """A tracker in memory, with a server's habits: it knows its runs by id, and may be out of reach."""

    runs: ClassVar[dict[str, list[tuple[str, int | None]]]] = {}
    rows: ClassVar[list[int | None]] = []
    settings: ClassVar[dict[str, dict[str, Any]]] = {}
    fails: ClassVar[type[Exception] | None] = None

    def __init__(self, _: RunFolder, run_id: str | None) -> None:
        super().__init__()
        self.id = run_id or f"run{len(self.runs)}"
        self.runs.setdefault(self.id, [])

    @property
    def name(self) -> str:
        return "recorder"

    @property
    def version(self) -> str:
        return self.id

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self.settings[self.id] = params

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # type: ignore[override]
        if self.fails is not None:
            raise self.fails("the server is gone\nand more")
        self.rows.append(step)
        self.runs[self.id] += [(name, step) for name in metrics]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    """Stands for MLflow, as an installed package."""
    monkeypatch.setattr(Recorder, "runs", {})
    monkeypatch.setattr(Recorder, "rows", [])
    monkeypatch.setattr(Recorder, "settings", {})
    monkeypatch.setattr(Recorder, "fails", None)
    row = curves.Tracker("MLflow", Recorder, "json")
    monkeypatch.setattr(curves, "TRACKERS", {**curves.TRACKERS, "mlflow": row})
    return Recorder


def train(run: RunFolder, logger: str, epochs: int = 2, *, resume: bool = False) -> None:
    section = SegmentationTrainSection.model_validate({"epochs": epochs, "lr": 0.01, "logger": logger})
    fit(toy_task.ToyTask(), run, section, seed=0, resume=resume)


def test_tensorboard_gets_every_epoch_also_of_a_resumed_run(run: RunFolder) -> None:
    train(run, "tensorboard")
    train(run, "tensorboard", 3, resume=True)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    steps = [each.step for each in events.Scalars("train_loss")]
    assert sorted(steps) == [0, 1, 2]  # files of one second may be read in either order
    assert not (run.path / curves.TRACKER).exists()


@pytest.mark.parametrize("logger", ["csv", "none"])
def test_without_a_tracker_there_is_metrics_csv_alone(run: RunFolder, logger: str) -> None:
    train(run, logger)
    assert len(run.read_metrics()) == 2
    assert sorted(path.name for path in run.path.iterdir()) == ["best", "last.ckpt", "metrics.csv"]


def test_an_epoch_is_one_row(run: RunFolder, recorder: type[Recorder]) -> None:
    """Weights & Biases counts the rows as its steps."""
    train(run, "mlflow")
    assert recorder.rows == [0, 1]
    assert {name for name, _ in recorder.runs["run0"]} == {"train_loss", "lr", "val_dice"}


def test_a_resumed_run_goes_on_under_its_id(run: RunFolder, recorder: type[Recorder]) -> None:
    train(run, "mlflow")
    assert json.loads((run.path / curves.TRACKER).read_text()) == {"logger": "mlflow", "id": "run0"}
    train(run, "mlflow", 3, resume=True)
    assert list(recorder.runs) == ["run0"]
    assert [step for name, step in recorder.runs["run0"] if name == "train_loss"] == [0, 1, 2]
    assert recorder.settings["run0"]["lr"] == 0.01
    assert recorder.settings["run0"]["epochs"] == 2  # what it began with
    assert not [value for value in recorder.settings["run0"].values() if str(run.path) in str(value)]


@pytest.mark.parametrize("failure", [RuntimeError, OSError, ConnectionError])
def test_a_tracker_that_fails_ends_no_training_and_says_so_once(
    run: RunFolder, recorder: type[Recorder], failure: type[Exception], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(recorder, "fails", failure)
    train(run, "mlflow")
    assert len(run.read_metrics()) == 2
    said = capsys.readouterr().err
    assert said.count("the curves for MLflow are no longer written: ") == 1
    assert "the server is gone\n" in said
    assert "and more" not in said


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_one_error_before_the_run_appears(
    name: str, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PackageError, match=rf"pip install 'segcct\[{name}\]'"):
        curves.check_logger(name)
    assert main(training_command(phantom, tmp_path / "runs", train__logger=name)) == 1
    assert f"Install it: pip install 'segcct[{name}]'" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "small").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_itself(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train(run, "mlflow")
    train(run, "mlflow", 3, resume=True)
    run_id = json.loads((run.path / curves.TRACKER).read_text())["id"]
    client = mlflow.MlflowClient(f"sqlite:///{run.path.parent / 'mlflow.db'}")
    assert [each.step for each in client.get_metric_history(run_id, "train_loss")] == [0, 1, 2]
