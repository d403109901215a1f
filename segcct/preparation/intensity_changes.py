"""Strong changes of a slice's intensities, with its geometry untouched: for a student that learns from a teacher, and
to imitate another scanner.

`strong_intensity` uses the ranges of UniMatch (Yang et al. 2023): contrast and brightness by up to a half in four of
five slices, and blur with a sigma of up to 2 of 256 pixels in every second; also gamma from 1/2 to 2 in every second.
`scanner_change` is what the winners of the M&Ms challenge trained against (Full et al. 2020): gamma, contrast, a bias
field and noise together.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

JITTER = 0.5
"""Largest relative change of brightness and of contrast."""
LARGEST_GAMMA = 2.0
BLUR = (0.1 / 256, 2 / 256)
"""Sigma, as a fraction of the longer side."""
LARGEST_BIAS = 0.7
"""Of the logarithm of the bias field."""
LARGEST_NOISE = 0.05
"""Standard deviation, in [0, 1] units."""


def strong_intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(C, H, W) in [0, 1] -> the same shape, float32 in [0, 1]; each channel with draws of its own."""

    def changed(channel: np.ndarray) -> np.ndarray:
        if rng.random() < 0.8:
            channel = _jitter(channel, rng)
        if rng.random() < 0.5:
            channel = _gamma(channel, rng)
        if rng.random() < 0.5:
            channel = ndimage.gaussian_filter(channel, rng.uniform(*BLUR) * max(channel.shape))
        return channel

    return np.stack([changed(channel.astype(np.float32)) for channel in image])


def scanner_change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(C, H, W) in [0, 1] -> the same shape, float32 in [0, 1], as another scanner might show it; the channels share
    one bias field."""
    field = _bias_field(image.shape[1:], rng)
    channels = [_jitter(_gamma(channel.astype(np.float32), rng), rng) * field for channel in image]
    noise = rng.normal(0, rng.uniform(0, LARGEST_NOISE), image.shape).astype(np.float32)
    return np.clip(np.stack(channels) + noise, 0, 1)


def _jitter(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    contrast, brightness = (1 + JITTER * rng.uniform(-1, 1, 2)).astype(np.float32)
    channel = channel * brightness
    mean = channel.mean()
    return np.asarray(np.clip((channel - mean) * contrast + mean, 0, 1))


def _gamma(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(channel ** np.float32(LARGEST_GAMMA ** rng.uniform(-1, 1)))


def _bias_field(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(H, W) float32: the exponential of a random polynomial of second order, of log values up to `LARGEST_BIAS`."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    terms = np.stack([x, y, x * y, x * x, y * y])
    log_field = np.tensordot(rng.uniform(-1, 1, len(terms)), terms, 1)
    largest = max(float(np.abs(log_field).max()), 1e-6)
    return np.exp(log_field * (rng.uniform(0, LARGEST_BIAS) / largest)).astype(np.float32)
