"""Glioma-like lesions: an enhancing rim around necrosis, and oedema that follows white matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segcct.phantom.brain import BRAIN_EXTENT_MM, Brain, Swelling, Tissues
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.texture import inside

NECROSIS, OEDEMA, ENHANCING = 1, 2, 4
"""Label values of BraTS to 2021."""

_SURVEY = Frame.centred((40, 50, 42), (4.0, 4.0, 4.0))


@dataclass(frozen=True)
class Focus:
    """One tumour core: an ellipsoid before its border is roughened."""

    centre_mm: np.ndarray
    radius_mm: float
    shape: np.ndarray
    """(3, 3): millimetres from the centre -> millimetres in the equal-volume ball."""


@dataclass(frozen=True)
class Lesion:
    """Shares of a voxel, (X, Y, Z) in 0..1 each, and the label (X, Y, Z) uint8 drawn at their half-way borders."""

    necrosis: np.ndarray
    enhancing: np.ndarray
    oedema: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Tumour:
    """Everything random about one patient's tumour."""

    foci: tuple[Focus, ...]
    rim_mm: float
    reach_mm: float
    """How far the oedema follows white matter."""
    border: SmoothField
    lobes: SmoothField
    rim: SmoothField
    septa: SmoothField
    spread: SmoothField

    @classmethod
    def draw(cls, rng: np.random.Generator, brain: Brain) -> Tumour:
        """One focus, or two to three near each other in a quarter of the patients; a fifth are small."""
        survey = brain.tissues(_SURVEY)
        small = rng.random() < 0.2
        radius = rng.uniform(12.5, 15.0) if small else rng.uniform(15.0, 25.0)
        foci = [_focus(rng, _centre(rng, survey), radius)]
        if rng.random() < 0.25:
            for _ in range(rng.integers(1, 3)):
                foci.append(_satellite(rng, survey, foci[0]))
        fields = [SmoothField.draw(rng, BRAIN_EXTENT_MM, step) for step in (6.0, 13.0, 8.0, 9.0, 13.0)]
        rim = float(np.clip(rng.uniform(0.24, 0.36) * radius, 4.0, 8.0))
        return cls(tuple(foci), rim, float(rng.uniform(9.0, 15.0) if small else rng.uniform(12.0, 24.0)), *fields)

    @property
    def swellings(self) -> tuple[Swelling, ...]:
        main = self.foci[0]
        return (Swelling(main.centre_mm, 0.36, 1.6 * main.radius_mm + 9.0),)

    def box(self, frame: Frame) -> tuple[slice, ...]:
        """The part of the frame that the lesion can reach."""
        margin = [1.45 * focus.radius_mm + 1.8 * self.reach_mm + 4.0 for focus in self.foci]
        low = np.min([focus.centre_mm - m for focus, m in zip(self.foci, margin, strict=True)], axis=0)
        high = np.max([focus.centre_mm + m for focus, m in zip(self.foci, margin, strict=True)], axis=0)
        return frame.box(low, high)

    def on(self, frame: Frame, tissues: Tissues) -> Lesion:
        """The lesion at the frame's voxels, given the tissues there."""
        blur = max(1.2, 0.8 * max(frame.spacing_mm))
        core = self._core(frame)
        hollow = core + np.float32(self.rim_mm) * (1 + np.float32(0.35) * self.rim.on(frame))
        # Enhancing septa cross large necroses; a small one would be filled by them.
        rare = np.float32(1.15 if self.foci[0].radius_mm > 16 else 2.3)
        hollow = np.maximum(hollow, np.float32(-3.0) * (self.septa.on(frame) + rare))
        spread = self._oedema(frame, core, tissues)
        core_share = inside(core, blur) * tissues.mask
        necrosis = core_share * inside(hollow, blur)
        oedema = (1 - core_share) * inside(spread, 1.6 * blur) * tissues.mask
        label = np.where(spread < 0, OEDEMA, 0)
        label = np.where(core < 0, np.where(hollow < 0, NECROSIS, ENHANCING), label) * tissues.mask
        return Lesion(necrosis, core_share - necrosis, oedema, label.astype(np.uint8))

    def _core(self, frame: Frame) -> np.ndarray:
        """About the signed distance in mm to the border of the union of the foci, negative inside."""
        rough = np.float32(0.8) * self.lobes.on(frame) + np.float32(0.35) * self.border.on(frame)
        distance = np.full(frame.shape, 1e3, np.float32)
        x, y, z = frame.open()
        for focus in self.foci:
            m = focus.shape.astype(np.float32)
            cx, cy, cz = focus.centre_mm.astype(np.float32)
            rows = [m[i, 0] * (x - cx) + m[i, 1] * (y - cy) + m[i, 2] * (z - cz) for i in range(3)]
            radius = np.sqrt(sum(row * row for row in rows))
            amplitude = np.float32(0.17 * focus.radius_mm)
            np.minimum(distance, radius - np.float32(focus.radius_mm) + amplitude * rough, out=distance)
        return distance

    def _oedema(self, frame: Frame, core: np.ndarray, tissues: Tissues) -> np.ndarray:
        """About the signed distance in mm to the oedema's border; only the part that touches the core is kept."""
        way = np.float32(0.12) + np.float32(1.05) * tissues.white - np.float32(0.6) * tissues.csf
        distance = core - np.float32(self.reach_mm) * np.clip(way + np.float32(0.28) * self.spread.on(frame), 0, 1.4)
        parts, _ = ndimage.label(distance < 0)
        touching = np.unique(parts[(core < 0)])
        keep = np.zeros(parts.max() + 1, bool)
        keep[touching] = True
        keep[0] = True
        return np.where(keep[parts], distance, np.abs(distance) + np.float32(3.0))


def _centre(rng: np.random.Generator, survey: Tissues) -> np.ndarray:
    """A point in cerebral white matter, off the midline and not close to the surface."""
    x, _, z = _SURVEY.open()
    depth = ndimage.distance_transform_edt(survey.mask) * 4.0
    good = (ndimage.uniform_filter(survey.white, 3) > 0.4) & (depth > 14.0) & (np.abs(x) > 14.0) & (z > -18.0)
    places = np.argwhere(good)
    chosen = places[rng.integers(len(places))]
    return np.array([axis[i] for axis, i in zip(_SURVEY.axes_mm, chosen, strict=True)]) + rng.uniform(-2, 2, 3)


def _satellite(rng: np.random.Generator, survey: Tissues, main: Focus) -> Focus:
    """A smaller focus in white matter, its centre 1.3 to 2.6 radii from the main one's where there is such a place."""
    x, y, z = _SURVEY.open()
    offsets = [axis - c for axis, c in zip((x, y, z), main.centre_mm, strict=True)]
    away = np.sqrt(sum(offset**2 for offset in offsets)) / main.radius_mm
    places = np.argwhere((survey.white > 0.4) & (away > 1.3) & (away < 2.6))
    radius = rng.uniform(6.5, 10.0)
    if len(places) == 0:
        return _focus(rng, main.centre_mm + main.radius_mm * np.array([0.0, 0.9, 0.0]), radius)
    chosen = places[rng.integers(len(places))]
    return _focus(rng, np.array([axis[i] for axis, i in zip(_SURVEY.axes_mm, chosen, strict=True)]), radius)


def _focus(rng: np.random.Generator, centre_mm: np.ndarray, radius_mm: float) -> Focus:
    stretch = np.exp(rng.normal(0.0, 0.16, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return Focus(np.asarray(centre_mm, dtype=np.float64), float(radius_mm), np.diag(1 / stretch) @ turn)
