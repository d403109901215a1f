"""What surrounds a heart in short-axis slices: chest wall, lungs, liver, stomach, spine, great vessels, fat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.texture import inside, paint

THORAX_EXTENT_MM = (440.0, 440.0, 180.0)

SIGNALS = {
    "air": 0.015,
    "lung": 0.06,
    "fat": 0.85,
    "muscle": 0.22,
    "liver": 0.26,
    "spleen": 0.40,
    "bone": 0.42,
    "blood": 0.72,
    "myocardium": 0.26,
}
"""Mean signal of a balanced steady-state sequence, blood and fat bright."""


@dataclass(frozen=True)
class Thorax:
    """One patient's trunk in the heart's frame (u to the image's right, v down, w from base to apex), in mm."""

    centre_mm: tuple[float, float]
    half_mm: tuple[float, float]
    lean: float
    fat_mm: float
    diaphragm_mm: float
    spine_mm: tuple[float, float]
    aorta_mm: float
    outline: SmoothField
    lobes: SmoothField
    organs: SmoothField
    vessels: tuple[SmoothField, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, heart_mm: tuple[float, float]) -> Thorax:
        """A trunk around a heart whose left ventricle is centred at `heart_mm` (u, v)."""
        flat, thin = THORAX_EXTENT_MM, THORAX_EXTENT_MM
        # Two ways in which short-axis planes cut the trunk: along it, more often, or across it.
        along = rng.random() < 0.65
        half = (132.0, 205.0) if along else (170.0, 145.0)
        offset = (38.0, 45.0) if along else (30.0, 42.0)
        centre = np.array(heart_mm) + offset + rng.normal(0, 7, 2)
        return cls(
            centre_mm=(float(centre[0]), float(centre[1])),
            half_mm=(float(rng.normal(half[0], 7)), float(rng.normal(half[1], 9))),
            lean=float(rng.normal(0.22 if along else -0.45, 0.12)),
            fat_mm=float(rng.uniform(8, 24)),
            diaphragm_mm=float(rng.normal(50, 7)),
            spine_mm=(float(rng.normal(78, 8)), float(rng.normal(66, 8))),
            aorta_mm=float(rng.uniform(10, 14)),
            outline=SmoothField.draw(rng, flat, (60.0, 60.0, 60.0)),
            lobes=SmoothField.draw(rng, flat, (26.0, 26.0, 30.0)),
            organs=SmoothField.draw(rng, flat, (17.0, 17.0, 22.0)),
            vessels=tuple(SmoothField.draw(rng, thin, (9.0, 9.0, 18.0)) for _ in range(2)),
        )

    def image(self, frame: Frame, u: np.ndarray, v: np.ndarray, w: np.ndarray, blur_mm: float) -> np.ndarray:
        """(X, Y, Z) float32 signal of everything but the heart; u, v, w broadcast to the frame's shape."""
        s = SIGNALS
        lobes, organs = self.lobes.on(frame), self.organs.on(frame)
        skin = self._skin(u, v) + 5 * self.outline.on(frame)
        image = np.full(frame.shape, s["air"], np.float32)
        paint(image, inside(skin, blur_mm), s["fat"])
        muscle = skin + self.fat_mm + 4 * lobes
        paint(image, inside(muscle, blur_mm), s["muscle"])
        self._ribs(image, muscle, u, v, w, blur_mm)
        cavity = muscle + 13 + 2 * organs
        paint(image, inside(cavity, blur_mm), s["lung"])
        tubes = np.exp(-sum(one.on(frame) ** 2 for one in self.vessels) / 0.05)
        paint(image, tubes * inside(cavity + 6, 6.0), 0.75 * s["blood"])
        below = np.maximum(self.diaphragm_mm - 0.45 * w + 0.0016 * (u + 15) ** 2 - v, cavity)
        self._abdomen(image, below + 3 * lobes, u, tubes, lobes, organs, blur_mm)
        self._back(image, skin, u, v, w, blur_mm)
        return image

    def _skin(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        du, dv = u - self.centre_mm[0], v - self.centre_mm[1]
        c, s = np.cos(self.lean), np.sin(self.lean)
        p, q = (c * du + s * dv) / self.half_mm[0], (c * dv - s * du) / self.half_mm[1]
        return ((p**4 + q**4) ** 0.25 + np.hypot(p, q) - 2) * 0.5 * min(self.half_mm)

    def _ribs(
        self, image: np.ndarray, muscle: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray, blur_mm: float
    ) -> None:
        angle = np.arctan2(v - self.centre_mm[1], u - self.centre_mm[0])
        across = (np.sin(9 * angle + 0.05 * w) - 0.72) * 22
        paint(image, inside(np.maximum(np.abs(muscle + 8) - 3.5, -across), blur_mm), SIGNALS["bone"])

    def _abdomen(
        self,
        image: np.ndarray,
        below: np.ndarray,
        u: np.ndarray,
        tubes: np.ndarray,
        lobes: np.ndarray,
        organs: np.ndarray,
        blur_mm: float,
    ) -> None:
        """Liver to the image's left, stomach and bowel to the right: grey, with bright contents and walls."""
        s = SIGNALS
        share = inside(below, blur_mm)
        loops = np.where(organs > 0.35, 0.62, np.where(organs < -0.5, 0.10, 0.34)) + 0.06 * lobes
        liver = inside(u - 18 - 14 * lobes, 3.0)
        paint(image, share, liver * np.float32(s["liver"]) + (1 - liver) * loops)
        paint(image, share * liver * tubes ** np.float32(0.3), 0.55 * s["blood"])
        paint(image, inside(np.abs(below + 1) - 1.2, blur_mm), 0.5 * s["fat"])

    def _back(
        self, image: np.ndarray, skin: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray, blur_mm: float
    ) -> None:
        s = SIGNALS
        spine_u, spine_v = self.spine_mm
        around = np.hypot(u - spine_u, v - spine_v)
        paint(image, inside(np.maximum(around - 38, skin + self.fat_mm), 4.0), s["muscle"])
        paint(image, inside(around - 17, blur_mm), s["bone"])
        paint(image, inside(np.hypot(u - spine_u - 12, v - spine_v - 14) - 7, blur_mm), 0.9 * s["blood"])
        distance = np.hypot(u - spine_u + 24, v - spine_v + 16 + 0.1 * w) - self.aorta_mm
        paint(image, inside(distance - 2.0, blur_mm), s["myocardium"])
        paint(image, inside(distance, blur_mm), s["blood"])
