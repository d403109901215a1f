"""Fitted clusters: which one a point belongs to, and how much it belongs to each; and their file, centers.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from segcct.cluster import MOST_CLUSTERS, fuzzy_kmeans
from segcct.datasets.label_schemes import Scheme
from segcct.files.json_file import MOST_BYTES_OF_MODEL, read_object
from segcct.files.json_record import Record

_BLOCK = 2**20


class Clusters(Record):
    """Clusters of points with C coordinates: intensities of C channels, or the features of a token."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")
    NOT_THIS: ClassVar[str] = "does not hold cluster centers"
    method: Literal["fuzzy-kmeans", "kmeans", "otsu"]
    centers: Annotated[list[list[float]], Field(min_length=1, max_length=MOST_CLUSTERS)]
    """K centers of C coordinates; label i is that of center i - 1."""
    thresholds: list[float] = Field(default_factory=list)
    """Between clusters of one channel, if they are not half way between the centers."""
    fuzzifier: float = 2.0
    objectives: list[float] = Field(default_factory=list)
    """What the iterations minimize, before each of them."""
    converged: bool = True

    @model_validator(mode="after")
    def _complete(self) -> Clusters:
        if len({len(center) for center in self.centers}) > 1 or not self.centers[0]:
            raise ValueError("centers: each needs as many coordinates as the others")
        if not np.isfinite(self.array).all():
            raise ValueError("centers: not all of them are finite numbers")
        if self.thresholds and (len(self.thresholds), self.thresholds) != (
            len(self.centers) - 1,
            sorted(self.thresholds),
        ):
            raise ValueError("thresholds: one between neighboring centers, in ascending order")
        return self

    @property
    def array(self) -> np.ndarray:
        """(K, C) float64."""
        return np.asarray(self.centers, dtype=np.float64)

    def labels(self, points: np.ndarray) -> np.ndarray:
        """The nearest center of points (N, C), which is the cluster of the largest membership -> (N,) uint8, 1 to K.
        Half way between two, the lower label."""
        centers = self.array[:, 0]
        if points.shape[1] == 1 and (self.thresholds or (np.diff(centers) > 0).all()):
            column, labels = points[:, 0], np.ones(len(points), dtype=np.uint8)
            for threshold in self.thresholds or (centers[:-1] + centers[1:]) / 2:
                labels += column > threshold
            return labels
        blocks = [points[start : start + _BLOCK] for start in range(0, len(points), _BLOCK)]
        nearest = [fuzzy_kmeans.squared_distances(block, self.array).argmin(axis=1) for block in blocks]
        return np.concatenate(nearest, dtype=np.uint8, casting="unsafe") + np.uint8(1)

    def memberships(self, points: np.ndarray) -> np.ndarray:
        """(N, C) -> (N, K) float64, rows sum to 1."""
        return fuzzy_kmeans.memberships(points, self.array, self.fuzzifier)

    def ordered(self, brightness: np.ndarray) -> Clusters:
        """The same clusters in ascending order of a number (K,) each."""
        order = np.argsort(brightness, kind="stable")
        return self.model_copy(update={"centers": self.array[order].tolist()})


@dataclass(frozen=True)
class Method:
    """How masks are made without labels: the options of the command that masks depend on."""

    name: str
    clusters: int
    fuzzifier: float
    """Above 1: the larger, the softer the memberships."""
    tolerance: float
    """Fuzzy k-means ends when no center moves by more than this, in standard deviations of the intensities."""
    max_iterations: int


def cluster_scheme(clusters: int) -> Scheme:
    """`cluster_3`: classes cluster_1 to cluster_3 of values 1 to 3, the brightest last; 0 is background."""
    return Scheme(f"cluster_{clusters}", {f"cluster_{value}": value for value in range(1, clusters + 1)})


def read_clusters(file: Path) -> Clusters:
    """centers.json. Raises `DataError` for a file that holds anything else."""
    return Clusters.from_json(read_object(file, Clusters.NOT_THIS, most_bytes=MOST_BYTES_OF_MODEL), file)
