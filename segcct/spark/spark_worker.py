"""What a task finds on its worker: the folders that were sent to it, and the GPU that it was given."""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

from segcct.errors import ModelError

SENT = Path("/sent-by-spark")
"""Stands for the folder, another one on each worker, that `SparkContext.addArchive` unpacks to."""


def received(folder: Path) -> Path:
    """Where a folder lies in this process: on a worker, its own copy of one that was sent."""
    if SENT not in folder.parents:
        return folder
    sent, *within = folder.relative_to(SENT).parts
    return Path(_pyspark().SparkFiles.get(sent), *within)


def task_device(device: str) -> str:
    """Where a network runs in this process.

    In a task that Spark gave a GPU (`spark.task.resource.gpu.amount`) it is that one; `cuda` in a task without is one
    of the GPUs of the machine, by the number of the first task of this process; elsewhere it is `device`.

    Raises `ModelError` for `cuda` on a machine without a GPU.
    """
    task = None if _pyspark() is None else _pyspark().TaskContext.get()
    if task is None:
        return device
    if given := task.resources().get("gpu"):
        return f"cuda:{given.addresses[0]}"
    if device == "cuda":
        from segcct.hardware.devices import available_devices

        gpus = [name for name in available_devices() if name.startswith("cuda:")]
        if not gpus:
            remedy = "Use --device cpu, or workers that all have a GPU"
            raise ModelError("this worker of Spark has no GPU", found=platform.node(), remedy=remedy)
        return gpus[_first_task() % len(gpus)]
    return device


@cache
def _first_task() -> int:
    """The number of the task that asked first: later tasks of a worker find its model where it was loaded."""
    return int(_pyspark().TaskContext.get().taskAttemptId())


def _pyspark() -> Any:
    """The package where this process runs tasks; None elsewhere."""
    return sys.modules.get("pyspark")
