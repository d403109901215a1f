"""The regressor of the quality estimate: ridge on transformed signals, then a monotone table.

Signals become features (two transforms each, centred and scaled); every class has its own intercept and may have its
own slopes, which the penalty pulls towards the shared ones. The line's output is read off a monotone table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PENALTIES = tuple(float(value) for value in np.geomspace(0.3, 3000, 13))
CLASS_SLOPES = 0.5
"""A class's own slope costs 1 / CLASS_SLOPES**2 = 4 times what the shared one costs."""
CLASS_INTERCEPTS = 10.0
"""A class's own intercept is nearly free."""
_FARTHEST = 4.0
"""Features are clipped at so many standard deviations: a signal never seen before is not extrapolated without end."""
_BEYOND = 0.25
"""Slope of the table beyond its ends."""
_LOGIT_ENDS = ("dice", "dice_all", "agreement", "agreement_all", "cycle", "share", "_others")
"""Ends of the names of signals that are shares crowding towards 1."""
_LOG = ("entropy_foreground", "entropy_border", "m2i_foreground", "m2i_border")


@dataclass(frozen=True)
class Feature:
    """One column: a signal, its transform, and how a class centres and scales it."""

    signal: str
    transform: str
    """identity, log, logit, or distance (of the untransformed value from the class's mean, on either side)."""
    centre: Mapping[str, float]
    """Class -> mean of the transformed signal over the calibration rows, also filled in where it is not defined."""
    scale: Mapping[str, float]
    """Class -> its standard deviation, above 0."""

    def of(self, signals: Mapping[str, float | None], name: str) -> float:
        """The standardised value for one row of class `name`; 0 where the signal is not defined."""
        value = signals.get(self.signal)
        if value is None:
            return 0.0
        column = transformed(np.array([value], dtype=float), self.transform)
        return float(self.column(column, np.array([self.centre[name]]), np.array([self.scale[name]]))[0])

    def column(self, values: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The same for many rows (N,): transformed signals, NaN where not defined, and each row's centre and scale."""
        z = (values - centre) / scale
        standardised = np.clip(np.abs(z) - 0.8 if self.transform == "distance" else z, -_FARTHEST, _FARTHEST)
        return np.where(np.isnan(values), 0.0, standardised)


def transformed(values: np.ndarray, how: str) -> np.ndarray:
    """Signals before centring; NaN stays NaN."""
    if how == "log":
        return np.log(np.maximum(values, 1e-4))
    if how == "logit":
        share = np.clip(values, 2e-3, 1 - 2e-3)
        return np.log(share / (1 - share))
    return values


def transforms_of(signal: str) -> tuple[str, ...]:
    """The features made of a signal: its transform, and the distance of its untransformed value from the class's mean.

    Too much of a volume is as doubtful as too little; and with both a line can bend, for signals that tell more at one
    end than at the other.
    """
    return ("logit" if signal.endswith(_LOGIT_ENDS) else "log" if signal in _LOG else "identity"), "distance"


def make_feature(signal: str, how: str, values: Mapping[str, np.ndarray]) -> Feature:
    """Centre and scale per class; a class with fewer than five values takes those of all rows.

    Args:
        values: class -> transformed signals of its calibration rows, NaN where not defined.
    """
    defined = {name: own[~np.isnan(own)] for name, own in values.items()}
    everything = np.concatenate(list(defined.values()))
    chosen = {name: own if own.size >= 5 else everything for name, own in defined.items()}
    return Feature(
        signal,
        how,
        {name: float(np.mean(own)) for name, own in chosen.items()},
        {name: max(float(np.std(own)), 1e-3) for name, own in chosen.items()},
    )


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


def design_of(features: np.ndarray, member: np.ndarray, classes: int) -> np.ndarray:
    """(N, F) features and (N,) class numbers -> (N, F + classes * (F + 1)): shared, then per class slopes, intercept.

    Columns are scaled so that one penalty serves all: a class's own slope is dearer than a shared one, its intercept
    nearly free.
    """
    blocks = [features]
    for number in range(classes if classes > 1 else 0):
        own = (member == number)[:, None]
        blocks += [CLASS_SLOPES * features * own, CLASS_INTERCEPTS * own.astype(float)]
    return np.concatenate(blocks, axis=1)


def unfold(slopes: np.ndarray, intercept: float, features: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The design's solution as plain slopes (classes, F) and intercepts (classes,)."""
    if classes == 1:
        return slopes[None], np.array([intercept])
    own = slopes[features:].reshape(classes, features + 1)
    return slopes[:features] + CLASS_SLOPES * own[:, :features], intercept + CLASS_INTERCEPTS * own[:, features]


def monotone_table(x: np.ndarray, y: np.ndarray, least: int = 5) -> tuple[list[float], list[float]]:
    """Knots of a non-decreasing, piecewise linear function through (x, y): means of the blocks of isotonic regression.

    Blocks of fewer than `least` points are joined with the next (the last with the one before), so that a knot is not
    one case; means of joined neighbours still ascend.
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


def read_table(x: float, knots_x: Sequence[float], knots_y: Sequence[float]) -> float:
    """Linear between the knots; beyond them a gentle slope, which keeps the order of extreme cases. 0 to 1."""
    beyond = min(x - knots_x[0], 0.0) + max(x - knots_x[-1], 0.0)
    value = float(np.interp(x, knots_x, knots_y)) + _BEYOND * beyond
    return min(max(value, 0.0), 1.0)
