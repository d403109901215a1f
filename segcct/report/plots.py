"""Positions of marks in the page's plots; the template draws them. Across in per cent of the plot, down in pixels,
so that one drawing fits a desk and a phone without its letters shrinking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segcct.report.results import Score

_PLOT_PX = 560
"""Width the dots are spread for."""
_DOT_PX = 5.5


@dataclass(frozen=True)
class Dot:
    """One case and class."""

    x: float
    y: float
    text: str
    status: str


@dataclass(frozen=True)
class Strip:
    """One row of the strip plot: every case, mean with interval, median; x is 100 times the Dice."""

    name: str
    dots: tuple[Dot, ...]
    mean: float | None
    low: float | None
    high: float | None
    median: float | None


@dataclass(frozen=True)
class Series:
    """One class of the scatter plot."""

    name: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Scatter:
    """Dice (down, share of the height) against reference volume (across, logarithmic)."""

    series: tuple[Series, ...]
    ticks: tuple[tuple[float, str], ...]
    unit: str
    without_reference: int
    """Scores of structures the reference does not hold, which have no place on a logarithmic axis."""


def strip(name: str, scores: Sequence[Score], stats: dict[str, object] | None, *, half_px: float = 13) -> Strip:
    """The row of one class or region; scores that are not defined have no dot."""
    known = sorted((score for score in scores if score.values["dice"] is not None), key=lambda s: (_dice(s), s.case))
    places = _swarm([_dice(score) * _PLOT_PX for score in known], half_px)
    dots = tuple(
        Dot(round(100 * _dice(score), 2), y, f"{score.case}: {name} {_dice(score):.3f}{_status(score)}", score.status)
        for score, y in zip(known, places, strict=True)
    )
    mean, low, high, median = (_percent(value) for value in _interval(stats))
    return Strip(name, dots, mean, low, high, median)


def scatter(names: Sequence[str], scores: Sequence[Score]) -> Scatter | None:
    """Every class that has a volume; None where no volume is known."""
    sized = [
        (score, volume)
        for score in scores
        if score.name in names
        and score.values["dice"] is not None
        and (volume := score.reference_volume) is not None
        and volume > 0
    ]
    if not sized:
        return None
    low = math.floor(math.log10(min(volume for _, volume in sized)) * 2) / 2
    high = max(math.ceil(math.log10(max(volume for _, volume in sized)) * 2) / 2, low + 0.5)

    def place(volume: float) -> float:
        return round(100 * (math.log10(volume) - low) / (high - low), 2)

    unit = "ml" if any(score.values.get("volume_ref_ml") is not None for score, _ in sized) else "voxels"
    series = []
    for name in names:
        dots = tuple(
            Dot(
                place(volume),
                round(1 - _dice(score), 4),
                f"{score.case}: {name} {_dice(score):.3f}, {volume:.3g} {unit}{_status(score)}",
                score.status,
            )
            for score, volume in sized
            if score.name == name
        )
        series.append(Series(name, dots))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    values = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    ticks = tuple((place(value), _tick(value)) for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9)
    unplaced = sum(score.name in names and score.status == "spurious" for score in scores)
    return Scatter(tuple(series), ticks, unit, unplaced)


def _swarm(places_px: Sequence[float], half_px: float) -> list[float]:
    """Offsets that keep dots apart: each takes the free row nearest the middle, the last row when all are taken."""
    steps = [_DOT_PX * step for step in range(1, int(half_px // _DOT_PX) + 1)]
    rows = [0.0, *(row for step in steps for row in (step, -step))]
    last: dict[float, float] = {}
    offsets = []
    for place in places_px:
        free = [row for row in rows if place - last.get(row, -math.inf) >= _DOT_PX]
        row = free[0] if free else min(rows, key=lambda candidate: last[candidate])
        last[row] = place
        offsets.append(row)
    return offsets


def _interval(stats: dict[str, object] | None) -> list[object]:
    if stats is None:
        return [None] * 4
    interval = stats.get("ci95")
    low, high = interval if isinstance(interval, list | tuple) and len(interval) == 2 else (None, None)
    return [stats.get("mean"), low, high, stats.get("median")]


def _percent(value: object) -> float | None:
    return round(100 * value, 2) if isinstance(value, int | float) and math.isfinite(value) else None


def _dice(score: Score) -> float:
    value = score.values["dice"]
    assert value is not None
    return value


def _status(score: Score) -> str:
    return "" if score.status == "ok" else f" ({score.status})"


def _tick(value: float) -> str:
    """Thousands set apart by a narrow space."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}") if value >= 1 else f"{value:g}"
