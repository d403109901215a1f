"""Scores that are not always defined: None where they are not, never NaN, so that JSON and tables can hold them."""

from __future__ import annotations

import math
from collections.abc import Iterable


def defined(value: float | None) -> float | None:
    """A number of Python; None in place of NaN."""
    return None if value is None or math.isnan(value) else float(value)


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
