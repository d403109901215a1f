"""The points of a case as clustering sees them, whether they are voxels or tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from segcct.cluster.clusters import Clusters
from segcct.datasets.case import LoadedCase


class Points(Protocol):
    """The points of one case."""

    @property
    def points(self) -> np.ndarray:
        """(N, C)."""

    @property
    def brightness(self) -> np.ndarray | None:
        """(N,) by whose mean clusters are ordered; None: by the first coordinate of their centers."""

    def labels(self, clusters: Clusters) -> np.ndarray:
        """(X, Y, Z) uint8: the cluster of every voxel, 0 for background."""

    def memberships(self, clusters: Clusters) -> np.ndarray:
        """(K, X, Y, Z) float16, 0 in the background."""


PointsOf = Callable[[LoadedCase], Points]


def in_order(clusters: Clusters, points: np.ndarray, brightness: np.ndarray | None) -> Clusters:
    """The clusters in ascending order of the mean brightness of the points (N, C) that belong to them."""
    if brightness is None:
        return clusters
    weights = clusters.memberships(points)  # (N, K)
    return clusters.ordered(weights.T @ brightness / weights.sum(axis=0))
