"""Intensity rules: from a file's own values to [0, 1], and the mean and standard deviation that standardize them.

Augmentation works in [0, 1] and standardization comes after it, so a rule gives both: a map to [0, 1] and, per
channel, the mean and standard deviation in those units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.config import IntensitySection
from segcct.errors import DataError

RANGE_PERCENT = (0.05, 99.95)
"""Percentiles of the foreground that become 0 and 1 under the z-score rules; values outside are clipped."""
CLIP_MEAN, CLIP_STD = 0.5, 0.25
"""Standardization under `clip`: the same for every case, because calibrated units (HU) must keep their meaning."""
_PERCENTILE_VOXELS = 4_000_000
_MOMENT_VOXELS = 2**20
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class UnitScale:
    """The map of one channel to [0, 1]: fitted to all of it, applied to any part, so that no second volume is held."""

    rule: str
    low: float
    """What becomes 0."""
    high: float
    """What becomes 1."""
    mean: float
    """Mean that standardizes, in units of [0, 1]."""
    std: float
    """Standard deviation that standardizes, above 0; 1 for a channel of one value."""

    def unit(self, voxels: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Any part of the channel, with the same part of the mask for zscore_mask -> float32 in [0, 1]."""
        if self.rule == "none":
            return np.clip(voxels, 0, 1, dtype=np.float32)
        unit = _scaled(voxels, self.low, self.high)
        if self.rule != "clip":
            unit[~self.foreground(voxels, mask)] = 0
        return unit

    def foreground(self, voxels: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Foreground of such a part, bool: what `data.crop: foreground` keeps."""
        if self.rule == "zscore_nonzero":
            return voxels != 0
        if self.rule == "zscore_mask":
            assert mask is not None  # `unit_scale` needs it too
            return mask.astype(bool, copy=False)
        return self.unit(voxels) > 0


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
        DataError: values that are not finite, outside [0, 1] under none; a mask that is missing or empty; a
            background other than 0 under zscore_nonzero.
    """
    lowest, highest = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise DataError("voxels that are not finite", file=file, found="NaN or infinity", expected="numbers")
    if rule.rule == "clip":
        if rule.low is None or rule.high is None:
            raise DataError("rule clip without bounds", expected="data.intensity.low and data.intensity.high")
        return UnitScale(rule.rule, rule.low, rule.high, CLIP_MEAN, CLIP_STD)
    if rule.rule == "none":
        return _as_it_is(voxels, lowest, highest, file)
    if rule.rule == "zscore_mask":
        foreground = _checked_mask(mask, voxels.shape, file)
    else:
        foreground = voxels != 0
        if lowest != highest:
            _refuse_other_background(voxels, file)
    return _over_foreground(voxels[foreground], rule.rule)


def _over_foreground(inside: np.ndarray, rule: str) -> UnitScale:
    """The scale of a channel by its foreground voxels (N,), an array that may be overwritten."""
    if not inside.size:  # a channel of zeros
        return UnitScale(rule, 0.0, 1.0, 0.0, 1.0)
    stride = max(1, inside.size // _PERCENTILE_VOXELS)
    sample = inside[::stride].astype(np.float32, copy=False)
    low, high = (float(bound) for bound in np.percentile(sample, RANGE_PERCENT))
    mean, std = _moments(_scaled(inside, low, high, overwrite=True))
    return UnitScale(rule, low, high, mean, std)


def _as_it_is(voxels: np.ndarray, lowest: float, highest: float, file: Path | None) -> UnitScale:
    if lowest < -_UNIT_TOLERANCE or highest > 1 + _UNIT_TOLERANCE:
        raise DataError(
            "intensities outside [0, 1]",
            file=file,
            found=f"{lowest:g} to {highest:g}",
            expected="values in [0, 1] under data.intensity.rule none",
            remedy="Use rule clip with data.intensity.low and high, or zscore_nonzero",
        )
    mean, std = _moments(np.clip(voxels, 0, 1, dtype=np.float32).ravel(order="K"))
    return UnitScale("none", 0.0, 1.0, mean, std)


def _scaled(voxels: np.ndarray, low: float, high: float, *, overwrite: bool = False) -> np.ndarray:
    """[low, high] -> [0, 1], clipped, float32; a range of one value -> 1."""
    if low == high:
        return (voxels >= high).astype(np.float32)
    scaled = voxels.astype(np.float32, copy=not overwrite)
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    return np.clip(scaled, 0, 1, out=scaled)


def _moments(unit: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of (N,) float32, in double precision without a copy in it."""
    mean = float(unit.mean(dtype=np.float64))
    parts = (unit[start : start + _MOMENT_VOXELS] for start in range(0, unit.size, _MOMENT_VOXELS))
    std = math.sqrt(math.fsum(float(np.square(part - np.float64(mean)).sum()) for part in parts) / unit.size)
    return mean, std if std > 1e-6 else 1.0


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
