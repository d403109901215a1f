"""Paired comparison of two methods on the same cases: differences, Wilcoxon's signed-rank test, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypedDict

import numpy as np

from segcct.errors import MetricError
from segcct.metrics.confidence_intervals import interval, numbered
from segcct.plurals import counted

_DIGITS = 12
"""Significant digits of a score: means over classes or cases that should be equal differ beyond them by rounding."""
_SMALLEST = 1e-100
"""Largest score from which they are counted."""
_EXACT_UP_TO = 200
"""Number of differences up to which p is exact."""


class Paired(TypedDict):
    """First method minus second, over the cases that both score."""

    difference: float | None
    ci95: list[float | None]
    p: float | None
    wins: int
    losses: int
    ties: int
    n: int


def paired(
    first: Sequence[float | None],
    second: Sequence[float | None],
    patients: Sequence[Hashable] | None = None,
    *,
    higher_is_better: bool | None = True,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Paired:
    """Compare two methods' scores of the same cases; a case that either leaves unscored is left out.

    The interval resamples patients; the test is two-sided on the patients' mean differences (zeros dropped), since
    cases of one patient are not independent. Wins are cases where the first is better, which with `higher_is_better`
    None means nearer to 0. `bounds` is the range of the scores: the interval is clipped to that of their differences.

    Raises `MetricError` where the numbers of scores and patients differ, or a score is infinite.
    """
    names = list(range(len(first))) if patients is None else list(patients)
    if not len(first) == len(second) == len(names):
        raise MetricError(
            "paired scores need the same cases",
            found=f"{len(first)}, {counted(len(second), 'score')}, {counted(len(names), 'patient')}",
        )
    rows = [
        (float(a), float(b), name)
        for a, b, name in zip(first, second, names, strict=True)
        if a is not None and b is not None and not math.isnan(a) and not math.isnan(b)
    ]
    if not rows:
        return Paired(difference=None, ci95=[None, None], p=None, wins=0, losses=0, ties=0, n=0)
    scores = np.array([row[:2] for row in rows])
    ours, theirs = scores.T
    largest = float(np.abs(scores).max())
    if math.isinf(largest):
        raise MetricError("a score is infinite", remedy="Choose a convention that scores empty masks")
    decimals = _DIGITS - math.ceil(math.log10(max(largest, _SMALLEST)))
    differences = np.round(ours - theirs, decimals)
    scored = [name for _, _, name in rows]
    low, high = np.clip(interval(differences, scored), bounds[0] - bounds[1], bounds[1] - bounds[0]).tolist()
    member = numbered(scored)
    by_patient = np.bincount(member, weights=differences) / np.bincount(member)
    nearer = np.round(np.abs(theirs) - np.abs(ours), decimals)
    better = nearer if higher_is_better is None else differences if higher_is_better else -differences
    return Paired(
        difference=float(differences.mean()),
        ci95=[None, None] if math.isnan(low) else [low, high],
        p=signed_rank_p(np.round(by_patient, decimals).tolist()),
        wins=int(np.count_nonzero(better > 0)),
        losses=int(np.count_nonzero(better < 0)),
        ties=int(np.count_nonzero(better == 0)),
        n=len(rows),
    )


def signed_rank_p(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, zeros dropped; 1 if nothing differs.

    Up to 200 differences p is exact, also where they tie, as distances in voxels do: the normal distribution, which is
    taken for more, gives too small a p in small samples with ties. Raises `MetricError` for NaN and infinity.
    """
    from scipy import stats  # a second to import, and only comparisons need it

    changed = np.array([difference for difference in differences if difference != 0.0])
    if not np.isfinite(changed).all():
        raise MetricError("a difference is not finite", remedy="Leave out cases that one of the two does not score")
    if not changed.size:
        return 1.0
    if changed.size > _EXACT_UP_TO:
        return float(stats.wilcoxon(changed).pvalue)
    ranks = np.rint(2 * stats.rankdata(np.abs(changed))).astype(int)  # doubled: ties share their mean rank
    chances = np.ones(1)  # of each sum of the ranks of one sign, signs being drawn at random
    for rank in ranks.tolist():
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    positive = int(ranks[changed > 0].sum())
    return min(1.0, 2 * float(chances[: min(positive, int(ranks.sum()) - positive) + 1].sum()))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over one family of tests; None stays None and does not count as a test."""
    tests = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(tests):
        highest = max(highest, min(1.0, p * (len(tests) - rank)))
        corrected[place] = highest
    return corrected
