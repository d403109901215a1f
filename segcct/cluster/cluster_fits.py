"""Clusters fitted to a histogram, or to points: k-means, fuzzy k-means that starts from it, and Otsu's thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from segcct.cluster.clusters import Clusters, Method
from segcct.cluster.fuzzy_kmeans import ClusterSums, cluster_sums, fit
from segcct.cluster.histogram import Histogram
from segcct.errors import DataError

MOST_SAMPLES = 2**16
"""Points that k-means of several channels sees."""
_STARTS = 4
"""Runs of k-means, of which the best counts."""
_OTSU_BINS = 256


def fit_histogram(histogram: Histogram, method: Method) -> Clusters:
    """Clusters of one channel, in ascending order. Raises `DataError` for fewer distinct intensities than clusters."""
    points, counts = histogram.values[:, None], histogram.counts
    _require_distinct(len(points), method.clusters)
    if method.name == "otsu":
        return _otsu(histogram, method.clusters)
    sums = partial(cluster_sums, points, fuzzifier=method.fuzzifier, counts=counts)
    return fit_from(points, counts, method, sums)


def fit_points(points: np.ndarray, method: Method) -> Clusters:
    """Clusters of points (N, C), ordered by their first coordinate. Raises as `fit_histogram`."""
    return fit_from(thinned(points), None, method, partial(cluster_sums, points, fuzzifier=method.fuzzifier))


def fit_from(
    sample: np.ndarray, counts: np.ndarray | None, method: Method, sums: Callable[[np.ndarray], ClusterSums]
) -> Clusters:
    """k-means on a sample (N, C), each point counted as often as `counts` says; and fuzzy k-means from there, where
    `sums` gives the sums over all points for some centers. Raises as `fit_histogram`."""
    _require_distinct(len(np.unique(sample, axis=0)), method.clusters)
    start = _kmeans(sample, counts, method.clusters)
    if method.name == "kmeans":
        return Clusters(method="kmeans", centers=start.tolist())
    smallest_step = method.tolerance * _spread(sample, counts)
    fitted = fit(start, sums, smallest_step, method.max_iterations)
    return Clusters(
        method="fuzzy-kmeans",
        centers=_ascending(fitted.centers).tolist(),
        fuzzifier=method.fuzzifier,
        objectives=list(fitted.objectives),
        converged=fitted.converged,
    )


def thinned(points: np.ndarray, most: int = MOST_SAMPLES) -> np.ndarray:
    """At most `most` of the points (N, C), drawn at random, the same ones for an equal N; every n-th could lie in one
    slice or column."""
    if len(points) <= most:
        return points
    return points[np.sort(np.random.default_rng(0).choice(len(points), most, replace=False, shuffle=False))]


def _kmeans(sample: np.ndarray, counts: np.ndarray | None, clusters: int) -> np.ndarray:
    """Centers (K, C), ascending. One thread: the sums of several come in any order, and with it the last bits."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        found = KMeans(clusters, n_init=_STARTS, random_state=0).fit(sample.astype(np.float64), sample_weight=counts)
    return _ascending(found.cluster_centers_)


def _spread(points: np.ndarray, counts: np.ndarray | None) -> float:
    """Root mean square distance of points from their mean."""
    points = points.astype(np.float64)
    distances = np.square(points - np.average(points, axis=0, weights=counts)).sum(axis=1)
    return float(np.sqrt(np.average(distances, weights=counts)))


def _otsu(histogram: Histogram, classes: int) -> Clusters:
    """Otsu's thresholds, and the mean intensities between them."""
    values, counts = histogram.values, histogram.counts
    if classes == 2:
        thresholds: Sequence[float] = [_threshold(values, counts)]
    else:
        binned, edges = np.histogram(values, bins=_OTSU_BINS, weights=counts)
        _require_distinct(int((binned > 0).sum()), classes, "among 256 equal ranges of intensity")
        last = _last_bins(binned, classes)
        thresholds = values[np.searchsorted(values, edges[last + 1]) - 1].tolist()
    places = np.searchsorted(thresholds, values)  # as labels are given: above the threshold
    means = np.bincount(places, counts * values, classes) / np.maximum(np.bincount(places, counts, classes), 1)
    return Clusters(method="otsu", centers=means[:, None].tolist(), thresholds=list(thresholds))


def _threshold(values: np.ndarray, counts: np.ndarray) -> float:
    """Otsu's threshold between two classes: the last value of the first. scikit-image adds the counts in float32, which
    is too coarse for a cohort."""
    voxels, sums = np.cumsum(counts).astype(float), np.cumsum(counts * values)
    below, above = voxels[:-1], voxels[-1] - voxels[:-1]
    between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(values[between.argmax()])


def _last_bins(counts: np.ndarray, classes: int) -> np.ndarray:
    """(classes - 1,) Otsu's thresholds in a histogram: the last bin, never an empty one, of each class but the
    brightest.

    The variance between the classes is largest where the sum of (sum of a class)^2 / (its count) is. That of the first
    k classes up to a bin is found from that of k - 1 classes up to every bin before it.
    """
    filled = np.flatnonzero(counts)
    weights = counts[filled].astype(np.float64)
    centered = filled - np.average(filled, weights=weights)
    voxels, sums = (np.concatenate([[0.0], np.cumsum(each)]) for each in (weights, weights * centered))
    inside = voxels - voxels[:, None]  # [i, j]: voxels of a class of the filled bins i to j - 1
    scores = np.where(inside > 0, (sums - sums[:, None]) ** 2 / np.where(inside > 0, inside, 1.0), -np.inf)
    best = scores[0]
    starts: list[np.ndarray] = []
    for _ in range(classes - 1):
        candidates = best[:, None] + scores  # [i, j]: the last class starts at i, and ends before j
        starts.append(candidates.argmax(axis=0))
        best = candidates.max(axis=0)
    place = len(filled)
    last: list[int] = []
    for start in reversed(starts):
        place = int(start[place])
        last.append(int(filled[place - 1]))
    return np.array(last[::-1])


def _ascending(centers: np.ndarray) -> np.ndarray:
    """By the first coordinate, then the next."""
    ordered: np.ndarray = centers[np.lexsort(centers.T[::-1])]
    return ordered


def _require_distinct(distinct: int, clusters: int, where: str = "") -> None:
    if distinct < clusters:
        raise DataError(
            " ".join(filter(None, ["fewer distinct intensities than clusters", where])),
            found=distinct,
            expected=f"at least {clusters}",
            remedy="Use fewer --clusters",
        )
