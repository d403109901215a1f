"""RTSTRUCT onto the grid of its images: a voxel belongs to a region if its center is inside its contours or on one.

Contours are closed polygons on the slices. All contours of a region on one slice count together by the even-odd rule:
a contour inside another is a hole, and so is what a keyhole leaves out. Centers on a contour belong to the region, so
that a contour drawn through the outermost voxels, or along a hole, gives these voxels back. Regions of one name, as a
region and its copy, are filled one by one and make up one structure.
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
_FARTHEST = 2**20
"""Voxels from the first one to a corner."""
_EDGES = 4096
"""Edges crossed at once, which bounds the memory."""


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
        regions: dict[int, list[Any]] = defaultdict(list)
        for each in dataset.get("ROIContourSequence") or ():
            regions[int(each.ReferencedROINumber)] += each.get("ContourSequence") or ()
        drawn = np.zeros(grid.shape, dtype=np.uint16)
        for name, value in values.items():
            for contours in (contours for number, contours in regions.items() if names[number] == name):
                for z, polygons in _by_slice(contours, grid, name, file).items():
                    drawn[..., z][filled(polygons, grid.shape[:2])] = value
    return drawn


def filled(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """(X, Y) bool: the centers of voxels inside closed polygons, by the even-odd rule, or on one of them.

    Lines along X through the centers are crossed with the edges of all polygons, in whole numbers and so exactly.

    Args:
        polygons: (N, 2) corners in voxels, each; less than a million voxels away.
        shape: of the slice.
    """
    corners = [np.rint(each * _STEPS).astype(np.int64) for each in polygons]
    begin = np.concatenate([np.zeros((0, 2), np.int64), *corners])
    end = np.concatenate([np.zeros((0, 2), np.int64), *(np.roll(each, -1, axis=0) for each in corners)])
    toggles = np.zeros((shape[0] + 1, shape[1]), dtype=np.int64)
    """At (x, y): how often the line is crossed between the centers x - 1 and x."""
    border = np.zeros(shape, dtype=bool)
    for first in range(0, len(begin), _EDGES):
        _cross(begin[first : first + _EDGES], end[first : first + _EDGES], toggles, border)
    border |= np.cumsum(toggles[:0:-1], axis=0)[::-1] % 2 == 1  # an odd number of crossings beyond
    return border


def _cross(begin: np.ndarray, end: np.ndarray, toggles: np.ndarray, border: np.ndarray) -> None:
    """Add the crossings of some edges, (E, 2) in steps, and the centers that lie on them."""
    width, height = border.shape
    lower = np.where(begin[:, 1:] <= end[:, 1:], begin, end)
    x, y = lower[:, 0], lower[:, 1]
    dx, dy = (begin + end - 2 * lower).T  # to the upper end
    bottom = np.clip(-(-y // _STEPS), 0, height)  # the first line that is not below the edge
    counts = np.clip(-(-(y + dy) // _STEPS), bottom, height) - bottom  # the upper end does not count
    edge = np.repeat(np.arange(len(counts)), counts)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + bottom[edge]
    numerator = x[edge] * dy[edge] + (line * _STEPS - y[edge]) * dx[edge]
    place = -(-numerator // (_STEPS * dy[edge]))  # of the crossing, rounded up to a center
    np.add.at(toggles, (np.clip(place, 0, width), line), 1)
    on_center = (place * _STEPS * dy[edge] == numerator) & (place >= 0) & (place < width)
    border[place[on_center], line[on_center]] = True
    for a, b in zip(begin[dy == 0], end[dy == 0], strict=True):  # edges along a line
        if a[1] % _STEPS == 0 and 0 <= a[1] // _STEPS < height:
            left, right = sorted((int(a[0]), int(b[0])))
            border[max(0, -(-left // _STEPS)) : max(0, right // _STEPS + 1), a[1] // _STEPS] = True
    ends = begin[(begin % _STEPS == 0).all(axis=1)] // _STEPS
    ends = ends[((ends >= 0) & (ends < border.shape)).all(axis=1)]
    border[tuple(ends.T)] = True


def _by_slice(contours: Sequence[Any], grid: Volume, name: str, file: Path) -> dict[int, list[np.ndarray]]:
    """Slice -> its polygons in voxels, (N, 2) each. Raises `GeometryError`."""
    polygons: dict[int, list[np.ndarray]] = defaultdict(list)
    for points in _closed(contours):
        voxels = index_of(grid.affine) @ np.vstack([points.T, np.ones(len(points))])  # (4, N)
        if not (np.abs(voxels) < _FARTHEST).all():
            raise VolumeError("a contour lies nowhere near the images", file=file, found=name)
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
