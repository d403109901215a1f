"""The body around the organs in a CT: skin, fat, muscles, bones, lungs, heart, bowel, and the table under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.shapes import Point
from segcct.phantom.texture import inside, paint

TORSO_EXTENT_MM = (440.0, 440.0, 420.0)
AIR, LUNG, FAT, MUSCLE = -1000.0, -860.0, -105.0, 58.0


@dataclass(frozen=True)
class Torso:
    """One patient's body: x to the left, y to the back, z to the head, in mm around the middle of L1's front."""

    half_mm: tuple[float, float]
    fat_mm: float
    dome_mm: float
    """Height of the diaphragm's right dome."""
    oral_contrast: float
    """Hounsfield units of the bowel's contents."""
    outline: SmoothField
    loops: SmoothField
    folds: SmoothField
    vessels: tuple[SmoothField, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Torso:
        extent = TORSO_EXTENT_MM
        return cls(
            half_mm=(float(rng.normal(172, 9)), float(rng.normal(112, 7))),
            fat_mm=float(rng.uniform(9, 26)),
            dome_mm=float(rng.normal(112, 5)),
            oral_contrast=float(rng.choice([35.0, 60.0, 190.0])),
            outline=SmoothField.draw(rng, extent, (70.0, 70.0, 90.0)),
            loops=SmoothField.draw(rng, extent, (17.0, 17.0, 20.0)),
            folds=SmoothField.draw(rng, extent, (8.0, 8.0, 10.0)),
            vessels=tuple(SmoothField.draw(rng, extent, (11.0, 11.0, 16.0)) for _ in range(2)),
        )

    def image(self, frame: Frame, at: Point, blur_mm: float) -> np.ndarray:
        """(X, Y, Z) float32 Hounsfield units of everything but the thirteen organs; `at` is (bent) positions."""
        x, y, _ = at
        image = np.full(frame.shape, AIR, np.float32)
        skin = self._skin(x, y) + 4 * self.outline.on(frame)
        paint(image, inside(skin, blur_mm), FAT)
        folds = self.folds.on(frame)
        wall = skin + self.fat_mm + 2 * folds
        paint(image, inside(wall, blur_mm), MUSCLE)
        cavity = np.maximum(wall + 11, 40 - np.hypot(x / 1.7, y - 74))
        paint(image, inside(cavity, blur_mm), FAT)
        self._bowel(image, frame, at, cavity, folds, blur_mm)
        self._chest(image, frame, at, cavity, blur_mm)
        back = frame.box(np.array([-110.0, 15.0, -np.inf]), np.array([110.0, 150.0, np.inf]))
        near = tuple(one[back] for one in at)
        self._muscles(image[back], near, skin[back], blur_mm)
        self._spine(image[back], near, blur_mm)
        self._ribs(image, at, wall, blur_mm)
        table = np.abs(y - 0.0011 * x**2 - self.half_mm[1] - 18) - 2.0
        paint(image, inside(np.maximum(table, np.abs(x) - 190), blur_mm), -40.0)
        return image

    def branches(self, frame: Frame) -> np.ndarray:
        """(X, Y, Z) share of each voxel in small vessels: curves where two random surfaces meet."""
        return np.exp(-sum(field.on(frame) ** 2 for field in self.vessels) * np.float32(1 / 0.06))

    def below_diaphragm(self, at: Point) -> np.ndarray:
        """Signed distance to the diaphragm, negative on the abdomen's side: two domes, the right one higher."""
        x, y, z = at
        right = self.dome_mm - 0.0075 * ((x + 68) ** 2 + (y + 5) ** 2)
        left = self.dome_mm - 12 - 0.0085 * ((x - 66) ** 2 + (y + 5) ** 2)
        return 0.75 * (z - np.maximum(np.maximum(right, left), 30.0))

    def _skin(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        p, q = x / self.half_mm[0], y / self.half_mm[1]
        return ((np.abs(p) ** 2.6 + np.abs(q) ** 2.6) ** (1 / 2.6) - 1) * min(self.half_mm)

    def _bowel(
        self, image: np.ndarray, frame: Frame, at: Point, cavity: np.ndarray, folds: np.ndarray, blur_mm: float
    ) -> None:
        """Small bowel below, colon on both sides: walls, contents, gas in front."""
        x, y, z = at
        loops = self.loops.on(frame)
        low = np.maximum(cavity + 3, 0.8 * (z + 12 + 0.25 * np.abs(x)))
        small = np.maximum(np.abs(loops) * -9 + 4.5, np.maximum(low, y - 22))
        paint(image, inside(small, blur_mm), 62.0)
        content = np.where(folds > 0.8, -700.0, self.oral_contrast).astype(np.float32)
        paint(image, inside(small + 4.0, 2 * blur_mm), content)
        for side, place in ((-1, -112.0), (1, 112.0)):
            round_ = np.hypot(x - place * self.half_mm[0] / 172, y - 12) - 20 - 4 * loops
            colon = np.maximum(np.maximum(round_, cavity + 1), 0.8 * (z - (4 if side < 0 else 22)))
            paint(image, inside(colon, blur_mm), 55.0)
            faeces = np.where(y < 6 + 8 * loops, -850.0, 20 - 260 * np.clip(folds, 0, 1)).astype(np.float32)
            paint(image, inside(colon + 3.5, blur_mm), faeces)

    def _chest(self, image: np.ndarray, frame: Frame, at: Point, cavity: np.ndarray, blur_mm: float) -> None:
        x, y, z = at
        above = np.maximum(-self.below_diaphragm(at) + 3, cavity + 2)
        if above.min() > 3 * blur_mm:
            return
        paint(image, inside(above - 3, blur_mm), MUSCLE)
        paint(image, inside(above, blur_mm), LUNG)
        paint(image, inside(above + 4, blur_mm) * self.branches(frame), 40.0)
        middle = np.hypot(x / 0.9, (y - 20) / 1.2) - 36
        paint(image, inside(np.maximum(middle, above), 3.0), FAT)
        heart = np.sqrt(((x - 24) / 62) ** 2 + ((y + 34) / 46) ** 2 + ((z - 140) / 52) ** 2)
        paint(image, inside((heart - 1.08) * 46, 3.0), FAT)
        paint(image, inside((heart - 1) * 46, blur_mm), 105.0)

    def _muscles(self, image: np.ndarray, at: Point, skin: np.ndarray, blur_mm: float) -> None:
        x, y, z = at
        for side in (-1, 1):
            wide = np.clip(8 - 0.16 * z, 3, 26)
            psoas = np.hypot((x - side * (26 + 0.35 * wide)) / (0.85 * wide), (y - 56) / wide) * wide - wide
            paint(image, inside(psoas, blur_mm), MUSCLE)
            erector = np.hypot((x - side * 34) / 30, (y - 92) / 20) * 20 - 20
            paint(image, inside(np.maximum(erector, skin + 6), blur_mm), MUSCLE - 4)

    def _spine(self, image: np.ndarray, at: Point, blur_mm: float) -> None:
        x, y, z = at
        body = np.hypot(x / 23, (y - 56) / 17) * 17 - 17
        level = np.abs((z / 34) % 1 - 0.5) * 34 - 13.5
        paint(image, inside(body, blur_mm), 75.0)
        bone = np.maximum(body, level)
        paint(image, inside(bone, blur_mm), 420.0)
        paint(image, inside(bone + 2.5, 2.0), 175.0)
        canal = np.hypot(x / 12, (y - 82) / 9) * 9 - 9
        arch = np.maximum(np.abs(canal - 4) - 4, np.abs(((z + 10) / 34) % 1 - 0.5) * 34 - 12)
        process = np.maximum(np.hypot(x / 5, (y - 104) / 16) * 5 - 5, np.abs(((z + 14) / 34) % 1 - 0.5) * 34 - 9)
        paint(image, inside(np.minimum(arch, process), blur_mm), 330.0)
        paint(image, inside(canal, blur_mm), 28.0)

    def _ribs(self, image: np.ndarray, at: Point, wall: np.ndarray, blur_mm: float) -> None:
        x, y, z = at
        slant = z + 0.42 * y - 30 + 0.1 * np.abs(x)
        across = np.abs((slant / 30) % 1 - 0.5) * 30 - 6.5
        end = np.maximum(-(slant + 22), 26 - np.abs(x))
        rib = np.maximum(np.maximum(np.abs(wall + 6.5) - 4.0, across), end)
        paint(image, inside(rib, blur_mm), 380.0)
        paint(image, inside(rib + 2.2, blur_mm), 160.0)
