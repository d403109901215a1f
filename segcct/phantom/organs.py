"""The thirteen BTCV organs of one patient, as solids in mm: x to the patient's left, y to the back, z to the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segcct.phantom.shapes import Ellipsoid, Solid, Tube, turned


@dataclass(frozen=True)
class Organ:
    """A union of solids, less others, in one density."""

    name: str
    """As in scheme btcv."""
    parts: tuple[Solid, ...]
    without: tuple[Solid, ...]
    hounsfield: float
    rough_mm: float
    """How far the border wanders."""
    fat_mm: float = 0.0
    """Width of the fat that parts it from what lies behind."""

    @property
    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        boxes = [part.box_mm for part in self.parts]
        return np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)

    def distance(self, at: tuple[np.ndarray, ...]) -> np.ndarray:
        distance = self.parts[0].distance(at)
        for part in self.parts[1:]:
            distance = np.minimum(distance, part.distance(at))
        for hole in self.without:
            distance = np.maximum(distance, -hole.distance(at))
        return distance


@dataclass
class _Hand:
    """Draws shapes around average places: a shift per organ, a size per organ, small jitter per point."""

    rng: np.random.Generator
    size: float

    def ellipsoid(
        self,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        sd_mm: float = 4.0,
        turn: float = 0.12,
    ) -> Ellipsoid:
        rng = self.rng
        at = np.array(centre) * self.size + rng.normal(0, sd_mm, 3)
        return Ellipsoid(at, np.array(half) * self.size * rng.normal(1, 0.07, 3), turned(*rng.normal(0, turn, 3)))

    def tube(self, points: Sequence[tuple[float, float, float]], radii: Sequence[float], sd_mm: float = 3.0) -> Tube:
        rng = self.rng
        shift = rng.normal(0, sd_mm, 3)
        at = np.array(points) * self.size + shift + rng.normal(0, 0.5 * sd_mm, (len(points), 3))
        return Tube(at, np.array(radii) * self.size * rng.normal(1, 0.07))


def draw_organs(rng: np.random.Generator) -> tuple[Organ, ...]:
    """One patient's organs, in painting order: where two overlap the later one is seen."""
    hand = _Hand(rng, float(rng.normal(1.0, 0.04)))
    phase = rng.normal(0.0, 1.0)  # how much contrast medium has arrived: common to all enhancing organs

    def density(mean: float, gain: float) -> float:
        return float(mean + gain * phase + rng.normal(0, 4))

    return (
        Organ("esophagus", (_esophagus(hand),), (), density(55, 2), 1.0),
        Organ("pancreas", (_pancreas(hand),), (), density(98, 6), 2.2),
        Organ("stomach", (_stomach(hand),), (), density(30, 0), 3.0),
        _spleen(hand, density(118, 8)),
        _liver(hand, density(108, 7)),
        *_kidneys(hand, density(165, 16)),
        Organ("gallbladder", (hand.ellipsoid((-46, -44, -4), (16, 21, 29), 4.0, 0.4),), (), density(10, 0), 1.2),
        Organ("portal and splenic veins", _portal(hand), (), density(150, 14), 0.8),
        Organ("inferior vena cava", (_cava(hand),), (), density(128, 12), 0.8),
        Organ("aorta", (_aorta(hand),), (), density(158, 16), 0.5),
        *_adrenals(hand, density(75, 5)),
    )


def _liver(hand: _Hand, hounsfield: float) -> Organ:
    right = hand.ellipsoid((-78, 0, 40), (68, 80, 88), 5.0)
    left = hand.ellipsoid((-8, -44, 58), (74, 40, 40), 5.0)
    hilum = hand.ellipsoid((-18, 30, -4), (46, 62, 52), 4.0)
    return Organ("liver", (right, left), (hilum,), hounsfield, 4.5)


def _spleen(hand: _Hand, hounsfield: float) -> Organ:
    whole = hand.ellipsoid((98, 32, 52), (36, 52, 56), 5.0, 0.2)
    hollow = Ellipsoid(whole.centre_mm + np.array([-34.0, -22.0, -4.0]), whole.half_mm * [0.9, 0.95, 1.15], whole.turn)
    return Organ("spleen", (whole,), (hollow,), hounsfield, 3.0, 2.0)


def _kidneys(hand: _Hand, hounsfield: float) -> list[Organ]:
    result = []
    for name, side, height in (("right kidney", -1, -26.0), ("left kidney", 1, -8.0)):
        whole = hand.ellipsoid((64.0 * side, 46.0, height), (31, 29, 58), 4.0, 0.1)
        turn = turned(-0.2, 0.22 * side, 0) @ whole.turn
        sinus = Ellipsoid(whole.centre_mm + np.array([-22.0 * side, -6.0, 0.0]), np.array([19.0, 9.0, 22.0]), turn)
        result.append(Organ(name, (Ellipsoid(whole.centre_mm, whole.half_mm, turn),), (sinus,), hounsfield, 1.8, 3.0))
    return result


def _stomach(hand: _Hand) -> Tube:
    points = [(52, 14, 76), (62, -6, 56), (58, -34, 28), (36, -54, 2), (6, -52, -8), (-22, -38, 0)]
    return hand.tube(points, [34, 36, 29, 25, 19, 12], 5.0)


def _pancreas(hand: _Hand) -> Tube:
    points = [(-26, 2, -30), (-24, -6, -8), (-4, -16, 8), (24, -10, 18), (52, 12, 30), (74, 26, 38)]
    return hand.tube(points, [13, 17, 12, 11, 12, 10], 3.0)


def _esophagus(hand: _Hand) -> Tube:
    return hand.tube([(2, 22, 170), (4, 18, 110), (16, 10, 88), (34, 8, 78)], [9, 10, 9, 8], 2.0)


def _aorta(hand: _Hand) -> Tube:
    points = [(12, 34, 220), (11, 32, 120), (8, 28, 40), (5, 26, -40), (3, 27, -110), (2, 27, -115)]
    return hand.tube(points, [13, 12.5, 11.5, 10, 9, 8], 2.0)


def _cava(hand: _Hand) -> Tube:
    points = [(-20, 2, 120), (-22, 12, 84), (-22, 24, 40), (-20, 28, -40), (-15, 31, -110), (-14, 31, -115)]
    return hand.tube(points, [14, 14, 12, 11.5, 10.5, 10], 2.0)


def _portal(hand: _Hand) -> tuple[Tube, Tube]:
    shift = hand.rng.normal(0, 2.5, 3)
    trunk = [(-12, -2, -2), (-26, -2, 16), (-46, -8, 32), (-66, -6, 42)]
    splenic = [(-12, -2, -2), (14, -2, 16), (46, 18, 28), (76, 30, 42)]
    return (
        Tube(np.array(trunk) * hand.size + shift, np.array([6.0, 6.5, 6.0, 4.5])),
        Tube(np.array(splenic) * hand.size + shift, np.array([5.5, 5.0, 4.5, 4.0])),
    )


def _adrenals(hand: _Hand, hounsfield: float) -> list[Organ]:
    result = []
    for name, side, z in (("right adrenal gland", -1, 40.0), ("left adrenal gland", 1, 44.0)):
        x = 40.0 * side
        stem, back, inner = (x - 4 * side, 24, z), (x + 6 * side, 44, z - 16), (x - 8 * side, 44, z - 14)
        limbs = hand.tube([back, stem, inner], [4.0, 5.0, 4.0], 2.0)
        result.append(Organ(name, (limbs,), (), hounsfield, 0.4))
    return result
