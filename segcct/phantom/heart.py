"""Two ventricles that beat: signed distances of their borders in short-axis slices, at end diastole and end systole."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RV, MYO, LV = 1, 2, 3
"""Label values of ACDC."""


class Group(NamedTuple):
    """Ranges of one of ACDC's five groups of patients."""

    radius_mm: tuple[float, float]
    """Left-ventricular cavity at the base, end diastole."""
    wall_mm: tuple[float, float]
    shortening: tuple[float, float]
    """Fraction by which that radius shrinks in systole."""
    right: float = 1.0
    """Size of the right ventricle against the left."""


GROUPS: dict[str, Group] = {
    "NOR": Group((23.5, 27.5), (7.0, 9.5), (0.28, 0.38)),
    "DCM": Group((29.0, 35.0), (7.0, 9.0), (0.08, 0.16)),
    "HCM": Group((21.0, 25.0), (12.0, 16.0), (0.34, 0.46)),
    "MINF": Group((25.0, 30.0), (6.5, 9.0), (0.12, 0.22)),
    "RV": Group((22.0, 26.0), (7.0, 9.5), (0.26, 0.36), 1.25),
}


class Borders(NamedTuple):
    """Signed distances in mm, negative inside, each broadcast to (X, Y, Z)."""

    cavity: np.ndarray
    """Left-ventricular blood with its papillary muscles."""
    epicardium: np.ndarray
    right: np.ndarray
    """Right-ventricular blood."""
    papillary: np.ndarray
    atria: np.ndarray
    """Blood above the valves: atria and root of the aorta."""

    def label(self) -> np.ndarray:
        """(X, Y, Z) uint8 in ACDC's values."""
        inside = np.where(self.epicardium < 0, np.where(self.cavity < 0, LV, MYO), np.where(self.right < 0, RV, 0))
        return inside.astype(np.uint8)


class Heart:
    """One patient's heart. Positions in mm: u to the image's right, v down, w from base to apex."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.group = str(rng.choice(list(GROUPS)))
        ranges = GROUPS[self.group]
        self.radius_mm, self.wall_mm, self.shortening = (rng.uniform(*each) for each in ranges[:3])
        self.turn = np.pi + rng.normal(-0.1, 0.22)  # angle from the left to the right ventricle
        # (4, 3): amplitude (mm), order and phase of what makes the outlines not quite round.
        self.waves = np.column_stack([rng.normal(0.0, [1.2, 0.7, 0.5, 0.4]), [2, 3, 4, 5], rng.uniform(0, 6.28, 4)])
        self.base_mm = rng.uniform(-2.0, 8.0)
        self.center_mm = rng.normal(0, 9), rng.normal(-6, 9)
        self.drift = rng.uniform(0.0, 0.2), rng.uniform(-0.05, 0.15)  # of the long axis: mm in u and v per mm of w
        self.apex_mm = self.base_mm + rng.uniform(2.9, 3.3) * (self.radius_mm + 3)
        self.right = ranges.right * rng.uniform(0.92, 1.08)
        # Angle of a thin wall segment and how much of the wall is lost there.
        self.scar = rng.uniform(0, 6.28), rng.uniform(0.35, 0.55) if self.group == "MINF" else 0.0
        self.papillary = self.turn + 2.2 + rng.normal(0, 0.2), self.turn - 2.2 + rng.normal(0, 0.2)  # angles

    def borders(self, u: np.ndarray, v: np.ndarray, w: np.ndarray, *, systole: bool) -> Borders:
        """The heart's outlines at those positions, in end systole or end diastole."""
        du = u - self.center_mm[0] - self.drift[0] * w
        dv = v - self.center_mm[1] - self.drift[1] * w
        radius = np.hypot(du, dv)
        angle = np.arctan2(dv, du)
        shortening = self.shortening if systole else 0.0
        base = self.base_mm + 35 * shortening  # it moves towards the apex
        along = np.clip((w - base) / (self.apex_mm - base), 0, None)
        profile = np.sqrt(np.clip(1 - along**2.3, 0, None))
        size = self.radius_mm * (1 - shortening)
        uneven = sum(a * np.cos(order * angle + phase) for a, order, phase in self.waves)
        beyond = np.clip(w - self.apex_mm, 0, None) + 60.0 * (w < base)
        cavity = radius - profile * (size + uneven) + beyond
        place, loss = self.scar
        wall = self.wall_mm * (1 + 1.25 * shortening) * (1 - loss * np.exp(1.5 * (np.cos(angle - place) - 1)))
        outer = np.sqrt(np.clip(1 - ((w - base).clip(0) / (self.apex_mm + 0.8 * self.wall_mm - base)) ** 2.3, 0, None))
        # Where less than 6 mm of muscle are left, or above the valves, there is no ventricle to outline.
        ends = 60.0 * ((outer * (size + self.wall_mm) < 6) | (w < base))
        epicardium = radius - outer * (size + wall + uneven) + ends
        right = self._right(du, dv, w, base, size + wall, self.right * (1 - 0.55 * shortening))
        muscle = np.where((along > 0.2) & (along < 0.8), 5.2 if systole else 4.6, -5.0)
        reach = profile * size * (0.66 if systole else 0.77)
        papillary = np.minimum(
            *(np.hypot(du - reach * np.cos(a), dv - reach * np.sin(a)) - muscle for a in self.papillary)
        )
        return Borders(
            cavity.astype(np.float32),
            np.minimum(epicardium, cavity + 1).astype(np.float32),
            np.maximum(right, 0.3 - epicardium).astype(np.float32),
            papillary.astype(np.float32),
            _atria(du, dv, w, base).astype(np.float32),
        )

    def _right(
        self, du: np.ndarray, dv: np.ndarray, w: np.ndarray, base: float, epicardium_mm: np.ndarray, size: float
    ) -> np.ndarray:
        """A crescent: an ellipse next to the left ventricle, which is cut out of it by the caller."""
        along = np.clip((w - base) / (0.86 * (self.apex_mm - base)), 0, None)
        shrink = np.sqrt(np.clip(1 - along**1.8, 0, None))
        towards = du * np.cos(self.turn) + dv * np.sin(self.turn)
        across = -du * np.sin(self.turn) + dv * np.cos(self.turn)
        middle = np.mean(epicardium_mm) * 0.62
        wide, long = 35.0 * size * shrink, 45.0 * size * (0.35 + 0.65 * shrink) * shrink
        # The cut-off is above the valves and beyond the apex.
        gone = (along >= 1) | (w < base - 8)
        reach = np.hypot((towards - middle) / np.maximum(wide, 1e-3), (across - 3.0) / np.maximum(long, 1e-3))
        return np.where(gone, 60.0, (reach - 1) * np.minimum(wide, long))


def _atria(du: np.ndarray, dv: np.ndarray, w: np.ndarray, base: float) -> np.ndarray:
    left = np.hypot((du - 14) / 30, (dv - 12) / 21) * 21 - 21
    aorta = np.hypot(du + 4, dv + 12) - 13.5
    right = np.hypot((du + 32) / 22, (dv - 16) / 20) * 20 - 20
    return np.where(w < base, np.minimum(np.minimum(left, aorta), right), 60.0)
