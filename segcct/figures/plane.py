"""How a stored volume is shown: slice axis, rows, columns, orientation letters, pixel size.

Radiological convention: an axial slice is seen from the feet, with the patient's right on the left of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, NamedTuple

import numpy as np

View = Literal["axial", "coronal", "sagittal"]

_POSITIVE, _NEGATIVE = "RAS", "LPI"
# World axis (0 right, 1 anterior, 2 superior) and sign in which picture rows go down and columns go right.
_VIEWS: dict[str, tuple[int, tuple[int, int], tuple[int, int]]] = {
    "axial": (2, (1, -1), (0, -1)),  # down = posterior, right = the patient's left
    "coronal": (1, (2, -1), (0, -1)),
    "sagittal": (0, (2, -1), (1, -1)),  # right = posterior
}
_OBLIQUE = 0.34
"""A direction more than 20 degrees off its main axis gets a second letter (sin 20 degrees)."""


class Letters(NamedTuple):
    """Where the patient lies at the four edges of a picture; `AL` is between anterior and left."""

    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True)
class Plane:
    """Slices of one volume as pictures. `letters` and `pixel_mm` are None where the geometry is unknown."""

    order: tuple[int, int, int]
    """Stored axes that become slices, rows, columns."""
    flips: tuple[int, ...]
    """Axes of the (D, H, W) result that are reversed."""
    pixel_mm: tuple[float, float] | None
    """Height and width of a pixel."""
    letters: Letters | None
    name: str
    """`axial`, `coronal`, `sagittal`; `oblique` more than 20 degrees off; `stored` where the geometry is unknown."""

    def slices(self, volume: np.ndarray) -> np.ndarray:
        """(X, Y, Z) -> (D, H, W), a view of the same voxels."""
        return np.flip(np.transpose(volume, self.order), self.flips)


def plane_of(shape_xyz: Sequence[int], affine: np.ndarray | None, spacing_mm: Sequence[float] | None) -> Plane:
    """The plane that a scan was acquired in (across its thickest voxels), axial where they are cubes.

    Args:
        shape_xyz: shape of the stored volume.
        affine: (4, 4), voxel -> RAS mm; None where the file holds no geometry.
        spacing_mm: voxel size; None where the file holds none, and then the affine is not believed either.
    """
    if affine is None or spacing_mm is None:
        return Plane((2, 1, 0), (), None, None, "stored")
    cosines = np.asarray(affine, dtype=float)[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axis_of_world = _closest_axes(cosines)
    view = _acquired_view(shape_xyz, spacing_mm, axis_of_world)
    world_slice, down, across = _VIEWS[view]
    order = (axis_of_world[world_slice], axis_of_world[down[0]], axis_of_world[across[0]])
    wanted = (1, down[1], across[1])
    worlds = (world_slice, down[0], across[0])
    signs = [np.sign(cosines[world, stored]) or 1.0 for world, stored in zip(worlds, order, strict=True)]
    flips = tuple(axis for axis in range(3) if signs[axis] != wanted[axis])
    downwards = cosines[:, order[1]] * (-1 if 1 in flips else 1)
    rightwards = cosines[:, order[2]] * (-1 if 2 in flips else 1)
    letters = Letters(
        _letters_of(-rightwards), _letters_of(rightwards), _letters_of(-downwards), _letters_of(downwards)
    )
    pixel_mm = (float(spacing_mm[order[1]]), float(spacing_mm[order[2]]))
    normal = np.cross(downwards, rightwards)
    tilted = abs(normal[world_slice]) < np.sqrt(1 - _OBLIQUE**2) * np.linalg.norm(normal)
    return Plane(order, flips, pixel_mm, letters, "oblique" if tilted else view)


def _closest_axes(cosines: np.ndarray) -> tuple[int, int, int]:
    """Stored axis that runs closest to right, anterior and superior, each used once."""
    strength = np.abs(cosines)
    best = max(permutations(range(3)), key=lambda order: sum(strength[world, order[world]] for world in range(3)))
    return best[0], best[1], best[2]


def _acquired_view(shape_xyz: Sequence[int], spacing_mm: Sequence[float], axis_of_world: Sequence[int]) -> View:
    thickest = int(np.argmax(spacing_mm))
    others = [spacing_mm[axis] for axis in range(3) if axis != thickest]
    if 1 in shape_xyz:
        thickest = list(shape_xyz).index(1)
    elif spacing_mm[thickest] < 1.5 * max(others):
        return "axial"
    views: tuple[View, View, View] = ("sagittal", "coronal", "axial")
    return views[list(axis_of_world).index(thickest)]


def _letters_of(direction: np.ndarray) -> str:
    """Letters of a direction in RAS, strongest first."""
    ranked = sorted(range(3), key=lambda world: -abs(direction[world]))
    axes = [ranked[0]] + [world for world in ranked[1:] if abs(direction[world]) > _OBLIQUE]
    return "".join((_POSITIVE if direction[world] > 0 else _NEGATIVE)[world] for world in axes)
