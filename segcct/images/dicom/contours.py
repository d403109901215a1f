"""RTSTRUCT onto the grid of its images: a voxel belongs to a region if its center is inside its contours or on one.

Contours are closed polygons on the slices. All contours of a region on one slice count together by the even-odd rule:
a contour inside another is a hole, and so is what a keyhole leaves out. Centers on a contour belong to the region, so
that a contour drawn through the outermost voxels, or along a hole, gives these voxels back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcct.errors import GeometryError, VolumeError
from segcct.images.dicom.label_objects import STRUCTURE_SETS, index_of, label_damage_refused, read_whole, structure_name
from segcct.images.volume import Volume

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_OFF_SLICE = 0.2
"""How far, in slices, a contour may lie off its slice: positions are often written in tenths of a millimeter."""
_STEPS = 64
"""Corners are rounded to this fraction of a voxel, so that centers on straight lines between them are found exactly."""


def draw_contours(file: Path, grid: Volume, values: Mapping[str, int]) -> np.ndarray:
    """(X, Y, Z) uint16 values of regions of interest on a grid; 0 elsewhere.

    Where regions overlap, the one whose name comes later in `values` stands.

    Args:
        file: the structure set.
        grid: of the images that it refers to, with their slices along Z.
        values: name of a region -> value; others are left out, and equal names are one structure.

    Raises:
        VolumeError: no structure set, or damaged. GeometryError: contours that do not lie on the slices.
    """
    dataset = read_whole(file)
    with label_damage_refused(file):
        if dataset.SOPClassUID not in STRUCTURE_SETS:
            raise VolumeError("is not a DICOM structure set", file=file)
        names = {int(each.ROINumber): structure_name(each.get("ROIName")) for each in dataset.StructureSetROISequence}
        regions: dict[str, list[Any]] = defaultdict(list)
        for each in dataset.get("ROIContourSequence") or ():
            regions[names[int(each.ReferencedROINumber)]] += each.get("ContourSequence") or ()
        drawn = np.zeros(grid.shape, dtype=np.uint16)
        for name, value in values.items():
            for z, polygons in _by_slice(regions[name], grid, name, file).items():
                drawn[..., z][filled(polygons, grid.shape[:2])] = value
    return drawn


def filled(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """(X, Y) bool: the centers of voxels inside closed polygons, by the even-odd rule, or on one of them.

    Args:
        polygons: (N, 2) corners in voxels, each.
        shape: of the slice.
    """
    from skimage.measure import grid_points_in_poly

    inside, border = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for corners in polygons:
        corners = np.rint(corners * _STEPS) / _STEPS
        first = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, shape)
        end = np.clip(np.floor(corners.max(axis=0)).astype(int) + 1, first, shape)
        if (end == first).any():
            continue
        place = tuple(slice(a, b) for a, b in zip(first, end, strict=True))
        where = grid_points_in_poly(tuple(end - first), corners - first, binarize=False)  # 1 inside, 2 corner, 3 edge
        inside[place] ^= where == 1
        border[place] |= where > 1
    return inside | border


def _by_slice(contours: Sequence[Any], grid: Volume, name: str, file: Path) -> dict[int, list[np.ndarray]]:
    """Slice -> its polygons in voxels, (N, 2) each. Raises `GeometryError`."""
    polygons: dict[int, list[np.ndarray]] = defaultdict(list)
    for points in _closed(contours):
        voxels = index_of(grid.affine) @ np.vstack([points.T, np.ones(len(points))])  # (4, N)
        z = round(float(voxels[2].mean()))
        off = float(np.abs(voxels[2] - z).max())
        if off > _OFF_SLICE or not 0 <= z < grid.shape[2]:
            raise GeometryError(
                "contours do not lie on the slices of the images",
                file=file,
                found=f"a contour of {name} at slice {voxels[2].mean() + 1:.2f}",
                expected=f"slices 1 to {grid.shape[2]} of {grid.path or 'the image'}",
                remedy="Give the images that the structure set was drawn on",
            )
        polygons[z].append(voxels[:2].T)
    return polygons


def _closed(contours: Sequence[Any]) -> Iterator[np.ndarray]:
    """(N, 3) corners in mm, LPS, of the contours that enclose something: neither points nor open lines."""
    for contour in contours:
        if contour.get("ContourGeometricType") in _CLOSED:
            # As text: to make millions of pydicom's numbers takes minutes.
            stored = contour.get_item("ContourData").value
            text = stored.decode("ascii") if isinstance(stored, bytes) else "\\".join(map(str, stored))
            yield np.array(text.strip(" \0").split("\\"), dtype=np.float64).reshape(-1, 3)
