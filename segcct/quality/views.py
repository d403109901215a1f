"""Test-time views: the same slices flipped and turned, segmented, and brought back for comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from segcct.inference.predictor import Predictor
from segcct.preparation.prepared_case import PreparedCase

Turn = Callable[[np.ndarray], np.ndarray]

FLIPS: tuple[Turn, ...] = (
    lambda planes: planes[..., ::-1],
    lambda planes: planes[..., ::-1, :],
)
"""Left-right and up-down; each undoes itself."""
ROTATIONS: tuple[tuple[Turn, Turn], ...] = (
    (lambda planes: np.rot90(planes, 1, (-2, -1)), lambda planes: np.rot90(planes, -1, (-2, -1))),
)
"""A quarter turn and how it is undone; the turn the other way is this one flipped twice."""


def flipped(predictor: Predictor, prepared: PreparedCase) -> tuple[np.ndarray, ...]:
    """(D, K, h, w) float16 probabilities per flip, flipped back."""
    return tuple(_seen(predictor, prepared, turn, turn) for turn in FLIPS)


def rotated(predictor: Predictor, prepared: PreparedCase) -> tuple[np.ndarray, ...]:
    """(D, K, h, w) float16 probabilities per quarter turn, turned back."""
    return tuple(_seen(predictor, prepared, *turns) for turns in ROTATIONS)


def _seen(predictor: Predictor, prepared: PreparedCase, turn: Turn, back: Turn) -> np.ndarray:
    image = np.ascontiguousarray(turn(np.asarray(prepared.image)))
    view = replace(prepared, arrays={"image": image})
    return back(np.concatenate([batch.astype(np.float16) for batch in predictor.probabilities(view)]))
