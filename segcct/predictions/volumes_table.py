"""volumes.csv: what each predicted class measures in each case."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from segcct.images.volume import Volume
from segcct.inference.predictor import Segmented
from segcct.predictions.case_tables import VOLUMES, CaseTable, Rows

_AXES = ("x", "y", "z")
COLUMNS = (
    "class", "voxels", "ml", "mean_intensity", *(f"{axis}_{end}" for axis in _AXES for end in ("first", "last")),
    "touches_border", "mask",
)  # fmt: skip
"""ml: empty where the files hold no voxel size. mean_intensity: of the first channel, in its own units. x_first to
z_last: the bounding box, voxel indices of the stored volume from 0, both inclusive. touches_border: the class reaches
the first or last voxel of an axis, so that it may go on outside the image. mask: digest of the mask, as in
predictions.json. A class that is not there has 0 voxels and otherwise empty cells."""


def volumes_table(classes: Sequence[str]) -> CaseTable:
    """The table, for `predict_folder`.

    Args:
        classes: of the model, without background, in the order of their indices.
    """
    return CaseTable(VOLUMES, partial(volume_rows, tuple(classes)))


def volume_rows(classes: Sequence[str], segmented: Segmented) -> Rows:
    """A row for each class of a case."""
    return rows_of_labels(classes, segmented.full, segmented.grid)


def rows_of_labels(classes: Sequence[str], full: np.ndarray, grid: Volume) -> Rows:
    """A row for each class, where the class indices (X, Y, Z) lie on the grid of a scan."""
    from scipy import ndimage

    boxes = ndimage.find_objects(full, max_label=len(classes))
    rows = []
    for number, (name, box) in enumerate(zip(classes, boxes, strict=True), start=1):
        row = dict.fromkeys(COLUMNS, "") | {"class": name, "voxels": "0"}
        if grid.voxel_ml is not None:
            row["ml"] = "0"
        if box is not None:
            inside = full[box] == number
            voxels = int(inside.sum())
            row["voxels"] = str(voxels)
            row["ml"] = "" if grid.voxel_ml is None else f"{voxels * grid.voxel_ml:.4g}"
            if grid.array.shape == full.shape:
                row["mean_intensity"] = f"{grid.array[box].mean(dtype=np.float64, where=inside):.6g}"
            for axis, part in zip(_AXES, box, strict=True):
                row |= {f"{axis}_first": str(part.start), f"{axis}_last": str(part.stop - 1)}
            sides = [(part, size) for part, size in zip(box, full.shape, strict=True) if size > 1]
            row["touches_border"] = "yes" if any(part.start == 0 or part.stop == size for part, size in sides) else "no"
        rows.append(row)
    return rows
