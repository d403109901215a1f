"""An individual brain: the ICBM152 template and its tissue maps (inside nilearn), deformed by a smooth random map."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import edt
import numpy as np
from scipy import ndimage

from segcct.errors import DataError
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.shapes import turned

BRAIN_EXTENT_MM = (170.0, 210.0, 175.0)
_TEMPLATE_CENTRE_MM = np.array([0.0, -17.0, 8.0])
"""Middle of the template's brain in its own RAS millimetres."""
_TEMPLATE_BOX = (slice(22, 176), slice(23, 213), slice(0, 160))
"""The part of the template's grid that holds brain, with a margin."""


@dataclass(frozen=True)
class Template:
    """ICBM152 2009a: maps of uint8 over 0..1 on one grid, and its voxel <- RAS millimetres map."""

    maps: tuple[np.ndarray, ...]
    """T1 (0 outside the brain), grey matter, white matter; then `depth` and `ventricle` of `Tissues`, / 255 mm."""
    to_voxel: np.ndarray


@dataclass(frozen=True)
class Tissues:
    """Shares of a voxel, each (X, Y, Z) in 0..1, adding up to `mask`; and the template's own T1 detail."""

    mask: np.ndarray
    csf: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    detail: np.ndarray
    """What the template's T1 shows beyond the three tissues' means (thalamus, pallidum, brain stem), about +-0.2."""
    depth_mm: np.ndarray
    """Distance to the brain's surface."""
    ventricle_mm: np.ndarray
    """Distance to the inner fluid spaces; 0 in them."""

    def part(self, box: tuple[slice, ...]) -> Tissues:
        return Tissues(*(getattr(self, field.name)[box] for field in fields(self)))


@dataclass(frozen=True)
class Swelling:
    """Mass effect: tissue at distance r from the centre is pushed outwards by share x r x exp(-(r / reach)^2)."""

    centre_mm: np.ndarray
    share: float
    reach_mm: float


@dataclass(frozen=True)
class Brain:
    """The random map from a patient's frame (LPS millimetres around the brain's middle) to the template."""

    linear: np.ndarray
    """(3, 4): template RAS millimetres of a patient's point (rotation, scale, shear, shift)."""
    bends: tuple[tuple[float, tuple[SmoothField, ...]], ...]
    """(amplitude in mm, one field per axis): from the shape of the head down to single gyri."""
    csf_weight: float
    """Above 1 the sulci and ventricles are wide, as in an elderly brain."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Brain:
        scale = rng.normal(1.0, 0.035) * rng.normal(1.0, 0.025, 3)
        angles = np.deg2rad(rng.normal(0.0, (4.0, 2.5, 3.0)))
        shear = np.eye(3) + rng.normal(0.0, 0.02, (3, 3))
        lps_to_ras = np.diag([-1.0, -1.0, 1.0])
        matrix = turned(*angles) @ shear @ np.diag(1 / scale) @ lps_to_ras
        shift = _TEMPLATE_CENTRE_MM + rng.normal(0.0, 2.0, 3)
        bends = tuple(
            (amplitude, tuple(SmoothField.draw(rng, BRAIN_EXTENT_MM, step) for _ in range(3)))
            for amplitude, step in ((2.4, 42.0), (1.6, 19.0), (1.0, 9.0))
        )
        return cls(np.column_stack([matrix, shift]), bends, float(rng.uniform(1.3, 3.0)))

    def tissues(self, frame: Frame, swellings: tuple[Swelling, ...] = ()) -> Tissues:
        """The tissues at the frame's voxels. Raises `DataError` where nilearn is not installed."""
        template = load_template(round(float(frame.spacing_mm[0])))
        where = self._template_voxels(frame, swellings, template.to_voxel)  # (3, X, Y, Z)
        t1, grey, white, depth, ventricle = (
            ndimage.map_coordinates(one, where, output=np.float32, order=1, mode="constant") / np.float32(255)
            for one in template.maps
        )
        mask = t1 > 0.08
        csf = np.clip(1 - grey - white, 0, 1)
        detail = t1 - (0.27 * csf + 0.65 * grey + 0.87 * white)
        # The template is an average: a sharper vote between tissues gives back one person's sulci.
        votes = [np.maximum(one, 0) ** np.float32(1.6) for one in (csf * np.float32(self.csf_weight), grey, white)]
        total = mask / np.maximum(sum(votes), np.float32(1e-3))
        csf, grey, white = (vote * total for vote in votes)
        return Tissues(mask, csf, grey, white, detail * mask, depth * 255, ventricle * 255)

    def _template_voxels(self, frame: Frame, swellings: tuple[Swelling, ...], to_voxel: np.ndarray) -> np.ndarray:
        point = [np.broadcast_to(axis, frame.shape) for axis in frame.open()]
        for swelling in swellings:
            offset = [one - np.float32(c) for one, c in zip(point, swelling.centre_mm, strict=True)]
            radius_sq = sum(one * one for one in offset) / np.float32(swelling.reach_mm**2)
            pull = np.float32(swelling.share) * np.exp(-radius_sq)
            point = [one - pull * off for one, off in zip(point, offset, strict=True)]
        for amplitude, displacements in self.bends:
            for axis, field in enumerate(displacements):
                point[axis] = point[axis] + np.float32(amplitude) * field.on(frame)
        matrix = to_voxel[:3, :3] @ self.linear[:, :3]
        shift = to_voxel[:3, :3] @ self.linear[:, 3] + to_voxel[:3, 3]
        where = np.tensordot(matrix.astype(np.float32), np.stack(point), axes=1)
        return where + shift.astype(np.float32)[:, None, None, None]  # (3, X, Y, Z)


@lru_cache(maxsize=4)
def load_template(step_mm: int) -> Template:
    """The template smoothed to voxels of `step_mm`. Raises `DataError` where nilearn is not installed."""
    try:
        from nilearn import datasets
    except ImportError as error:
        raise DataError(
            "the brats phantom is drawn on the brain template inside nilearn, which is not installed",
            remedy="Run `pip install segcct[demo]`",
        ) from error
    loaders = (datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    images = [load(resolution=1) for load in loaders]
    # Copies: nilearn hands out one array to everybody.
    t1, grey, white = (np.array(image.dataobj, dtype=np.float32)[_TEMPLATE_BOX] for image in images)
    fluid = (t1 > 0) & (grey + white < 0.4)
    # Skull stripping leaves little of the outer fluid.
    t1[fluid & (edt.edt(t1 > 0) < 3.5)] = 0
    depth = edt.edt(t1 > 0)
    ventricle = edt.edt(~(fluid & (depth > 20)))
    maps = [t1, grey, white, np.minimum(depth / 255, 1), np.minimum(ventricle / 255, 1)]
    if step_mm > 1:
        maps = [ndimage.uniform_filter(one, step_mm) for one in maps]
    to_voxel = np.linalg.inv(images[0].affine)
    to_voxel[:3, 3] -= [cut.start for cut in _TEMPLATE_BOX]
    return Template(tuple(np.round(one * 255).astype(np.uint8) for one in maps), to_voxel)
