"""Dice of the same cases from several runs: averaged, and compared case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from segcct.metrics import paired, summarize

Scores = Mapping[str, float]
"""Case -> its Dice, a mean over classes."""


def averaged(scores: Sequence[Scores]) -> dict[str, float]:
    """Mean score of each case, over those runs that score it."""
    names = dict.fromkeys(name for each in scores for name in each)
    return {name: float(np.mean([each[name] for each in scores if name in each])) for name in names}


def mean_text(scores: Scores, patients: Mapping[str, str]) -> str:
    """`0.812 [0.790, 0.830]`: mean over cases, and its 95% interval over patients."""
    stats = summarize(list(scores.values()), [patients[name] for name in scores], bounds=(0, 1))
    return f"{stats['mean']:.3f} {interval_text(stats['ci95'], '.3f')}"


def difference_text(scores: Scores, reference: Scores, patients: Mapping[str, str]) -> str:
    """`+0.012 [+0.004, +0.020]`: mean paired difference to the reference, and its 95% interval over patients."""
    names = sorted(scores.keys() & reference.keys())
    found = paired(
        [scores[name] for name in names], [reference[name] for name in names], [patients[name] for name in names]
    )
    return f"{found['difference']:+.3f} {interval_text(found['ci95'], '+.3f')}"


def interval_text(ci95: Sequence[float | None], form: str, *, scale: float = 1.0) -> str:
    """`[0.790, 0.830]`, or `[n/a]` for an interval that is not defined, as that of one patient."""
    low, high = ci95
    return "[n/a]" if low is None or high is None else f"[{scale * low:{form}}, {scale * high:{form}}]"
