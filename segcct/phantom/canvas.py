"""An image that tissues are drawn into, and what a scanner adds to it: partial volume, receive bias, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segcct.phantom.field import Frame, SmoothField


def inside(distance: np.ndarray, width_mm: float) -> np.ndarray:
    """Partial volume of a region given its signed distance (negative inside): 0..1, one half at the border.

    A smooth step that is complete 1.5 x `width_mm` from the border.
    """
    step = np.clip(np.float32(0.5) - distance * np.float32(1 / (3 * width_mm)), 0, 1)
    return step * step * (3 - 2 * step)


@dataclass(frozen=True)
class Canvas:
    """An image (X, Y, Z) float32, changed in place."""

    image: np.ndarray
    blur_mm: float
    """Width of borders between tissues."""

    def part(self, box: tuple[slice, ...]) -> Canvas:
        return Canvas(self.image[box], self.blur_mm)

    def fill(self, distance: np.ndarray, value: np.ndarray | float, blur_mm: float | None = None) -> None:
        """Draw a region, given its signed distance in mm (negative inside), with a tissue of that signal."""
        self.blend(inside(distance, self.blur_mm if blur_mm is None else blur_mm), value)

    def blend(self, fraction: np.ndarray, value: np.ndarray | float) -> None:
        """Replace that fraction of each voxel by a tissue of that signal. `fraction` may broadcast."""
        image = self.image
        image += fraction * ((np.float32(value) if isinstance(value, float) else value) - image)


def bias_field(rng: np.random.Generator, frame: Frame, extent_mm: tuple[float, float, float], std: float) -> np.ndarray:
    """(X, Y, Z) multiplicative receive bias: exp(std x smooth field)."""
    return np.exp(np.float32(std) * SmoothField.draw(rng, extent_mm, 70.0).on(frame))


def correlated_noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """(X, Y, Z) unit-variance noise whose in-plane neighbors are correlated, as after a scanner's interpolation."""
    return soften(rng.standard_normal(shape, dtype=np.float32), (0, 1)) / np.float32(0.5**2 + 2 * 0.25**2)


def rician(rng: np.random.Generator, signal: np.ndarray, std: float) -> np.ndarray:
    """Magnitude of a complex signal with Gaussian noise of that deviation in both parts (MRI)."""
    real = signal + np.float32(std) * correlated_noise(rng, signal.shape)
    imaginary = np.float32(std) * correlated_noise(rng, signal.shape)
    return np.hypot(real, imaginary)


def soften(image: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Three-tap smoothing (1/4, 1/2, 1/4) along the axes; borders repeat."""
    for axis in axes:
        moved = np.moveaxis(image, axis, 0)
        quarter = np.float32(0.25) * moved
        result = moved * np.float32(0.5)
        result[1:] += quarter[:-1]
        result[:-1] += quarter[1:]
        result[0] += quarter[0]
        result[-1] += quarter[-1]
        image = np.moveaxis(result, 0, axis)
    return image
