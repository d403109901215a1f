"""From a loaded case to what a network sees, in training and prediction alike.

Per case: intensities to [0, 1] by the rule, slices by the grid, resampled in their plane, stored as float16 with the
mean and standard deviation of each channel, which are applied after augmentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from segcct.datasets.case import LoadedCase
from segcct.datasets.label_schemes import Scheme
from segcct.errors import GeometryError, LabelError
from segcct.images.volume import Volume
from segcct.preparation.intensity import unit_scale
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.slice_grid import SliceGrid
from segcct.runtime import UnitScale

if TYPE_CHECKING:
    from segcct.figures import Plane


@dataclass(frozen=True)
class PreparedCase:
    """One case as the network sees it, in memory or in the cache; pickles as a path when it is in the cache."""

    case_id: str
    patient: str
    arrays: Mapping[str, np.ndarray]
    """image, and for a case with a label: label, full_label, shown."""
    mean: np.ndarray
    """(C,) float32, in [0, 1] units."""
    std: np.ndarray
    """(C,) float32, above 0."""
    grid: SliceGrid
    spacing_mm: tuple[float, float, float] | None
    """Voxel size of the stored volume along X, Y, Z; None where the files hold none."""
    affine: np.ndarray
    """(4, 4) float64, voxel index of the stored volume -> RAS position in mm."""
    present: np.ndarray | None
    """(D, K) bool: which classes (column 0 is background) a slice of `label` holds."""

    @property
    def image(self) -> np.ndarray:
        """(D, C, h, w) float16 in [0, 1]; a read-only memory map when it comes from the cache."""
        return self.arrays["image"]

    @property
    def label(self) -> np.ndarray | None:
        """(D, h, w) uint8 class indices at the network's scale."""
        return self.arrays.get("label")

    @property
    def full_label(self) -> np.ndarray | None:
        """(X, Y, Z) uint8 class indices on the input's own grid: what predictions are scored against."""
        return self.arrays.get("full_label")

    @property
    def plane(self) -> Plane:
        """The plane in which the stored volume is shown."""
        from segcct.figures import plane_of

        return plane_of(self.grid.shape_xyz, self.affine, self.spacing_mm)

    @property
    def shown(self) -> np.ndarray | None:
        """(H, W) float32: the slice with most structure in `plane`, of the first channel in its own intensities."""
        return self.arrays.get("shown")

    def thinned(self) -> np.ndarray:
        """(d, C, h, w): every second row and column of at most 16 evenly spaced slices, which is enough to measure
        intensities."""
        places = np.unique(np.linspace(0, len(self.image) - 1, 16).round().astype(int))
        return np.asarray(self.image[places, :, ::2, ::2])

    def standardize(self, image: np.ndarray) -> np.ndarray:
        """(..., C, h, w) in [0, 1] -> float32 with mean 0 and standard deviation 1 over the case's foreground."""
        return np.asarray((image.astype(np.float32) - self.mean[:, None, None]) / self.std[:, None, None])


def prepare_case(loaded: LoadedCase, preparation: Preparation, scheme: Scheme) -> PreparedCase:
    """The network's view of one case, held in memory; with labels when the case has them.

    Raises:
        DataError: intensities or mask do not fit the rule.
        GeometryError: the case cannot be resampled to the target spacing.
        LabelError: a label value is not in the scheme. Each error names the file.
    """
    case = loaded.case
    scales = [
        unit_scale(voxels, preparation.intensity, mask=loaded.mask, file=files[0])
        for voxels, files in zip(loaded.image, case.channels.values(), strict=True)
    ]
    grid = _plan(loaded, preparation, scales)
    arrays = {"image": _network_slices(loaded, scales, grid)}
    present = None
    if loaded.label is not None:
        arrays |= _label_arrays(loaded, grid, scheme)
        present = np.stack([(arrays["label"] == index).any(axis=(1, 2)) for index in range(scheme.num_classes)], axis=1)
    mean, std = np.asarray([(scale.mean, scale.std) for scale in scales], dtype=np.float32).T
    spacing_mm, affine = loaded.grid.spacing_mm, loaded.grid.affine
    prepared = PreparedCase(case.id, case.patient, arrays, mean, std, grid, spacing_mm, affine, present)
    if prepared.full_label is not None:
        from segcct.figures import best_slice

        plane = prepared.plane
        index = best_slice(plane.slices(prepared.full_label), None)
        arrays["shown"] = np.ascontiguousarray(plane.slices(loaded.image[0])[index])
    return prepared


def plan_grid(scan: Volume, preparation: Preparation, box_of: np.ndarray | None = None) -> SliceGrid:
    """The grid of a scan by `SliceGrid.plan`, cropped to what is true in `box_of` (X, Y, Z)."""
    return SliceGrid.plan(
        scan.shape,
        scan.affine,
        scan.spacing_mm,
        orientation=preparation.orientation,
        box_of=box_of,
        target_spacing_mm=preparation.spacing_mm,
        fit=preparation.fit,
        image_size=preparation.image_size,
    )


def _plan(loaded: LoadedCase, preparation: Preparation, scales: Sequence[UnitScale]) -> SliceGrid:
    box_of = None
    if preparation.crop == "foreground":
        box_of = np.zeros(loaded.image.shape[1:], dtype=bool)
        for voxels, scale in zip(loaded.image, scales, strict=True):
            box_of |= scale.foreground(voxels, loaded.mask)
    try:
        return plan_grid(loaded.grid, preparation, box_of)
    except GeometryError as error:
        error.file = error.file or str(next(iter(loaded.case.channels.values()))[0])
        raise


def _network_slices(loaded: LoadedCase, scales: Sequence[UnitScale], grid: SliceGrid) -> np.ndarray:
    """(D, C, h, w) float16, a few slices of a channel at a time, so that no channel is held in float32 once more."""
    image = np.empty((grid.slice_shape[0], len(scales), *grid.size), dtype=np.float16)
    mask = None if loaded.mask is None else grid.to_slices(loaded.mask)
    for index, (voxels, scale) in enumerate(zip(loaded.image, scales, strict=True)):
        slices = grid.to_slices(voxels)
        for part in grid.parts():
            unit = scale.unit(slices[part], None if mask is None else mask[part])
            image[part, index] = grid.shrink(unit[:, None])[:, 0]
    return image


def _label_arrays(loaded: LoadedCase, grid: SliceGrid, scheme: Scheme) -> dict[str, np.ndarray]:
    assert loaded.label is not None
    try:
        full = scheme.to_index(loaded.label)
    except LabelError as error:
        error.file = error.file or (str(loaded.case.label[0]) if loaded.case.label else None)
        raise
    return {"label": grid.shrink_labels(grid.to_slices(full)), "full_label": full}
