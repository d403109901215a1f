"""The machine that a measurement runs on, and its own folder of results, so that no table mixes two machines."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segcct.config import settings
from segcct.hardware.devices import pick_device
from segcct.hardware.precision import choose_precision
from segcct.hardware.processor import core_share, instruction_sets, processor_name


def machine(keys: Sequence[str] = ()) -> dict[str, Any]:
    """What must be the same for all results of a table: processor or GPU, instruction sets, cores, precision.

    `keys` are the config keys of the command line, which may set device and precision.
    """
    overrides = settings.parse_overrides(keys)
    device = pick_device(str(overrides.get("train.device", "auto")))
    precision = choose_precision(str(overrides.get("train.precision", "auto")), device).precision
    name = processor_name()
    if device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name()
    sets = "+".join(instruction_sets())
    return {"processor": name, "sets": sets, "cores": core_share(), "device": device, "precision": precision}


def environment(**changes: str) -> dict[str, str]:
    """Environment of a command whose start is timed: Python may write compiled files, as it does for users."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | changes


def folder_here(output: Path, keys: Sequence[str] = (), *more: str) -> Path:
    """The folder of this machine's results below `output`; its name ends with the words of `more`."""
    here = machine(keys)
    words = [here["processor"], here["sets"], f"{here['cores']} cores", here["precision"], *more]
    return output / re.sub(r"[^\w.]+", "_", " ".join(words))
