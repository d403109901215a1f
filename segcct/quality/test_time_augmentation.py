"""Test-time augmentation: probabilities of the same slices flipped and rotated, turned back.

How far they agree is a feature of the quality estimate; masks do not depend on them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from segcct.inference.predictor import Predictor
from segcct.inference.views import View
from segcct.preparation.prepared_case import PreparedCase

_FLIPS = (View(flipped=True), View(2, flipped=True))
"""Left to right, and upside down."""


def flipped_probabilities(predictor: Predictor, prepared: PreparedCase) -> tuple[np.ndarray, ...]:
    """(D, K, h, w) float16 of slices flipped left to right, and of slices flipped upside down."""
    return tuple(_probabilities(predictor, prepared, view) for view in _FLIPS)


def rotated_probabilities(predictor: Predictor, prepared: PreparedCase) -> tuple[np.ndarray, ...]:
    """(D, K, h, w) float16 of slices rotated by 90 degrees; the other rotation is this one flipped twice."""
    return (_probabilities(predictor, prepared, View(1)),)


def _probabilities(predictor: Predictor, prepared: PreparedCase, view: View) -> np.ndarray:
    """(D, K, h, w) float16 probabilities predicted from slices seen as `view` shows them, turned back."""
    image = view.of(torch.tensor(np.asarray(prepared.image)))  # a copy, since a memory map is read-only
    seen = replace(prepared, arrays={"image": np.ascontiguousarray(image.numpy())})
    found = np.concatenate([batch.astype(np.float16) for batch in predictor.probabilities(seen)])
    return np.asarray(view.undo(torch.from_numpy(found)).numpy())
