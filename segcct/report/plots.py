"""Positions of the marks in a page's plots, which the templates draw: x in percent of the plot's width, y in pixels or
percent, so that one drawing fits large and small screens without shrinking its text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from segcct.evaluation.summary_record import MetricStats
from segcct.plurals import counted
from segcct.report.results import Score

_PLOT_PX = 560
"""Width at which no two dots of a strip overlap."""
_DOT_PX, _HALF_STRIP_PX = 5.5, 13.0


@dataclass(frozen=True)
class Dot:
    """One case and class, first at its values, then placed: x in percent, y in pixels from the middle of a strip or in
    percent from the top of a plot."""

    series: str
    """Its class."""
    x: float
    y: float
    text: str
    status: str = "ok"


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
class Plot:
    """A scatter plot of one series of dots per class."""

    x_name: str
    y_name: str
    series: tuple[tuple[Dot, ...], ...]
    ticks: tuple[tuple[float, str], ...]
    """Place in percent, and text."""
    title: str = ""
    note: str = ""
    diagonal: bool = False
    """Both axes are the same measure from 0 to 1: the line of agreement is drawn."""


def strip(name: str, scores: Sequence[Score], stats: MetricStats | None) -> Strip:
    """The row of one class or region; scores that are not defined have no dot."""
    defined = sorted((dice, score.case, score.status) for score in scores if (dice := score.values["dice"]) is not None)
    offsets = _swarm([dice * _PLOT_PX for dice, _, _ in defined], _HALF_STRIP_PX)
    dots = tuple(
        Dot(name, round(100 * dice, 2), y, f"{case}: {name} {dice:.3f}{_status(status)}", status)
        for (dice, case, status), y in zip(defined, offsets, strict=True)
    )
    stats = stats or MetricStats()
    marks = (stats.mean, *(stats.ci95 or (None, None)), stats.median)
    return Strip(name, dots, *(None if value is None else round(100 * value, 2) for value in marks))


def dice_by_volume(classes: Sequence[str], scores: Sequence[Score]) -> Plot | None:
    """Dice of every class against the volume of its reference, all in one unit: ml, or voxels if that shows more dots,
    as not all images have a voxel size. None if no volume is known."""
    scores = [score for score in scores if score.name in classes]
    in_units = {"ml": _sized(scores, "volume_ref_ml"), "voxels": _sized(scores, "voxels_ref")}
    unit = max(in_units, key=lambda each: len(in_units[each]))  # the first of two that are equal
    sized = in_units[unit]
    if not sized:
        return None
    dots = []
    for score, dice, volume in sized:
        text = f"{score.case}: {score.name} {dice:.3f}, {volume:.3g} {unit}{_status(score.status)}"
        dots.append(Dot(score.name, volume, dice, text, score.status))
    plot = log_plot(classes, dots, f"Volume of the reference ({unit}, logarithmic)", "Dice")
    spurious = sum(score.status == "spurious" for score in scores)
    verb = "has" if spurious == 1 else "have"
    note = f"{counted(spurious, 'spurious structure')} {verb} no reference volume and no place here."
    return replace(plot, note=note) if spurious else plot


def _sized(scores: Sequence[Score], column: str) -> list[tuple[Score, float, float]]:
    """(score, Dice, volume of the reference) of those that have both."""
    return [
        (score, dice, volume)
        for score in scores
        if (dice := score.values["dice"]) is not None
        and (volume := score.values.get(column)) is not None
        and volume > 0
    ]


def log_plot(names: Sequence[str], dots: Sequence[Dot], x_name: str, y_name: str) -> Plot:
    """At least one dot, x above 0 on a logarithmic axis of half decades, y from 0 to 1."""
    low = math.floor(math.log10(min(dot.x for dot in dots)) * 2) / 2
    high = max(math.ceil(math.log10(max(dot.x for dot in dots)) * 2) / 2, low + 0.5)

    def place(x: float) -> float:
        return (math.log10(x) - low) / (high - low)

    steps = (1, 2, 5) if high - low <= 2 else (1,)
    values = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    ticks = [(place(value), _tick(value)) for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]
    return _plot(names, [replace(dot, x=place(dot.x)) for dot in dots], ticks, x_name, y_name)


def linear_plot(names: Sequence[str], dots: Sequence[Dot], x_name: str, y_name: str, high: float = 0.0) -> Plot:
    """At least one dot, x from 0 to `high`, by default a round number that holds them all, y from 0 to 1."""
    high = high or _round_up(max(dot.x for dot in dots))
    ticks = [(step / 4, f"{high * step / 4:.2g}") for step in range(5)]
    return _plot(names, [replace(dot, x=dot.x / high) for dot in dots], ticks, x_name, y_name)


def _plot(
    names: Sequence[str], dots: Sequence[Dot], ticks: Sequence[tuple[float, str]], x_name: str, y_name: str
) -> Plot:
    """Dots and ticks by fractions of the axes."""
    placed = [replace(dot, x=round(100 * dot.x, 2), y=round(100 * (1 - dot.y), 2)) for dot in dots]
    series = tuple(tuple(dot for dot in placed if dot.series == name) for name in names)
    return Plot(x_name, y_name, series, tuple((round(100 * x, 2), text) for x, text in ticks))


def _swarm(places_px: Sequence[float], half_px: float) -> list[float]:
    """Offsets by which dots do not overlap: each takes the free row nearest the middle, the last row when all are
    taken."""
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


def _status(status: str) -> str:
    return "" if status == "ok" else f" ({status})"


def _tick(value: float) -> str:
    """Thousands set apart by a narrow space."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}") if value >= 1 else f"{value:g}"


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5 or 10 times a power of ten, so that quarters are round."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 10) if step * power >= value - 1e-12)
