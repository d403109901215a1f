"""The named signals of one case and class: numbers that may tell how good a mask is without a reference.

All are taken at the network's scale, where probabilities and prediction share one grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from segcct.metrics.image import BAND_PX, border_band
from segcct.quality.shape import off_centre, shape_signals

GROUPS: dict[str, tuple[str, ...]] = {
    "entropy": (
        "entropy_foreground",
        "entropy_border",
        "expected_dice",
        "expected_dice_all",
        "expected_dice_others",
    ),
    "flips": ("flip_agreement", "flip_expected_dice", "flip_agreement_all", "flip_agreement_others"),
    "rotations": (
        "rotation_agreement",
        "rotation_expected_dice",
        "rotation_agreement_all",
        "rotation_agreement_others",
    ),
    "volume": ("volume_ml", "volume_voxels"),
    "shape": (
        "components",
        "largest_share",
        "compactness",
        "slice_agreement",
        "slice_gaps",
        "extent",
        "area_jump",
        "thickness",
        "off_centre",
    ),
}
"""Signals by where they come from; leave-one-out tables take away one group at a time. Names that end in `_all` are of
all classes together, in `_others` the mean over the case's other classes: what is wrong with one class of a case is
often wrong with the others."""
SIGNALS = tuple(name for group in GROUPS.values() for name in group)
_SUFFIX = "_others"
_OTHERS = tuple(name for name in SIGNALS if name.endswith(_SUFFIX))
_TINY = 1e-7


@dataclass(frozen=True)
class Evidence:
    """What is known of one predicted case, at the network's scale."""

    probabilities: np.ndarray
    """(D, K, h, w), background first."""
    flips: tuple[np.ndarray, ...] = ()
    """(D, K, h, w) probabilities predicted from flipped slices, flipped back."""
    rotations: tuple[np.ndarray, ...] = ()
    """The same from slices turned by a quarter."""
    volumes: Mapping[int, tuple[int, float | None]] = field(default_factory=dict)
    """Class index -> voxels on the scan's own grid, and ml (None without spacing)."""

    @property
    def index(self) -> np.ndarray:
        """(D, h, w) uint8 class indices."""
        return self.probabilities.argmax(axis=1).astype(np.uint8)


def signals_of(evidence: Evidence, index: np.ndarray, class_index: int) -> dict[str, float | None] | None:
    """Every signal of one class; None for a signal that is not defined, and None altogether for an empty mask.

    Args:
        evidence: of the case.
        index: its `evidence.index`, made once for all classes.
        class_index: 1 and up.
    """
    mask = index == class_index
    if not mask.any():
        return None
    box = _box(mask, BAND_PX + 2)
    return {
        **dict.fromkeys(SIGNALS),
        **_softmax_signals(evidence.probabilities, mask, box, class_index),
        "expected_dice_all": _expected(1 - evidence.probabilities[:, 0], index > 0),
        **_view_signals("flip", evidence.flips, index, class_index),
        **_view_signals("rotation", evidence.rotations, index, class_index),
        **_volume_signals(evidence.volumes.get(class_index)),
        **shape_signals(mask[:, box[1], box[2]]),
        "off_centre": off_centre(mask, index > 0),
    }


def with_others(signals: dict[str, dict[str, float | None] | None]) -> dict[str, dict[str, float | None] | None]:
    """The signals of a case with those named `_others` filled in; not defined where no other class was predicted."""
    filled: dict[str, dict[str, float | None] | None] = {}
    for name, own in signals.items():
        others = [each for other, each in signals.items() if other != name and each is not None]
        filled[name] = None if own is None else {**own, **{each: _mean_of(others, each) for each in _OTHERS}}
    return filled


def _mean_of(others: list[dict[str, float | None]], name: str) -> float | None:
    known = [value for each in others if (value := each[name.removesuffix(_SUFFIX)]) is not None]
    return float(np.mean(known)) if known else None


def _softmax_signals(
    probabilities: np.ndarray, mask: np.ndarray, box: tuple[slice, ...], class_index: int
) -> dict[str, float | None]:
    """Entropy over the classes as a share of its largest value, and the Dice that the probabilities expect."""
    shown = probabilities[box[0], :, box[1], box[2]].astype(np.float32)
    entropy = -(shown * np.log(shown + _TINY)).sum(axis=1) / np.log(shown.shape[1])  # (d, h, w)
    part = mask[box]
    own = probabilities[:, class_index]
    return {
        "entropy_foreground": float(entropy[part].mean()),
        "entropy_border": float(entropy[border_band(part)].mean()),
        "expected_dice": _expected(own, mask),
    }


def _view_signals(
    name: str, views: tuple[np.ndarray, ...], index: np.ndarray, class_index: int
) -> dict[str, float | None]:
    """Agreement of the mask with other views: Dice of masks, Dice expected by their mean probability, and Dice of all
    classes together."""
    if not views:
        return {}
    mask = index == class_index
    masks = [view.argmax(axis=1) for view in views]
    mean = np.mean([view[:, class_index].astype(np.float32) for view in views], axis=0)
    return {
        f"{name}_agreement": float(np.mean([_dice(mask, other == class_index) for other in masks])),
        f"{name}_expected_dice": _expected(mean, mask),
        f"{name}_agreement_all": float(np.mean([_dice(index > 0, other > 0) for other in masks])),
    }


def _expected(probability: np.ndarray, mask: np.ndarray) -> float:
    """If each voxel held the class with its own probability p, the Dice of the mask would be near
    2 sum(p in the mask) / (sum(p) + voxels of the mask)."""
    inside = probability[mask].sum(dtype=float)
    return float(2 * inside / (probability.sum(dtype=float) + mask.sum()))


def _dice(mask: np.ndarray, other: np.ndarray) -> float:
    """`mask` holds at least one voxel."""
    return float(2 * (mask & other).sum() / (mask.sum() + other.sum()))


def _volume_signals(volume: tuple[int, float | None] | None) -> dict[str, float | None]:
    """Base-10 logarithms."""
    if volume is None:
        return {}
    voxels, ml = volume
    return {
        "volume_voxels": float(np.log10(1 + voxels)),
        "volume_ml": None if ml is None else float(np.log10(1e-3 + ml)),
    }


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice, slice]:
    """The bounding box with a margin within slices."""
    parts = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        held = np.flatnonzero(mask.any(axis=others))
        wide = margin if axis else 0
        parts.append(slice(max(0, int(held[0]) - wide), int(held[-1]) + wide + 1))
    return parts[0], parts[1], parts[2]
