"""What a scanner adds to anatomy: receive bias, noise, and voxels that see more than one tissue."""

from __future__ import annotations

import numpy as np

from segcct.phantom.field import Frame, SmoothField


def inside(distance: np.ndarray, width_mm: float) -> np.ndarray:
    """Partial volume of a region given its signed distance (negative inside): 0..1, one half at the border.

    A smooth step that is complete 1.5 x `width_mm` from the border.
    """
    step = np.clip(np.float32(0.5) - distance * np.float32(1 / (3 * width_mm)), 0, 1)
    return step * step * (3 - 2 * step)


def bias_field(
    rng: np.random.Generator,
    frame: Frame,
    extent_mm: tuple[float, float, float],
    strength: float,
    step_mm: float = 70.0,
) -> np.ndarray:
    """(X, Y, Z) multiplicative receive bias: exp(strength x smooth field), about +-2 strength at its extremes."""
    return np.exp(np.float32(strength) * SmoothField.draw(rng, extent_mm, step_mm).on(frame))


def correlated_noise(rng: np.random.Generator, shape: tuple[int, int, int], share: float = 0.25) -> np.ndarray:
    """(X, Y, Z) unit-variance noise whose in-plane neighbours are correlated, as after a scanner's interpolation.

    `share` is the weight of each neighbour in the (share, 1 - 2 share, share) filter along x and y.
    """
    noise = soften(rng.standard_normal(shape, dtype=np.float32), share, (0, 1))
    return noise / np.float32((1 - 2 * share) ** 2 + 2 * share**2)


def rician(rng: np.random.Generator, signal: np.ndarray, sd: float) -> np.ndarray:
    """Magnitude of a complex signal with Gaussian noise of that deviation in both parts (MRI)."""
    real = signal + np.float32(sd) * correlated_noise(rng, signal.shape)
    imaginary = np.float32(sd) * correlated_noise(rng, signal.shape)
    return np.hypot(real, imaginary)


def soften(image: np.ndarray, share: float, axes: tuple[int, ...]) -> np.ndarray:
    """Three-tap smoothing (share, 1 - 2 share, share) along the axes; borders repeat."""
    for axis in axes:
        moved = np.moveaxis(image, axis, 0)
        result = moved * np.float32(1 - 2 * share)
        result[1:] += np.float32(share) * moved[:-1]
        result[:-1] += np.float32(share) * moved[1:]
        result[0] += np.float32(share) * moved[0]
        result[-1] += np.float32(share) * moved[-1]
        image = np.moveaxis(result, 0, axis)
    return image


def paint(image: np.ndarray, share: np.ndarray, value: np.ndarray | float) -> None:
    """Replace, in place, that share of each voxel by a tissue of that signal. `share` may broadcast."""
    image += share * ((np.float32(value) if isinstance(value, float) else value) - image)
