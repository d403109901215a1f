"""The one loop over cases: failures are values, memory is bounded, a full disk and a dead worker stop it early."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from segcct import case_runner
from segcct.case_runner import BACKENDS, CaseJob, Done, Failed, Skipped, failures, pooled, run_cases, values
from segcct.errors import DataError, WorkerError, show_tracebacks
from tests.support.deadline import wait_until

ROOT = Path(__file__).parents[2]
POOLED = [("serial", 1), ("threads", 2), pytest.param("processes", 2, marks=pytest.mark.slow)]


def inverse(number: int) -> float:
    """Work that fails on 0, and for want of data on 13."""
    if number == 13:
        raise DataError("unlucky", file="13.nii")
    return 1 / number


def nothing(number: int) -> float:
    return 0.0


def dies(number: int) -> int:
    if number == 2:
        os._exit(1)
    return number


def jobs(*numbers: int) -> list[CaseJob[int]]:
    return [CaseJob(f"c{number}", number) for number in numbers]


@pytest.mark.parametrize(("backend", "workers"), POOLED)
def test_outcomes_in_the_order_of_the_jobs(backend, workers):
    seen: list[tuple[int, int]] = []
    progress = lambda *at: seen.append(at)  # noqa: E731
    outcomes = list(run_cases(jobs(1, 0, 13, 2, 4), inverse, backend=backend, workers=workers, progress=progress))
    assert [outcome.name for outcome in outcomes] == ["c1", "c0", "c13", "c2", "c4"]
    assert values(outcomes) == [1, 0.5, 0.25]
    bug, unlucky = failures(outcomes)
    assert bug.startswith("c0: unexpected ZeroDivisionError: division by zero. This is a bug of segcct")
    assert unlucky == "c13: 13.nii: unlucky"
    assert outcomes[2].reasons == ("13.nii: unlucky",)  # the name of the case is added in lists
    assert "return 1 / number" in outcomes[1].traceback  # of the process that met it
    assert outcomes[2].traceback == ""
    assert seen == [(done, 5) for done in range(6)]
    assert pickle.loads(pickle.dumps(outcomes)) == outcomes


def test_a_hashed_case_is_told_by_its_alias():
    (outcome,) = run_cases([CaseJob("jane", 13, alias="ab12")], inverse)
    assert isinstance(outcome, Failed)
    assert outcome.name == "ab12"
    assert failures([outcome]) == [f"ab12: {DataError.kind}; sources.json says which case it is"]


def test_several_reasons_come_as_a_group():
    def work(_: int) -> None:
        raise ExceptionGroup("two", [DataError("one", file="a"), DataError("other", file="c1")])

    # An error that names the case as its file does not name it twice.
    assert failures(run_cases(jobs(1), work)) == ["c1: a: one", "c1: other"]


def test_debug_shows_the_traceback(capsys):
    show_tracebacks(True)
    try:
        list(run_cases(jobs(0), inverse))
    finally:
        show_tracebacks(False)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_debug_names_nothing_of_a_hashed_case(capsys):
    def fails(name: str) -> None:
        try:
            Path("/hospital", name).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(f"/hospital/{name}") from error

    show_tracebacks(True)
    try:
        list(run_cases([CaseJob("jane", "jane", alias="ab12")], fails))
    finally:
        show_tracebacks(False)
    shown = capsys.readouterr().err
    assert "in fails" in shown
    assert "\nKeyError\n" in shown
    assert "jane" not in shown


def test_a_dead_worker_tells_nothing_of_a_hashed_case():
    def dead(name: str) -> None:
        raise WorkerError("a task failed", found=f"no file /hospital/{name}", remedy="Use fewer workers")

    class Raising(ThreadPoolExecutor):
        def submit(self, call, /, *args, **kwargs):  # as an executor whose process died
            return super().submit(dead, "jane")

    named, hashed = (
        next(
            run_cases(
                [CaseJob("jane", "jane", alias)], dead, backend=lambda calls, _: pooled(calls, Raising(1), lambda: 1)
            )
        )
        for alias in (None, "ab12")
    )
    assert failures([named]) == ["jane: a task failed (found no file /hospital/jane). Use fewer workers"]
    assert failures([hashed]) == ["ab12: a worker process died. Use fewer workers"]


def test_after_a_failure_the_rest_is_done_otherwise():
    assert values(run_cases(jobs(1, 13, 2, 4), inverse, after_failure=nothing)) == [1, 0, 0]


def test_a_full_disk_skips_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(case_runner, "is_full", lambda folder: folder == tmp_path)
    first, failed, *rest = run_cases(jobs(1, 13, 2, 4), inverse, output=tmp_path)
    assert (first, failed.name) == (Done("c1", 1.0), "c13")
    assert rest == [Skipped(name, f"the disk of {tmp_path} is full") for name in ("c2", "c4")]


def test_too_many_failures_skip_the_rest():
    outcomes = list(run_cases(jobs(13, 1, 0, 2, 4), inverse, max_failures=1))
    assert [type(outcome) for outcome in outcomes] == [Failed, Done, Failed, Skipped, Skipped]
    assert outcomes[-1] == Skipped("c4", "more than 1 case failed")
    assert values(run_cases(jobs(13, 1, 0, 2, 4), inverse, max_failures=2)) == [1, 0.5, 0.25]


def test_too_many_failures_cancel_what_waits():
    leave, all_begun, begun = threading.Event(), threading.Event(), []

    class Leaving(ThreadPoolExecutor):
        """Lets its running calls, one for each worker, end once it has been told to cancel the others."""

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            assert all_begun.wait(20)
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            leave.set()

    def work(number: int) -> int:
        begun.append(number)
        if {1, 2} <= set(begun):
            all_begun.set()
        return int(inverse(number)) if number == 13 else number * leave.wait(30)

    backend = lambda calls, workers: pooled(calls, Leaving(workers), lambda: 6)  # noqa: E731
    failed, *rest = run_cases(jobs(13, 1, 2, 3, 4, 5, 6), work, backend=backend, workers=2, max_failures=0)
    assert failed.name == "c13"
    assert sorted(begun) == [1, 2, 13]
    assert rest[:2] == [Done("c1", 1), Done("c2", 2)]  # what ran is kept
    assert rest[2:] == [Skipped(f"c{number}", "more than 0 cases failed") for number in (3, 4, 5, 6)]


@pytest.mark.slow
def test_a_dead_worker_is_named():
    outcomes = list(run_cases(jobs(1, 2, 3, 4, 5, 6, 7, 8), dies, backend="processes", workers=1))
    assert len(outcomes) == 8
    failed = next(outcome for outcome in outcomes if isinstance(outcome, Failed))
    assert "a worker process died, while working on this case or one next to it" in failed.reasons[0]
    assert "use fewer workers" in failed.reasons[0]
    assert isinstance(outcomes[-1], Skipped)


def test_jobs_are_taken_no_earlier_than_there_is_room():
    taken: list[int] = []
    leave = threading.Event()

    def endless() -> Iterator[CaseJob[int]]:
        for number in range(1000):
            taken.append(number)
            yield CaseJob(str(number), number)

    outcomes = run_cases(endless(), lambda number: leave.wait(10) and number, backend="threads", workers=2, total=1000)
    leave.set()
    assert next(outcomes) == Done("0", 0)
    assert len(taken) <= 4
    outcomes.close()


def test_a_backend_may_come_from_outside(monkeypatch):
    def backwards(tasks, workers):
        for _, task in sorted(tasks, key=lambda pair: pair[0].id, reverse=True):
            yield task()

    monkeypatch.setitem(BACKENDS, "backwards", backwards)
    assert values(run_cases(jobs(1, 2, 4), inverse, backend="backwards")) == [0.25, 0.5, 1]


INTERRUPTED = """
import signal, sys, time
from pathlib import Path
from segcct.case_runner import CaseJob, run_cases

def reach(moment, seconds):
    if moment == sys.argv[1]:
        Path("reached").touch()
        time.sleep(seconds)

def work(number):
    reach("work", 60)

if __name__ == "__mp_main__":  # a process that starts
    reach("start", 1)
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background of a script
    try:
        list(run_cases([CaseJob("a", 1), CaseJob("b", 2)], work, backend="processes", workers=2))
    except KeyboardInterrupt:
        sys.exit("interrupted")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs groups of processes")
@pytest.mark.parametrize("moment", ["start", "work"])
def test_processes_that_are_interrupted_say_nothing(tmp_path, moment):
    (tmp_path / "program.py").write_text(INTERRUPTED, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "program.py", moment],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as program:  # fmt: skip
        wait_until((tmp_path / "reached").exists, most_s=60)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does
        assert program.communicate(timeout=20)[1] == "interrupted\n"
