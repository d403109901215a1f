"""Smooth random fields in millimeters: the same field on a fine grid, a coarse one, or a part of either."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_AXIS_STD = (151 / 315) ** 0.5
"""Root of the mean over x of the summed squared cubic B-spline weights: what one axis leaves of a unit deviation."""


@dataclass(frozen=True)
class Frame:
    """Voxel centers of a grid, one coordinate array per axis."""

    axes_mm: tuple[np.ndarray, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.axes_mm
        return len(x), len(y), len(z)

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        return tuple(float(axis[1] - axis[0]) for axis in self.axes_mm)

    @classmethod
    def centered(cls, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Frame:
        """A grid around 0."""
        axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing_mm, strict=True)]
        return cls(tuple(axis.astype(np.float32) for axis in axes))

    @classmethod
    def stack(cls, columns: int, rows: int, pixel_mm: float, depth_mm: np.ndarray, reduce: int) -> Frame:
        """Slices around 0 at those depths; every `reduce` pixels along x and along y become one in their middle."""
        x, y, _ = cls.centered((columns, rows, 1), (pixel_mm, pixel_mm, 1.0)).axes_mm
        middle = pixel_mm * (reduce - 1) / 2
        return cls(tuple(axis.astype(np.float32) for axis in (x[::reduce] + middle, y[::reduce] + middle, depth_mm)))

    def part(self, box: tuple[slice, ...]) -> Frame:
        return Frame(tuple(axis[cut] for axis, cut in zip(self.axes_mm, box, strict=True)))

    def box(self, low_mm: np.ndarray, high_mm: np.ndarray) -> tuple[slice, ...]:
        """The voxels whose centers lie within [low, high] per axis, as slices (at least two voxels each)."""
        cuts = []
        for axis, low, high in zip(self.axes_mm, low_mm, high_mm, strict=True):
            first = int(np.clip(np.searchsorted(axis, low), 0, len(axis) - 2))
            last = int(np.clip(np.searchsorted(axis, high, side="right"), first + 2, len(axis)))
            cuts.append(slice(first, last))
        return tuple(cuts)

    def open(self) -> tuple[np.ndarray, ...]:
        """Coordinates as (X, 1, 1), (1, Y, 1), (1, 1, Z)."""
        return np.ix_(*self.axes_mm)


@dataclass(frozen=True)
class SmoothField:
    """A Gaussian random field of zero mean and unit variance: cubic B-splines over a coarse lattice."""

    coefficients: np.ndarray
    origin_mm: tuple[float, ...]
    step_mm: tuple[float, ...]

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        extent_mm: tuple[float, float, float],
        step_mm: float | tuple[float, float, float],
    ) -> SmoothField:
        """A field over the box of that extent around 0; features are about two lattice steps wide."""
        steps = (step_mm,) * 3 if isinstance(step_mm, float) else step_mm
        counts = [int(np.ceil(size / step)) + 4 for size, step in zip(extent_mm, steps, strict=True)]
        origin = tuple(-(n - 1) / 2 * step for n, step in zip(counts, steps, strict=True))
        coefficients = rng.standard_normal(counts, dtype=np.float32) / np.float32(_AXIS_STD**3)
        return cls(coefficients, origin, steps)

    def on(self, frame: Frame) -> np.ndarray:
        """(X, Y, Z) float32 values at the frame's voxel centers; constant beyond the drawn box."""
        x, y, z = (self._weights(axis, at) for axis, at in enumerate(frame.axes_mm))  # (n, lattice)
        value = np.matmul(y, self.coefficients @ z.T)  # (lattice, Y, Z)
        return (x @ value.reshape(len(value), -1)).reshape(frame.shape)  # (X, Y, Z)

    def _weights(self, axis: int, at_mm: np.ndarray) -> np.ndarray:
        count = self.coefficients.shape[axis]
        position = np.clip((at_mm - self.origin_mm[axis]) / self.step_mm[axis], 1, count - 2.001)
        distance = np.abs(position[:, None] - np.arange(count)[None])
        near, far = 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6
        return np.where(distance < 1, near, far).astype(np.float32)
