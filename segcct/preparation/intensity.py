"""Intensity rules: from a file's own values to [0, 1], and the mean and standard deviation that standardize them.

Augmentation works in [0, 1] and standardization comes after it, so a rule gives both: a map to [0, 1] and, per
channel, the mean and standard deviation in those units. The arithmetic is that of exported models: segcct/runtime.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcct.config import IntensitySection
from segcct.errors import DataError
from segcct.runtime import UnitScale, other_background

_UNIT_TOLERANCE = 1e-3


def unit_scale(
    voxels: np.ndarray, rule: IntensitySection, *, mask: np.ndarray | None = None, file: Path | None = None
) -> UnitScale:
    """How one channel (X, Y, Z), any numbers, becomes [0, 1] by the rule.

    zscore_nonzero / zscore_mask: the 0.05 to 99.95 percentile range of the non-zero (masked) voxels becomes [0, 1],
    mean and standard deviation are those of the same voxels, all other voxels become 0. clip: [low, high] becomes
    [0, 1], with mean 0.5 and standard deviation 0.25 for every case. none: values are in [0, 1] already; mean and
    standard deviation over all voxels of the case.

    Args:
        mask: (X, Y, Z) bool, for zscore_mask.
        file: named in errors.

    Raises:
        DataError: values that are not finite, too far apart for a z-score, or outside [0, 1] under none; a mask that is
            missing or empty; a background other than 0 under zscore_nonzero.
    """
    lowest, highest = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise DataError("voxels that are not finite", file=file, found="NaN or infinity", expected="numbers")
    if rule.rule.startswith("zscore"):
        _refuse_too_far_apart(lowest, highest, file)
    if rule.rule == "none":
        _refuse_other_range(lowest, highest, file)
    elif rule.rule == "zscore_mask":
        mask = _checked_mask(mask, voxels.shape, file)
    elif rule.rule == "zscore_nonzero" and lowest != highest:
        _refuse_other_background(voxels, file)
    return UnitScale.fit(voxels, rule.rule, (rule.low or 0.0, rule.high or 0.0), mask)


def _refuse_too_far_apart(lowest: float, highest: float, file: Path | None) -> None:
    if highest - lowest > float(np.finfo(np.float32).max):  # they are scaled in float32, and would become NaN
        raise DataError(
            "intensities too far apart",
            file=file,
            found=f"{lowest:g} to {highest:g}",
            expected="numbers whose differences are below 3.4e38",
            remedy="Set voxels that stand for missing values to 0",
        )


def _refuse_other_range(lowest: float, highest: float, file: Path | None) -> None:
    if lowest < -_UNIT_TOLERANCE or highest > 1 + _UNIT_TOLERANCE:
        raise DataError(
            "intensities outside [0, 1]",
            file=file,
            found=f"{lowest:g} to {highest:g}",
            expected="values in [0, 1] under data.intensity.rule none",
            remedy="Use rule clip with data.intensity.low and high, or zscore_nonzero",
        )


def _checked_mask(mask: np.ndarray | None, shape: tuple[int, ...], file: Path | None) -> np.ndarray:
    if mask is None:
        raise DataError(
            "no mask to normalize over",
            file=file,
            expected="a mask volume, under data.intensity.rule zscore_mask",
            remedy="Set data.intensity.mask to the pattern of the mask files",
        )
    if mask.shape != shape or not mask.any():
        raise DataError(
            "the mask to normalize over is empty or of another shape",
            file=file,
            found=f"{int(mask.sum())} voxels, shape {mask.shape}",
            expected=f"at least one voxel, shape {shape}",
        )
    return mask.astype(bool)


def _refuse_other_background(voxels: np.ndarray, file: Path | None) -> None:
    """Raises `DataError` where the volume's faces show a constant background other than 0."""
    found = other_background(voxels)
    if found is None:
        return
    background, share = found
    raise DataError(
        "the background is not 0",
        file=file,
        found=f"{share:.0%} of the voxels are {background:g}",
        expected="0 outside the head or body under data.intensity.rule zscore_nonzero",
        remedy="Use data.intensity.rule: zscore_mask with a mask file (data.intensity.mask), or clip",
    )
