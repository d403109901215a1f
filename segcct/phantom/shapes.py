"""Solids given by about their signed distance in mm: negative inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Point = tuple[np.ndarray, ...]
"""Coordinates in mm, three arrays that broadcast together."""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with its axes turned."""

    center_mm: np.ndarray
    half_mm: np.ndarray
    turn: np.ndarray
    """(3, 3) rotation: from the patient's axes to the ellipsoid's."""

    @property
    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        reach = np.sqrt(((self.turn.T * self.half_mm) ** 2).sum(axis=1))
        return self.center_mm - reach, self.center_mm + reach

    def distance(self, at: Point) -> np.ndarray:
        offset = [one - np.float32(c) for one, c in zip(at, self.center_mm, strict=True)]
        first = second = np.float32(0)
        for row, half in zip(self.turn.astype(np.float32), self.half_mm, strict=True):
            q = (row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2]) / np.float32(half)
            first = first + q * q
            second = second + (q / np.float32(half)) ** 2
        first = np.sqrt(first)
        return first * (first - 1) / np.sqrt(np.maximum(second, np.float32(1e-12)))


@dataclass(frozen=True)
class Tube:
    """A chain of segments whose radius changes from point to point."""

    points_mm: np.ndarray
    """(n, 3), n at least 2."""
    radii_mm: np.ndarray
    """(n,)"""

    @property
    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        radii = self.radii_mm[:, None]
        return (self.points_mm - radii).min(axis=0), (self.points_mm + radii).max(axis=0)

    def distance(self, at: Point) -> np.ndarray:
        nearest: np.ndarray | float = np.inf
        for i in range(len(self.points_mm) - 1):
            start, step = self.points_mm[i], self.points_mm[i + 1] - self.points_mm[i]
            offset = [one - np.float32(s) for one, s in zip(at, start, strict=True)]
            along = sum(o * np.float32(s) for o, s in zip(offset, step / (step @ step), strict=True))
            along = np.clip(along, 0, 1)
            gap = np.sqrt(sum((o - along * np.float32(s)) ** 2 for o, s in zip(offset, step, strict=True)))
            radius = np.float32(self.radii_mm[i]) + along * np.float32(self.radii_mm[i + 1] - self.radii_mm[i])
            nearest = np.minimum(nearest, gap - radius)
        return np.asarray(nearest)


Solid = Ellipsoid | Tube


def turned(a: float, b: float, c: float) -> np.ndarray:
    """Rotation by a about x, then b about y, then c about z (radians)."""
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
