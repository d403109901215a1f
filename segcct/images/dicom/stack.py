"""Slices in the order of their positions, with equal gaps, as one voxel grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segcct.errors import VolumeError
from segcct.images.affines import LPS_TO_RAS
from segcct.images.dicom.elements import Tag
from segcct.images.dicom.planes import Plane, without_positions

_OFF_MM, _OFF_FRACTION, _OFF_MOST = 0.1, 0.01, 0.2
"""How far a slice may lie from its place in an evenly spaced stack: 0.1 mm, since some positions are rounded to tenths,
or 1% of the step where that is more, but never more than a fifth of the step."""


def ordered(planes: Sequence[Plane], path: Path) -> list[Plane]:
    """The slices of one volume along their normal.

    Raises:
        VolumeError: they have no positions, differ in size, spacing or orientation, or two lie at one position.
    """
    first = planes[0]
    unplaced = [plane.name for plane in planes if not plane.placed]
    if unplaced and len(planes) > 1:
        found = f"no {Tag.ImagePositionPatient} for {len(unplaced)} of {len(planes)}, as {unplaced[0]}"
        raise without_positions(path, found)
    for other in planes[1:]:
        _check_alike(first, other)
    along = np.array([plane.position for plane in planes]) @ first.normal  # (D,)
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    if gaps.size and gaps.min() < 1e-3:
        at = int(np.argmin(gaps))
        raise VolumeError(
            "two slices at one position",
            file=path,
            found=f"{planes[order[at]].name} and {planes[order[at + 1]].name}",
            expected="one volume",
            remedy="Keep one time point, echo or stack per folder or file",
        )
    return [planes[index] for index in order]


def affine_of(planes: Sequence[Plane], path: Path) -> tuple[np.ndarray, bool]:
    """Affine (4, 4) of ordered slices, voxel index -> RAS mm, and whether all voxel sizes are known.

    An unknown size is a unit step in the affine; an image without a position lies on the grid of 2-D images.
    Raises `VolumeError` where slices are unevenly spaced.
    """
    first = planes[0]
    lps = np.eye(4)
    lps[:3, :2] = first.axes * np.array(first.spacing or (1.0, 1.0))
    lps[:3, 2] = _step(planes, path) if len(planes) > 1 else first.normal * (first.thickness or 1.0)
    lps[:3, 3] = first.position
    has_spacing = first.spacing is not None and (len(planes) > 1 or first.thickness is not None)
    return LPS_TO_RAS @ lps + 0.0, has_spacing  # no -0


def _check_alike(first: Plane, other: Plane) -> None:
    """One size, one pixel spacing, one orientation."""
    same_axes = float(np.abs(other.axes - first.axes).max()) <= 1e-3
    spacings = [plane.spacing or (0.0, 0.0) for plane in (first, other)]
    same_spacing = all(abs(a - b) <= 1e-3 * b for a, b in zip(*spacings, strict=True))
    sizes = {(plane.instance.columns, plane.instance.rows) for plane in (first, other)}
    if len(sizes) > 1 or not same_spacing or not same_axes:
        raise VolumeError(
            "slices of one series differ in size, pixel spacing or orientation",
            file=other.instance.file,
            found=_describe(other),
            expected=f"{_describe(first)} as {first.name}",
            remedy="Keep one volume per folder or file",
        )


def _step(planes: Sequence[Plane], path: Path) -> np.ndarray:
    """(3,) LPS mm from one slice to the next."""
    positions = np.array([plane.position for plane in planes])  # (D, 3)
    step: np.ndarray = (positions[-1] - positions[0]) / (len(planes) - 1)
    step_mm = float(np.linalg.norm(step))
    places = positions[0] + np.arange(len(planes))[:, None] * step  # (D, 3)
    off_mm = np.linalg.norm(positions - places, axis=1).max()
    if off_mm > min(max(_OFF_MM, _OFF_FRACTION * step_mm), _OFF_MOST * step_mm):
        gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        worst = int(np.argmax(np.abs(gaps - np.median(gaps))))
        raise VolumeError(
            "slices are missing or unevenly spaced",
            file=path,
            found=f"{gaps[worst]:.4g} mm between {planes[worst].name} and {planes[worst + 1].name}",
            expected=f"{np.median(gaps):.4g} mm as between most",
        )
    return step


def _describe(plane: Plane) -> str:
    spacing = "pixels of unknown size" if plane.spacing is None else f"{plane.spacing[0]:g} x {plane.spacing[1]:g} mm"
    axes = ", ".join(f"{value:.3g}" for value in plane.axes.T.ravel())
    return f"{plane.instance.columns} x {plane.instance.rows}, {spacing}, orientation {axes}"
