"""The strongly changed view of an unlabeled slice that a student learns from: intensity and sharpness, not geometry.

Ranges as in UniMatch (Yang et al. 2023): contrast and brightness by up to a half in four of five slices, gamma between
1/2 and 2 and blur up to a sigma of 2 pixels in every second. CutMix, which works on batches, is in `pseudo_labels.py`.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

JITTER_PROBABILITY, GAMMA_PROBABILITY, BLUR_PROBABILITY = 0.8, 0.5, 0.5
JITTER = 0.5
"""Largest relative change of contrast, and of brightness as a fraction of the channel's mean."""
LARGEST_GAMMA = 2.0
BLUR_SIGMA_PX = (0.1, 2.0)


def strong_intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(C, S, S) in [0, 1] -> the same shape, float32 in [0, 1]; each channel with draws of its own."""
    return np.stack([_changed(channel.astype(np.float32), rng) for channel in image])


def _changed(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < JITTER_PROBABILITY:
        mean = channel.mean()
        contrast, brightness = 1 + JITTER * rng.uniform(-1, 1, 2).astype(np.float32)
        channel = np.clip((channel - mean) * contrast + mean * brightness, 0, 1)
    if rng.random() < GAMMA_PROBABILITY:
        channel = channel ** np.float32(LARGEST_GAMMA ** rng.uniform(-1, 1))
    if rng.random() < BLUR_PROBABILITY:
        channel = ndimage.gaussian_filter(channel, rng.uniform(*BLUR_SIGMA_PX))
    return channel
