"""An individual brain: the ICBM152 template and its tissue maps (inside nilearn), deformed by a smooth random map."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import edt
import numpy as np
from scipy import ndimage

from segcct.errors import DataError
from segcct.images.affines import LPS_TO_RAS
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.shapes import turned

BRAIN_EXTENT_MM = (170.0, 210.0, 175.0)
_TEMPLATE_CENTER_MM = np.array([0.0, -17.0, 8.0])
"""Middle of the template's brain in its own RAS millimeters."""
_TEMPLATE_BOX = (slice(22, 176), slice(23, 213), slice(0, 160))
"""The part of the template's grid that holds brain, with a margin."""


class Tissues(NamedTuple):
    """Fractions of a voxel, each (X, Y, Z) in 0..1, adding up to `mask`; and the template's own T1 detail."""

    mask: np.ndarray
    csf: np.ndarray
    gray: np.ndarray
    white: np.ndarray
    detail: np.ndarray
    """What the template's T1 shows beyond the three tissues' means (thalamus, pallidum, brain stem), about +-0.2."""
    depth_mm: np.ndarray
    """Distance to the brain's surface."""
    ventricle_mm: np.ndarray
    """Distance to the inner fluid spaces; 0 in them."""


class Swelling(NamedTuple):
    """Mass effect: tissue at distance r from the center is pushed outwards by fraction x r x exp(-(r / reach)^2)."""

    center_mm: np.ndarray
    fraction: float
    reach_mm: float


class Brain:
    """The random map from a patient's frame (LPS millimeters around the brain's middle) to the template."""

    def __init__(self, rng: np.random.Generator) -> None:
        scale = rng.normal(1.0, 0.035) * rng.normal(1.0, 0.025, 3)
        angles = np.deg2rad(rng.normal(0.0, (4.0, 2.5, 3.0)))
        shear = np.eye(3) + rng.normal(0.0, 0.02, (3, 3))
        # To the template's RAS millimeters: rotation, scale, shear; shift.
        self.matrix = turned(*angles) @ shear @ np.diag(1 / scale) @ LPS_TO_RAS[:3, :3]
        self.shift = _TEMPLATE_CENTER_MM + rng.normal(0.0, 2.0, 3)
        # (amplitude in mm, one field per axis): from the shape of the head down to single gyri.
        self.bends = [
            (amplitude, [SmoothField.draw(rng, BRAIN_EXTENT_MM, step) for _ in range(3)])
            for amplitude, step in ((2.4, 42.0), (1.6, 19.0), (1.0, 9.0))
        ]
        self.csf_weight = rng.uniform(1.3, 3.0)  # the sulci and ventricles are wide, as in an elderly brain

    def tissues(self, frame: Frame, swelling: Swelling | None = None) -> Tissues:
        """The tissues at the frame's voxels. Raises `DataError` where nilearn is not installed."""
        maps, to_voxel = load_template(round(float(frame.spacing_mm[0])))
        where = self._template_voxels(frame, swelling, to_voxel)  # (3, X, Y, Z)
        t1, gray, white, depth, ventricle = (
            ndimage.map_coordinates(one, where, output=np.float32, order=1, mode="constant") / np.float32(255)
            for one in maps
        )
        mask = t1 > 0.08
        csf = np.clip(1 - gray - white, 0, 1)
        detail = t1 - (0.27 * csf + 0.65 * gray + 0.87 * white)
        # The template is an average: a sharper vote between tissues gives back one person's sulci.
        votes = [np.maximum(one, 0) ** np.float32(1.6) for one in (csf * np.float32(self.csf_weight), gray, white)]
        total = mask / np.maximum(sum(votes), np.float32(1e-3))
        csf, gray, white = (vote * total for vote in votes)
        return Tissues(mask, csf, gray, white, detail * mask, depth * 255, ventricle * 255)

    def _template_voxels(self, frame: Frame, swelling: Swelling | None, to_voxel: np.ndarray) -> np.ndarray:
        point = [np.broadcast_to(axis, frame.shape) for axis in frame.open()]
        if swelling is not None:
            offset = [one - np.float32(c) for one, c in zip(point, swelling.center_mm, strict=True)]
            radius_sq = sum(one * one for one in offset) / np.float32(swelling.reach_mm**2)
            pull = np.float32(swelling.fraction) * np.exp(-radius_sq)
            point = [one - pull * off for one, off in zip(point, offset, strict=True)]
        for amplitude, displacements in self.bends:
            for axis, field in enumerate(displacements):
                point[axis] = point[axis] + np.float32(amplitude) * field.on(frame)
        matrix = to_voxel[:3, :3] @ self.matrix
        shift = to_voxel[:3, :3] @ self.shift + to_voxel[:3, 3]
        where = np.tensordot(matrix.astype(np.float32), np.stack(point), axes=1)
        return where + shift.astype(np.float32)[:, None, None, None]  # (3, X, Y, Z)


@lru_cache(maxsize=4)
def load_template(step_mm: int) -> tuple[list[np.ndarray], np.ndarray]:
    """ICBM152 2009a, smoothed to voxels of `step_mm`: maps of uint8 over 0..1, and its RAS millimeters -> voxel map.

    The maps: T1 (0 outside the brain), gray matter, white matter; then `depth` and `ventricle` of `Tissues`, / 255 mm.
    Raises `DataError` where nilearn is not installed.
    """
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
    t1, gray, white = (np.array(image.dataobj, dtype=np.float32)[_TEMPLATE_BOX] for image in images)
    fluid = (t1 > 0) & (gray + white < 0.4)
    # Skull stripping leaves little of the outer fluid.
    t1[fluid & (edt.edt(t1 > 0) < 3.5)] = 0
    depth = edt.edt(t1 > 0)
    ventricle = edt.edt(~(fluid & (depth > 20)))
    maps = [t1, gray, white, np.minimum(depth / 255, 1), np.minimum(ventricle / 255, 1)]
    if step_mm > 1:
        maps = [ndimage.uniform_filter(one, step_mm) for one in maps]
    to_voxel = np.linalg.inv(images[0].affine)
    to_voxel[:3, 3] -= [cut.start for cut in _TEMPLATE_BOX]
    return [np.round(one * 255).astype(np.uint8) for one in maps], to_voxel
