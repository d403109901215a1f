"""Features from a generator: the residual of its image, and the Dice of the mask segmented from that image.

By the measurements of quality.py they add nothing to the features of the segmenter, so `segcct calibrate` has none.
"""

from __future__ import annotations

import numpy as np

from segcct.inference.cycle import CycleOfScan, resampled
from segcct.inference.reconstructor import Reconstruction
from segcct.metrics.defined_values import mean_of
from segcct.metrics.image import border_band
from segcct.preparation.conditioning import one_hot
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_grid import SliceGrid
from segcct.quality.features import CaseFeatures

M2I_GROUPS = {
    "m2i_residual": ("m2i_foreground", "m2i_border", "m2i_contrast"),
    "m2i_cycle": ("m2i_cycle", "m2i_cycle_others"),
}
M2I_FEATURES = tuple(name for names in M2I_GROUPS.values() for name in names)
_FLOOR = 1e-3


def with_m2i(features: CaseFeatures, seen: CycleOfScan) -> CaseFeatures:
    """The features of a case, with those of the generator added."""
    prepared, index = seen.segmented.prepared, seen.segmented.soft.index
    residual = residual_of(prepared, seen.made)
    again = _moved(seen.again, seen.made.grid, prepared.grid, len(features) + 1)
    found: CaseFeatures = {}
    for number, (name, own) in enumerate(features.items(), start=1):
        mask, recovered = index == number, again == number
        if own is None:
            found[name] = None
        elif not mask.any():  # predicted on the scan's grid alone
            found[name] = {**own, **dict.fromkeys(M2I_FEATURES)}
        else:
            cycle = float(2 * (mask & recovered).sum() / (mask.sum() + recovered.sum()))
            found[name] = {**own, **residual_signals(residual, mask), "m2i_cycle": cycle}
    for name, own in found.items():
        if own is not None:
            others = [each for other, each in found.items() if other != name and each is not None]
            own["m2i_cycle_others"] = mean_of(each["m2i_cycle"] for each in others)
    return found


def residual_of(prepared: PreparedCase, made: Reconstruction) -> np.ndarray:
    """(D, h, w) on the segmenter's slices: image minus reconstruction, as root mean square over channels.

    In standard deviations of the image.
    """
    difference = (made.original - made.image) / prepared.std[:, None, None]
    residual: np.ndarray = np.sqrt(np.square(difference).mean(axis=1))
    if made.grid == prepared.grid:
        return residual
    return resampled(residual[:, None], made.grid, prepared.grid)[:, 0]


def residual_signals(residual: np.ndarray, mask: np.ndarray) -> dict[str, float | None]:
    """Root mean square residual in the mask and in its border band, and the logarithm of the ratio border to slices.

    In the ratio, effects of scanner and contrast on whole slices cancel.
    """
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    residual, mask = (each[slices[0] : slices[-1] + 1] for each in (residual, mask))
    border = _rms(residual[border_band(mask)])
    return {
        "m2i_foreground": _rms(residual[mask]),
        "m2i_border": border,
        "m2i_contrast": float(np.log((border + _FLOOR) / (_rms(residual) + _FLOOR))),
    }


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values.astype(float) ** 2)))


def _moved(index: np.ndarray, source: SliceGrid, target: SliceGrid, classes: int) -> np.ndarray:
    """Class indices resampled to another grid of the same volume."""
    if source == target:
        return index
    return resampled(one_hot(index, classes), source, target).argmax(axis=1).astype(np.uint8)
