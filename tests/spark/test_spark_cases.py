"""Cases in tasks of Spark: the outcomes, tables and messages are those of one process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from segcct.case_runner import Done, Failed, Skipped, failures, run_cases, values
from segcct.cli import main
from segcct.commands.parser import engine_of
from segcct.errors import ConfigError, ModelError
from segcct.images.volume import Volume
from segcct.model_card import CARD, Architecture, ModelCard
from segcct.spark import spark_cases
from segcct.spark.spark_cases import SparkEngine, case_backend
from tests.project.test_case_runner import inverse, jobs
from tests.support.deadline import wait_until
from tests.support.spark_commands import scores


def dies_of_2(number: int) -> int:
    if number == 2:
        os._exit(1)
    return number


class Unloadable:
    """A call that cannot be made on a worker, such as one whose model needs a GPU that is not there."""

    def __call__(self, number: int) -> int:
        return number

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return raise_no_gpu, ()


def raise_no_gpu() -> None:
    raise ModelError("this worker has no GPU")


def test_outcomes_are_those_of_one_process(spark):
    seen: list[tuple[int, int]] = []
    cases = jobs(1, 0, 13, 2, 4)
    with case_backend(SparkEngine()) as backend:
        outcomes = list(run_cases(cases, inverse, backend=backend, progress=lambda *at: seen.append(at)))
    assert outcomes[1].traceback  # of the worker, with its own lines
    here = list(run_cases(cases, inverse))
    assert values(outcomes) == values(here)
    assert failures(outcomes) == failures(here)
    assert [outcome.name for outcome in outcomes] == [outcome.name for outcome in here]
    assert seen == [(done, 5) for done in range(6)]


def test_a_worker_that_dies_is_a_row_and_the_others_are_done(spark):
    with case_backend(SparkEngine()) as backend:
        outcomes = list(run_cases(jobs(1, 2, 3, 4), dies_of_2, backend=backend))
    assert values(outcomes) == [1, 3, 4]
    failed = outcomes[1]
    assert isinstance(failed, Failed)
    assert (failed.name, failed.kind) == ("c2", "a worker process died")
    assert failed.reasons[0].startswith("a task of Spark failed (found ")
    assert "spark.executor.memoryOverhead" in failed.reasons[0]


def test_why_a_task_cannot_begin_is_said(spark):
    with case_backend(SparkEngine()) as backend:
        (failed,) = run_cases(jobs(1), Unloadable(), backend=backend)
    assert isinstance(failed, Failed)
    assert failed.reasons[0].startswith("a task of Spark failed (found this worker has no GPU)")


def test_a_loop_that_is_left_ends_its_tasks(spark):
    with case_backend(SparkEngine()) as backend:
        outcomes = run_cases(jobs(*range(1, 100)), inverse, backend=backend)
        assert next(outcomes) == Done("c1", 1.0)
        outcomes.close()
    wait_until(lambda: not spark.statusTracker().getActiveJobsIds(), most_s=60)


def fails_on_13_or_takes_forever(number: int, *, failed: Path) -> float:
    """Unless 13 waits for a worker: Spark begins tasks in any order."""
    if number == 13:
        failed.touch()
        return inverse(number)
    end = time.monotonic() + 2
    while not failed.exists():
        if time.monotonic() > end:
            return 0.0
        time.sleep(0.01)
    time.sleep(600)
    return 0.0


def test_too_many_failures_end_what_runs_and_what_waits(spark, tmp_path):
    with case_backend(SparkEngine()) as backend:
        cases, work = jobs(13, *range(20, 400)), partial(fails_on_13_or_takes_forever, failed=tmp_path / "failed")
        failed, *others = run_cases(cases, work, backend=backend, max_failures=0)
    assert isinstance(failed, Failed)
    assert [other.name for other in others] == [job.name for job in cases[1:]]
    reasons = [other.reason for other in others if isinstance(other, Skipped)]
    assert set(reasons) == {"more than 0 cases failed"}
    assert len(reasons) > 370
    wait_until(lambda: not spark.statusTracker().getActiveJobsIds(), most_s=60)


def test_options_of_spark_need_spark():
    arguments = SimpleNamespace(engine="local", master="local[2]", spark_conf=None)
    with pytest.raises(ConfigError, match=r"--master does nothing without Spark.*Add --engine spark"):
        engine_of(arguments)
    arguments.engine, arguments.spark_conf = "spark", ["spark.task.cpus=2", "spark.x=a=b"]
    assert engine_of(arguments) == SparkEngine("local[2]", {"spark.task.cpus": "2", "spark.x": "a=b"})
    arguments.spark_conf = ["spark.task.cpus"]
    with pytest.raises(ConfigError, match=r"found spark.task.cpus; expected KEY=VALUE"):
        engine_of(arguments)


def test_a_spark_that_was_begun_ends_with_the_block_and_learns_of_its_error(monkeypatch):
    threads: list[threading.Thread] = []
    ended: list[type[BaseException] | None] = []

    @contextmanager
    def spark(master, settings):
        threads.append(threading.current_thread())
        try:
            yield "context"
        finally:
            ended.append(sys.exc_info()[0])

    monkeypatch.setattr(spark_cases, "spark_context", spark)
    engine = SparkEngine()
    with engine.begin().context() as context:
        threads[0].join(5)  # it has nothing else to do
        assert not threads[0].is_alive()
        assert (context, ended) == ("context", [])
    with pytest.raises(KeyError), engine.begin().context():
        raise KeyError
    assert ended == [None, KeyError]


BEGUN = """
import sys
from segcct.cli import main
from segcct.spark.spark_cases import SparkEngine
SparkEngine.begin = lambda engine: sys.exit("torch" in sys.modules)
main(sys.argv[1:])
sys.exit("Spark was not begun")
"""


@pytest.mark.parametrize("options", [("predict", "--model", "--input"), ("evaluate", "--prediction", "--reference")])
def test_spark_begins_before_torch_is_imported(options, tmp_path):
    """So that Java starts during that import, which takes as long."""
    sizes = Architecture(name="cct_unet_t", in_channels=1, num_classes=3, image_size=32)
    card = ModelCard(
        task="segmentation", architecture=sizes, data={}, selected_on={}, data_fingerprint="", provenance={}
    )
    (tmp_path / CARD).write_text(card.model_dump_json(), encoding="utf-8")
    command, source, cases = options
    folders = (source, tmp_path, cases, tmp_path / "scans", "--output", tmp_path / "output")
    program = [sys.executable, "-c", BEGUN, command, *map(str, folders), "--engine", "spark"]
    done = subprocess.run(program, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def masks(tmp_path) -> tuple[Path, Path]:
    """Predictions and references of six cases."""
    random = np.random.default_rng(1)
    for folder in ("predictions", "references"):
        (tmp_path / folder).mkdir()
        for case in range(6):
            array = random.integers(0, 4, (8, 8, 4), dtype=np.uint8)
            Volume(array, np.diag([1.0, 1.0, 2.0, 1.0]), (1.0, 1.0, 2.0)).save(tmp_path / folder / f"case{case}.nii.gz")
    return tmp_path / "predictions", tmp_path / "references"


def evaluation(masks: tuple[Path, Path], output: Path, *options: str) -> int:
    sides = ("--prediction", str(masks[0]), "--reference", str(masks[1]))
    return main(["evaluate", *sides, "--scheme", "acdc", "--output", str(output), *options])


def test_an_evaluation_is_identical(spark, masks, tmp_path):
    assert evaluation(masks, tmp_path / "here") == 0
    assert evaluation(masks, tmp_path / "there", "--engine", "spark", "--master", "local[2]") == 0
    assert scores(tmp_path / "there") == scores(tmp_path / "here")
    assert len(scores(tmp_path / "here")) > 2


def test_an_unreadable_mask_is_named_and_nothing_is_written(spark, masks, tmp_path, capsys):
    broken = masks[0] / "case3.nii.gz"
    broken.write_bytes(b"x")
    assert evaluation(masks, tmp_path / "there", "--engine", "spark") == 1
    said = capsys.readouterr().err
    assert str(broken) in said
    assert "1 problem, nothing was scored" in said
    assert not (tmp_path / "there" / "summary.json").exists()
