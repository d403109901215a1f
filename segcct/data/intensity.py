"""Intensity rules: from a file's own values to [0, 1], and the mean and spread that standardise them.

Augmentation works in [0, 1] and standardisation comes after it, so a rule gives both: a map to [0, 1] and, per
channel, the mean and standard deviation in those units.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.config import IntensitySection
from segcct.errors import DataError

RANGE_PERCENT = (0.05, 99.95)
"""Percentiles of the foreground that become 0 and 1 under the z-score rules; what lies outside is clipped."""
CLIP_MEAN, CLIP_SD = 0.5, 0.25
"""Standardisation under `clip`: the same for every case, because calibrated units (HU) must keep their meaning."""
_PERCENTILE_VOXELS = 4_000_000
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class UnitChannel:
    """One channel in [0, 1]."""

    unit: np.ndarray
    """(X, Y, Z) float32 in [0, 1]; 0 outside the foreground."""
    mean: float
    """Mean that standardises, in units of `unit`."""
    sd: float
    """Standard deviation that standardises, above 0; 1 for a channel of one value."""
    foreground: np.ndarray
    """(X, Y, Z) bool: where the channel shows something; what `data.crop: foreground` keeps."""


def to_unit(
    voxels: np.ndarray, rule: IntensitySection, *, mask: np.ndarray | None = None, file: Path | None = None
) -> UnitChannel:
    """One channel (X, Y, Z), any numbers, in [0, 1] by the rule.

    zscore_nonzero / zscore_mask: the 0.05 to 99.95 percentile range of the non-zero (masked) voxels becomes [0, 1],
    mean and sd are those of the same voxels, all other voxels become 0. clip: [low, high] becomes [0, 1], mean 0.5
    and sd 0.25 for every case. none: values are in [0, 1] already; mean and sd over all voxels of the case.

    Args:
        mask: (X, Y, Z) bool, for zscore_mask.
        file: named in errors.

    Raises:
        DataError: values that are not finite, outside [0, 1] under none; a mask that is missing or empty; a
            background other than 0 under zscore_nonzero.
    """
    lowest, highest = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise DataError("voxels that are not finite", file=file, found="NaN or infinity", expected="numbers")
    if rule.rule == "clip":
        if rule.low is None or rule.high is None:
            raise DataError("rule clip without bounds", expected="data.intensity.low and data.intensity.high")
        unit = _scaled(voxels, rule.low, rule.high)
        return UnitChannel(unit, CLIP_MEAN, CLIP_SD, unit > 0)
    if rule.rule == "none":
        return _as_it_is(voxels, lowest, highest, file)
    if rule.rule == "zscore_mask":
        foreground = _checked_mask(mask, voxels.shape, file)
    else:
        foreground = voxels != 0
        if lowest != highest:
            _refuse_other_background(voxels, file)
    return _over_foreground(voxels, foreground)


def _over_foreground(voxels: np.ndarray, foreground: np.ndarray) -> UnitChannel:
    inside = voxels[foreground]
    if not inside.size:  # a channel of zeros
        return UnitChannel(np.zeros(voxels.shape, dtype=np.float32), 0.0, 1.0, foreground)
    stride = max(1, inside.size // _PERCENTILE_VOXELS)
    low, high = (float(bound) for bound in np.percentile(inside[::stride], RANGE_PERCENT))
    unit = _scaled(voxels, low, high)
    unit[~foreground] = 0
    mean, sd = _moments(unit[foreground])
    return UnitChannel(unit, mean, sd, foreground)


def _as_it_is(voxels: np.ndarray, lowest: float, highest: float, file: Path | None) -> UnitChannel:
    if lowest < -_UNIT_TOLERANCE or highest > 1 + _UNIT_TOLERANCE:
        raise DataError(
            "intensities outside [0, 1]",
            file=file,
            found=f"{lowest:g} to {highest:g}",
            expected="values in [0, 1] under data.intensity.rule none",
            remedy="Use rule clip with data.intensity.low and high, or zscore_nonzero",
        )
    unit = np.clip(voxels, 0, 1, dtype=np.float32)
    mean, sd = _moments(unit)
    return UnitChannel(unit, mean, sd, unit > 0)


def _scaled(voxels: np.ndarray, low: float, high: float) -> np.ndarray:
    """[low, high] -> [0, 1], clipped; a range of one value -> 1."""
    if low == high:
        return (voxels >= high).astype(np.float32)
    scaled = voxels.astype(np.float32) - np.float32(low)
    scaled /= np.float32(high - low)
    return np.clip(scaled, 0, 1, out=scaled)


def _moments(unit: np.ndarray) -> tuple[float, float]:
    mean, sd = float(unit.mean(dtype=np.float64)), float(unit.std(dtype=np.float64))
    return mean, sd if sd > 1e-6 else 1.0


def _checked_mask(mask: np.ndarray | None, shape: tuple[int, ...], file: Path | None) -> np.ndarray:
    if mask is None:
        raise DataError(
            "no mask to normalise over",
            file=file,
            expected="a mask volume beside it, under data.intensity.rule zscore_mask",
            remedy="Set data.intensity.mask to the pattern of the mask files",
        )
    if mask.shape != shape or not mask.any():
        raise DataError(
            "the mask to normalise over is empty or of another shape",
            file=file,
            found=f"{int(mask.sum())} voxels, shape {mask.shape}",
            expected=f"at least one voxel, shape {shape}",
        )
    return mask.astype(bool)


def _refuse_other_background(voxels: np.ndarray, file: Path | None) -> None:
    """Raise where the volume's faces show that its background is a constant other than 0."""
    faces = [np.take(voxels, index, axis=axis).ravel() for axis in range(voxels.ndim) for index in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    background = values[counts.argmax()]
    if background == 0 or counts.max() <= counts.sum() / 2 or np.mean(voxels == background) < 0.1:
        return
    raise DataError(
        "the background is not 0",
        file=file,
        found=f"{np.mean(voxels == background):.0%} of the voxels are {float(background):g}",
        expected="0 outside the head or body under data.intensity.rule zscore_nonzero",
        remedy="Use data.intensity.rule: zscore_mask with a mask file (data.intensity.mask), or clip",
    )
