"""Device, precision, threads and memory of a run; device and precision are settled before it begins and stored in
its configuration."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from segcct.config import Experiment, TrainSection
from segcct.hardware.devices import device_type, pick_device
from segcct.hardware.memory import keep_freed_memory
from segcct.hardware.precision import ENVIRONMENT, Choice, choose_precision
from segcct.hardware.processor import limit_threads
from segcct.progress import say
from segcct.training.processes import is_first_process, world_size

FIRST_CHOICE = "SEGCCT_FIRST_PROCESS_PRECISION"
"""Environment variable with the choice of the first process of a distributed run, for the others."""
Config = TypeVar("Config", bound=Experiment)


def resolve_precision(config: Config, *, announce: bool = False) -> Config:
    """The configuration with `precision: auto` replaced by the choice for this machine, and its reason.

    A resumed run keeps the stored choice. The other processes of a distributed run get the choice of the first
    one, which starts them, through the environment; those that torchrun starts on processors train in fp32.

    Args:
        config: any run's.
        announce: print the choice on stderr.

    Raises `ModelError` for a device that is not there.
    """
    train = config.train
    device = pick_device(train.device)
    if train.precision != "auto":
        if is_first_process():  # one warning, not one of each process
            choose_precision(train.precision, device)
        return config
    if not is_first_process() and (first := os.environ.get(FIRST_CHOICE)) in ("fp32", "bf16"):
        choice = Choice("bf16" if first == "bf16" else "fp32", "chosen by the first process")
    elif world_size() > 1 and device == "cpu" and not os.environ.get(ENVIRONMENT):  # of torchrun
        choice = Choice("fp32", "processes of torchrun cannot agree on what each would measure; --train.precision "
                        "bf16 where all processors have bf16 instructions")  # fmt: skip
    else:
        choice = choose_precision("auto", device)
    if is_first_process():
        if announce:
            say(str(choice))
        if train.devices > 1:
            os.environ[FIRST_CHOICE] = choice.precision
    settled = train.model_copy(update={"precision": choice.precision, "precision_reason": choice.reason})
    return config.model_copy(update={"train": settled})


def lightning_devices(train: TrainSection) -> dict[str, Any]:
    """Lightning's device arguments: torchrun's processes where it started us, else `train.devices` of our own.

    On the CPU the cores are divided between the processes, which keep the memory that they free.
    """
    devices = int(os.environ["LOCAL_WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else train.devices
    kind = device_type(pick_device(train.device))
    if kind == "cpu":
        limit_threads(devices)
        keep_freed_memory()
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    many = devices * nodes > 1
    return {
        "accelerator": "gpu" if kind == "cuda" else kind,
        "devices": devices,
        "num_nodes": nodes,
        "strategy": "ddp" if many else "auto",
    }
