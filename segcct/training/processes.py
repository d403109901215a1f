"""The processes of a distributed run: which one prints and writes, and how they share results."""

from __future__ import annotations

import os
from typing import Any

from segcct.progress import Progress


def is_first_process() -> bool:
    """This process writes the run folder; the others of a distributed run only read it."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def world_size() -> int:
    """Processes of a distributed run that was started as such; 1 elsewhere."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def progress_bar(label: str) -> Progress | None:
    """Progress of the first process; the others are silent."""
    return Progress(label) if is_first_process() else None


def gather(mine: dict[str, Any], world: int) -> dict[str, Any]:
    """The entries of all processes, sorted by name, in every process."""
    if world == 1:
        return mine
    import torch

    parts: list[dict[str, Any]] = [{} for _ in range(world)]
    torch.distributed.all_gather_object(parts, mine)
    return dict(sorted((name, value) for part in parts for name, value in part.items()))
