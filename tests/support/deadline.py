"""Waiting that ends: a test whose condition never comes true fails instead of hanging."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, most_s: float = 20) -> None:
    """Wait until the condition holds; an `AssertionError` after so many seconds."""
    end = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < end, f"did not come true within {most_s} s"
        time.sleep(0.005)
