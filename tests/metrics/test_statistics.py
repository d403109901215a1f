"""Statistics over cases: hand-worked numbers, interval coverage by simulation, paired tests."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from segcct import metrics
from segcct.errors import MetricError
from segcct.metrics.confidence_intervals import interval

DICE_LAW = stats.beta(9.0, 1.5)
"""Skewed to the left like Dice over cases: mean 0.857, median 0.884, 5% below 0.63."""


def test_numbers_of_a_small_table() -> None:
    summary = metrics.summarize([0.2, 0.4, 0.6, 0.8, None, math.nan])
    assert summary["n"] == 4
    assert summary["mean"] == pytest.approx(0.5)
    assert summary["sd"] == pytest.approx(math.sqrt(0.2 / 3))
    assert summary["median"] == pytest.approx(0.5)
    assert summary["q25"] == pytest.approx(0.35)
    assert summary["q75"] == pytest.approx(0.65)
    half = 3.182446305 * math.sqrt(0.2 / 3) / 2  # Student's t with 3 degrees of freedom
    assert summary["ci95"] == pytest.approx([0.5 - half, 0.5 + half])


def test_nothing_scored_and_one_case() -> None:
    nothing = metrics.summarize([None, math.nan])
    assert nothing == {"mean": None, "sd": None, "median": None, "q25": None, "q75": None, "ci95": [None, None], "n": 0}
    one = metrics.summarize([0.7])
    assert (one["mean"], one["sd"], one["ci95"], one["n"]) == (0.7, None, [None, None], 1)
    json.dumps([nothing, one], allow_nan=False)


def test_the_interval_stays_in_the_metric_s_range() -> None:
    summary = metrics.summarize([1.0, 1.0, 0.1], bounds=(0.0, 1.0))
    assert summary["ci95"] == [0.0, 1.0]


def test_equal_values_have_no_spread() -> None:
    for count in (3, 30):
        assert metrics.summarize([0.9] * count)["ci95"] == [0.9, 0.9]


def test_same_seed_same_interval() -> None:
    values = DICE_LAW.rvs(20, random_state=np.random.default_rng(0)).tolist()
    assert metrics.summarize(values, seed=1) == metrics.summarize(values, seed=1)
    assert metrics.summarize(values, seed=1)["ci95"] != metrics.summarize(values, seed=2)["ci95"]
    assert metrics.summarize(values[::-1], seed=1)["ci95"] == pytest.approx(
        metrics.summarize(values, seed=1)["ci95"], abs=0.003
    )


def test_bca_agrees_with_scipy() -> None:
    """scipy's BCa at the level to which sqrt(12 / 11) t widens the normal quantiles (98% for 12 cases)."""
    values = DICE_LAW.rvs(12, random_state=np.random.default_rng(3))
    low, high = interval(values, range(12), resamples=100_000)
    level = 2 * stats.norm.cdf(math.sqrt(12 / 11) * stats.t.ppf(0.975, 11)) - 1
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=100_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1.5e-3)
    assert np.mean(values) - low > high - np.mean(values)  # longer towards the tail


def test_cases_of_a_patient_are_drawn_together() -> None:
    """Every patient examined four times with nearly the same result: forty cases say what ten patients say."""
    rng = np.random.default_rng(2)
    values = DICE_LAW.rvs(10, random_state=rng).repeat(4) + rng.normal(0, 1e-4, 40)
    patients = np.arange(10).repeat(4).tolist()
    by_patient = np.ptp(interval(values, patients))
    as_if_independent = np.ptp(interval(values, range(40)))
    quantile = {m: math.sqrt(m / (m - 1)) * stats.t.ppf(0.975, m - 1) for m in (10, 40)}
    expected = math.sqrt(40 / 10) * quantile[10] / quantile[40] * as_if_independent
    assert by_patient == pytest.approx(expected, rel=0.1)
    alone = np.ptp(interval(values[::4], range(10)))
    assert by_patient == pytest.approx(alone, rel=0.05)


def test_patients_with_more_cases_weigh_more() -> None:
    values, patients = np.array([0.9] * 9 + [0.5]), ["a"] * 9 + ["b"]
    summary = metrics.summarize(values.tolist(), patients)
    assert summary["mean"] == pytest.approx(0.86)
    with pytest.raises(MetricError, match="10 values, 1 patient"):
        metrics.summarize(values.tolist(), ["a"])


def test_few_patients_of_unequal_size_by_hand() -> None:
    """Sums 1.6, 0.5 and 0.6 over 2, 1 and 1 cases: residuals (0.25, -0.175, -0.075) / (4 / 3) around 0.675."""
    spread = np.std([0.1875, -0.13125, -0.05625], ddof=1)
    half = 4.302652730 * spread / math.sqrt(3)  # Student's t with 2 degrees of freedom
    found = interval(np.array([0.9, 0.5, 0.7, 0.6]), ["a", "b", "a", "c"])
    assert found == pytest.approx((0.675 - half, 0.675 + half))


def test_the_bootstrap_begins_at_eight_patients() -> None:
    for patients in (7, 8):
        values = DICE_LAW.rvs(patients, random_state=np.random.default_rng(5))
        half = stats.t.ppf(0.975, patients - 1) * stats.sem(values)
        student = pytest.approx((values.mean() - half, values.mean() + half))
        assert (interval(values, range(patients)) == student) == (patients < 8)


def test_an_infinite_score_is_refused() -> None:
    with pytest.raises(MetricError, match="infinite"):
        metrics.summarize([1.0, math.inf])


def with_failures(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Seven in a hundred cases fail with a Dice below 0.3: mean 0.8076."""
    return np.where(rng.random(shape) < 0.07, rng.uniform(0.0, 0.3, shape), rng.beta(12.0, 2.0, shape))


def test_patients_of_unequal_size_are_averaged_over_their_cases() -> None:
    """Ten patients with 1 to 10 cases, all near 0.9: however they are drawn, the mean is near 0.9."""
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(10), np.arange(1, 11)).tolist()
    low, high = interval(0.9 + rng.uniform(-0.01, 0.01, 55), patients)
    assert 0.89 < low < high < 0.91


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "patients", "low", "high"),
    [
        ("skewed", 10, 0.91, 0.98),
        ("skewed", 20, 0.91, 0.98),
        ("skewed", 40, 0.91, 0.98),
        ("with failures", 10, 0.78, 1.0),
        ("with failures", 20, 0.82, 1.0),
        ("with failures", 40, 0.90, 1.0),
    ],
)
def test_coverage_of_the_interval(law: str, patients: int, low: float, high: float) -> None:
    """Share of 600 samples whose interval holds the law's mean; the module states what is measured here. A poor share
    has no upper bound."""
    rng = np.random.default_rng(patients)
    shape = (600, patients)
    samples = DICE_LAW.rvs(shape, random_state=rng) if law == "skewed" else with_failures(rng, shape)
    mean = DICE_LAW.mean() if law == "skewed" else 0.07 * 0.15 + 0.93 * 12 / 14
    covered = 0
    for seed, values in enumerate(samples):
        below, above = interval(values, range(patients), seed=seed, resamples=1000)
        covered += below <= mean <= above
    assert low <= covered / len(samples) <= high, covered / len(samples)


def test_paired_differences_by_hand() -> None:
    first = [0.9, 0.8, 0.7, 0.6, 0.5, None]
    second = [0.8, 0.7, 0.7, 0.5, 0.6, 0.4]
    result = metrics.paired(first, second)
    assert result["n"] == 5
    assert result["difference"] == pytest.approx(0.04)
    assert (result["wins"], result["losses"], result["ties"]) == (3, 1, 1)
    worse = metrics.paired(first, second, higher_is_better=False)
    assert (worse["wins"], worse["losses"]) == (1, 3)
    low, high = result["ci95"]
    assert low < 0.04 < high


def test_signed_rank_by_hand() -> None:
    """Five differences of one sign: 2 of 2^5 sign patterns are as extreme, p = 0.0625; six: 0.03125."""
    assert metrics.signed_rank_p([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 32)
    assert metrics.signed_rank_p([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0]) == pytest.approx(2 / 64)
    assert metrics.signed_rank_p([0.0, 0.0]) == 1.0
    with pytest.raises(MetricError, match="not finite"):
        metrics.signed_rank_p([1.0, float("nan")])


@pytest.mark.parametrize(("better", "worse"), [(5, 0), (11, 3), (35, 24), (7, 7)])
def test_signed_rank_of_equal_sizes_is_the_sign_test(better: int, worse: int) -> None:
    """Differences of one voxel each, as HD95 in voxels often has. 11 against 3: p = 0.057, in a normal distribution
    0.033."""
    differences = [1.0] * better + [-1.0] * worse
    expected = stats.binomtest(worse, better + worse).pvalue
    assert metrics.signed_rank_p(differences) == pytest.approx(expected, rel=1e-9)


def test_signed_rank_with_ties_counts_all_signs() -> None:
    sizes = [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 4.0, 4.0]
    signs = np.array([1, -1, 1, 1, -1, 1, 1, -1])
    ranks = stats.rankdata(sizes)
    every = np.array(list(itertools.product((-1, 1), repeat=8))) @ ranks  # (256,)
    expected = np.mean(np.abs(every) >= abs(signs @ ranks))
    assert metrics.signed_rank_p((signs * sizes).tolist()) == pytest.approx(expected, rel=1e-12)


def test_signed_rank_of_many_patients_is_near_the_exact_one() -> None:
    """More than 200 patients, beyond which p is that of the normal distribution, next to exactly 200."""
    differences = np.random.default_rng(7).normal(0.15, 1, 200)
    exact = stats.wilcoxon(differences, method="exact").pvalue
    assert metrics.signed_rank_p(differences.tolist()) == pytest.approx(exact, rel=1e-9)
    assert metrics.signed_rank_p([*differences.tolist(), 1e-9]) == pytest.approx(exact, rel=0.02)


def test_the_test_and_the_interval_count_patients_not_cases() -> None:
    first, second = [0.9] * 8, [0.8, 0.7, 0.6, 0.5] * 2
    by_case = metrics.paired(first, second)["p"]
    by_patient = metrics.paired(first, second, ["a", "b", "c", "d"] * 2)
    assert by_patient["p"] == pytest.approx(2 / 16)
    assert by_case is not None
    assert by_case < by_patient["p"]
    assert by_patient["ci95"] == pytest.approx(metrics.paired(first[:4], second[:4])["ci95"])


def test_the_interval_of_a_difference_stays_in_the_range_of_differences() -> None:
    found = metrics.paired([0.9, 0.6], [0.0, 0.6], bounds=(0.0, 1.0))
    assert found["ci95"] == [-1.0, 1.0]
    unbounded = metrics.paired([9.0, 6.0], [0.0, 6.0], bounds=(0.0, math.inf))["ci95"]
    half = 12.706204736 * 4.5  # Student's t with 1 degree of freedom
    assert unbounded == pytest.approx([4.5 - half, 4.5 + half])


def test_rounding_is_no_difference() -> None:
    """Five patients of one sign give 2 / 2^5; a sixth, whose two cases cancel but for 5e-17, is a tie and no sixth."""
    first, second = [0.95, 0.8, 0.85, 0.7, 0.91, 0.68, 0.86], [0.9, 0.7, 0.7, 0.5, 0.6, 0.58, 0.96]
    assert sum(np.subtract(first[5:], second[5:])) > 0
    assert metrics.paired(first, second, [0, 1, 2, 3, 4, 5, 5])["p"] == pytest.approx(2 / 32)
    assert metrics.paired([0.1 + 0.2], [0.3])["ties"] == 1
    assert metrics.paired([100.1 + 100.2], [200.3], higher_is_better=None)["ties"] == 1
    assert metrics.paired([1e-9], [2e-9])["losses"] == 1
    equal = metrics.paired([0.3, 0.8, 0.9, 0.7, 0.6], [0.2, 0.7, 0.8, 0.6, 0.7])  # but for rounding, of one size
    assert equal["p"] == metrics.signed_rank_p([1.0, 1.0, 1.0, 1.0, -1.0])


def test_differences_whose_cubes_underflow_are_none():
    tiny = np.arange(10) * 1e-120
    assert interval(tiny, range(10)) == (tiny.mean(), tiny.mean())


def test_holm_by_hand() -> None:
    """0.01 x 4, 0.02 x 3, 0.03 x 2 -> raised to 0.06, 0.5 x 1."""
    assert metrics.holm([0.02, None, 0.5, 0.01, 0.03]) == pytest.approx([0.06, None, 0.5, 0.04, 0.06], nan_ok=True)
    assert metrics.holm([0.6, 0.9]) == [1.0, 1.0]
    assert metrics.holm([]) == []


def test_nothing_to_compare() -> None:
    result = metrics.paired([None, 0.5], [0.5, None])
    assert (result["difference"], result["p"], result["n"]) == (None, None, 0)
    with pytest.raises(MetricError, match="same cases"):
        metrics.paired([0.5], [0.5, 0.6])
    with pytest.raises(MetricError, match="a score is infinite"):
        metrics.paired([0.5, math.inf], [0.5, 0.6])
    assert metrics.paired([0.0, 0.0], [0.0, 0.0])["ties"] == 2
    assert metrics.paired([2e-310], [1e-310])["wins"] == 0  # beyond what is told apart


def test_the_nearer_to_0_wins_where_neither_more_nor_less_is_better() -> None:
    result = metrics.paired([-0.1, 0.3, 0.2], [0.4, -0.2, -0.2], higher_is_better=None)
    assert (result["wins"], result["losses"], result["ties"]) == (1, 1, 1)
