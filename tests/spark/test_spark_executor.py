"""Calls run in Spark as in any executor: results in order, errors as they were raised, a dead worker as one failure."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace

import pytest

from segcct.errors import DataError, WorkerError
from segcct.spark import spark_executor
from segcct.spark.spark_executor import SparkExecutor, task_slots
from tests.support.deadline import wait_until


class PretendedSpark:
    """A context whose tasks run in the thread that asks for them."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.dead = False
        """Its Java has ended: whatever is asked of it raises."""
        self.running = self.begun = 0
        self._changes = threading.Condition()
        self._canceled: set[str] = set()
        self._jsc = SimpleNamespace(sc=lambda: SimpleNamespace(cancelJobGroupAndFutureJobs=self._cancel))
        self.getConf = dict

    @property
    def defaultParallelism(self) -> int:  # noqa: N802 - its name in Spark
        self._ask()
        return self.cores

    def setJobGroup(self, group, text, interruptOnCancel):  # noqa: N802
        self._ask()
        self.group = group

    def parallelize(self, tasks, parts):
        return SimpleNamespace(map=lambda work: SimpleNamespace(collect=lambda: [self._run(work, *tasks)]))

    def _run(self, work, calls):
        self._step(1)
        ended: list[object] = []
        thread = threading.Thread(target=lambda: ended.append(work(calls)), daemon=True)
        thread.start()
        while thread.is_alive() and self.group not in self._canceled and not self.dead:
            thread.join(0.005)
        self._step(-1)
        self._ask()
        if not ended:
            raise RuntimeError("part of a canceled job group")
        return ended[0]

    def _step(self, change: int) -> None:
        with self._changes:
            self.running += change
            self.begun += change > 0
            self._changes.notify_all()

    def _ask(self) -> None:
        if self.dead:
            raise ConnectionError("Answer from Java side is empty")

    def _cancel(self, group: str) -> None:
        self._ask()
        self._canceled.add(group)

    def wait_for(self, state: Callable[[PretendedSpark], bool]) -> bool:
        with self._changes:
            return self._changes.wait_for(lambda: state(self), 20)


@pytest.fixture
def pretended(monkeypatch):
    monkeypatch.setattr(spark_executor, "_keep_what_is_loaded", lambda group: None)
    return PretendedSpark(cores=1)


def test_tasks_at_a_time_grow_with_the_cluster(pretended):
    leave = threading.Event()
    with SparkExecutor(pretended) as pool:
        assert pool.submit(abs, -1).result() == 1
        pretended.cores = 8  # executors have registered
        assert pool.submit(abs, -1).result() == 1
        wait_until(lambda: pool.room() >= 2 * 8)
        waiting = [pool.submit(leave.wait, 30) for _ in range(100)]
        grown = pretended.wait_for(lambda spark: spark.running == 16)  # two for each slot
        leave.set()
        assert grown
        assert all(future.result() for future in waiting)


def test_canceling_ends_running_and_waiting_tasks_as_a_whole(pretended):
    """No call of a task that was canceled is begun again by itself."""
    leave = threading.Event()
    pool = SparkExecutor(pretended)
    list(pool.map(abs, range(50)))  # short calls, which will share tasks
    futures = [pool.submit(leave.wait, 30) for _ in range(200)]
    assert pretended.wait_for(lambda spark: spark.running == 4)
    begun = pretended.begun
    pool.shutdown(cancel_futures=True)
    assert pretended.begun == begun
    assert not pretended.running
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(0)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)
    leave.set()


def short(number: int) -> int:
    """Longer than a task in the tests below."""
    time.sleep(0.06)
    return number


@pytest.fixture
def pool_of_short_calls(pretended, monkeypatch):
    """Its calls took no time until now, as finished cases do, so that many will share a task."""
    pool = SparkExecutor(pretended)
    list(pool.map(abs, range(50)))
    monkeypatch.setattr(spark_executor, "TASK_SECONDS", 0.05)
    return pool


def test_calls_that_a_task_has_no_time_for_go_to_other_tasks(pretended, pool_of_short_calls):
    begun = pretended.begun
    with pool_of_short_calls as pool:
        assert list(pool.map(short, range(40))) == list(range(40))
    assert pretended.begun - begun == 40


def test_canceling_ends_also_calls_that_wait_again(pretended, pool_of_short_calls):
    begun = pretended.begun
    futures = [pool_of_short_calls.submit(short, number) for number in range(200)]
    assert pretended.wait_for(lambda spark: spark.begun >= begun + 8)
    pool_of_short_calls.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)
    with pytest.raises(CancelledError):
        futures[-1].result(0)


def test_every_call_ends_where_the_java_of_spark_dies(pretended):
    leave = threading.Event()
    pool = SparkExecutor(pretended)
    assert pool.submit(abs, -1).result(20) == 1
    futures = [pool.submit(leave.wait, 30) for _ in range(300)]
    assert pretended.wait_for(lambda spark: spark.running == 4)
    pretended.dead = True
    for future in futures:
        with pytest.raises(WorkerError, match=r"a task of Spark failed \(found Answer from Java side is empty\)"):
            future.result(20)
    pool.shutdown()
    leave.set()


def test_canceling_waits_for_threads_though_spark_has_ended(pretended, monkeypatch):
    leave = threading.Event()
    pool = SparkExecutor(pretended)
    futures = [pool.submit(leave.wait, 30) for _ in range(10)]
    assert pretended.wait_for(lambda spark: spark.running == 4)
    monkeypatch.setattr(pretended, "_jsc", None)  # as `SparkContext.stop` leaves it
    pool.shutdown(wait=False, cancel_futures=True)
    pretended.dead = True
    pool.shutdown()
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(0)
    leave.set()


def sleeps(file: Path) -> None:
    """Notes that it has begun, and takes longer than any test."""
    file.touch()
    time.sleep(600)


def test_canceling_ends_the_tasks_of_spark(spark, tmp_path):
    pool = SparkExecutor(spark)
    list(pool.map(inverse, range(14, 60)))
    futures = [pool.submit(sleeps, tmp_path / str(number)) for number in range(100)]
    wait_until(lambda: list(tmp_path.iterdir()), most_s=120)
    pool.shutdown(cancel_futures=True)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(0)
    wait_until(lambda: not spark.statusTracker().getActiveJobsIds(), most_s=60)
    assert len(list(tmp_path.iterdir())) < 10
    with SparkExecutor(spark) as other:
        assert other.submit(inverse, 2).result() == 0.5


def inverse(number: int) -> float:
    if number == 13:
        raise DataError("unlucky", file="13.nii", remedy="Leave it out")
    return 1 / number


def process_of(number: int) -> int:
    return os.getpid()


def dies(number: int) -> None:
    os._exit(number)


def test_results_come_in_order_from_other_processes(spark):
    with SparkExecutor(spark) as pool:
        assert list(pool.map(inverse, [1, 2, 4, 8])) == [1, 0.5, 0.25, 0.125]
        processes = set(pool.map(process_of, range(6)))
    assert os.getpid() not in processes
    assert len(processes) <= task_slots(spark, 1) == 2  # workers are used again


def test_errors_arrive_as_they_were_raised(spark):
    with SparkExecutor(spark) as pool:
        unlucky, zero, two = (pool.submit(inverse, number) for number in (13, 0, 2))
        with pytest.raises(DataError, match=r"13.nii: unlucky. Leave it out"):
            unlucky.result()
        with pytest.raises(ZeroDivisionError):
            zero.result()
        assert two.result() == 0.5


def test_a_worker_that_dies_fails_its_own_call_only(spark):
    with SparkExecutor(spark) as pool:
        dead, alive = pool.submit(dies, 3), pool.submit(inverse, 2)
        with pytest.raises(
            WorkerError, match=r"failed \(found Python worker exited unexpectedly \(crashed\)\)\. If its"
        ):
            dead.result()
        assert alive.result() == 0.5


def test_relative_paths_begin_where_the_driver_is(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SparkExecutor(spark) as pool:
        assert pool.submit(os.getcwd).result() == str(tmp_path)


def test_short_calls_share_tasks(spark):
    with SparkExecutor(spark) as pool:
        assert pool.room() == 2 * task_slots(spark, 1)
        list(pool.map(inverse, range(14, 60)))
        assert pool.room() > 20 * task_slots(spark, 1)
    assert len(spark.statusTracker().getJobIdsForGroup(pool.group)) < 46
