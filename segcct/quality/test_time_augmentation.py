"""Test-time augmentation: probabilities of the same slices flipped and rotated, turned back.

How far they agree is a feature of the quality estimate; masks do not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from segcct.inference.predictor import Predictor
from segcct.preparation.prepared_case import PreparedCase

Transform = Callable[[np.ndarray], np.ndarray]


def flipped_probabilities(predictor: Predictor, prepared: PreparedCase) -> tuple[np.ndarray, ...]:
    """(D, K, h, w) float16 of slices flipped left to right, and of slices flipped upside down."""
    return tuple(_augmented(predictor, prepared, flip, flip) for flip in (_left_right, _up_down))


def rotated_probabilities(predictor: Predictor, prepared: PreparedCase) -> tuple[np.ndarray, ...]:
    """(D, K, h, w) float16 of slices rotated by 90 degrees; the other rotation is this one flipped twice."""
    return (_augmented(predictor, prepared, _rotate, _rotate_back),)


def _augmented(predictor: Predictor, prepared: PreparedCase, transform: Transform, inverse: Transform) -> np.ndarray:
    """(D, K, h, w) float16 probabilities predicted from transformed slices, transformed back."""
    image = np.ascontiguousarray(transform(np.asarray(prepared.image)))
    view = replace(prepared, arrays={"image": image})
    return inverse(np.concatenate([batch.astype(np.float16) for batch in predictor.probabilities(view)]))


def _left_right(planes: np.ndarray) -> np.ndarray:
    return planes[..., ::-1]


def _up_down(planes: np.ndarray) -> np.ndarray:
    return planes[..., ::-1, :]


def _rotate(planes: np.ndarray) -> np.ndarray:
    return np.rot90(planes, 1, (-2, -1))


def _rotate_back(planes: np.ndarray) -> np.ndarray:
    return np.rot90(planes, -1, (-2, -1))
