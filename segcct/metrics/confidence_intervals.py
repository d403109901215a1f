"""Statistics over cases: mean, standard deviation, quartiles and a 95% interval of the mean by patient.

The interval is the bias-corrected and accelerated bootstrap (BCa; Efron 1987) over patients, its normal quantiles
replaced by Student's widened by sqrt(m / (m - 1)) for m patients, which removes the bootstrap's narrowness in small
samples (Hesterberg 2015). Below 8 patients, where resampling sees too little variation, it is Student's
interval. Both are clipped to the range of the metric.

Measured coverage of the nominal 95%, in percent, 3000 samples each:

    distribution of a case                         n = 5   10   20   40   80
    Beta(9, 1.5), skewed as Dice is                   92   94   95   94   95
    the same kind with 7% failures below 0.3          82   84   86   93   95
    the same kind with 10% zeros                      74   77   87   96   96
    lognormal, std 0.9, as HD95 may be                 85   89   91   91   92

So below 40 patients the interval is too narrow if a few failures dominate the mean: a small sample may contain none.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypedDict

import numpy as np
from scipy import special

from segcct.errors import MetricError
from segcct.plurals import counted

RESAMPLES = 10_000
_FEW = 8
_CHUNK = 1_000_000
"""Draws held in memory at a time."""
_ROUNDING = 1e-14
"""Relative difference of patients' means up to which they count as equal."""
_UNDERFLOW = 1e-100
"""The same as an absolute difference: the cubes of smaller ones underflow to 0."""


class Stats(TypedDict):
    """Statistics of one metric in tables; None if there are too few values."""

    mean: float | None
    sd: float | None
    median: float | None
    q25: float | None
    q75: float | None
    ci95: list[float | None]
    n: int


def summarize(
    values: Sequence[float | None],
    patients: Sequence[Hashable] | None = None,
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    seed: int = 0,
) -> Stats:
    """Statistics of one metric over cases; None and NaN are not scored and left out (`n` counts the rest).

    Args:
        values: one per case.
        patients: the patient of each value, whose cases are drawn together. Default: each value has its own patient.
        bounds: the metric's range, which the interval is clipped to.
        seed: of the resampling.

    Raises:
        MetricError: a value is infinite, or the numbers of patients and values differ.
    """
    names = list(range(len(values))) if patients is None else list(patients)
    if len(names) != len(values):
        raise MetricError(
            "every value needs its patient", found=f"{counted(len(values), 'value')}, {counted(len(names), 'patient')}"
        )
    scored = [
        (float(value), name)
        for value, name in zip(values, names, strict=True)
        if value is not None and not math.isnan(value)
    ]
    if not scored:
        return Stats(mean=None, sd=None, median=None, q25=None, q75=None, ci95=[None, None], n=0)
    numbers = np.array([value for value, _ in scored])
    if not np.isfinite(numbers).all():
        raise MetricError("a score is infinite", remedy="Choose a convention that scores empty masks")
    low, high = interval(numbers, [name for _, name in scored], seed=seed)
    q25, median, q75 = (float(q) for q in np.percentile(numbers, [25, 50, 75]))
    return Stats(
        mean=float(numbers.mean()),
        sd=float(numbers.std(ddof=1)) if numbers.size > 1 else None,
        median=median,
        q25=q25,
        q75=q75,
        ci95=[None, None] if math.isnan(low) else [max(low, bounds[0]), min(high, bounds[1])],
        n=int(numbers.size),
    )


def interval(
    values: np.ndarray, patients: Sequence[Hashable], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95% interval of the mean over cases, resampling patients; (NaN, NaN) for a single patient."""
    member = numbered(patients)
    sums, sizes = np.bincount(member, weights=values), np.bincount(member).astype(float)  # (m,)
    if sums.size < 2:
        return math.nan, math.nan
    if np.ptp(sums / sizes) <= max(_ROUNDING * np.abs(values).max(), _UNDERFLOW):
        mean = float(np.clip(values.mean(), values.min(), values.max()))
        return mean, mean
    return _student(sums, sizes) if sums.size < _FEW else _bca(sums, sizes, seed, resamples)


def numbered(names: Sequence[Hashable]) -> np.ndarray:
    """(N,) the number of each name, counted from 0 in the order of first appearance."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=int)


def _student(sums: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    mean = sums.sum() / sizes.sum()
    residuals = (sums - mean * sizes) / sizes.mean()
    half = special.stdtrit(sums.size - 1, 0.975) * residuals.std(ddof=1) / math.sqrt(sums.size)
    return float(mean - half), float(mean + half)


def _bca(sums: np.ndarray, sizes: np.ndarray, seed: int, resamples: int) -> tuple[float, float]:
    from scipy import stats  # half a second to import

    patients = sums.size
    widened = math.sqrt(patients / (patients - 1)) * special.stdtrit(patients - 1, 0.975)
    ci95 = stats.bootstrap(
        (sums, sizes),
        lambda sums, sizes, axis: sums.sum(axis) / sizes.sum(axis),
        paired=True,
        n_resamples=resamples,
        batch=max(1, _CHUNK // patients),
        confidence_level=2.0 * special.ndtr(widened) - 1.0,
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(ci95.low), float(ci95.high)
