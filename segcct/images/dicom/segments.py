"""DICOM-SEG onto the grid of its images: every pixel to the voxel at its own position in the patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcct.errors import GeometryError, VolumeError
from segcct.extras import import_extra
from segcct.images.dicom.label_objects import SEGMENTATIONS, index_of, label_damage_refused, read_whole, structure_name
from segcct.images.size_limits import refuse_claim
from segcct.images.volume import Volume

_TOLERANCE = 0.05
"""How far, in voxels, a frame may lie off the grid."""
_RATIO = 1000
"""Pixels that a stored byte can become: of one bit, or compressed."""


def draw_segments(file: Path, grid: Volume, values: Mapping[str, int]) -> np.ndarray:
    """(X, Y, Z) uint16 values of segments on a grid; 0 elsewhere.

    A probability or occupancy counts from one half. Where segments overlap, the one whose name comes later in `values`
    stands.

    Args:
        file: the segmentation.
        grid: of the images that it refers to.
        values: segment label -> value; others are left out, and equal labels are one structure.

    Raises:
        VolumeError: no segmentation, or damaged. GeometryError: it lies on another grid.
    """
    dataset = read_whole(file)
    ranks = {name: rank for rank, name in enumerate(values, start=1)}
    with label_damage_refused(file):
        if dataset.SOPClassUID not in SEGMENTATIONS:
            raise VolumeError("is not a DICOM segmentation", file=file)
        segments = {
            int(each.SegmentNumber): structure_name(each.get("SegmentLabel")) for each in dataset.SegmentSequence
        }
        table = np.zeros(1 + max(max(segments), 65535), dtype=np.uint16)
        for number, name in segments.items():
            table[number] = ranks.get(name, 0)
        drawn = np.zeros(grid.shape, dtype=np.uint16, order="F")
        for ranks_in_frame, groups in _frames(dataset, table, file):
            flat = np.flatnonzero(ranks_in_frame)
            if flat.size:
                rows, columns = np.unravel_index(flat, ranks_in_frame.shape)
                place = _voxels(groups, rows, columns, grid, file)
                drawn[place] = np.maximum(drawn[place], ranks_in_frame[rows, columns])
    return np.array([0, *values.values()], dtype=np.uint16)[drawn]


def _frames(dataset: Any, table: np.ndarray, file: Path) -> Iterator[tuple[np.ndarray, Sequence[Any]]]:
    """Each frame of wanted segments as ranks (rows, columns), by the table from numbers of segments to ranks, and its
    functional groups: its own first, then the shared ones."""
    per_frame, shared = dataset.PerFrameFunctionalGroupsSequence, dataset.get("SharedFunctionalGroupsSequence") or ()
    count = int(dataset.NumberOfFrames)
    refuse_claim(file, (dataset.Columns, dataset.Rows, count), 1, file.stat().st_size, ratio=_RATIO, kind="DICOM-SEG")
    if len(per_frame) != count:
        found = f"{len(per_frame)} groups for {count} frames"
        raise VolumeError("does not describe every frame", file=file, found=found)
    kind = str(dataset.get("SegmentationType") or "")
    half = float(dataset.MaximumFractionalValue) / 2 if kind == "FRACTIONAL" else 0.5
    for frame, own in zip(_pixels(dataset, count), per_frame, strict=True):
        groups = [own, *shared[:1]]
        if kind == "LABELMAP":
            yield table[frame], groups
        elif rank := table[int(_item(groups, "SegmentIdentificationSequence").ReferencedSegmentNumber)]:
            yield (frame >= half) * rank, groups


def _pixels(dataset: Any, count: int) -> Iterator[np.ndarray]:
    """(rows, columns) stored numbers of each frame."""
    if dataset.BitsAllocated != 1 or dataset.file_meta.TransferSyntaxUID.is_compressed:
        yield from import_extra("pydicom.pixels", "dicom").iter_pixels(dataset, raw=True)
        return
    # Frames follow each other bit by bit: pydicom 3.0 fails where a frame does not end with a byte.
    packed, size = np.frombuffer(dataset.PixelData, dtype=np.uint8), dataset.Rows * dataset.Columns
    for start in range(0, count * size, size):
        bits = np.unpackbits(packed[start // 8 : (start + size + 7) // 8], bitorder="little")
        yield bits[start % 8 : start % 8 + size].reshape(dataset.Rows, dataset.Columns)


def _item(groups: Sequence[Any], keyword: str) -> Any:
    """The first item of a sequence in the first group that has it. Raises `ValueError` where none has."""
    item = next((group[keyword].value[0] for group in groups if keyword in group), None)
    if item is None:
        raise ValueError(f"a frame without {keyword}")
    return item


def _voxels(
    groups: Sequence[Any], rows: np.ndarray, columns: np.ndarray, grid: Volume, file: Path
) -> tuple[np.ndarray, ...]:
    """Index (three arrays) of the voxels at some pixels of a frame. Raises `GeometryError` where there are none."""
    position = np.array(_item(groups, "PlanePositionSequence").ImagePositionPatient, dtype=float)
    turn = np.array(_item(groups, "PlaneOrientationSequence").ImageOrientationPatient, dtype=float).reshape(2, 3)
    between_rows, between_columns = map(float, _item(groups, "PixelMeasuresSequence").PixelSpacing)
    to_index = index_of(grid.affine)
    steps = to_index[:3, :3] @ (turn.T * [between_columns, between_rows])  # (3, 2) voxels per column and per row
    exact = steps @ np.stack([columns, rows]) + (to_index @ [*position, 1.0])[:3, None]  # (3, N)
    index = np.rint(exact).astype(int)
    off = float(np.abs(exact - index).max())
    inside = bool((index >= 0).all() and (index < np.array(grid.shape)[:, None]).all())
    if off > _TOLERANCE or not inside or np.abs(np.abs(steps).sum(axis=0) - 1).max() > _TOLERANCE:
        x, y, z = (f"{value:.4g}" for value in position)
        raise GeometryError(
            "segments do not lie on the grid of the images",
            file=file,
            found=f"a frame at ({x}, {y}, {z}), {'outside' if not inside else f'{off:.2f} voxels off'}",
            expected=f"the slices of {grid.path or 'the image'}",
            remedy="Give the images that the segmentation refers to, or resample it onto these",
        )
    return tuple(index)
