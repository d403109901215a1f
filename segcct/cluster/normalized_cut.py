"""Normalized cut of the tokens of a slice: their graph divided in two (Shi and Malik 2000; for tokens of a transformer
TokenCut, Wang et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segcct.cluster.token_points import TokenEncoder
from segcct.datasets.case import LoadedCase
from segcct.errors import DataError

SIMILAR = 0.2
"""Cosine above which two tokens are connected, and the weight of the edge between two others, as in TokenCut."""
FAINT = 1e-5
MOST_TOKENS = 4096
"""Of a slice: 9 s on two cores of an AMD EPYC; time grows with the third power, memory with the square."""


@dataclass(frozen=True)
class NormalizedCut:
    """Two parts of every slice, the brighter the second."""

    encoder: TokenEncoder

    def __call__(self, loaded: LoadedCase) -> np.ndarray:
        """(X, Y, Z) uint8: 1 or 2, 0 for background."""
        case = self.encoder(loaded)
        if (count := case.light[0].size) > MOST_TOKENS:
            raise DataError(
                "too many tokens per slice for a normalized cut, which compares every pair",
                file=loaded.case.id,
                found=f"{count} tokens",
                expected=f"at most {MOST_TOKENS}",
                remedy="Use a model that resizes slices (data.fit: resize or letterbox), or another --method",
            )
        parts = [_second(tokens, light) for tokens, light in zip(case.tokens, case.light, strict=True)]
        second = np.stack(parts)  # (D, h, w)
        return case.painted(np.stack([1 - second, second], axis=1))


def second_eigenvector(tokens: np.ndarray) -> np.ndarray:
    """Of the normalized Laplacian of tokens (N, E) of length 1: the solution (N,) of (D - W) y = lambda D y with the
    second smallest lambda. W is 1 between similar tokens."""
    from scipy.linalg import eigh

    weights = np.where(tokens @ tokens.T > SIMILAR, 1.0, FAINT)
    degrees = np.diag(weights.sum(axis=1))
    vector: np.ndarray = eigh(degrees - weights, degrees, subset_by_index=[1, 1])[1][:, 0]
    return vector


def _second(tokens: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(E, h, w) and brightness (h, w) -> probability (h, w) of the second part: above the eigenvector's mean more than
    one half."""
    vector = second_eigenvector(tokens.reshape(len(tokens), -1).T.astype(np.float64))
    centered = vector - vector.mean()
    centered /= centered.std() or 1.0
    if centered @ (light.ravel() - light.mean()) < 0:
        centered = -centered
    probability: np.ndarray = 1 / (1 + np.exp(-centered))
    return probability.reshape(light.shape)
