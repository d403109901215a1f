"""The machine of a measurement, and the folder of its results: those of another never join a table."""

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
    """What a table may not mix: the processor or GPU, its instructions and cores, the precision that it computes in.

    `keys`: those of the command line, which may name device and precision.
    """
    given = settings.parse_overrides(keys)
    device = pick_device(str(given.get("train.device", "auto")))
    precision = choose_precision(str(given.get("train.precision", "auto")), device).precision
    name = processor_name()
    if device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name()
    sets = "+".join(instruction_sets())
    return {"processor": name, "sets": sets, "cores": core_share(), "device": device, "precision": precision}


def environment(**changes: str) -> dict[str, str]:
    """The variables of a command that is timed with its start: Python keeps what it compiles, as it does for users."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | changes


def folder_here(output: Path, keys: Sequence[str] = (), *more: str) -> Path:
    """The folder of this machine's results below `output`; `more` words follow in its name."""
    here = machine(keys)
    words = [here["processor"], here["sets"], f"{here['cores']} cores", here["precision"], *more]
    return output / re.sub(r"[^\w.]+", "_", " ".join(words))
