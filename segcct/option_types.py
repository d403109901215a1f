"""Types of command-line options: numbers within bounds."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def fraction(text: str) -> float:
    """An option's value above 0, at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and at most 1")
    return value


def number_above(least: float) -> Callable[[str], float]:
    """The type of an option whose value is above `least`, and finite."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a number above {least:g}")
        return value

    return parse


def non_negative_int(text: str) -> int:
    """An option's value that may be 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0")
    return int(text)


def positive_int(text: str) -> int:
    """An option's value that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)
