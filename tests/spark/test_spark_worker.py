"""What tasks find on their workers: the copies of folders, the GPU they were given."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from segcct.hardware import devices
from segcct.spark.spark_worker import SENT, received, task_device


def in_a_task(monkeypatch: pytest.MonkeyPatch, number: int, *gpus: str) -> None:
    """This process runs a task of Spark, which was given these GPUs."""
    resources = {"gpu": SimpleNamespace(addresses=list(gpus))} if gpus else {}
    task = SimpleNamespace(resources=lambda: resources, taskAttemptId=lambda: number)
    files = SimpleNamespace(get=lambda name: f"/executor/{name}")
    pyspark = SimpleNamespace(TaskContext=SimpleNamespace(get=lambda: task), SparkFiles=files)
    monkeypatch.setitem(sys.modules, "pyspark", pyspark)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_a_gpu_that_was_given_is_used(monkeypatch, device):
    in_a_task(monkeypatch, 7, "3", "2")
    assert task_device(device) == "cuda:3"


def test_tasks_without_one_share_those_of_the_machine(monkeypatch):
    monkeypatch.setattr(devices, "available_devices", lambda: ["cpu", "cuda", "cuda:0", "cuda:1"])
    used = []
    for number in range(4):
        in_a_task(monkeypatch, number)
        used.append(task_device("cuda"))
    assert used == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert task_device("cuda:1") == "cuda:1"
    assert task_device("cpu") == "cpu"


def test_outside_of_tasks_nothing_changes(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyspark", raising=False)
    assert task_device("cuda") == "cuda"
    assert received(Path("/runs/a/best")) == Path("/runs/a/best")


def test_a_folder_that_was_sent_is_the_copy_of_the_worker(monkeypatch):
    in_a_task(monkeypatch, 0)
    assert received(SENT / "model-0123") == Path("/executor/model-0123")
    assert received(Path("/runs/a/best")) == Path("/runs/a/best")
