"""The thirteen BTCV organs of one patient, as solids in mm: x to the patient's left, y to the back, z to the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from segcct.phantom.shapes import Ellipsoid, Point, Solid, Tube, turned


class Organ(NamedTuple):
    """A union of solids, less others, in one density."""

    name: str
    """As in scheme btcv."""
    parts: Sequence[Solid]
    hounsfield: float
    rough_mm: float
    """How far the border wanders."""
    fat_mm: float = 0.0
    """Width of the fat between it and what lies behind."""
    without: Sequence[Solid] = ()

    @property
    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        boxes = [part.box_mm for part in self.parts]
        return np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)

    def distance(self, at: Point) -> np.ndarray:
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
        center: tuple[float, float, float],
        half: tuple[float, float, float],
        std_mm: float = 4.0,
        turn: float = 0.12,
    ) -> Ellipsoid:
        rng = self.rng
        at = np.array(center) * self.size + rng.normal(0, std_mm, 3)
        return Ellipsoid(at, np.array(half) * self.size * rng.normal(1, 0.07, 3), turned(*rng.normal(0, turn, 3)))

    def tube(self, points: Sequence[tuple[float, float, float]], radii: Sequence[float], std_mm: float = 3.0) -> Tube:
        rng = self.rng
        shift = rng.normal(0, std_mm, 3)
        at = np.array(points) * self.size + shift + rng.normal(0, 0.5 * std_mm, (len(points), 3))
        return Tube(at, np.array(radii) * self.size * rng.normal(1, 0.07))


_TUBES: dict[str, tuple[list[tuple[float, float, float]], list[float], float]] = {
    "esophagus": ([(2, 22, 170), (4, 18, 110), (16, 10, 88), (34, 8, 78)], [9, 10, 9, 8], 2.0),
    "pancreas": (
        [(-26, 2, -30), (-24, -6, -8), (-4, -16, 8), (24, -10, 18), (52, 12, 30), (74, 26, 38)],
        [13, 17, 12, 11, 12, 10],
        3.0,
    ),
    "stomach": (
        [(52, 14, 76), (62, -6, 56), (58, -34, 28), (36, -54, 2), (6, -52, -8), (-22, -38, 0)],
        [34, 36, 29, 25, 19, 12],
        5.0,
    ),
    "inferior vena cava": (
        [(-20, 2, 120), (-22, 12, 84), (-22, 24, 40), (-20, 28, -40), (-15, 31, -110), (-14, 31, -115)],
        [14, 14, 12, 11.5, 10.5, 10],
        2.0,
    ),
    "aorta": (
        [(12, 34, 220), (11, 32, 120), (8, 28, 40), (5, 26, -40), (3, 27, -110), (2, 27, -115)],
        [13, 12.5, 11.5, 10, 9, 8],
        2.0,
    ),
}
"""Organs of one tube: average points in mm, radii there in mm, and how far one patient's is shifted."""


def draw_organs(rng: np.random.Generator) -> list[Organ]:
    """One patient's organs, in drawing order: where two overlap the later one is seen."""
    hand = _Hand(rng, rng.normal(1.0, 0.04))
    phase = rng.normal(0.0, 1.0)  # how much contrast medium has arrived: common to all enhancing organs

    def density(mean: float, enhancement: float) -> float:
        return mean + enhancement * phase + rng.normal(0, 4)

    def tube(name: str, mean: float, enhancement: float, rough_mm: float) -> Organ:
        solid = hand.tube(*_TUBES[name])
        return Organ(name, (solid,), density(mean, enhancement), rough_mm)

    organs = [tube("esophagus", 55, 2, 1.0), tube("pancreas", 98, 6, 2.2), tube("stomach", 30, 0, 3.0)]
    organs += [_spleen(hand, density(118, 8)), _liver(hand, density(108, 7)), *_kidneys(hand, density(165, 16))]
    gallbladder = hand.ellipsoid((-46, -44, -4), (16, 21, 29), 4.0, 0.4)
    organs.append(Organ("gallbladder", (gallbladder,), density(10, 0), 1.2))
    portal = _portal(hand)
    organs.append(Organ("portal and splenic veins", portal, density(150, 14), 0.8))
    organs += [tube("inferior vena cava", 128, 12, 0.8), tube("aorta", 158, 16, 0.5)]
    return organs + _adrenals(hand, density(75, 5))


def _liver(hand: _Hand, hounsfield: float) -> Organ:
    right = hand.ellipsoid((-78, 0, 40), (68, 80, 88), 5.0)
    left = hand.ellipsoid((-8, -44, 58), (74, 40, 40), 5.0)
    hilum = hand.ellipsoid((-18, 30, -4), (46, 62, 52), 4.0)
    return Organ("liver", (right, left), hounsfield, 4.5, without=(hilum,))


def _spleen(hand: _Hand, hounsfield: float) -> Organ:
    whole = hand.ellipsoid((98, 32, 52), (36, 52, 56), 5.0, 0.2)
    hollow = Ellipsoid(whole.center_mm + np.array([-34.0, -22.0, -4.0]), whole.half_mm * [0.9, 0.95, 1.15], whole.turn)
    return Organ("spleen", (whole,), hounsfield, 3.0, 2.0, without=(hollow,))


def _kidneys(hand: _Hand, hounsfield: float) -> list[Organ]:
    result = []
    for name, sign, height in (("right kidney", -1, -26.0), ("left kidney", 1, -8.0)):
        whole = hand.ellipsoid((64.0 * sign, 46.0, height), (31, 29, 58), 4.0, 0.1)
        turn = turned(-0.2, 0.22 * sign, 0) @ whole.turn
        sinus = Ellipsoid(whole.center_mm + np.array([-22.0 * sign, -6.0, 0.0]), np.array([19.0, 9.0, 22.0]), turn)
        solid = Ellipsoid(whole.center_mm, whole.half_mm, turn)
        result.append(Organ(name, (solid,), hounsfield, 1.8, 3.0, without=(sinus,)))
    return result


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
    for name, sign, z in (("right adrenal gland", -1, 40.0), ("left adrenal gland", 1, 44.0)):
        x = 40.0 * sign
        stem, back, inner = (x - 4 * sign, 24, z), (x + 6 * sign, 44, z - 16), (x - 8 * sign, 44, z - 14)
        result.append(Organ(name, (hand.tube([back, stem, inner], [4.0, 5.0, 4.0], 2.0),), hounsfield, 0.4))
    return result
