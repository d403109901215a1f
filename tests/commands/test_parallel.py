"""Processes side by side: predictions into one folder, two resumes, two trainings of one name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from segcct.cli import main
from segcct.config import RunSection
from segcct.errors import EvaluationError, RunError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.inference.predictor import Predictor
from segcct.predictions import folder_prediction as folder
from segcct.predictions.case_tables import CaseTable
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import Request, resolve
from segcct.predictions.quality_rows import COLUMNS, read_rows
from segcct.quality.quality_table import written_estimates
from segcct.run_folder import RunFolder
from segcct.training.session import locked_run
from tests.support.paired_scans import paired_predictor, write_paired

ROOT = Path(__file__).parents[2]
CASES = ("a", "b", "c", "d")


@contextmanager
def started(*commands: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """segcct commands as processes of their own, killed at the end where they still run."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-m", "segcct.cli", *command], env=env, text=True, encoding="utf-8",
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for command in commands
    ]  # fmt: skip
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    """Until the process has made the file."""
    end = time.monotonic() + 120
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def scans(tmp_path) -> Path:
    return write_paired(tmp_path / "scans", CASES)


@pytest.fixture
def model() -> Predictor:
    return paired_predictor(weights_sha256="a")


@pytest.mark.parametrize("anonymize", [False, True])
def test_predictions_side_by_side_leave_a_whole_index(model, scans, tmp_path, monkeypatch, anonymize):
    """Each begins before any has ended: every one read the folder's index without the others' cases."""
    everyone = threading.Barrier(len(CASES))
    predict = folder.load_case
    monkeypatch.setattr(folder, "load_case", lambda *args, **kw: (everyone.wait(20), predict(*args, **kw))[1])
    whole = resolve(model.card, scans)
    requests = [Request((case,), whole.data) for case in whole.cases]
    options = MaskOptions(anonymize=anonymize)
    with ThreadPoolExecutor(len(CASES)) as pool:
        list(pool.map(lambda request: predict_folder(model, request, tmp_path / "p", options), requests))
    index = json.loads((tmp_path / "p" / "predictions.json").read_text())["cases"]
    assert len(index) == len(CASES)
    assert all((tmp_path / "p" / entry["mask"]).is_file() and entry["digest"] for entry in index.values())
    assert evaluate(tmp_path / "p", scans)["cases"] == len(CASES)
    assert not list((tmp_path / "p").glob(".*"))


def test_another_model_that_takes_the_folder_meanwhile_is_noticed(model, scans, tmp_path, monkeypatch):
    other = Predictor(model.network, model.card.model_copy(update={"weights_sha256": "b"}), model.how)
    whole = resolve(model.card, scans)
    predict = folder.load_case

    def overtaken(*args, **kw):
        monkeypatch.setattr(folder, "load_case", predict)
        predict_folder(other, Request(whole.cases[1:2], whole.data), tmp_path / "p", existing="replace")
        return predict(*args, **kw)

    monkeypatch.setattr(folder, "load_case", overtaken)
    with pytest.raises(RunError, match="holds another model's predictions"):
        predict_folder(model, Request(whole.cases[:1], whole.data), tmp_path / "p")
    index = json.loads((tmp_path / "p" / "predictions.json").read_text())
    assert (index["weights_sha256"], list(index["cases"])) == ("b", ["b"])


def test_two_evaluations_into_one_folder_are_one_and_a_refusal(model, scans, tmp_path, monkeypatch):
    predict_folder(model, resolve(model.card, scans), tmp_path / "p")
    inside, leave = threading.Event(), threading.Event()
    from segcct.evaluation import evaluate_folders as module

    score = module._score
    monkeypatch.setattr(module, "_score", lambda *args: (inside.set(), leave.wait(20), score(*args))[2])
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(evaluate, tmp_path / "p", scans, output=tmp_path / "e")
        assert inside.wait(20)
        with pytest.raises((RunError, EvaluationError), match="another evaluation is being written to this folder"):
            evaluate(tmp_path / "p", scans, output=tmp_path / "e")
        leave.set()
        assert first.result()["cases"] == len(CASES)
    assert (tmp_path / "e" / "summary.json").is_file()


def test_estimates_side_by_side_leave_a_whole_table_bound_to_the_masks(model, scans, tmp_path):
    everyone = threading.Barrier(len(CASES))
    row = dict.fromkeys(COLUMNS[1:], "") | {"class": "low"}
    table = CaseTable("quality.csv", lambda _: [row] if everyone.wait(20) >= 0 else [])
    whole = resolve(model.card, scans)

    def predict(case):
        predictions = predict_folder(model, Request((case,), whole.data), tmp_path / "p", tables=[table])
        return written_estimates(predictions).problem

    with ThreadPoolExecutor(len(CASES)) as pool:
        assert list(pool.map(predict, whole.cases)) == [""] * len(CASES)
    rows = read_rows(tmp_path / "p" / "quality.csv")
    index = json.loads((tmp_path / "p" / "predictions.json").read_text())["cases"]
    assert {row["case"]: row["mask"] for row in rows} == {name: entry["digest"] for name, entry in index.items()}


@pytest.mark.slow
def test_the_second_resume_of_a_run_is_refused_and_a_killed_one_holds_nothing(trained, tmp_path, capsys):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    resume = ["train-seg", "--resume", str(run), "--train.epochs"]
    with started([*resume, "500"]) as (first,):
        wait_for(run / ".train.lock", first)
        assert main([*resume, "3"]) == 1
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert f"another process trains into this run (found process {first.pid} on " in said[0]
        assert "epochs: 3\n" not in (run / "config.yaml").read_text()
        first.send_signal(signal.SIGKILL)
        first.wait()
    epochs = len((run / "metrics.csv").read_text().splitlines())
    assert main([*resume, str(epochs)]) == 0
    assert not (run / ".train.lock").exists()


def test_two_trainings_that_start_together_under_one_name_are_one_training(tmp_path):
    """Neither has written a thing when the other begins; the name is free for both."""
    inside, leave = threading.Event(), threading.Event()
    section = RunSection(root=tmp_path, name="small")

    def train():
        with locked_run(section):
            inside.set()
            assert leave.wait(20)
            return RunFolder.create(tmp_path / "small")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(train)
        assert inside.wait(20)
        with pytest.raises(RunError, match="another process trains into this run"):
            train()
        leave.set()
        assert first.result().path == tmp_path / "small"
    assert not list(tmp_path.iterdir())  # as nothing was written, the name is free again
