"""A case as points to be clustered: the intensities of its voxels that are not background. See `Points`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segcct.cluster.clusters import Clusters
from segcct.datasets.case import LoadedCase
from segcct.errors import DataError
from segcct.runtime import background_value

Background = float | str | None
"""The value that is left out: a number, `auto` for the constant around the image, None for nothing."""


@dataclass(frozen=True)
class IntensityPoints:
    """The voxels of one case."""

    points: np.ndarray
    """(N, C): intensities of the C channels."""
    inside: np.ndarray
    """(X, Y, Z) bool: the N voxels."""
    brightness: None = None

    @classmethod
    def of(cls, loaded: LoadedCase, background: Background, *, standardize: bool) -> IntensityPoints:
        """The voxels of a case.

        Args:
            loaded: the case.
            background: voxels that have this value in every channel are left out.
            standardize: subtract the mean of each channel over these voxels, and divide by their standard deviation.

        Raises:
            DataError: no voxel is left.
        """
        inside = is_inside(loaded, background)
        points = loaded.image[:, inside].T  # (N, C)
        if not len(points):
            found = "one intensity throughout"
            raise DataError("holds nothing but background", found=found, remedy="Use --background none to keep it")
        if standardize:
            points = points.astype(np.float64)
            spread = points.std(axis=0)
            points = ((points - points.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
        return cls(points, inside)

    def labels(self, clusters: Clusters) -> np.ndarray:
        """See `Points`."""
        labels = np.zeros(self.inside.shape, dtype=np.uint8)
        labels[self.inside] = clusters.labels(self.points)
        return labels

    def memberships(self, clusters: Clusters) -> np.ndarray:
        """See `Points`."""
        volumes = np.zeros((len(clusters.centers), *self.inside.shape), dtype=np.float16)
        volumes[:, self.inside] = clusters.memberships(self.points).T
        return volumes


def is_inside(loaded: LoadedCase, background: Background) -> np.ndarray:
    """(X, Y, Z) bool: voxels that differ from the background in a channel; under `auto` those of the case's mask, if it
    has one."""
    if background == "auto" and loaded.mask is not None:
        return loaded.mask
    inside = np.zeros(loaded.image.shape[1:], dtype=bool)
    for voxels in loaded.image:
        value = background_value(voxels) if background == "auto" else background
        if value is None:
            return np.ones_like(inside)
        inside |= voxels != value
    return inside
