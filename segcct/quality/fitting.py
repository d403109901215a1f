"""Fitting the quality estimate from predictions with references, cross-fitted over patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segcct.errors import DataError
from segcct.quality.conformal import LEVEL, patient_quantile
from segcct.quality.features import FEATURES, Features
from segcct.quality.quality_model import Estimate, QualityModel
from segcct.quality.regression import (
    PENALTIES,
    Covariate,
    Ridge,
    design_of,
    from_angle,
    make_covariate,
    monotone_curve,
    on_curve,
    to_angle,
    transformed,
    transforms_of,
    unfold,
)

FEWEST_PATIENTS = 3
"""Fewer patients cannot be cross-fitted at all."""
_OWN_QUANTILE = 20
"""Patients with a class from which it has a nonconformity quantile of its own."""
_INNER, _OUTER = 5, 10
_LEAST_ERROR = 0.01
_TOLERANCE = 1.03
"""The largest penalty with a loss of at most this times the smallest loss is taken: it is more stable with few
patients."""


@dataclass(frozen=True)
class CalibrationRow:
    """One class of one predicted case with a reference."""

    case: str
    patient: str
    class_name: str
    features: Features | None
    """None if the class was not predicted."""
    dice: float | None
    """None if the class is neither in the prediction nor in the reference."""


@dataclass(frozen=True)
class PointEstimator:
    """A fitted estimate without its interval, as arrays."""

    covariates: tuple[Covariate, ...]
    slopes: np.ndarray
    intercepts: np.ndarray
    curve: tuple[list[float], list[float]]
    residual_scale: tuple[list[float], list[float]]
    """The estimate, and the typical size of its error, from its own out-of-fold estimates."""

    def predict(self, values: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimates (N,) and their residual scales (N,) for covariates (N, F) of rows with class numbers (N,)."""
        angles = self.intercepts[member] + (self.slopes[member] * values).sum(axis=1)
        estimates = np.array([on_curve(from_angle(angle), *self.curve) for angle in angles])
        return estimates, np.interp(estimates, *self.residual_scale)


class Calibration:
    """Rows ready for fitting: those with a predicted mask and a Dice.

    Args:
        rows: in any order; those without a predicted mask or without a Dice are left out.
        classes: in the scheme's order.
        features: names to use; those defined in fewer than half of the rows are left out.

    Raises:
        DataError: too few patients.
    """

    def __init__(
        self, rows: Sequence[CalibrationRow], classes: Sequence[str], features: Sequence[str] = FEATURES
    ) -> None:
        self.rows = usable(rows)
        self._features = [row.features or {} for row in self.rows]
        self.patients = sorted({row.patient for row in self.rows})
        if len(self.patients) < FEWEST_PATIENTS:
            raise DataError(
                "too few patients to calibrate the quality estimate on",
                found=f"{len(self.patients)} with a predicted structure and a reference",
                expected=f"at least {FEWEST_PATIENTS}, better 50",
            )
        self.classes = tuple(name for name in classes if any(row.class_name == name for row in self.rows))
        self.member = np.array([self.classes.index(row.class_name) for row in self.rows])
        self.target = np.array([row.dice for row in self.rows], dtype=float)
        defined = {name: np.mean([own.get(name) is not None for own in self._features]) for name in features}
        self.features = tuple(name for name in features if defined[name] >= 0.5)
        self._columns: dict[tuple[str, str], np.ndarray] = {}

    @cached_property
    def outer_folds(self) -> np.ndarray:
        """(N,) outer fold of each row."""
        return self.folds(_OUTER)

    def folds(self, count: int, among: np.ndarray | None = None) -> np.ndarray:
        """(N,) fold numbers by patient; only patients with a row in `among` (N,) bool get one, the others have -1."""
        names = [row.patient for row in self.rows]
        patients = sorted({name for place, name in enumerate(names) if among is None or among[place]})
        number = {name: place for place, group in enumerate(_patient_folds(patients, count)) for name in group}
        return np.array([number.get(name, -1) for name in names])

    def covariates(self, rows: np.ndarray, features: Sequence[str]) -> tuple[Covariate, ...]:
        """Covariates whose centers and scales come from `rows` (N,) bool."""
        members = {name: rows & (self.member == number) for number, name in enumerate(self.classes)}
        missing = [name for name, own in members.items() if not own.any()]
        for name in missing:
            del members[name]
        columns = [(name, how, self._column(name, how)) for name in features for how in transforms_of(name)]
        return tuple(
            make_covariate(name, how, {each: column[own] for each, own in members.items()}, missing)
            for name, how, column in columns
        )

    def values(self, covariates: Sequence[Covariate]) -> np.ndarray:
        """(N, F)."""
        columns = []
        for one in covariates:
            tables = (np.array([table[name] for name in self.classes]) for table in (one.center, one.scale))
            center, scale = (table[self.member] for table in tables)
            columns.append(one.column(self._column(one.feature, one.transform), center, scale))
        return np.stack(columns, axis=1) if columns else np.empty((len(self.rows), 0))

    def _column(self, feature: str, transform: str) -> np.ndarray:
        """(N,) transformed values of a feature, NaN where not defined; computed once for all fits."""
        if (feature, transform) not in self._columns:
            column = [own.get(feature) for own in self._features]
            values = np.array([math.nan if value is None else value for value in column], dtype=float)
            self._columns[feature, transform] = transformed(values, transform)
        return self._columns[feature, transform]

    def point(self, rows: np.ndarray, features: Sequence[str]) -> PointEstimator:
        """Fit on `rows` (N,) bool; penalty and curve come from inner out-of-fold predictions, by patient."""
        covariates = self.covariates(rows, features)
        design = design_of(self.values(covariates), self.member, len(self.classes))
        angle = to_angle(self.target)
        fold = self.folds(_INNER, rows)
        lines = np.full((len(PENALTIES), len(self.rows)), math.nan)
        for number in range(int(fold[rows].max()) + 1):
            train, test = rows & (fold != number), rows & (fold == number)
            ridge = Ridge.of(design[train], angle[train])
            for place, penalty in enumerate(PENALTIES):
                slopes, intercept = ridge.weights(penalty)
                lines[place, test] = design[test] @ slopes + intercept
        loss = np.square(lines[:, rows] - angle[rows]).mean(axis=1)
        best = int(np.flatnonzero(loss <= _TOLERANCE * loss.min()).max())
        predicted = np.array([from_angle(line) for line in lines[best, rows]])
        curve = monotone_curve(predicted, self.target[rows])
        estimates = np.array([on_curve(value, *curve) for value in predicted])
        slopes, intercept = Ridge.of(design[rows], angle[rows]).weights(PENALTIES[best])
        own_slopes, own_intercepts = unfold(slopes, intercept, len(covariates), len(self.classes))
        residual_scale = _residual_scale(estimates, np.abs(self.target[rows] - estimates))
        return PointEstimator(covariates, own_slopes, own_intercepts, curve, residual_scale)

    def out_of_fold(self, features: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Estimates (N,) and residual scales (N,) of every row, by a fit without its patient."""
        estimates, scales = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        for number in range(int(self.outer_folds.max()) + 1):
            test = self.outer_folds == number
            fitted = self.point(~test, features)
            estimates[test], scales[test] = fitted.predict(self.values(fitted.covariates)[test], self.member[test])
        return estimates, scales


def usable(rows: Sequence[CalibrationRow]) -> list[CalibrationRow]:
    """Rows with a predicted mask and a Dice."""
    return [row for row in rows if row.features is not None and row.dice is not None]


def fit(
    rows: Sequence[CalibrationRow],
    classes: Sequence[str],
    *,
    features: Sequence[str] = FEATURES,
) -> QualityModel:
    """The quality estimate fitted on some rows.

    Raises:
        DataError: fewer than three patients have a predicted structure and a reference.
    """
    calibration = Calibration(rows, classes, features)
    fitted = calibration.point(np.ones(len(calibration.rows), dtype=bool), calibration.features)
    estimates, scales = calibration.out_of_fold(calibration.features)
    scores = np.abs(calibration.target - estimates) / scales
    return QualityModel(
        classes=list(calibration.classes),
        covariates=list(fitted.covariates),
        slopes=dict(zip(calibration.classes, fitted.slopes.tolist(), strict=True)),
        intercepts=dict(zip(calibration.classes, fitted.intercepts.tolist(), strict=True)),
        curve=fitted.curve,
        residual_scale=fitted.residual_scale,
        quantiles=_quantiles(calibration, scores),
        level=LEVEL,
    )


def cross_fit(
    rows: Sequence[CalibrationRow],
    classes: Sequence[str],
    *,
    features: Sequence[str] = FEATURES,
    evaluate: Sequence[CalibrationRow] | None = None,
) -> list[tuple[CalibrationRow, Estimate]]:
    """Every usable row with its estimate and interval, from a complete fit without its patient.

    Args:
        rows: to fit on.
        classes: in the scheme's order.
        features: names to use.
        evaluate: rows to estimate, of the same or of other patients; default: `rows`.
    """
    wanted = usable(rows if evaluate is None else evaluate)
    estimated: list[tuple[CalibrationRow, Estimate]] = []
    for fold in _patient_folds(sorted({row.patient for row in [*rows, *wanted]}), _OUTER):
        test = [row for row in wanted if row.patient in fold]
        if not test:
            continue
        model = fit([row for row in rows if row.patient not in fold], classes, features=features)
        estimated += [
            (row, estimate)
            for row in test
            if row.class_name in model.slopes and (estimate := model.estimate(row.class_name, row.features)) is not None
        ]
    return estimated


def _patient_folds(patients: Sequence[str], folds: int) -> list[set[str]]:
    """Patients in folds of nearly equal size, in a fixed random order."""
    order = np.random.default_rng(0).permutation(len(patients)).tolist()
    count = min(folds, len(patients))
    return [{patients[place] for place in order[number::count]} for number in range(count)]


def _quantiles(calibration: Calibration, scores: np.ndarray) -> dict[str, float | None]:
    """A quantile per class if enough patients have the class, else that of all classes together."""
    patients = np.array([row.patient for row in calibration.rows])
    pooled = patient_quantile(scores.tolist(), patients.tolist(), LEVEL)
    quantiles: dict[str, float | None] = {}
    for number, name in enumerate(calibration.classes):
        own = calibration.member == number
        enough = len(set(patients[own])) >= _OWN_QUANTILE
        quantile = patient_quantile(scores[own].tolist(), patients[own].tolist(), LEVEL) if enough else pooled
        quantiles[name] = quantile if math.isfinite(quantile) else None
    return quantiles


def _residual_scale(estimates: np.ndarray, errors: np.ndarray) -> tuple[list[float], list[float]]:
    """Typical error, which decreases with the estimate: the Dice of a good mask is easier to estimate."""
    x, y = monotone_curve(estimates, -errors, least=max(10, len(errors) // 8))
    return x, [max(-value, _LEAST_ERROR) for value in y]
