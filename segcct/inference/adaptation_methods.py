"""What `--adapt` and `InferenceSettings.adapt` may say: the methods by which a model is adapted to each case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from segcct.errors import ModelError

METHODS = ("statistics", "image", "model")
MIXED = 0.4
"""Weight of the case's own statistics where none is given."""


@dataclass(frozen=True)
class AdaptationMethods:
    """The parsed text."""

    statistics: float = 0.0
    """Weight of the case's own batch norm statistics, in [0, 1]."""
    image: bool = False
    model: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """`none`, or methods separated by commas; `statistics:0.4` with its weight. Raises `ModelError`."""
        given = {} if text == "none" else dict(_named(part) for part in text.split(","))
        return cls(given.get("statistics", 0.0), "image" in given, "model" in given)


def _named(part: str) -> tuple[str, float]:
    name, _, weight = part.strip().partition(":")
    try:
        value = float(weight) if weight else MIXED
    except ValueError:
        value = -1.0
    if name not in METHODS or not 0 < value <= 1 or (weight and name != "statistics"):
        expected = f"none, or some of {', '.join(METHODS)}, separated by commas; statistics:0.4 with a weight up to 1"
        raise ModelError("no such adaptation", found=part, expected=expected)
    return name, value
