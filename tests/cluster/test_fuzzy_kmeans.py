"""Fuzzy k-means: against scikit-fuzzy, by hand, and what must hold for any points."""

from __future__ import annotations

import itertools
from itertools import pairwise

import numpy as np
import pytest
import skfuzzy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segcct.cluster.cluster_fits import _last_bins, fit_histogram, fit_points
from segcct.cluster.clusters import Clusters, Method
from segcct.cluster.fuzzy_kmeans import added, cluster_sums, memberships
from segcct.cluster.histogram import Histogram, total
from segcct.errors import DataError


def method(name: str = "fuzzy-kmeans", clusters: int = 3, fuzzifier: float = 2.0, tolerance: float = 1e-10) -> Method:
    return Method(name, clusters, fuzzifier, tolerance, 5000)


def tissues(seed: int = 0, channels: int = 1) -> np.ndarray:
    """(N, C) whole intensities around three means."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(mean, sd, (count, channels)) for mean, sd, count in ((20, 3, 600), (60, 8, 300), (120, 9, 100))]
    return np.rint(np.concatenate(parts)).astype(np.float32)


@pytest.mark.parametrize("fuzzifier", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_centers_and_memberships_are_those_of_scikit_fuzzy(fuzzifier: float, channels: int) -> None:
    points = tissues(channels=channels)
    centers, _, _, _, _, _, _ = skfuzzy.cmeans(points.T, 3, fuzzifier, error=1e-12, maxiter=5000, seed=0)
    if channels == 1:
        clusters = fit_histogram(Histogram.of(points), method(fuzzifier=fuzzifier))
    else:
        clusters = fit_points(points, method(fuzzifier=fuzzifier))
    expected = centers[np.argsort(centers[:, 0])]
    assert clusters.array == pytest.approx(expected, rel=1e-6)
    u = skfuzzy.cmeans_predict(points.T, expected, fuzzifier, error=1e-12, maxiter=1)[0]
    assert clusters.memberships(points) == pytest.approx(u.T, abs=1e-6)
    assert clusters.converged


def test_memberships_by_hand() -> None:
    # distances 1 and 3: shares 1/1^2 and 1/3^2 for m = 2
    assert memberships(np.array([[1.0]]), np.array([[0.0], [4.0]]), 2.0) == pytest.approx(np.array([[0.9, 0.1]]))
    # the printed formula, with a difference for the ratio, would divide by zero between equal distances
    assert memberships(np.array([[2.0]]), np.array([[0.0], [4.0]]), 2.0) == pytest.approx(np.array([[0.5, 0.5]]))
    # at a center, and at two equal ones
    at_center = memberships(np.array([[4.0]]), np.array([[0.0], [4.0], [4.0]]), 2.0)
    assert at_center == pytest.approx(np.array([[0.0, 0.5, 0.5]]))


_POINTS = arrays(np.float64, st.tuples(st.integers(6, 40), st.integers(1, 3)), elements=st.integers(-50, 50))


@settings(max_examples=60)
@given(_POINTS, st.sampled_from([1.2, 2.0, 4.0]))
def test_the_objective_never_rises_and_memberships_sum_to_one(points: np.ndarray, fuzzifier: float) -> None:
    if len(np.unique(points, axis=0)) < 3:
        with pytest.raises(DataError, match="fewer distinct"):
            fit_points(points, method(fuzzifier=fuzzifier))
        return
    clusters = fit_points(points, Method("fuzzy-kmeans", 3, fuzzifier, 1e-6, 200))
    slack = 1e-9 * (1 + clusters.objectives[0])
    assert all(later <= earlier + slack for earlier, later in pairwise(clusters.objectives))
    u = clusters.memberships(points)
    assert u.sum(axis=1) == pytest.approx(1)
    assert ((u >= 0) & (u <= 1)).all()


@given(st.lists(arrays(np.float32, 7, elements=st.floats(-100, 100, width=32)), min_size=2, max_size=5), st.randoms())
def test_a_histogram_does_not_depend_on_the_division_of_its_voxels(parts: list[np.ndarray], random) -> None:
    whole = Histogram.of(np.rint(np.concatenate(parts)))
    random.shuffle(parts)
    summed = total(Histogram.of(np.rint(part)) for part in parts)
    assert summed.values.tobytes() == whole.values.tobytes()
    assert summed.counts.tobytes() == whole.counts.tobytes()


@given(arrays(np.float32, 50, elements=st.floats(-1e4, 1e4, width=32)))
def test_fractions_are_counted_to_thirteen_bits(voxels: np.ndarray) -> None:
    histogram = Histogram.of(voxels)
    assert histogram.counts.sum() == 50
    nearest = histogram.values[np.abs(histogram.values[:, None] - voxels).argmin(axis=0)]
    assert np.abs(nearest - voxels).max() <= np.abs(voxels).max() / 2**13 + 1e-30  # the smallest floats have fewer bits
    assert (np.diff(histogram.values) > 0).all()


def test_whole_numbers_are_counted_exactly() -> None:
    histogram = Histogram.of(np.array([[3, 3, -1], [2**23, 3, 0]], dtype=np.int32))
    assert dict(zip(histogram.values, histogram.counts, strict=True)) == {-1: 1, 0: 1, 3: 3, 2**23: 1}


def test_sums_of_parts_are_the_same_bits_in_any_order() -> None:
    points, centers = tissues(channels=2), np.array([[20.0, 20], [60, 60], [120, 120]])
    parts = [cluster_sums(points[start : start + 97], centers, 2.0) for start in range(0, len(points), 97)]
    one, other = added(parts), added(parts[::-1])
    assert one.points.tobytes() == other.points.tobytes()
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.objective == other.objective
    whole = cluster_sums(points, centers, 2.0)
    assert one.points == pytest.approx(whole.points)


@pytest.mark.parametrize("name", ["fuzzy-kmeans", "kmeans", "otsu"])
def test_every_method_finds_three_tissues(name: str) -> None:
    points = tissues()
    clusters = fit_histogram(Histogram.of(points), method(name))
    assert clusters.array[:, 0] == pytest.approx([20, 60, 120], abs=3)
    truth = np.repeat([1, 2, 3], [600, 300, 100])
    assert np.mean(clusters.labels(points) == truth) > 0.98


def test_otsu_of_two_is_that_of_scikit_image() -> None:
    from skimage.filters import threshold_otsu

    voxels = tissues().ravel().astype(np.uint8)
    clusters = fit_histogram(Histogram.of(voxels), method("otsu", 2))
    threshold = threshold_otsu(voxels)
    assert np.array_equal(clusters.labels(voxels[:, None]) == 2, voxels > threshold)


@pytest.mark.parametrize("classes", [3, 4])
def test_otsu_of_more_is_that_of_scikit_image(classes: int) -> None:
    from skimage.filters import threshold_multiotsu

    counts = np.random.default_rng(0).integers(0, 9, 60) ** 2
    assert _last_bins(counts, classes).tolist() == threshold_multiotsu(classes=classes, hist=counts).tolist()


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_otsu_finds_the_best_of_all_thresholds(classes: int) -> None:
    def within(counts: np.ndarray, last: tuple[int, ...]) -> float:
        parts = np.split(np.arange(counts.size), np.array(last) + 1)
        return sum(
            float(counts[part] @ (part - np.average(part, weights=counts[part])) ** 2)
            for part in parts
            if counts[part].any()
        )

    for seed in range(4):
        counts = np.random.default_rng(seed).integers(0, 6, 12)
        least = min(within(counts, cut) for cut in itertools.combinations(range(11), classes - 1))
        assert within(counts, tuple(_last_bins(counts, classes).tolist())) == pytest.approx(least)


def test_otsu_of_a_few_intensities_leaves_none_of_them_out() -> None:
    """Wherever in its range of intensities each lies."""
    points = np.array([[20.0], [60], [61], [120]])
    clusters = fit_histogram(Histogram.of(points.repeat(9, axis=0)), method("otsu"))
    assert clusters.array[:, 0] == pytest.approx([20, 60.5, 120])
    assert clusters.labels(points).tolist() == [1, 2, 2, 3]


def test_otsu_of_a_large_cohort_is_that_of_a_small_one() -> None:
    """Sums in float32 miss what is added to more than 2^24 voxels."""
    values = np.arange(-1024.0, 3072)
    parts = ((-800, 100, 0.5), (40, 50, 0.45), (700, 300, 0.05))
    density = sum(part / sd * np.exp(-0.5 * ((values - mean) / sd) ** 2) for mean, sd, part in parts)
    counts = np.rint(1e6 * density).astype(np.int64)
    values, counts = values[counts > 0], counts[counts > 0]
    for classes in (2, 4):
        of = method("otsu", classes)
        small, large = (fit_histogram(Histogram(values, times * counts), of) for times in (1, 10_000))
        assert large.thresholds == small.thresholds


def test_k_means_sees_every_slice() -> None:
    """Of two slices, of which the second is bright, every second voxel lies in the first."""
    voxels = np.zeros((256, 256, 2, 2), dtype=np.float32)
    voxels[::2, :, 0], voxels[:, :, 1] = 2, 100
    clusters = fit_points(voxels.reshape(-1, 2), method("kmeans", 2))
    assert clusters.array == pytest.approx(np.array([[1, 1], [100, 100]]), abs=0.1)


def test_half_way_between_two_centers_is_the_lower_label() -> None:
    column = np.array([[9.0], [10.0], [10.5], [99.0]])
    wide = np.hstack([column, np.zeros_like(column)])
    one = Clusters(method="kmeans", centers=[[0.0], [20.0], [30.0]])
    two = Clusters(method="kmeans", centers=[[0.0, 0], [20.0, 0], [30.0, 0]])
    assert one.labels(column).tolist() == two.labels(wide).tolist() == [1, 1, 2, 3]


def test_too_few_intensities_are_refused() -> None:
    with pytest.raises(DataError, match="fewer distinct intensities than clusters"):
        fit_histogram(Histogram.of(np.array([1, 1, 2])), method())
