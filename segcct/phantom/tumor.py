"""Glioma-like lesions: an enhancing rim around necrosis, and edema that follows white matter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from segcct.phantom.brain import BRAIN_EXTENT_MM, Brain, Swelling, Tissues
from segcct.phantom.canvas import inside
from segcct.phantom.field import Frame, SmoothField

NECROSIS, EDEMA, ENHANCING = 1, 2, 4
"""Label values of BraTS to 2021."""

_SURVEY = Frame.centered((40, 50, 42), (4.0, 4.0, 4.0))


class Focus(NamedTuple):
    """One tumor core: an ellipsoid before its border is roughened."""

    center_mm: np.ndarray
    radius_mm: float
    shape: np.ndarray
    """(3, 3): millimeters from the center -> millimeters in the equal-volume ball."""


class Lesion(NamedTuple):
    """Fractions of a voxel, (X, Y, Z) in 0..1 each, and the label (X, Y, Z) uint8 drawn at their half-way borders."""

    necrosis: np.ndarray
    enhancing: np.ndarray
    edema: np.ndarray
    label: np.ndarray


class Tumor:
    """One patient's tumor: one focus, or two to three near each other in a quarter of them; a fifth are small."""

    def __init__(self, rng: np.random.Generator, brain: Brain) -> None:
        survey = brain.tissues(_SURVEY)
        small = rng.random() < 0.2
        radius_mm = rng.uniform(12.5, 15.0) if small else rng.uniform(15.0, 25.0)
        # Cerebral white matter, off the midline and not close to the surface.
        x, _, z = _SURVEY.open()
        depth_mm = ndimage.distance_transform_edt(survey.mask) * 4.0
        good = (ndimage.uniform_filter(survey.white, 3) > 0.4) & (depth_mm > 14.0) & (np.abs(x) > 14.0) & (z > -18.0)
        main = _focus(rng, _place(rng, good) + rng.uniform(-2, 2, 3), radius_mm)
        self.foci = [main]
        if rng.random() < 0.25:
            self.foci += [_satellite(rng, survey, main) for _ in range(rng.integers(1, 3))]
        fields = [SmoothField.draw(rng, BRAIN_EXTENT_MM, step) for step in (6.0, 13.0, 8.0, 9.0, 13.0)]
        self.border, self.lobes, self.rim, self.septa, self.spread = fields
        self.rim_mm = float(np.clip(rng.uniform(0.24, 0.36) * radius_mm, 4.0, 8.0))
        self.reach_mm = rng.uniform(9.0, 15.0) if small else rng.uniform(12.0, 24.0)  # of edema along white matter
        self.swelling = Swelling(main.center_mm, 0.36, 1.6 * main.radius_mm + 9.0)

    def on(self, frame: Frame, tissues: Tissues) -> Lesion:
        """The lesion at the frame's voxels, given the tissues there; computed only where it can be."""
        margins = [1.45 * focus.radius_mm + 1.8 * self.reach_mm + 4.0 for focus in self.foci]
        low = np.min([focus.center_mm - m for focus, m in zip(self.foci, margins, strict=True)], axis=0)
        high = np.max([focus.center_mm + m for focus, m in zip(self.foci, margins, strict=True)], axis=0)
        box = frame.box(low, high)
        part = self._drawn(frame.part(box), Tissues(*(tissue[box] for tissue in tissues)))
        whole = Lesion(*(np.zeros(frame.shape, values.dtype) for values in part))
        for array, values in zip(whole, part, strict=True):
            array[box] = values
        return whole

    def _drawn(self, frame: Frame, tissues: Tissues) -> Lesion:
        blur = max(1.2, 0.8 * max(frame.spacing_mm))
        core = self._core(frame)
        hollow = core + np.float32(self.rim_mm) * (1 + np.float32(0.35) * self.rim.on(frame))
        # Enhancing septa cross large necroses; a small one would be filled by them.
        rare = np.float32(1.15 if self.foci[0].radius_mm > 16 else 2.3)
        hollow = np.maximum(hollow, np.float32(-3.0) * (self.septa.on(frame) + rare))
        edge = self._edema(frame, core, tissues)
        core_fraction = inside(core, blur) * tissues.mask
        necrosis = core_fraction * inside(hollow, blur)
        edema = (1 - core_fraction) * inside(edge, 1.6 * blur) * tissues.mask
        label = np.where(edge < 0, EDEMA, 0)
        label = np.where(core < 0, np.where(hollow < 0, NECROSIS, ENHANCING), label) * tissues.mask
        return Lesion(necrosis, core_fraction - necrosis, edema, label.astype(np.uint8))

    def _core(self, frame: Frame) -> np.ndarray:
        """About the signed distance in mm to the border of the union of the foci, negative inside."""
        rough = np.float32(0.8) * self.lobes.on(frame) + np.float32(0.35) * self.border.on(frame)
        distance = np.full(frame.shape, 1e3, np.float32)
        x, y, z = frame.open()
        for focus in self.foci:
            m = focus.shape.astype(np.float32)
            cx, cy, cz = focus.center_mm.astype(np.float32)
            rows = [m[i, 0] * (x - cx) + m[i, 1] * (y - cy) + m[i, 2] * (z - cz) for i in range(3)]
            radius = np.sqrt(sum(row * row for row in rows))
            amplitude = np.float32(0.17 * focus.radius_mm)
            np.minimum(distance, radius - np.float32(focus.radius_mm) + amplitude * rough, out=distance)
        return distance

    def _edema(self, frame: Frame, core: np.ndarray, tissues: Tissues) -> np.ndarray:
        """About the signed distance in mm to the edema's border; only the part that touches the core is kept."""
        way = np.float32(0.12) + np.float32(1.05) * tissues.white - np.float32(0.6) * tissues.csf
        distance = core - np.float32(self.reach_mm) * np.clip(way + np.float32(0.28) * self.spread.on(frame), 0, 1.4)
        parts, _ = ndimage.label(distance < 0)
        kept = np.isin(parts, [0, *np.unique(parts[core < 0])])
        return np.where(kept, distance, np.abs(distance) + np.float32(3.0))


def _satellite(rng: np.random.Generator, survey: Tissues, main: Focus) -> Focus:
    """A smaller focus in white matter, its center 1.3 to 2.6 radii from the main one's where there is such a place."""
    offsets = [axis - c for axis, c in zip(_SURVEY.open(), main.center_mm, strict=True)]
    away = np.sqrt(sum(offset**2 for offset in offsets)) / main.radius_mm
    near = (survey.white > 0.4) & (away > 1.3) & (away < 2.6)
    radius_mm = rng.uniform(6.5, 10.0)
    if not near.any():
        return _focus(rng, main.center_mm + main.radius_mm * np.array([0.0, 0.9, 0.0]), radius_mm)
    return _focus(rng, _place(rng, near), radius_mm)


def _place(rng: np.random.Generator, good: np.ndarray) -> np.ndarray:
    """The position in mm of one of the survey's voxels that are `good`."""
    voxels = np.argwhere(good)
    voxel = voxels[rng.integers(len(voxels))]
    return np.array([axis[i] for axis, i in zip(_SURVEY.axes_mm, voxel, strict=True)])


def _focus(rng: np.random.Generator, center_mm: np.ndarray, radius_mm: float) -> Focus:
    stretch = np.exp(rng.normal(0.0, 0.16, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return Focus(np.asarray(center_mm, dtype=np.float64), radius_mm, np.diag(1 / stretch) @ turn)
