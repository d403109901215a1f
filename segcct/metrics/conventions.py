"""Conventions: named rules that turn one structure of one case into scores, empty masks included.

Public tools differ in the percentile rule, the unit, and in what they give for a structure that is missing from one
mask or from both. Each convention here is one small function, listed in `CONVENTIONS`; a score of None is "not
scored": it enters no mean and is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from segcct.errors import MetricError
from segcct.metrics.lesions import LesionRule, lesion_scores
from segcct.metrics.pair import MaskPair
from segcct.metrics.surfels import weighted_distances

BRATS_DIAGONAL_MM = 373.12866
"""What BraTS 2018-2020 give for a structure found on one side only: the diagonal of 240 x 240 x 155 mm."""
METRICS = ("dice", "iou", "hd95_mm", "hd95_vox", "nsd")


@dataclass(frozen=True)
class Scores:
    """Scores of one structure in one case; None where the convention does not score it."""

    dice: float | None = None
    iou: float | None = None
    hd95_mm: float | None = None
    hd95_vox: float | None = None
    nsd: float | None = None


@dataclass(frozen=True)
class Convention:
    """A named rule, and its definitions in words for the tables."""

    name: str
    score: Callable[[MaskPair, float], Scores]
    """(pair, tolerance of the surface Dice in mm) -> scores."""
    definitions: Mapping[str, str] = field(default_factory=dict)
    needs_spacing: bool = False

    def __call__(self, pair: MaskPair, tolerance_mm: float) -> Scores:
        """Scores of a pair. Raises `MetricError` where the rule is in mm and the pair holds no spacing."""
        if self.needs_spacing and pair.spacing_mm is None:
            raise MetricError(
                f"convention {self.name} measures in mm, but these images hold no voxel spacing",
                remedy="Choose default, transunet, medpy or monai",
            )
        return self.score(pair, tolerance_mm)


def get_convention(name: str) -> Convention:
    """The convention of that name. Raises `MetricError` listing the valid names."""
    if name not in CONVENTIONS:
        raise MetricError(f"unknown convention '{name}'", expected=", ".join(CONVENTIONS))
    return CONVENTIONS[name]


def _default(pair: MaskPair, tolerance_mm: float) -> Scores:
    if pair.status == "absent":
        return Scores()
    no_spacing = pair.spacing_mm is None
    if pair.status != "ok":
        vox = pair.diagonal_vox if no_spacing else None
        return Scores(0.0, 0.0, pair.diagonal_mm, vox, None if no_spacing else 0.0)
    overlap = (pair.counts.dice, pair.counts.iou)
    if pair.distances_mm is None:
        assert pair.distances_vox is not None
        return Scores(*overlap, hd95_vox=pair.distances_vox.hausdorff(95))
    return Scores(*overlap, pair.distances_mm.hausdorff(95), None, pair.distances_mm.surface_dice(tolerance_mm))


def _transunet(pair: MaskPair, _: float) -> Scores:
    if pair.status == "ok":
        assert pair.distances_vox is not None
        return Scores(pair.counts.dice, pair.counts.iou, hd95_vox=pair.distances_vox.hausdorff(95, pooled=True))
    overlap = 1.0 if pair.status == "spurious" else 0.0
    return Scores(overlap, overlap, hd95_vox=0.0)


def _medpy(pair: MaskPair, _: float) -> Scores:
    overlap = Scores(_or_none(pair.counts.dice), _or_none(pair.counts.iou))
    return _with_distance(overlap, pair, pooled=True)


def _monai(pair: MaskPair, _: float) -> Scores:
    if pair.counts.reference == 0:
        return Scores()
    return _with_distance(Scores(pair.counts.dice, pair.counts.iou), pair, pooled=False)


def _surface_distance(pair: MaskPair, tolerance_mm: float) -> Scores:
    assert pair.spacing_mm is not None
    overlap = (_or_none(pair.counts.dice), _or_none(pair.counts.iou))
    if pair.status != "ok" or pair.prediction.ndim < 2:
        return Scores(*overlap)
    distances = weighted_distances(pair.prediction, pair.reference, pair.spacing_mm)
    return Scores(*overlap, distances.hausdorff(95), None, distances.surface_dice(tolerance_mm))


def _brats2020(pair: MaskPair, _: float) -> Scores:
    if pair.status == "ok":
        return _with_distance(Scores(pair.counts.dice, pair.counts.iou), pair, pooled=True)
    overlap = 1.0 if pair.status == "absent" else 0.0
    return Scores(overlap, overlap, 0.0 if pair.status == "absent" else BRATS_DIAGONAL_MM)


def _brats2023(pair: MaskPair, _: float) -> Scores:
    assert pair.spacing_mm is not None
    dice, hd95_mm = lesion_scores(pair.prediction, pair.reference, pair.spacing_mm, LesionRule())
    return Scores(dice, hd95_mm=hd95_mm)


def _with_distance(overlap: Scores, pair: MaskPair, *, pooled: bool) -> Scores:
    """The overlap with HD95 beside it: in mm where the spacing is known, else in voxels."""
    if pair.status != "ok":
        return overlap
    if pair.distances_mm is not None:
        return Scores(overlap.dice, overlap.iou, hd95_mm=pair.distances_mm.hausdorff(95, pooled=pooled))
    assert pair.distances_vox is not None
    return Scores(overlap.dice, overlap.iou, hd95_vox=pair.distances_vox.hausdorff(95, pooled=pooled))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


_DICE = {"dice": "2 |P and R| / (|P| + |R|) over voxels", "iou": "|P and R| / |P or R| over voxels"}
_MAX = "larger of the two directed 95th percentiles of the distances between border voxels (linear interpolation)"
_POOLED = "95th percentile of the distances between border voxels, both directions pooled (linear interpolation)"
_NOT_PART = "not part of this convention"

CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention(
            "default",
            _default,
            {
                **_DICE,
                "hd95": f"{_MAX}, in mm (in voxels where the images hold no spacing)",
                "nsd": "share of the border voxels of both masks that lie within the tolerance of the other border",
                "absent": "in neither mask: not scored, counted",
                "one-sided": "in one mask only: Dice, IoU and NSD 0, HD95 the image diagonal; counted",
            },
        ),
        Convention(
            "transunet",
            _transunet,
            {
                **_DICE,
                "hd95": f"{_POOLED}, in voxels",
                "nsd": _NOT_PART,
                "absent": "in neither mask: Dice 0, HD95 0",
                "one-sided": "missed: Dice 0, HD95 0; predicted where the reference has none: Dice 1, HD95 0",
            },
        ),
        Convention(
            "medpy",
            _medpy,
            {
                **_DICE,
                "hd95": f"{_POOLED}, in mm (in voxels where the images hold no spacing)",
                "nsd": _NOT_PART,
                "absent": "in neither mask: Dice is NaN and HD95 raises in medpy, so neither is scored",
                "one-sided": "in one mask only: Dice 0; HD95 raises in medpy, so it is not scored",
            },
        ),
        Convention(
            "monai",
            _monai,
            {
                **_DICE,
                "hd95": f"{_MAX}, in mm (in voxels where the images hold no spacing)",
                "nsd": _NOT_PART,
                "absent": "in neither mask: not scored",
                "one-sided": "not predicted: Dice 0, HD95 not scored; reference empty: neither is scored",
            },
        ),
        Convention(
            "surface-distance",
            _surface_distance,
            {
                **_DICE,
                "hd95": "larger of the two directed 95th percentiles of the distances between surface elements, "
                "weighted by their area (no interpolation), in mm",
                "nsd": "share of the surface area of both masks that lies within the tolerance of the other surface",
                "absent": "in neither mask: Dice and HD95 are NaN in surface-distance, so neither is scored",
                "one-sided": "in one mask only: Dice 0; HD95 is infinite in surface-distance, so it is not scored",
            },
            needs_spacing=True,
        ),
        Convention(
            "brats2020",
            _brats2020,
            {
                **_DICE,
                "hd95": f"{_POOLED}, in mm",
                "nsd": _NOT_PART,
                "absent": "in neither mask: Dice 1, HD95 0",
                "one-sided": f"in one mask only: Dice 0, HD95 {BRATS_DIAGONAL_MM} mm",
            },
            needs_spacing=True,
        ),
        Convention(
            "brats2023",
            _brats2023,
            {
                "dice": "lesion-wise: sum over reference lesions / (reference lesions + false positives)",
                "iou": _NOT_PART,
                "hd95": "lesion-wise, in mm: (sum over reference lesions + 374 per false positive) / (reference "
                "lesions + false positives); per lesion the 95th percentile weighted by surface area, 374 if missed",
                "lesions": "26-connected, merged where they touch after 3 dilations; up to 50 mm3 they are left out",
                "nsd": _NOT_PART,
                "absent": "in neither mask: Dice 1, HD95 0",
                "one-sided": "in one mask only: Dice 0, HD95 374 mm",
            },
            needs_spacing=True,
        ),
    )
}
"""The one table of conventions."""
