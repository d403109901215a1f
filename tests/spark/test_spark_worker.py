"""What tasks find on their workers: the copies of folders, the GPU they were given."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from segcct.errors import ModelError
from segcct.hardware import devices
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.loaded_model import LoadedModel
from segcct.spark import spark_worker
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


def test_workers_whose_tasks_have_none_share_those_of_the_machine(monkeypatch):
    monkeypatch.setattr(devices, "available_devices", lambda: ["cpu", "cuda", "cuda:0", "cuda:1"])
    for first, gpu in enumerate(["cuda:0", "cuda:1", "cuda:0"]):
        spark_worker._first_task.cache_clear()  # as another process
        for number in (first, first + 3, first + 4):
            in_a_task(monkeypatch, number)
            assert task_device("cuda") == gpu
        assert task_device("cuda:1") == "cuda:1"
        assert task_device("cpu") == "cpu"
    spark_worker._first_task.cache_clear()


def test_a_worker_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setattr(devices, "available_devices", lambda: ["cpu"])
    in_a_task(monkeypatch, 0)
    with pytest.raises(ModelError, match=r"this worker of Spark has no GPU .*--device cpu"):
        task_device("cuda")


def test_a_worker_loads_its_model_once_for_each_gpu_it_is_given(monkeypatch):
    """A worker may be used again by a task that was given another one."""

    class Model(LoadedModel):
        def __init__(self, how: InferenceSettings) -> None:
            self.how, self.folders = how, (Path("best"),)

        @classmethod
        def load(cls, models, how=None):  # noqa: ARG003 - there are none
            loads.append(how.device)
            return cls(how)

    loads: list[str] = []
    reduced, arguments = Model(InferenceSettings(precision="fp32")).__reduce__()
    models = []
    for number, gpu in enumerate(["3", "1", "3", "1"]):
        in_a_task(monkeypatch, number, gpu)
        models.append(reduced(*arguments))
    assert [model.how.device for model in models] == ["cuda:3", "cuda:1", "cuda:3", "cuda:1"]
    assert loads == ["cuda:3", "cuda:1"]
    assert models[0] is models[2]


def test_a_worker_finds_the_generator_that_was_sent(monkeypatch):
    class Model(LoadedModel):
        def __init__(self, how: InferenceSettings) -> None:
            self.how = how

        @classmethod
        def load(cls, models, how=None):
            assert models == [Path("/executor/model-0")]
            return cls(how)

    here = Model(InferenceSettings(precision="fp32", adapt="model", generator=Path("/runs/m2i/best")))
    here.relocate([SENT / "model-0"], SENT / "model-1")
    reduced, arguments = here.__reduce__()
    in_a_task(monkeypatch, 0)
    assert reduced(*arguments).how.generator == Path("/executor/model-1")
    assert here.how.generator == Path("/runs/m2i/best")


def test_outside_of_tasks_nothing_changes(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyspark", raising=False)
    assert task_device("cuda") == "cuda"
    assert received(Path("/runs/a/best")) == Path("/runs/a/best")


def test_a_folder_that_was_sent_is_the_copy_of_the_worker(monkeypatch):
    in_a_task(monkeypatch, 0)
    assert received(SENT / "model-0123") == Path("/executor/model-0123")
    assert received(Path("/runs/a/best")) == Path("/runs/a/best")
