"""The quality estimate as plain numbers: signals in, an estimated Dice with its interval out; stored as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from segcct.errors import ModelError
from segcct.files.json_file import read_object
from segcct.model_card import load_card
from segcct.progress import say
from segcct.quality.conformal import LEVEL
from segcct.quality.features import SIGNALS
from segcct.quality.regression import Feature, read_table

FILE = "quality.json"
DOUBTFUL_BELOW = 0.7
"""Estimated Dice below which a mask is called doubtful."""
_HELD = 0.5
"""Share of the calibration's cases without a prediction of a class that held it, from which a class that is not
predicted is taken as missed."""
_FORMAT = 1
_FIGURES = ("spearman", "mae", "auroc")


@dataclass(frozen=True)
class Estimate:
    """What is thought of one class of one predicted mask."""

    dice: float
    low: float
    high: float
    """Ends of the 90% interval; 0 and 1 where too few patients were there to calibrate one."""
    has_interval: bool = True
    """Whether enough patients were there."""


@dataclass(frozen=True)
class QualityModel:
    """A fitted estimate for the classes of one segmenter."""

    classes: tuple[str, ...]
    features: tuple[Feature, ...]
    slopes: Mapping[str, tuple[float, ...]]
    """Class -> one per feature."""
    intercepts: Mapping[str, float]
    table: tuple[tuple[float, ...], tuple[float, ...]]
    """Knots: the line's output as a Dice, and the Dice it means."""
    spread: tuple[tuple[float, ...], tuple[float, ...]]
    """Knots: estimate, and the usual error there."""
    widths: Mapping[str, float | None]
    """Class -> multiple of the usual error that makes the interval; None: too few patients for one."""
    level: float = LEVEL
    doubtful_below: float = DOUBTFUL_BELOW
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What it was fitted on and how well it did there out of fold; `misses` reads `not_predicted`."""

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals it reads."""
        return tuple(dict.fromkeys(feature.signal for feature in self.features))

    def estimate(self, name: str, signals: Mapping[str, float | None] | None) -> Estimate | None:
        """The estimate for class `name`; None for an empty mask, whose Dice no signal tells.

        Raises:
            ModelError: the class is not one it was fitted on.
        """
        if name not in self.slopes:
            raise ModelError(
                "the quality estimate does not know this class", found=name, expected=", ".join(self.classes)
            )
        if signals is None:
            return None
        dice = read_table(self._line(name, signals), *self.table)
        width = self.widths[name]
        if width is None:
            return Estimate(dice, 0.0, 1.0, has_interval=False)
        half = width * self.usual_error(dice)
        return Estimate(dice, max(dice - half, 0.0), min(dice + half, 1.0))

    def misses(self, name: str) -> bool:
        """Whether a class that was not predicted is taken as missed, a Dice of 0, and not as absent.

        It is where at least half of the calibration's cases without a prediction of it held it, by the rule of
        succession (held + 1) / (cases + 2): a class that was always predicted there is taken as missed.
        """
        seen = self.facts.get("not_predicted", {}).get(name, {"cases": 0, "held_it": 0})
        return bool((seen["held_it"] + 1) / (seen["cases"] + 2) >= _HELD)

    def usual_error(self, dice: float) -> float:
        """Typical size of the error of an estimate of that height."""
        return float(np.interp(dice, *self.spread))

    def _line(self, name: str, signals: Mapping[str, float | None]) -> float:
        values = [feature.of(signals, name) for feature in self.features]
        return from_angle(self.intercepts[name] + float(np.dot(self.slopes[name], values)))

    def with_facts(self, **facts: Any) -> QualityModel:
        """The same estimate with more said about it."""
        return replace(self, facts={**self.facts, **facts})

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> QualityModel:
        """The inverse of `to_json`, also after a trip through a file. Raises `ModelError` on anything else."""
        try:
            if content["format"] != _FORMAT:
                raise ModelError("a quality estimate of another version", found=content["format"], expected=_FORMAT)
            model = cls(
                classes=tuple(content["classes"]),
                features=tuple(Feature(**feature) for feature in content["features"]),
                slopes={name: tuple(values) for name, values in content["slopes"].items()},
                intercepts=dict(content["intercepts"]),
                table=_knots(content["table"]),
                spread=_knots(content["spread"]),
                widths=dict(content["widths"]),
                level=float(content["level"]),
                doubtful_below=float(content["doubtful_below"]),
                facts=dict(content["facts"]),
            )
            model._check()
            return model
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            raise ModelError("is not a quality estimate", found=f"{type(error).__name__}: {error}") from None

    def _check(self) -> None:
        """Raises `ValueError` or `TypeError` where a number that an estimate needs is missing or not finite."""
        tables = {"slopes": self.slopes, "intercepts": self.intercepts, "widths": self.widths}
        for what, table in tables.items():
            if set(table) != set(self.classes):
                raise ValueError(f"{what} of {', '.join(table) or 'no class'}, not of {', '.join(self.classes)}")
        needed = [self.level, self.doubtful_below, *self.intercepts.values()]
        for numbers in (*self.slopes.values(), *self.table, *self.spread):
            needed += numbers
        for feature in self.features:
            needed += [
                *(feature.centre[name] for name in self.classes),
                *(feature.scale[name] for name in self.classes),
            ]
        needed += [width for width in self.widths.values() if width is not None]
        if not all(math.isfinite(value) for value in needed):
            raise ValueError("a number that is not finite")
        if any(len(own) != len(self.features) for own in self.slopes.values()):
            raise ValueError("another number of slopes than of features")
        if not 0 < self.doubtful_below <= 1:
            raise ValueError(f"doubtful below {self.doubtful_below}")
        unknown = [name for name in self.signals if name not in SIGNALS]
        if unknown:
            raise ValueError(f"a signal that is not known: {unknown[0][:80]}")
        if any(later < earlier for x, _ in (self.table, self.spread) for earlier, later in pairwise(x)):
            raise ValueError("knots that are not in order")
        for name in self.classes:
            self.misses(name)
        for row in self.facts.get("leave_one_out", ()):
            _ = str(row["name"]), *(None if row[key] is None else float(row[key]) for key in _FIGURES)

    @classmethod
    def load(cls, folder: Path) -> QualityModel | None:
        """The estimate beside a model; None where none was calibrated, or one that reads signals of a generator, which
        is said on stderr.

        Raises:
            ModelError: the file is damaged, or was calibrated for other weights than those beside it.
        """
        file = folder / FILE
        if not file.is_file():
            return None
        what, remedy = "cannot be used as a quality estimate", "Write it again by segcct calibrate"
        content = read_object(file, what, error=ModelError, remedy=remedy)
        if content.get("uses_m2i"):
            say(f"{file} is not used: it was calibrated with a generator, whose features are no longer used. "
                f"{remedy}")  # fmt: skip
            return None
        card = load_card(folder)
        try:
            model = cls.from_json(content)
            if content.get("weights_sha256") != card.weights_sha256:
                raise ModelError("was calibrated for other weights")
            strangers = [name for name in model.classes if name not in card.classes]
            if strangers:
                raise ModelError(f"an estimate of class {strangers[0][:80]}, which the model does not predict")
        except ModelError as error:
            raise ModelError(what, file=file, found=str(error)[:300], remedy=remedy) from None
        return model


def to_angle(dice: np.ndarray) -> np.ndarray:
    """Dice -> arcsine of its square root, where its scatter is about the same everywhere."""
    return np.arcsin(np.sqrt(np.clip(dice, 0, 1)))


def from_angle(angle: float) -> float:
    """The inverse, with angles beyond the ends taken as the ends."""
    return math.sin(min(max(angle, 0.0), math.pi / 2)) ** 2


def _knots(content: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    x, y = (tuple(float(value) for value in values) for values in content)
    if not x or len(x) != len(y):
        raise ValueError("a table with unequal columns")
    return x, y
