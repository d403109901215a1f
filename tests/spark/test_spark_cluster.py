"""A cluster of two workers: the same results as one process, also when a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import spark_cluster
from scripts.spark_cluster import Cluster, cluster
from segcct.cli import main
from tests.support.held_prediction import ancestors, held
from tests.support.spark_commands import masks, predict_command, scores

ROOT = Path(__file__).parents[2]
DRIVER = """
import json, sys
from segcct.cli import main
from segcct.predictions import folder_prediction
from segcct.spark.spark_start import spark_context
from tests.support.held_prediction import HeldCase
folder_prediction.PredictCase = HeldCase
with spark_context(sys.argv[1], settings={"spark.executor.memory": "512m"}):
    for command in json.loads(sys.argv[2]):
        if status := main(command):
            sys.exit(status)
"""


def driver(url: str, *commands: list[str]) -> subprocess.Popen[str]:
    """A process that runs commands one after the other in one application of Spark."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-c", DRIVER, url, json.dumps(commands)]
    return subprocess.Popen(
        program, env=env, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def cases_of(worker: int, folder: Path) -> set[str]:
    """The cases that tasks of a worker hold."""
    held_by = [file.name.rpartition("-") for file in folder.glob("*-*")]
    return {case for case, _, process in held_by if worker in ancestors(int(process))}


def evaluate_command(predictions: Path, scans: Path, output: Path, *options: str) -> list[str]:
    sides = ("--prediction", str(predictions), "--reference", str(scans))
    return ["evaluate", *sides, "--output", str(output), *options]


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_a_cluster_without_workers_is_wrong_usage(workers, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["spark_cluster.py", "--workers", workers])
    with pytest.raises(SystemExit, match="2"):
        spark_cluster.main()
    assert f"--workers: {workers} is not a whole number of at least 1" in capsys.readouterr().err


def test_a_cluster_that_is_asked_to_end_leaves_no_process(monkeypatch):
    """By SIGTERM, as batch queues and containers do; one whose first worker has died goes on until then."""
    ended = []

    def asked_to_end() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)

    @contextmanager
    def pretended(workers: int, memory: str) -> Iterator[Cluster]:
        try:
            yield Cluster("spark://host", Path(), SimpleNamespace(wait=asked_to_end), [])
        finally:
            ended.append(workers)

    monkeypatch.setattr(sys, "argv", ["spark_cluster.py"])
    monkeypatch.setattr(spark_cluster, "cluster", pretended)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert spark_cluster.main() == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == [2]


@pytest.mark.usefixtures("spark_installed")
def test_masks_and_scores_are_those_of_one_process_also_when_a_worker_is_killed(trained, scans, here, tmp_path):
    """The worker dies while a task of its own holds a case, which is then predicted by another."""
    spark = ("--engine", "spark")
    clusters = ["cluster-segment", "--input", str(scans), "--channels", "t1", "--centers", "cohort", "--output"]
    first, second = tmp_path / "first", tmp_path / "second"
    held(second).mkdir()
    with cluster(2) as running:
        process = driver(
            running.url,
            predict_command(trained, scans, first, *spark),
            evaluate_command(here, scans, tmp_path / "there", *spark),
            [*clusters, str(tmp_path / "clusters_there"), *spark],
            predict_command(trained, scans, second, *spark),
        )
        try:
            end = time.monotonic() + 240
            while not (in_flight := cases_of(running.workers[0].pid, held(second))):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < end
                time.sleep(0.02)
            assert not list(second.glob("*.nii.gz"))  # nothing is done before `go`
            os.killpg(running.workers[0].pid, signal.SIGKILL)
            (held(second) / "go").touch()
            said = process.communicate(timeout=240)[0]
        finally:
            process.kill()
        copies = list(running.folder.glob("app-*/*/model-*"))
    assert process.returncode == 0, said
    attempts = Counter(file.name.rpartition("-")[0] for file in held(second).glob("*-*"))
    assert {case for case, times in attempts.items() if times > 1} >= in_flight
    assert 1 <= len({copy.name for copy in copies}) == 1  # one model, of which each executor got one copy
    assert len(copies) <= 3
    assert masks(first) == masks(here)
    assert masks(second) == masks(here)
    assert not list(second.glob(".*"))
    assert main(evaluate_command(here, scans, tmp_path / "here")) == 0
    assert scores(tmp_path / "there") == scores(tmp_path / "here")
    assert main([*clusters, str(tmp_path / "clusters_here")]) == 0
    assert masks(tmp_path / "clusters_there") == masks(tmp_path / "clusters_here")
    found = [json.loads((tmp_path / f"clusters_{place}" / "centers.json").read_text()) for place in ("here", "there")]
    assert found[0]["centers"] == found[1]["centers"]
