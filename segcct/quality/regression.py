"""The regressor of the quality estimate: ridge on transformed features, then isotonic regression.

Features become covariates (two transforms each, centered and scaled); every class has its own intercept and may have
its own slopes, which the penalty pulls towards the shared ones. The output of the linear model is then corrected by a
monotone curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ConfigDict

from segcct.files.json_record import Record

PENALTIES = tuple(float(value) for value in np.geomspace(0.3, 3000, 13))
CLASS_SLOPES = 0.5
"""A class's own slope costs 1 / CLASS_SLOPES**2 = 4 times what the shared one costs."""
CLASS_INTERCEPTS = 10.0
"""A class's own intercept is nearly free."""
_LARGEST = 4.0
"""Covariates are clipped at this many standard deviations, so that extrapolation to unseen values is limited."""
_BEYOND = 0.25
"""Slope of the curve beyond its ends."""
_LOGIT_ENDS = ("dice", "dice_all", "agreement", "agreement_all", "cycle", "share", "_others")
"""Ends of the names of features that are fractions, most of them close to 1."""
_LOG = ("entropy_foreground", "entropy_border", "m2i_foreground", "m2i_border")


class Covariate(Record):
    """One column of the design: a feature, its transform, and how each class centers and scales it."""

    model_config = ConfigDict(allow_inf_nan=False)
    feature: str
    transform: str
    """identity, log, logit, or distance (of the untransformed value from the class's mean, in either direction)."""
    center: dict[str, float]
    """Class -> mean of the transformed feature over the calibration rows; also the value where it is not defined."""
    scale: dict[str, float]
    """Class -> its standard deviation, above 0."""

    def of(self, features: Mapping[str, float | None], name: str) -> float:
        """The standardized value for one row of class `name`; 0 where the feature is not defined."""
        value = features.get(self.feature)
        if value is None:
            return 0.0
        column = transformed(np.array([value], dtype=float), self.transform)
        return float(self.column(column, np.array([self.center[name]]), np.array([self.scale[name]]))[0])

    def column(self, values: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The same for many rows (N,): transformed features, NaN where not defined, and each row's center and scale."""
        z = (values - center) / scale
        standardized = np.clip(np.abs(z) - 0.8 if self.transform == "distance" else z, -_LARGEST, _LARGEST)
        return np.where(np.isnan(values), 0.0, standardized)


def transformed(values: np.ndarray, transform: str) -> np.ndarray:
    """Features before centering; NaN stays NaN."""
    if transform == "log":
        return np.asarray(np.log(np.maximum(values, 1e-4)))
    if transform == "logit":
        fraction = np.clip(values, 2e-3, 1 - 2e-3)
        return np.asarray(np.log(fraction / (1 - fraction)))
    return values


def transforms_of(feature: str) -> tuple[str, str]:
    """The covariates made of a feature: its transform, and the distance of its untransformed value from the class's
    mean.

    A volume that is too large is as suspicious as one that is too small; and with both, the linear model can bend for
    features that are more informative at one end than at the other.
    """
    return ("logit" if feature.endswith(_LOGIT_ENDS) else "log" if feature in _LOG else "identity"), "distance"


def make_covariate(feature: str, transform: str, values: Mapping[str, np.ndarray], missing: Sequence[str]) -> Covariate:
    """Center and scale per class. A class with fewer than five values gets those of all rows; for a feature that is
    defined in no row they are 0 and 1.

    Args:
        feature: its name.
        transform: one of `transforms_of` it.
        values: class -> transformed features of its calibration rows, NaN where not defined.
        missing: classes without rows, which get the mean center and scale of the others.
    """
    defined = {name: own[~np.isnan(own)] for name, own in values.items()}
    pooled = np.concatenate(list(defined.values()))
    if not pooled.size:
        pooled = np.array([-1.0, 1.0])
    samples = {name: own if own.size >= 5 else pooled for name, own in defined.items()}
    center = {name: float(np.mean(own)) for name, own in samples.items()}
    scale = {name: max(float(np.std(own)), 1e-3) for name, own in samples.items()}
    for table in (center, scale):
        table.update(dict.fromkeys(missing, float(np.mean(list(table.values())))))
    return Covariate(feature=feature, transform=transform, center=center, scale=scale)


@dataclass(frozen=True)
class Ridge:
    """Ridge solutions of one design for any penalty, from one singular value decomposition."""

    mean_x: np.ndarray
    mean_y: float
    u_y: np.ndarray
    singular: np.ndarray
    vt: np.ndarray

    @classmethod
    def of(cls, design: np.ndarray, target: np.ndarray) -> Ridge:
        """(N, F) and (N,)."""
        mean_x, mean_y = design.mean(axis=0), float(target.mean())
        u, singular, vt = np.linalg.svd(design - mean_x, full_matrices=False)
        return cls(mean_x, mean_y, u.T @ (target - mean_y), singular, vt)

    def weights(self, penalty: float) -> tuple[np.ndarray, float]:
        """Slopes (F,) and intercept."""
        slopes = self.vt.T @ (self.singular / (self.singular**2 + penalty) * self.u_y)
        return slopes, self.mean_y - float(self.mean_x @ slopes)


def design_of(covariates: np.ndarray, member: np.ndarray, classes: int) -> np.ndarray:
    """(N, F) covariates and (N,) class numbers -> (N, F + classes * (F + 1)): shared, then per class slopes, intercept.

    Columns are scaled so that one penalty serves all: a class's own slope costs more than a shared one, its intercept
    nearly nothing.
    """
    blocks = [covariates]
    for number in range(classes if classes > 1 else 0):
        own = (member == number)[:, None]
        blocks += [CLASS_SLOPES * covariates * own, CLASS_INTERCEPTS * own.astype(float)]
    return np.concatenate(blocks, axis=1)


def unfold(slopes: np.ndarray, intercept: float, covariates: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The design's solution as plain slopes (classes, F) and intercepts (classes,)."""
    if classes == 1:
        return slopes[None], np.array([intercept])
    own = slopes[covariates:].reshape(classes, covariates + 1)
    return slopes[:covariates] + CLASS_SLOPES * own[:, :covariates], intercept + CLASS_INTERCEPTS * own[:, covariates]


def monotone_curve(x: np.ndarray, y: np.ndarray, least: int = 5) -> tuple[list[float], list[float]]:
    """Knots of a non-decreasing, piecewise linear function through (x, y): means of the blocks of isotonic regression.

    Blocks of fewer than `least` points are joined with the next (the last with the one before), so that no knot is a
    single case; means of joined neighbors still ascend.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(x, kind="stable")
    ends: list[int] = []
    pending = 0
    for size in np.diff(isotonic_regression(y[order]).blocks).tolist():
        pending += size
        if pending >= least:
            ends.append((ends[-1] if ends else 0) + pending)
            pending = 0
    ends = [*ends[:-1], len(x)] if ends else [len(x)]
    parts = np.split(order, ends[:-1])
    return [float(x[part].mean()) for part in parts], [float(y[part].mean()) for part in parts]


def on_curve(x: float, knots_x: Sequence[float], knots_y: Sequence[float]) -> float:
    """Linear between the knots; beyond them a gentle slope keeps the order of extreme cases. The value is in [0, 1]."""
    beyond = min(x - knots_x[0], 0.0) + max(x - knots_x[-1], 0.0)
    value = float(np.interp(x, knots_x, knots_y)) + _BEYOND * beyond
    return min(max(value, 0.0), 1.0)


def to_angle(dice: np.ndarray) -> np.ndarray:
    """Dice -> arcsine of its square root, which stabilizes its variance."""
    return np.asarray(np.arcsin(np.sqrt(np.clip(dice, 0, 1))))


def from_angle(angle: float) -> float:
    """The inverse; angles beyond the ends are clipped."""
    return math.sin(min(max(angle, 0.0), math.pi / 2)) ** 2
