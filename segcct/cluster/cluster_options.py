"""Types of the options that `segcct cluster-segment` and the streaming job share; without numpy, for a quick --help."""

from __future__ import annotations

import argparse
import math

from segcct.cluster import MOST_CLUSTERS


def number_of_clusters(text: str) -> int:
    """An option's value from 2 to `MOST_CLUSTERS`."""
    if not text.isdecimal() or not 2 <= int(text) <= MOST_CLUSTERS:
        raise argparse.ArgumentTypeError(f"{text} is not a number of clusters from 2 to {MOST_CLUSTERS}")
    return int(text)


def background(text: str) -> float | str | None:
    """The value of --background: `auto`, None for `none`, or an intensity."""
    if text in ("auto", "none"):
        return None if text == "none" else text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is neither auto, none nor an intensity")
    return value
