"""One structure in a prediction and in its reference, with everything that the metrics are computed from.

The masks are cropped to the box around both, and each costly part (counts, surface distances) is computed once,
when first asked for, however many metrics and conventions read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import ndimage

from segcct.errors import MetricError
from segcct.metrics.overlap import Counts, counts, masks_of_one_shape, of_one_shape
from segcct.metrics.surface_distances import SurfaceDistances, check_spacing, distances_between

Status = Literal["ok", "missed", "spurious", "absent"]
Box = tuple[slice, ...]


@dataclass(frozen=True)
class MaskPair:
    """A structure's two masks, cropped to the box around both (one voxel where both are empty)."""

    prediction: np.ndarray
    reference: np.ndarray
    spacing_mm: tuple[float, ...] | None
    image_shape: tuple[int, ...]
    """Shape of the whole image, without axes of length one."""
    tolerance_mm: float = 2.0
    """Of the surface Dice."""
    voxel_mm3: float | None = None
    """Volume of a voxel, its extent along axes of length one included; None without spacing."""

    @classmethod
    def of(
        cls,
        prediction: np.ndarray,
        reference: np.ndarray,
        spacing_mm: Sequence[float] | None = None,
        tolerance_mm: float = 2.0,
    ) -> MaskPair:
        """Two masks (bool, or 0 and 1) of one shape, 1-D to 3-D. Raises `MetricError` on anything else."""
        prediction, reference = masks_of_one_shape(prediction, reference)
        box = _around([box for mask in (prediction, reference) if (box := bounding_box(mask))], prediction.ndim)
        return cls._of_crops(prediction[box], reference[box], prediction.shape, spacing_mm, tolerance_mm, None)

    @classmethod
    def _of_crops(
        cls,
        prediction: np.ndarray,
        reference: np.ndarray,
        image_shape: tuple[int, ...],
        spacing_mm: Sequence[float] | None,
        tolerance_mm: float,
        voxel_mm3: float | None,
    ) -> MaskPair:
        # An axis of length one is the third dimension of a 2-D image: with it, every voxel would count as border.
        axes = [axis for axis, length in enumerate(image_shape) if length > 1] or [0]
        if len(axes) > 3:
            raise MetricError("masks of more than three dimensions are not images", found=image_shape)
        spacing = None if spacing_mm is None else check_spacing(spacing_mm, len(image_shape))
        inner = tuple(prediction.shape[axis] for axis in axes)
        return cls(
            np.ascontiguousarray(prediction).reshape(inner),
            np.ascontiguousarray(reference).reshape(inner),
            None if spacing is None else tuple(spacing[axis] for axis in axes),
            tuple(image_shape[axis] for axis in axes),
            tolerance_mm,
            None if spacing is None else voxel_mm3 or math.prod(spacing),
        )

    @cached_property
    def counts(self) -> Counts:
        """Voxel counts over the whole image."""
        return counts(self.prediction, self.reference, voxels=math.prod(self.image_shape))

    @cached_property
    def status(self) -> Status:
        """`ok`; `missed`: only the reference has it; `spurious`: only the prediction has it; `absent`: neither."""
        if self.counts.reference == 0:
            return "spurious" if self.counts.prediction else "absent"
        return "ok" if self.counts.prediction else "missed"

    @cached_property
    def distances_mm(self) -> SurfaceDistances | None:
        """Surface distances in mm; None without spacing, or when a mask is empty."""
        if self.spacing_mm is None or self.status != "ok":
            return None
        return distances_between(self.prediction, self.reference, self.spacing_mm)

    @cached_property
    def distances_vox(self) -> SurfaceDistances | None:
        """Surface distances in voxels, each axis in steps of 1; None when a mask is empty."""
        if self.status != "ok":
            return None
        if self.spacing_mm is not None and set(self.spacing_mm) == {1.0}:
            return self.distances_mm
        return distances_between(self.prediction, self.reference, (1.0,) * self.prediction.ndim)

    @property
    def diagonal_mm(self) -> float | None:
        """Length of the image's diagonal; None without spacing."""
        if self.spacing_mm is None:
            return None
        return math.hypot(*(n * size for n, size in zip(self.image_shape, self.spacing_mm, strict=True)))

    @property
    def diagonal_vox(self) -> float:
        """Length of the image's diagonal in voxels."""
        return math.hypot(*self.image_shape)


def label_pairs(
    prediction: np.ndarray,
    reference: np.ndarray,
    structures: Mapping[str, Sequence[int]],
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 2.0,
    voxel_mm3: float | None = None,
) -> Iterator[tuple[str, MaskPair]]:
    """One pair per structure of two label maps (integers, one shape), in turn, so that one at a time is in memory.

    A structure is the union of its label values, each 1 or more; structures may overlap. The maps are searched once for
    all of them. `voxel_mm3` is the volume of a voxel; default: the product of the spacings, which is too large on a
    sheared grid. Raises `MetricError` for other values, shapes or types.
    """
    prediction, reference = of_one_shape(prediction, reference)
    boxes = [_label_boxes(labels) for labels in (prediction, reference)]
    for name, values in structures.items():
        if min(values, default=0) < 1:
            raise MetricError(
                f"structure {name} is not made of label values", found=list(values), expected="values of 1 or more"
            )
        box = _around([of_value[value] for of_value in boxes for value in values if value in of_value], prediction.ndim)
        inside = _members(prediction[box], values), _members(reference[box], values)
        yield name, MaskPair._of_crops(*inside, prediction.shape, spacing_mm, tolerance_mm, voxel_mm3)


def _members(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    mask: np.ndarray = labels == values[0]
    for value in values[1:]:
        mask |= labels == value
    return mask


def _label_boxes(labels: np.ndarray) -> dict[int, Box]:
    """Label value -> the box around it, for every value above 0."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise MetricError("label maps hold whole numbers", found=labels.dtype, expected="an integer array")
    # In the order of memory, as NIfTI volumes are not in that of their axes: ten times as fast.
    order = _memory_order(labels)
    boxes = enumerate(ndimage.find_objects(labels.transpose(order)), start=1)
    return {value: tuple(box[order.index(axis)] for axis in range(labels.ndim)) for value, box in boxes if box}


def _memory_order(array: np.ndarray) -> list[int]:
    """The axes, from that of the largest steps in memory to that of neighbors."""
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))


def bounding_box(mask: np.ndarray) -> Box | None:
    """The box around a mask; None if it is empty. The axes are searched in memory order, each within the box found so
    far."""
    box = [slice(0, length) for length in mask.shape]
    for axis in _memory_order(mask):
        inner = mask[tuple(box)]
        hit = np.flatnonzero(inner.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not hit.size:
            return None
        box[axis] = slice(int(hit[0]), int(hit[-1]) + 1)
    return tuple(box)


def _around(boxes: Sequence[Box], ndim: int) -> Box:
    """The box around several boxes; the first voxel if there are none."""
    if not boxes:
        return (slice(0, 1),) * ndim
    return tuple(
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(ndim)
    )
