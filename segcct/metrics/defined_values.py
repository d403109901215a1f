"""Scores that may not be defined: then they are None, never NaN, so that JSON and tables can hold them."""

from __future__ import annotations

import math
from collections.abc import Iterable


def defined(value: float | None) -> float | None:
    """The value as a Python float; None instead of NaN."""
    return None if value is None or math.isnan(value) else float(value)


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are defined; None if none is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
