"""Canny edges, which the article on fuzzy k-means shows next to its clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segcct.cluster.intensity_points import Background, is_inside
from segcct.datasets.case import LoadedCase
from segcct.datasets.label_schemes import Scheme

EDGES = Scheme("cluster_1", {"edge": 1})
SIGMA = 2.0
"""Standard deviation of the Gaussian before the gradient, in pixels."""


@dataclass(frozen=True)
class Edges:
    """Edges of the first channel, slice by slice along the third stored axis, by scikit-image's thresholds: gradients
    of a tenth and a fifth of the range of intensities."""

    background: Background

    def __call__(self, loaded: LoadedCase) -> np.ndarray:
        """(X, Y, Z) uint8: 1 on edges."""
        from skimage.feature import canny

        voxels, inside = loaded.image[0], is_inside(loaded, self.background)
        edges = np.zeros(voxels.shape, dtype=np.uint8)
        if not inside.any():
            return edges
        low, high = float(voxels[inside].min()), float(voxels[inside].max())
        for index in range(voxels.shape[2]):
            scaled = (voxels[..., index].astype(np.float64) - low) / (high - low or 1)
            edges[..., index] = canny(scaled, SIGMA, mask=inside[..., index])
        return edges
