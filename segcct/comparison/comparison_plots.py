"""Plots of the comparison: each foretelling number against 1 - IoU (or Dice), one dot per case and class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segcct.metrics.ranking import spearman
from segcct.report.plots import Dot, Series

_FEW = 8
"""Fewer dots than this and no correlation is stated."""


@dataclass(frozen=True)
class Against:
    """One small plot. x in per cent of the width, y as a share of the height from the top."""

    title: str
    x_name: str
    y_name: str
    series: tuple[Series, ...]
    ticks: tuple[tuple[float, str], ...]
    spearman: float | None
    count: int
    diagonal: bool = False
    """Both axes are the same measure from 0 to 1: the line of agreement is drawn."""


def plots_of(cases: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> list[Against]:
    """Every plot that has at least one dot; none without references."""
    found = [
        _plot(
            cases, classes, "Reconstruction distance and IoU", "RMSE in the class",
            lambda case, name: _distance(case, name), _one_minus_iou, "1 \N{MINUS SIGN} IoU",
        ),
        _plot(
            cases, classes, "What the segmenter finds again, and IoU", "1 \N{MINUS SIGN} Dice of M → I → M'",
            _cycle_lost, _one_minus_iou, "1 \N{MINUS SIGN} IoU",
        ),
        _plot(cases, classes, "Estimated and measured Dice", "Estimated Dice", _estimated, _dice, "Dice", same=True),
    ]  # fmt: skip
    return [plot for plot in found if plot is not None]


def _plot(
    cases: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
    title: str,
    x_name: str,
    x_of: Any,
    y_of: Any,
    y_name: str,
    *,
    same: bool = False,
) -> Against | None:
    points = [
        (case, name, x, y)
        for name in classes
        for case, facts in cases.items()
        if (x := x_of(facts, name)) is not None and (y := y_of(facts, name)) is not None
    ]
    if not points:
        return None
    high = 1.0 if same else _round_up(max(x for _, _, x, _ in points))
    series = tuple(
        Series(
            name,
            tuple(
                Dot(
                    round(100 * x / high, 2),
                    round(1 - y, 4),
                    f"{case}: {name}, {x_name} {x:.3f}, {y_name} {y:.3f}",
                    "ok",
                )
                for case, own, x, y in points
                if own == name
            ),
        )
        for name in classes
    )
    xs, ys = [x for _, _, x, _ in points], [y for _, _, _, y in points]
    ticks = tuple((100 * step / 4, f"{high * step / 4:.2g}") for step in range(5))
    rank = spearman(xs, ys) if len(points) >= _FEW else None
    return Against(title, x_name, y_name, series, ticks, rank, len(points), diagonal=same)


def _distance(case: Mapping[str, Any], name: str) -> float | None:
    rmse: float | None = case["reconstruction"]["predicted"]["distances"][name]["rmse"]
    return rmse


def _cycle_lost(case: Mapping[str, Any], name: str) -> float | None:
    score = case["cycle"]["predicted"]["classes"][name]
    return None if score is None else 1 - score


def _estimated(case: Mapping[str, Any], name: str) -> float | None:
    estimate = (case["estimate"] or {}).get(name)
    return None if estimate is None else float(estimate["dice"])


def _one_minus_iou(case: Mapping[str, Any], name: str) -> float | None:
    iou = case["classes"][name]["iou"]
    return None if iou is None else 1 - iou


def _dice(case: Mapping[str, Any], name: str) -> float | None:
    score: float | None = case["classes"][name]["dice"]
    return score


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5 or 10 times a power of ten, so that quarters are round."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 10) if step * power >= value - 1e-12)
