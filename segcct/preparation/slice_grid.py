"""How a stored volume becomes network slices, and how masks get back to the same voxels.

There are two steps, because only the first is exact: reorientation and cropping move whole voxels, which can be
undone; resampling in the slice plane cannot. Its arithmetic, which exported models share, is in segcct/runtime.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from segcct.config.data_section import Fit
from segcct.errors import GeometryError
from segcct.runtime import Box, bounding_box, network_size, resample, resampled_argmax, slice_axes

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_LARGEST_SIDE = 2**14
"""Pixels along a side that resampling may lead to."""
_CHUNK_BYTES = 16 * 2**20
"""Largest chunk of slices that is resampled at once, so that no channel of a volume is held in float32 once more."""
_TIE = 1e-5
"""Fractions of two classes in a pixel that differ by less are equal."""


@dataclass(frozen=True)
class SliceGrid:
    """The mapping between a stored volume (X, Y, Z) and its slices (D, H, W), and their size in the network.

    canonical slices are axial as a radiologist sees them: D runs to superior, rows H to posterior, columns W to the
    patient's left. native slices are those of the third stored axis, rows = Y, columns = X.
    """

    shape_xyz: tuple[int, int, int]
    """Voxels of the stored volume."""
    order: tuple[int, int, int]
    """Stored axis that becomes D, H, W."""
    flipped: tuple[bool, bool, bool]
    """Whether D, H, W run against their stored axis."""
    box: Box
    """Cropped part of D, H, W, each as (start, stop)."""
    size: tuple[int, int]
    """Rows and columns of a slice in the network."""
    spacing_dhw_mm: tuple[float, float, float] | None
    """Distance of slices, rows and columns before resampling; None where the file holds none."""

    @classmethod
    def plan(
        cls,
        shape_xyz: Sequence[int],
        affine: np.ndarray,
        spacing_mm: Sequence[float] | None,
        *,
        orientation: Literal["canonical", "native"],
        box_of: np.ndarray | None,
        target_spacing_mm: float | None,
        fit: Fit,
        image_size: int,
    ) -> SliceGrid:
        """The grid of one volume.

        Args:
            box_of: (X, Y, Z) bool; slices are cropped to what is true in it plus a small margin. None, or nothing
                true, keeps everything.
            target_spacing_mm: in-plane pixel size to resample to (fit pad).
            fit: `resize` makes every slice image_size x image_size; `letterbox` makes its longer side image_size and
                keeps its shape; `pad` keeps its own scale, or the target's.

        A file without geometry (`spacing_mm` None) has no canonical direction: it is taken as native.

        Raises:
            GeometryError: the affine leaves an axis without a direction, a target spacing is set for a file without
                spacing, or the slices become too large.
        """
        if len(shape_xyz) != 3:
            raise GeometryError("not a three-dimensional volume", found=tuple(shape_xyz), expected="three axes")
        order, flipped = _axes(affine, "native" if spacing_mm is None else orientation)
        d, h, w = order
        x, y, z = shape_xyz
        spacing = None if spacing_mm is None else (float(spacing_mm[d]), float(spacing_mm[h]), float(spacing_mm[w]))
        whole = ((0, shape_xyz[d]), (0, shape_xyz[h]), (0, shape_xyz[w]))
        full = cls((x, y, z), order, flipped, whole, (1, 1), spacing)
        box = whole if box_of is None else bounding_box(full.to_slices(box_of))
        return replace(full, box=box, size=_network_size(box, spacing, target_spacing_mm, fit, image_size))

    @property
    def slice_shape(self) -> tuple[int, int, int]:
        """(D, H, W) after the crop, before resampling."""
        depth, rows, columns = (stop - start for start, stop in self.box)
        return depth, rows, columns

    def to_slices(self, volume_xyz: np.ndarray) -> np.ndarray:
        """(X, Y, Z) -> (D, H, W): reoriented and cropped, no value changed. A view where possible."""
        if volume_xyz.shape != self.shape_xyz:
            raise GeometryError("volume does not fit its slice grid", found=volume_xyz.shape, expected=self.shape_xyz)
        slices = self._unflip(volume_xyz.transpose(self.order))
        return slices[tuple(slice(*part) for part in self.box)]

    def to_volume(self, slices: np.ndarray) -> np.ndarray:
        """(D, H, W) -> (X, Y, Z), the exact inverse of `to_slices`; 0 outside the crop."""
        if slices.shape != self.slice_shape:
            raise GeometryError("slices do not fit their grid", found=slices.shape, expected=self.slice_shape)
        full = np.zeros([self.shape_xyz[axis] for axis in self.order], dtype=slices.dtype)
        full[tuple(slice(*part) for part in self.box)] = slices
        return np.ascontiguousarray(self._unflip(full).transpose(np.argsort(self.order)))

    def collect(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        """Class indices of successive slices, each (n, H, W) uint8 -> (X, Y, Z) uint8; 0 outside the crop.

        As `to_volume` of all of them, of which there is no second copy.
        """
        volume = np.zeros(self.shape_xyz, dtype=np.uint8, order="F")  # slices of most files lie in one piece then
        slices = self.to_slices(volume)  # a view
        start = 0
        for batch in batches:
            slices[start : start + len(batch)] = batch
            start += len(batch)
        if start != len(slices):
            raise GeometryError("slices do not fit their grid", found=start, expected=len(slices))
        return volume

    def parts(self) -> Iterator[slice]:
        """D in a few slices at a time, of one channel: see `shrink`."""
        depth, rows, columns = self.slice_shape
        return _chunks(depth, 4 * max(rows * columns, self.size[0] * self.size[1]))

    def shrink(self, slices: np.ndarray) -> np.ndarray:
        """Images (D, C, H, W) float32 -> (D, C, h, w): bilinear, antialiased where a side gets shorter."""
        return resample(slices, self.size)

    def shrink_labels(self, slices: np.ndarray) -> np.ndarray:
        """Class indices (D, H, W) uint8 -> (D, h, w).

        Each pixel takes the class with the largest fraction in the bilinear sample at its center (the argmax of the
        one-hot masks), which `restore` followed by argmax undoes best. Round trips of real labels: compact organs
        keep more than by nearest neighbors (heart at half size 0.950 to 0.942 Dice), scattered ones as much, and no
        class loses volume; antialiased or area fractions are a majority vote that erases small structures. Where two
        classes tie, as on every third border from 256 to 192 pixels and every second one at half size, they win in
        turn, in a checkerboard: if the first always won, background would eat into every structure. A class
        that a slice would lose altogether keeps the one pixel it covers most, other than the last pixel of another
        class; it is lost where it covers no other pixel.
        """
        if self.size == slices.shape[1:]:
            return np.ascontiguousarray(slices)
        parts = _chunks(len(slices), 8 * slices.shape[1] * slices.shape[2])
        return np.concatenate([_shrink_label_chunk(slices[part], self.size) for part in parts])

    def restore(self, probabilities: np.ndarray) -> np.ndarray:
        """Class probabilities (D, K, h, w) float32 of any number of slices -> (D, K, H, W), bilinear.

        The result is as large as it looks: hand in a few slices at a time, or use `restore_labels`.
        """
        return resample(probabilities, self.slice_shape[1:])

    def restore_labels(self, probabilities: np.ndarray) -> np.ndarray:
        """Class probabilities (D, K, h, w) -> class indices (D, H, W) uint8: resampled softly, argmax last."""
        return resampled_argmax(probabilities, self.slice_shape[1:])

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> SliceGrid:
        """The inverse of `to_json`, also after a trip through a JSON file."""
        return _validator().validate_python(facts)

    def _unflip(self, array: np.ndarray) -> np.ndarray:
        return array[tuple(slice(None, None, -1 if flip else None) for flip in self.flipped)]


@cache
def _validator() -> TypeAdapter[SliceGrid]:
    from pydantic import TypeAdapter

    return TypeAdapter(SliceGrid)


def _axes(affine: np.ndarray, orientation: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Stored axis behind each of D, H, W, and whether it is reversed."""
    if orientation == "native":
        return (2, 1, 0), (False, False, False)
    axes = slice_axes(affine)
    if axes is None:
        raise GeometryError("the affine leaves a voxel axis without a direction", found=np.asarray(affine).tolist())
    return axes


def _network_size(
    box: Box, spacing_dhw_mm: Sequence[float] | None, target_spacing_mm: float | None, fit: str, image_size: int
) -> tuple[int, int]:
    rows, columns = (stop - start for start, stop in box[1:])
    spacing_hw_mm = None if spacing_dhw_mm is None else spacing_dhw_mm[1:]
    if fit == "pad" and target_spacing_mm is not None:
        _check_resampling(rows, columns, spacing_hw_mm, target_spacing_mm)
    return network_size((rows, columns), spacing_hw_mm, fit=fit, image_size=image_size, spacing_mm=target_spacing_mm)


def _check_resampling(rows: int, columns: int, spacing_hw_mm: Sequence[float] | None, target_spacing_mm: float) -> None:
    """Raises `GeometryError` where slices have no pixel spacing or become too large."""
    if spacing_hw_mm is None:
        raise GeometryError(
            "no pixel spacing to resample from",
            found="a file without spacing",
            expected=f"slices at {target_spacing_mm:g} mm",
            remedy="Set data.spacing_mm: null for this dataset",
        )
    height, width = rows * spacing_hw_mm[0] / target_spacing_mm, columns * spacing_hw_mm[1] / target_spacing_mm
    if max(height, width) > max(_LARGEST_SIDE, rows, columns):
        raise GeometryError(
            "slices become too large",
            found=f"{height:.3g} x {width:.3g} pixels at {target_spacing_mm:g} mm",
            expected=f"sides of at most {_LARGEST_SIDE} pixels",
            remedy="Raise data.spacing_mm, or set it to null",
        )


def _chunks(count: int, bytes_each: int) -> Iterator[slice]:
    step = max(1, _CHUNK_BYTES // max(1, bytes_each))
    return (slice(start, min(count, start + step)) for start in range(0, count, step))


def _shrink_label_chunk(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N, H, W) uint8 -> (N, *size), class by class, so that no one-hot array of all classes is made."""
    winner = np.zeros((len(labels), *size), dtype=np.uint8)
    best = np.zeros(winner.shape, dtype=np.float32)
    takes_ties = np.indices(size).sum(axis=0) % 2 == 1  # (h, w)
    for value in np.unique(labels):
        fraction = resample((labels == value)[:, None], size, antialias=False)[:, 0]  # (N, h, w)
        lead = fraction - best
        winner[(lead > _TIE) | (takes_ties & (lead > -_TIE))] = value
        np.maximum(best, fraction, out=best)
    for label, kept in zip(labels, winner, strict=True):
        lost = np.setdiff1d(label, kept)
        for value in lost[lost > 0]:
            coverage = resample((label == value)[None, None], size)[0, 0]  # antialiased: no pixel of it is left out
            coverage[(kept > 0) & (np.bincount(kept.ravel())[kept] == 1)] = 0  # the last pixel of another class
            if coverage.any():
                kept.flat[coverage.argmax()] = value
    return winner
