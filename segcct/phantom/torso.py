"""The body around the organs in a CT: skin, fat, muscles, bones, lungs, heart, bowel, and the table under it."""

from __future__ import annotations

import numpy as np

from segcct.phantom.canvas import Canvas, inside
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.shapes import Point

TORSO_EXTENT_MM = (440.0, 440.0, 420.0)
AIR, LUNG, FAT, MUSCLE = -1000.0, -860.0, -105.0, 58.0


class Torso:
    """One patient's body: x to the left, y to the back, z to the head, in mm around the middle of L1's front."""

    def __init__(self, rng: np.random.Generator) -> None:
        extent = TORSO_EXTENT_MM
        self.half_mm = rng.normal(172, 9), rng.normal(112, 7)
        self.fat_mm = rng.uniform(9, 26)
        self.dome_mm = rng.normal(112, 5)  # height of the diaphragm's right dome
        self.oral_contrast = float(rng.choice([35.0, 60.0, 190.0]))  # Hounsfield units of the bowel's contents
        self.outline = SmoothField.draw(rng, extent, (70.0, 70.0, 90.0))
        self.loops = SmoothField.draw(rng, extent, (17.0, 17.0, 20.0))
        self.folds = SmoothField.draw(rng, extent, (8.0, 8.0, 10.0))
        self.vessels = [SmoothField.draw(rng, extent, (11.0, 11.0, 16.0)) for _ in range(2)]

    def draw(self, frame: Frame, at: Point, blur_mm: float) -> Canvas:
        """(X, Y, Z) float32 Hounsfield units of everything but the thirteen organs; `at` is (bent) positions."""
        x, y, _ = at
        canvas = Canvas(np.full(frame.shape, AIR, np.float32), blur_mm)
        p, q = x / self.half_mm[0], y / self.half_mm[1]
        skin = ((np.abs(p) ** 2.6 + np.abs(q) ** 2.6) ** (1 / 2.6) - 1) * min(self.half_mm)
        skin = skin + 4 * self.outline.on(frame)
        canvas.fill(skin, FAT)
        folds = self.folds.on(frame)
        wall = skin + self.fat_mm + 2 * folds
        canvas.fill(wall, MUSCLE)
        cavity = np.maximum(wall + 11, 40 - np.hypot(x / 1.7, y - 74))
        canvas.fill(cavity, FAT)
        self._bowel(canvas, at, cavity, folds, self.loops.on(frame))
        self._chest(canvas, frame, at, cavity)
        back = frame.box(np.array([-110.0, 15.0, -np.inf]), np.array([110.0, 150.0, np.inf]))
        near = tuple(one[back] for one in at)
        _muscles(canvas.part(back), near, skin[back])
        _spine(canvas.part(back), near)
        _ribs(canvas, at, wall)
        table = np.abs(y - 0.0011 * x**2 - self.half_mm[1] - 18) - 2.0
        canvas.fill(np.maximum(table, np.abs(x) - 190), -40.0)
        return canvas

    def branches(self, frame: Frame) -> np.ndarray:
        """(X, Y, Z) fraction of each voxel in small vessels: curves where two random surfaces meet."""
        return np.exp(-sum(field.on(frame) ** 2 for field in self.vessels) * np.float32(1 / 0.06))

    def below_diaphragm(self, at: Point) -> np.ndarray:
        """Signed distance to the diaphragm, negative in the abdomen: two domes, the right one higher."""
        x, y, z = at
        right = self.dome_mm - 0.0075 * ((x + 68) ** 2 + (y + 5) ** 2)
        left = self.dome_mm - 12 - 0.0085 * ((x - 66) ** 2 + (y + 5) ** 2)
        return 0.75 * (z - np.maximum(np.maximum(right, left), 30.0))

    def _bowel(self, canvas: Canvas, at: Point, cavity: np.ndarray, folds: np.ndarray, loops: np.ndarray) -> None:
        """Small bowel below, colon left and right: walls, contents, gas in front."""
        x, y, z = at
        low = np.maximum(cavity + 3, 0.8 * (z + 12 + 0.25 * np.abs(x)))
        small = np.maximum(np.abs(loops) * -9 + 4.5, np.maximum(low, y - 22))
        canvas.fill(small, 62.0)
        content = np.where(folds > 0.8, -700.0, self.oral_contrast).astype(np.float32)
        canvas.fill(small + 4.0, content, 2 * canvas.blur_mm)
        for place, height in ((-112.0, 4), (112.0, 22)):
            round_ = np.hypot(x - place * self.half_mm[0] / 172, y - 12) - 20 - 4 * loops
            colon = np.maximum(np.maximum(round_, cavity + 1), 0.8 * (z - height))
            canvas.fill(colon, 55.0)
            feces = np.where(y < 6 + 8 * loops, -850.0, 20 - 260 * np.clip(folds, 0, 1)).astype(np.float32)
            canvas.fill(colon + 3.5, feces)

    def _chest(self, canvas: Canvas, frame: Frame, at: Point, cavity: np.ndarray) -> None:
        x, y, z = at
        above = np.maximum(-self.below_diaphragm(at) + 3, cavity + 2)
        if above.min() > 3 * canvas.blur_mm:
            return
        canvas.fill(above - 3, MUSCLE)
        canvas.fill(above, LUNG)
        canvas.blend(inside(above + 4, canvas.blur_mm) * self.branches(frame), 40.0)
        middle = np.hypot(x / 0.9, (y - 20) / 1.2) - 36
        canvas.fill(np.maximum(middle, above), FAT, 3.0)
        heart = np.sqrt(((x - 24) / 62) ** 2 + ((y + 34) / 46) ** 2 + ((z - 140) / 52) ** 2)
        canvas.fill((heart - 1.08) * 46, FAT, 3.0)
        canvas.fill((heart - 1) * 46, 105.0)


def _muscles(canvas: Canvas, at: Point, skin: np.ndarray) -> None:
    x, y, z = at
    wide = np.clip(8 - 0.16 * z, 3, 26)
    for sign in (-1, 1):
        psoas = np.hypot((x - sign * (26 + 0.35 * wide)) / (0.85 * wide), (y - 56) / wide) * wide - wide
        canvas.fill(psoas, MUSCLE)
        erector = np.hypot((x - sign * 34) / 30, (y - 92) / 20) * 20 - 20
        canvas.fill(np.maximum(erector, skin + 6), MUSCLE - 4)


def _spine(canvas: Canvas, at: Point) -> None:
    x, y, z = at

    def repeated(place_mm: np.ndarray) -> np.ndarray:
        """Distance to the nearest middle between two vertebrae."""
        return np.abs((place_mm / 34) % 1 - 0.5) * 34

    body = np.hypot(x / 23, (y - 56) / 17) * 17 - 17
    canvas.fill(body, 75.0)
    bone = np.maximum(body, repeated(z) - 13.5)
    canvas.fill(bone, 420.0)
    canvas.fill(bone + 2.5, 175.0, 2.0)
    canal = np.hypot(x / 12, (y - 82) / 9) * 9 - 9
    arch = np.maximum(np.abs(canal - 4) - 4, repeated(z + 10) - 12)
    process = np.maximum(np.hypot(x / 5, (y - 104) / 16) * 5 - 5, repeated(z + 14) - 9)
    canvas.fill(np.minimum(arch, process), 330.0)
    canvas.fill(canal, 28.0)


def _ribs(canvas: Canvas, at: Point, wall: np.ndarray) -> None:
    x, y, z = at
    slant = z + 0.42 * y - 30 + 0.1 * np.abs(x)
    across = np.abs((slant / 30) % 1 - 0.5) * 30 - 6.5
    end = np.maximum(-(slant + 22), 26 - np.abs(x))
    rib = np.maximum(np.maximum(np.abs(wall + 6.5) - 4.0, across), end)
    canvas.fill(rib, 380.0)
    canvas.fill(rib + 2.2, 160.0)
