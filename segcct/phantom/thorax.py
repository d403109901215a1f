"""What surrounds a heart in short-axis slices: chest wall, lungs, liver, stomach, spine, great vessels, fat."""

from __future__ import annotations

import numpy as np

from segcct.phantom.canvas import Canvas, inside
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.shapes import Point

THORAX_EXTENT_MM = (440.0, 440.0, 180.0)

SIGNALS = {
    "air": 0.015,
    "lung": 0.06,
    "fat": 0.85,
    "muscle": 0.22,
    "liver": 0.26,
    "bone": 0.42,
    "blood": 0.72,
    "myocardium": 0.26,
}
"""Mean signal of a balanced steady-state sequence, blood and fat bright."""


class Thorax:
    """One patient's trunk around a heart whose left ventricle is centered at `heart_mm` (u, v).

    In the heart's frame, in mm: u to the image's right, v down, w from base to apex.
    """

    def __init__(self, rng: np.random.Generator, heart_mm: tuple[float, float]) -> None:
        # Two ways in which short-axis planes cut the trunk: along it, more often, or across it.
        along = rng.random() < 0.65
        half = (132.0, 205.0) if along else (170.0, 145.0)
        center = np.array(heart_mm) + ((38.0, 45.0) if along else (30.0, 42.0)) + rng.normal(0, 7, 2)
        self.center_mm = float(center[0]), float(center[1])
        self.half_mm = rng.normal(half[0], 7), rng.normal(half[1], 9)
        self.lean = rng.normal(0.22 if along else -0.45, 0.12)
        self.fat_mm = rng.uniform(8, 24)
        self.diaphragm_mm = rng.normal(50, 7)
        self.spine_mm = rng.normal(78, 8), rng.normal(66, 8)
        self.aorta_mm = rng.uniform(10, 14)
        steps = ((60.0, 60.0, 60.0), (26.0, 26.0, 30.0), (17.0, 17.0, 22.0), (9.0, 9.0, 18.0), (9.0, 9.0, 18.0))
        self.fields = [SmoothField.draw(rng, THORAX_EXTENT_MM, step) for step in steps]

    def image(self, frame: Frame, at: Point, blur_mm: float) -> np.ndarray:
        """(X, Y, Z) float32 signal of everything but the heart; `at` broadcasts to the frame's shape."""
        u, v, w = at
        s = SIGNALS
        outline, lobes, organs, *vessels = (field.on(frame) for field in self.fields)
        canvas = Canvas(np.full(frame.shape, s["air"], np.float32), blur_mm)
        skin = self._skin(u, v) + 5 * outline
        canvas.fill(skin, s["fat"])
        muscle = skin + self.fat_mm + 4 * lobes
        canvas.fill(muscle, s["muscle"])
        angle = np.arctan2(v - self.center_mm[1], u - self.center_mm[0])
        ribs = (np.sin(9 * angle + 0.05 * w) - 0.72) * 22
        canvas.fill(np.maximum(np.abs(muscle + 8) - 3.5, -ribs), s["bone"])
        cavity = muscle + 13 + 2 * organs
        canvas.fill(cavity, s["lung"])
        tubes = np.exp(-sum(one**2 for one in vessels) / 0.05)
        canvas.blend(tubes * inside(cavity + 6, 6.0), 0.75 * s["blood"])

        # Liver to the image's left, stomach and bowel to the right: gray, with bright contents and walls.
        below = np.maximum(self.diaphragm_mm - 0.45 * w + 0.0016 * (u + 15) ** 2 - v, cavity) + 3 * lobes
        abdomen = inside(below, blur_mm)
        loops = np.where(organs > 0.35, 0.62, np.where(organs < -0.5, 0.10, 0.34)) + 0.06 * lobes
        liver = inside(u - 18 - 14 * lobes, 3.0)
        canvas.blend(abdomen, liver * np.float32(s["liver"]) + (1 - liver) * loops)
        canvas.blend(abdomen * liver * tubes ** np.float32(0.3), 0.55 * s["blood"])
        canvas.fill(np.abs(below + 1) - 1.2, 0.5 * s["fat"])

        du, dv = u - self.spine_mm[0], v - self.spine_mm[1]
        spine = np.hypot(du, dv)
        canvas.fill(np.maximum(spine - 38, skin + self.fat_mm), s["muscle"], 4.0)
        canvas.fill(spine - 17, s["bone"])
        canvas.fill(np.hypot(du - 12, dv - 14) - 7, 0.9 * s["blood"])
        aorta = np.hypot(du + 24, dv + 16 + 0.1 * w) - self.aorta_mm
        canvas.fill(aorta - 2.0, s["myocardium"])
        canvas.fill(aorta, s["blood"])
        return canvas.image

    def _skin(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        du, dv = u - self.center_mm[0], v - self.center_mm[1]
        c, s = np.cos(self.lean), np.sin(self.lean)
        p, q = (c * du + s * dv) / self.half_mm[0], (c * dv - s * du) / self.half_mm[1]
        return ((p**4 + q**4) ** 0.25 + np.hypot(p, q) - 2) * 0.5 * min(self.half_mm)
