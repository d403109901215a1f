"""The processes of a distributed training."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """This process writes the run folder; the others of a distributed training only read it."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
