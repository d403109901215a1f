"""Fitting the quality estimate from predictions whose references are known, cross-fitted over patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from segcct.errors import DataError
from segcct.quality.conformal import LEVEL, patient_quantile
from segcct.quality.features import SIGNALS
from segcct.quality.quality_model import Estimate, QualityModel, from_angle, to_angle
from segcct.quality.regression import (
    PENALTIES,
    Feature,
    Ridge,
    design_of,
    make_feature,
    monotone_table,
    read_table,
    transformed,
    transforms_of,
    unfold,
)

FEWEST_PATIENTS = 3
"""Fewer than this cannot be cross-fitted at all."""
_OWN_WIDTH = 20
"""Patients that hold a class before it has an interval width of its own."""
_INNER, _OUTER = 5, 10
_LEAST_ERROR = 0.01
_NEARLY = 1.03
"""The largest penalty that loses no more than this times the least loss is taken: steadier with few patients."""


@dataclass(frozen=True)
class Measured:
    """One class of one predicted case whose reference is known."""

    case: str
    patient: str
    name: str
    """The class."""
    signals: Mapping[str, float | None] | None
    """None where nothing was predicted."""
    dice: float | None
    """None where neither prediction nor reference holds the class."""


@dataclass(frozen=True)
class Point:
    """A fitted estimate without its interval, as arrays, and what it says out of fold about its own rows."""

    features: tuple[Feature, ...]
    slopes: np.ndarray
    intercepts: np.ndarray
    table: tuple[list[float], list[float]]
    spread: tuple[list[float], list[float]]
    penalty: float

    def read(self, values: np.ndarray, member: np.ndarray) -> np.ndarray:
        """Estimates (N,) for features (N, F) of rows with class numbers (N,)."""
        angles = self.intercepts[member] + (self.slopes[member] * values).sum(axis=1)
        return np.array([read_table(from_angle(angle), *self.table) for angle in angles])

    def usual_error(self, estimates: np.ndarray) -> np.ndarray:
        """Typical error at each estimate."""
        return np.interp(estimates, *self.spread)


class Calibration:
    """Rows ready for fitting: those with a predicted mask and a Dice.

    Args:
        rows: any order; rows that are empty or not scored are left out.
        classes: in the scheme's order.
        signals: names to use; those defined in fewer than half of the rows are left out.

    Raises:
        DataError: too few patients.
    """

    def __init__(self, rows: Sequence[Measured], classes: Sequence[str], signals: Sequence[str] = SIGNALS) -> None:
        self.rows = [row for row in rows if row.signals is not None and row.dice is not None]
        self.patients = sorted({row.patient for row in self.rows})
        if len(self.patients) < FEWEST_PATIENTS:
            raise DataError(
                "too few patients to calibrate the quality estimate on",
                found=f"{len(self.patients)} with a predicted structure and a reference",
                expected=f"at least {FEWEST_PATIENTS}, better 50",
            )
        self.classes = tuple(name for name in classes if any(row.name == name for row in self.rows))
        self.member = np.array([self.classes.index(row.name) for row in self.rows])
        self.target = np.array([row.dice for row in self.rows], dtype=float)
        defined = {name: np.mean([self._signals(row).get(name) is not None for row in self.rows]) for name in signals}
        self.signals = tuple(name for name in signals if defined[name] >= 0.5)
        self._columns: dict[tuple[str, str], np.ndarray] = {}

    @staticmethod
    def _signals(row: Measured) -> Mapping[str, float | None]:
        assert row.signals is not None  # such rows are left out
        return row.signals

    @cached_property
    def fold_of(self) -> np.ndarray:
        """(N,) outer fold of each row; patients in a fixed, mixed order."""
        return self.folds(_OUTER)

    def folds(self, count: int, among: np.ndarray | None = None) -> np.ndarray:
        """(N,) fold numbers by patient, as even as can be; `among` (N,) bool limits which patients are dealt out."""
        names = [row.patient for row in self.rows]
        dealt = sorted({name for place, name in enumerate(names) if among is None or among[place]})
        number = {name: place for place, group in enumerate(_dealt(dealt, count)) for name in group}
        return np.array([number.get(name, -1) for name in names])

    def features(self, kept: np.ndarray, signals: Sequence[str]) -> tuple[Feature, ...]:
        """Features whose centres and scales come from the rows `kept`."""
        own = {name: kept & (self.member == number) for number, name in enumerate(self.classes)}
        missing = [name for name, rows in own.items() if not rows.any()]
        features = [
            make_feature(name, how, {held: self._column(name, how)[rows] for held, rows in own.items() if rows.any()})
            for name in signals
            for how in transforms_of(name)
        ]
        return tuple(_with_classes(feature, missing) for feature in features)

    def values(self, features: Sequence[Feature]) -> np.ndarray:
        """(N, F)."""
        columns = []
        for feature in features:
            centre, scale = (
                np.array([table[name] for name in self.classes])[self.member]
                for table in (feature.centre, feature.scale)
            )
            columns.append(feature.column(self._column(feature.signal, feature.transform), centre, scale))
        return np.stack(columns, axis=1) if columns else np.empty((len(self.rows), 0))

    def _column(self, signal: str, how: str) -> np.ndarray:
        """(N,) transformed values of a signal, NaN where not defined; made once for all fits."""
        if (signal, how) not in self._columns:
            given = [self._signals(row).get(signal) for row in self.rows]
            values = np.array([math.nan if value is None else value for value in given], dtype=float)
            self._columns[signal, how] = transformed(values, how)
        return self._columns[signal, how]

    def point(self, kept: np.ndarray, signals: Sequence[str]) -> Point:
        """Fit on the rows `kept` (N,) bool: penalty and table from its own out-of-fold lines, by patient."""
        features = self.features(kept, signals)
        design = design_of(self.values(features), self.member, len(self.classes))
        angle = to_angle(self.target)
        fold = self.folds(_INNER, kept)
        lines = np.full((len(PENALTIES), len(self.rows)), math.nan)
        for number in range(int(fold[kept].max()) + 1):
            inner, held = kept & (fold != number), kept & (fold == number)
            if not inner.any():
                continue
            ridge = Ridge.of(design[inner], angle[inner])
            for place, penalty in enumerate(PENALTIES):
                slopes, intercept = ridge.weights(penalty)
                lines[place, held] = design[held] @ slopes + intercept
        lost = np.square(lines[:, kept] - angle[kept]).mean(axis=1)
        best = int(np.flatnonzero(lost <= _NEARLY * lost.min()).max())
        outside = np.array([from_angle(line) for line in lines[best, kept]])
        table = monotone_table(outside, self.target[kept])
        estimates = np.array([read_table(value, *table) for value in outside])
        slopes, intercept = Ridge.of(design[kept], angle[kept]).weights(PENALTIES[best])
        own_slopes, own_intercepts = unfold(slopes, intercept, len(features), len(self.classes))
        spread = _spread(estimates, np.abs(self.target[kept] - estimates))
        return Point(features, own_slopes, own_intercepts, table, spread, PENALTIES[best])

    def out_of_fold(self, signals: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Estimates (N,) and usual errors (N,) of every row by a fit that never saw its patient."""
        estimates, errors = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        for number in range(int(self.fold_of.max()) + 1):
            held = self.fold_of == number
            fitted = self.point(~held, signals)
            estimates[held] = fitted.read(self.values(fitted.features)[held], self.member[held])
            errors[held] = fitted.usual_error(estimates[held])
        return estimates, errors


def fit(
    rows: Sequence[Measured], classes: Sequence[str], *, signals: Sequence[str] = SIGNALS, level: float = LEVEL
) -> QualityModel:
    """The quality estimate from measured rows.

    Raises:
        DataError: fewer than three patients hold a predicted structure and a reference.
    """
    calibration = Calibration(rows, classes, signals)
    fitted = calibration.point(np.ones(len(calibration.rows), dtype=bool), calibration.signals)
    estimates, errors = calibration.out_of_fold(calibration.signals)
    scores = np.abs(calibration.target - estimates) / errors
    return QualityModel(
        classes=calibration.classes,
        features=fitted.features,
        slopes={name: tuple(fitted.slopes[number].tolist()) for number, name in enumerate(calibration.classes)},
        intercepts=dict(zip(calibration.classes, fitted.intercepts.tolist(), strict=True)),
        table=(tuple(fitted.table[0]), tuple(fitted.table[1])),
        spread=(tuple(fitted.spread[0]), tuple(fitted.spread[1])),
        widths=_widths(calibration, scores, level),
        level=level,
    )


def cross_fit(
    rows: Sequence[Measured],
    classes: Sequence[str],
    *,
    signals: Sequence[str] = SIGNALS,
    folds: int = 10,
    asked: Sequence[Measured] | None = None,
) -> list[tuple[Measured, Estimate]]:
    """Every usable row with the estimate of a whole fit, interval included, that never saw its patient.

    Args:
        rows: what is fitted on.
        asked: rows to be estimated, of the same or other patients; default: `rows` themselves.
    """
    wanted = [row for row in (rows if asked is None else asked) if row.signals is not None and row.dice is not None]
    patients = sorted({row.patient for row in [*rows, *wanted]})
    found: list[tuple[Measured, Estimate]] = []
    for held in _dealt(patients, folds):
        mine = [row for row in wanted if row.patient in held]
        if not mine:
            continue
        model = fit([row for row in rows if row.patient not in held], classes, signals=signals)
        found += [
            (row, estimate)
            for row in mine
            if row.name in model.slopes and (estimate := model.estimate(row.name, row.signals)) is not None
        ]
    return found


def _dealt(patients: Sequence[str], folds: int) -> list[set[str]]:
    """Patients in so many groups as even as can be, in a fixed, mixed order."""
    order = np.random.default_rng(0).permutation(len(patients)).tolist()
    count = min(folds, len(patients))
    return [{patients[place] for place in order[number::count]} for number in range(count)]


def _widths(calibration: Calibration, scores: np.ndarray, level: float) -> dict[str, float | None]:
    """Per class where enough patients hold it, else one for all classes together."""
    patients = [row.patient for row in calibration.rows]
    pooled = patient_quantile(scores.tolist(), patients, level)
    widths: dict[str, float | None] = {}
    for number, name in enumerate(calibration.classes):
        own = np.flatnonzero(calibration.member == number)
        holders = [patients[place] for place in own]
        width = patient_quantile(scores[own].tolist(), holders, level) if len(set(holders)) >= _OWN_WIDTH else pooled
        widths[name] = width if math.isfinite(width) else None
    return widths


def _spread(estimates: np.ndarray, errors: np.ndarray) -> tuple[list[float], list[float]]:
    """Usual error, falling with the estimate: a good mask is easier to tell."""
    x, y = monotone_table(estimates, -errors, least=max(10, len(errors) // 8))
    return x, [max(-value, _LEAST_ERROR) for value in y]


def _with_classes(feature: Feature, missing: Sequence[str]) -> Feature:
    """The feature with the mean centre and scale for classes that no kept row holds."""
    if not missing:
        return feature
    centre, scale = (float(np.mean(list(table.values()))) for table in (feature.centre, feature.scale))
    return replace(
        feature,
        centre={**feature.centre, **dict.fromkeys(missing, centre)},
        scale={**feature.scale, **dict.fromkeys(missing, scale)},
    )
