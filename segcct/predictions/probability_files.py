"""`segcct predict --probabilities`: a volume per class on the scan's own grid.

NIfTI has no 16-bit floating point, so probabilities are stored as 16-bit integers of which one is 1 / 65535, by the
scale in the header; every reader gives them as fractions. That is finer than the float16 in which they are kept.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from segcct.datasets.label_schemes import Scheme
from segcct.images.volume import Volume
from segcct.inference.predictor import Segmented
from segcct.predictions.case_files import PROBABILITIES

LEVELS = 65535
_AT_ONCE = 16
"""Slices that are resampled at a time."""
_LONGEST = 60
"""Characters of a class in a file name."""


def probability_volume(segmented: Segmented, index: int) -> np.ndarray:
    """(X, Y, Z) uint16: the probability of a class times 65535, 0 outside the crop; one class at a time in memory."""
    grid, kept = segmented.prepared.grid, segmented.soft.probabilities  # (D, K, h, w)
    volume = np.zeros(grid.shape_xyz, dtype=np.uint16, order="F")
    slices = grid.to_slices(volume)  # a view
    for start in range(0, len(kept), _AT_ONCE):
        part = kept[start : start + _AT_ONCE, index : index + 1].astype(np.float32)
        slices[start : start + _AT_ONCE] = np.rint(grid.restore(part)[:, 0].clip(0, 1) * LEVELS)
    return volume


def save_probabilities(segmented: Segmented, grid: Volume, output: Path, name: str, scheme: Scheme) -> list[str]:
    """Write `probabilities/NAME/VALUE_CLASS.nii.gz` of every class but background, one after the other, atomically;
    gives these names.

    Args:
        segmented: a case whose probabilities were kept.
        grid: the scan's, with the header that the files get.
        output: the folder of the masks.
        name: that of the mask.
        scheme: the classes.
    """
    written = []
    for index, (of_class, value) in enumerate(scheme.classes.items(), start=1):
        plain = re.sub(r"[^\w.-]+", "_", of_class)[:_LONGEST]  # a class may have any name
        volume = grid.with_array(probability_volume(segmented, index))
        written.append(f"{PROBABILITIES}/{name}/{value}_{plain}.nii.gz")
        volume.save(output / written[-1], slope=1 / LEVELS)
    return written
