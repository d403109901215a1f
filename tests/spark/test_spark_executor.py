"""Calls run in Spark as in any executor: results in order, errors as they were raised, a dead worker as one failure."""

from __future__ import annotations

import os

import pytest

from segcct.case_runner import WorkerError
from segcct.errors import DataError
from segcct.spark.spark_executor import SparkExecutor, task_slots


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
    assert len(processes) <= task_slots(spark) == 2  # workers are used again


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
        assert pool.room() == 2 * task_slots(spark)
        list(pool.map(inverse, range(14, 60)))
        assert pool.room() > 20 * task_slots(spark)
    assert len(spark.statusTracker().getJobIdsForGroup(pool.group)) < 46
