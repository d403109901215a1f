"""Fuzzy k-means: every point belongs to every cluster to some degree.

Minimizes J = sum_ij u_ij^m |x_i - v_j|^2 over the memberships u, which sum to 1 for each point, and the centers v, by
turns: u_ij = 1 / sum_k (d_ij / d_ik)^(2 / (m - 1)) and v_j = sum_i u_ij^m x_i / sum_i u_ij^m (Bezdek 1981). The
article whose algorithm for Hadoop `segcct cluster-segment` follows prints the first formula as
1 / sum_k (d_ij - d_ik)^(2 / (m - 1)), with a difference where there has to be the ratio: a misprint, since those
numbers do not sum to 1 and are not defined where two distances are equal.

An iteration needs sums over the points only (`ClusterSums`), which can be computed apart and added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

_BLOCK = 2**18
"""Points whose memberships are held at once."""


@dataclass(frozen=True)
class ClusterSums:
    """What one iteration needs to know of some points."""

    points: np.ndarray
    """(K, C) float64: sum of u^m x."""
    weights: np.ndarray
    """(K,) float64: sum of u^m."""
    objective: float
    """Sum of u^m d^2."""

    def centers(self, earlier: np.ndarray) -> np.ndarray:
        """The new centers (K, C); a cluster that no point belongs to keeps its earlier one."""
        weights = self.weights[:, None]
        centers: np.ndarray = np.divide(self.points, weights, out=earlier.copy(), where=weights > 0)
        return centers


@dataclass(frozen=True)
class Fit:
    """The result of the iterations."""

    centers: np.ndarray
    """(K, C) float64."""
    objectives: tuple[float, ...]
    """J before every iteration; it never rises."""
    converged: bool


def memberships(points: np.ndarray, centers: np.ndarray, fuzzifier: float) -> np.ndarray:
    """u of points (N, C) in clusters (K, C) -> (N, K) float64, rows sum to 1. A point at a center belongs to it alone,
    at several equal centers to each of them alike."""
    return _memberships(squared_distances(points, centers), fuzzifier)


def squared_distances(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """(N, C) and (K, C) -> (N, K) float64."""
    points = points.astype(np.float64, copy=False)
    return np.stack([np.square(points - center).sum(axis=1) for center in centers], axis=1)


def _memberships(distances: np.ndarray, fuzzifier: float) -> np.ndarray:
    nearest = distances.min(axis=1, keepdims=True)
    ratios = np.divide(nearest, distances, out=np.ones_like(distances), where=distances > 0)  # (d_min / d)^2
    shares = ratios ** (1 / (fuzzifier - 1))
    normalized: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
    return normalized


def cluster_sums(
    points: np.ndarray, centers: np.ndarray, fuzzifier: float, counts: np.ndarray | None = None
) -> ClusterSums:
    """The sums of points (N, C), each counted as often as `counts` (N,) says, for the next centers."""
    sums, weights, objective = np.zeros_like(centers), np.zeros(len(centers)), 0.0
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK].astype(np.float64, copy=False)
        distances = squared_distances(block, centers)  # (n, K)
        powers = _memberships(distances, fuzzifier) ** fuzzifier
        if counts is not None:
            powers *= counts[start : start + _BLOCK, None]
        # Not a matrix product: its order of summation depends on the processor and the number of threads.
        sums += np.stack([(power[:, None] * block).sum(axis=0) for power in powers.T])
        weights += powers.sum(axis=0)
        objective += float((powers * distances).sum())
    return ClusterSums(sums, weights, objective)


def added(parts: Iterable[ClusterSums]) -> ClusterSums:
    """The sums of several parts, rounded once: the same bits in whatever order the parts come."""
    parts = list(parts)

    def exact(arrays: list[np.ndarray]) -> np.ndarray:
        columns = np.stack([array.ravel() for array in arrays], axis=1)  # (values, parts)
        return np.array([math.fsum(column) for column in columns]).reshape(arrays[0].shape)

    return ClusterSums(
        exact([part.points for part in parts]),
        exact([part.weights for part in parts]),
        math.fsum(part.objective for part in parts),
    )


def fit(start: np.ndarray, sums: Callable[[np.ndarray], ClusterSums], smallest_step: float, max_iterations: int) -> Fit:
    """Iterate until the centers stay.

    Args:
        start: (K, C) the first centers.
        sums: centers -> the sums of all points.
        smallest_step: they stay when none of them moves by more than this.
        max_iterations: the iterations end after this many anyway.
    """
    centers, objectives = start.astype(np.float64), []
    for _ in range(max_iterations):
        current = sums(centers)
        objectives.append(current.objective)
        moved = current.centers(centers)
        step = float(np.sqrt(np.square(moved - centers).sum(axis=1)).max())
        centers = moved
        if step <= smallest_step:
            return Fit(centers, tuple(objectives), converged=True)
    return Fit(centers, tuple(objectives), converged=False)
