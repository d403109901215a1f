"""Two ventricles that beat: signed distances of their borders in short-axis slices, at end diastole and end systole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RV, MYO, LV = 1, 2, 3
"""Label values of ACDC."""


@dataclass(frozen=True)
class Kind:
    """Ranges of one of ACDC's five groups of patients."""

    radius_mm: tuple[float, float]
    """Left-ventricular cavity at the base, end diastole."""
    wall_mm: tuple[float, float]
    shortening: tuple[float, float]
    """Share by which that radius shrinks in systole."""
    right: float = 1.0
    """Size of the right ventricle against the left."""


KINDS: dict[str, Kind] = {
    "NOR": Kind((23.5, 27.5), (7.0, 9.5), (0.28, 0.38)),
    "DCM": Kind((29.0, 35.0), (7.0, 9.0), (0.08, 0.16)),
    "HCM": Kind((21.0, 25.0), (12.0, 16.0), (0.34, 0.46)),
    "MINF": Kind((25.0, 30.0), (6.5, 9.0), (0.12, 0.22)),
    "RV": Kind((22.0, 26.0), (7.0, 9.5), (0.26, 0.36), 1.25),
}


@dataclass(frozen=True)
class Borders:
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


@dataclass(frozen=True)
class Heart:
    """One patient's heart. Positions in mm: u to the image's right, v down, w from base to apex."""

    group: str
    centre_mm: tuple[float, float]
    drift: tuple[float, float]
    """How the long axis leans: mm in u and v per mm of w."""
    base_mm: float
    apex_mm: float
    radius_mm: float
    wall_mm: float
    shortening: float
    descent_mm: float
    """How far the base moves towards the apex in systole."""
    right: float
    turn: float
    """Angle from the left to the right ventricle, radians."""
    waves: np.ndarray
    """(4, 3): amplitude (mm), order and phase of what makes the outlines not quite round."""
    scar: tuple[float, float]
    """Angle of a thin wall segment and how much of the wall is lost there."""
    muscles: tuple[float, float]
    """Angles of the two papillary muscles."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Heart:
        group = str(rng.choice(list(KINDS)))
        kind = KINDS[group]
        radius, wall, shortening = (float(rng.uniform(*r)) for r in (kind.radius_mm, kind.wall_mm, kind.shortening))
        turn = np.pi + rng.normal(-0.1, 0.22)
        waves = np.column_stack([rng.normal(0.0, [1.2, 0.7, 0.5, 0.4]), [2, 3, 4, 5], rng.uniform(0, 6.28, 4)])
        base = float(rng.uniform(-2.0, 8.0))
        return cls(
            group=group,
            centre_mm=(float(rng.normal(0, 9)), float(rng.normal(-6, 9))),
            drift=(float(rng.uniform(0.0, 0.2)), float(rng.uniform(-0.05, 0.15))),
            base_mm=base,
            apex_mm=base + float(rng.uniform(2.9, 3.3) * (radius + 3)),
            radius_mm=radius,
            wall_mm=wall,
            shortening=shortening,
            descent_mm=float(35 * shortening),
            right=float(kind.right * rng.uniform(0.92, 1.08)),
            turn=float(turn),
            waves=waves,
            scar=(float(rng.uniform(0, 6.28)), float(rng.uniform(0.35, 0.55)) if group == "MINF" else 0.0),
            muscles=(turn + 2.2 + float(rng.normal(0, 0.2)), turn - 2.2 + float(rng.normal(0, 0.2))),
        )

    def borders(self, u: np.ndarray, v: np.ndarray, w: np.ndarray, *, systole: bool) -> Borders:
        """The heart's outlines at those positions, in end systole or end diastole."""
        du = u - self.centre_mm[0] - self.drift[0] * w
        dv = v - self.centre_mm[1] - self.drift[1] * w
        radius = np.hypot(du, dv)
        angle = np.arctan2(dv, du)
        base = self.base_mm + (self.descent_mm if systole else 0.0)
        along = np.clip((w - base) / (self.apex_mm - base), 0, None)
        profile = np.sqrt(np.clip(1 - along**2.3, 0, None))
        size = self.radius_mm * (1 - self.shortening if systole else 1.0)
        uneven = sum(a * np.cos(order * angle + phase) for a, order, phase in self.waves)
        beyond = np.clip(w - self.apex_mm, 0, None) + 60.0 * (w < base)
        cavity = radius - profile * (size + uneven) + beyond
        wall = self._wall(angle, systole=systole)
        outer = np.sqrt(np.clip(1 - ((w - base).clip(0) / (self.apex_mm + 0.8 * self.wall_mm - base)) ** 2.3, 0, None))
        # Where less than 6 mm of muscle are left, or above the valves, there is no ventricle to outline.
        ends = 60.0 * ((outer * (size + self.wall_mm) < 6) | (w < base))
        epicardium = radius - outer * (size + wall + uneven) + ends
        right = self._right(du, dv, w, base, size + wall, systole=systole)
        return Borders(
            cavity.astype(np.float32),
            np.minimum(epicardium, cavity + 1).astype(np.float32),
            np.maximum(right, 0.3 - epicardium).astype(np.float32),
            self._papillary(du, dv, along, profile * size, systole=systole).astype(np.float32),
            self._atria(du, dv, w, base).astype(np.float32),
        )

    def _wall(self, angle: np.ndarray, *, systole: bool) -> np.ndarray:
        thickening = 1 + (1.25 * self.shortening if systole else 0.0)
        place, loss = self.scar
        return self.wall_mm * thickening * (1 - loss * np.exp(1.5 * (np.cos(angle - place) - 1)))

    def _right(
        self, du: np.ndarray, dv: np.ndarray, w: np.ndarray, base: float, epicardium_mm: np.ndarray, *, systole: bool
    ) -> np.ndarray:
        """A crescent: an ellipse beside the left ventricle, which is cut out of it by the caller."""
        size = self.right * (1 - 0.55 * self.shortening if systole else 1.0)
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

    def _papillary(
        self, du: np.ndarray, dv: np.ndarray, along: np.ndarray, cavity_mm: np.ndarray, *, systole: bool
    ) -> np.ndarray:
        size = np.where((along > 0.2) & (along < 0.8), 5.2 if systole else 4.6, -5.0)
        place = cavity_mm * (0.66 if systole else 0.77)
        blobs = [np.hypot(du - place * np.cos(a), dv - place * np.sin(a)) - size for a in self.muscles]
        return np.minimum(*blobs)

    def _atria(self, du: np.ndarray, dv: np.ndarray, w: np.ndarray, base: float) -> np.ndarray:
        left = np.hypot((du - 14) / 30, (dv - 12) / 21) * 21 - 21
        aorta = np.hypot(du + 4, dv + 12) - 13.5
        right = np.hypot((du + 32) / 22, (dv - 16) / 20) * 20 - 20
        return np.where(w < base, np.minimum(np.minimum(left, aorta), right), 60.0)
