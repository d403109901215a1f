"""The features of one class of a predicted case: numbers that may correlate with its Dice and need no reference.

All are computed at the network's scale, where probabilities and prediction share one grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from segcct.inference.member_agreement import MemberAgreement
from segcct.metrics.defined_values import mean_of
from segcct.metrics.image import BAND_PX, border_band
from segcct.metrics.overlap import dice
from segcct.metrics.pair import bounding_box
from segcct.quality.shape_features import off_center, shape_features

Features = dict[str, float | None]
"""Feature -> value; None where it is not defined."""
CaseFeatures = dict[str, Features | None]
"""Class -> its features; None where the class was not predicted."""

GROUPS: dict[str, tuple[str, ...]] = {
    "entropy": ("entropy_foreground", "entropy_border", "expected_dice", "expected_dice_all", "expected_dice_others"),
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
        "off_center",
    ),
    "members": ("member_agreement", "member_agreement_all", "member_agreement_others"),
}
"""Features by their origin; leave-one-out tables leave out one group at a time. Names that end in `_all` are of all
classes together; those that end in `_others` are means over the other classes of the case, since errors in one class
often come with errors in the others."""
FEATURES = tuple(name for group in GROUPS.values() for name in group)
_SUFFIX = "_others"
_OTHERS = tuple(name for name in FEATURES if name.endswith(_SUFFIX))
_TINY = 1e-7


@dataclass(frozen=True)
class CasePredictions:
    """What the network predicts for one case, at its scale."""

    probabilities: np.ndarray
    """(D, K, h, w), background first."""
    index: np.ndarray
    """(D, h, w) uint8: the most probable classes."""
    flips: tuple[np.ndarray, ...] = ()
    """(D, K, h, w) probabilities predicted from flipped slices, flipped back."""
    rotations: tuple[np.ndarray, ...] = ()
    """The same from slices rotated by 90 degrees."""
    members: MemberAgreement | None = None
    """Of the members of an ensemble."""
    volumes: Mapping[int, tuple[int, float | None]] = field(default_factory=dict)
    """Class index -> voxels on the scan's own grid, and ml (None without spacing)."""


def class_features(case: CasePredictions, class_index: int) -> Features:
    """Every feature of one predicted class (1 and up).

    Between voxels of two other classes, interpolation can make a class the most probable on the scan's grid alone. It
    has an expected Dice of 0 then, and no other feature but its volume.
    """
    mask = case.index == class_index
    tight = bounding_box(mask)
    volume = _volume_features(case.volumes.get(class_index))
    if tight is None:
        return {**dict.fromkeys(FEATURES), "expected_dice": 0.0, **volume}
    wide = BAND_PX + 2  # within slices
    box = (tight[0], *(slice(max(0, part.start - wide), part.stop + wide) for part in tight[1:]))
    return {
        **dict.fromkeys(FEATURES),
        **_softmax_features(case.probabilities, mask, box, class_index),
        "expected_dice_all": _expected_dice(1 - case.probabilities[:, 0], case.index > 0),
        **_agreement("flip", case.flips, case.index, class_index),
        **_agreement("rotation", case.rotations, case.index, class_index),
        **_member_features(case.members, class_index),
        **volume,
        **shape_features(mask[:, box[1], box[2]]),
        "off_center": off_center(mask, case.index > 0),
    }


def with_other_classes(features: CaseFeatures) -> CaseFeatures:
    """The features with those named `_others` filled in; they are None if no other class was predicted."""
    filled: CaseFeatures = {}
    for name, own in features.items():
        others = [each for other, each in features.items() if other != name and each is not None]
        if own is None:
            filled[name] = None
            continue
        means = {each: mean_of(other[each.removesuffix(_SUFFIX)] for other in others) for each in _OTHERS}
        filled[name] = {**own, **means}
    return filled


def _softmax_features(
    probabilities: np.ndarray, mask: np.ndarray, box: tuple[slice, ...], class_index: int
) -> Features:
    """Entropy over the classes as a fraction of its maximum, and the Dice that the probabilities predict."""
    inside = probabilities[box[0], :, box[1], box[2]].astype(np.float32)
    entropy = -(inside * np.log(inside + _TINY)).sum(axis=1) / np.log(inside.shape[1])  # (d, h, w)
    border = entropy[border_band(mask[box])]  # of no voxel where the mask fills its slices
    return {
        "entropy_foreground": float(entropy[mask[box]].mean()),
        "entropy_border": float(border.mean()) if border.size else None,
        "expected_dice": _expected_dice(probabilities[:, class_index], mask),
    }


def _agreement(name: str, views: tuple[np.ndarray, ...], index: np.ndarray, class_index: int) -> Features:
    """Agreement of the mask with test-time augmented predictions: Dice of the masks, Dice expected from the mean
    probability, and Dice of all classes together."""
    if not views:
        return {}
    mask = index == class_index
    masks = [view.argmax(axis=1) for view in views]
    mean = np.mean([view[:, class_index].astype(np.float32) for view in views], axis=0)
    return {
        f"{name}_agreement": float(np.mean([dice(mask, other == class_index) for other in masks])),
        f"{name}_expected_dice": _expected_dice(mean, mask),
        f"{name}_agreement_all": float(np.mean([dice(index > 0, other > 0) for other in masks])),
    }


def _member_features(members: MemberAgreement | None, class_index: int) -> Features:
    """Mean Dice of the members' masks with each other, of the class and of all classes together (Zenk et al. 2025,
    Medical Image Analysis 101:103392, compare it with other estimates)."""
    if members is None:
        return {}
    return {"member_agreement": members.dice(class_index), "member_agreement_all": members.foreground_dice}


def _expected_dice(probability: np.ndarray, mask: np.ndarray) -> float:
    """If each voxel belonged to the class with its probability p, the expected Dice of the mask would be close to
    2 sum(p in the mask) / (sum(p) + voxels of the mask)."""
    inside = probability[mask].sum(dtype=float)
    return float(2 * inside / (probability.sum(dtype=float) + mask.sum()))


def _volume_features(volume: tuple[int, float | None] | None) -> Features:
    """Base-10 logarithms of the volume."""
    if volume is None:
        return {}
    voxels, ml = volume
    return {
        "volume_voxels": float(np.log10(1 + voxels)),
        "volume_ml": None if ml is None else float(np.log10(1e-3 + ml)),
    }
