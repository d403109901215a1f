"""Waiting with a deadline: a test whose condition never becomes true fails instead of hanging."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, most_s: float = 20) -> None:
    """Wait until the condition holds. Raises `AssertionError` after `most_s` seconds."""
    end = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < end, f"not true after {most_s} s"
        time.sleep(0.005)
