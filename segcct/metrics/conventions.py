"""Conventions: named rules that turn one structure of one case into scores, empty masks included.

Public tools differ in the percentile rule, in the unit, and in what they return for a structure that is missing from
one mask or from both. Each convention here is one small function, listed in `CONVENTIONS`. A score of None means "not
scored": it enters no mean, and the case is only counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from segcct.errors import MetricError, unknown_name
from segcct.metrics.defined_values import defined
from segcct.metrics.lesions import LesionRule, lesion_scores
from segcct.metrics.metric_table import Metric, main_metrics
from segcct.metrics.pair import MaskPair
from segcct.metrics.surfels import weighted_distances

BRATS_DIAGONAL_MM = 373.12866
"""HD95 of BraTS 2018-2020 for a structure in one mask only: the diagonal of 240 x 240 x 155 mm."""
Scores = Mapping[str, float | None]
"""Metric -> score of one structure in one case; None where it is not scored."""


@dataclass(frozen=True)
class Convention:
    """A named rule, and its definitions in words for the tables."""

    name: str
    rules: Mapping[str, str]
    """How empty masks are scored, in words: `absent`, `one-sided`."""
    score: Callable[[MaskPair], Scores] | None = None
    """Scores of the metrics marked `by_convention`, those that are not part of it left out; None: as their rows say."""
    definitions: Mapping[str, str] = field(default_factory=dict)
    """Metric -> its definition here, if that differs from the one in its row."""
    needs_spacing: bool = False

    def __call__(self, pair: MaskPair) -> dict[str, float | None]:
        """Metric -> score of a pair. Raises `MetricError` if the rule is in mm and the pair has no spacing."""
        if self.needs_spacing and pair.spacing_mm is None:
            raise MetricError(
                f"convention {self.name} measures in mm, but these images hold no voxel spacing",
                remedy="Choose default, transunet, medpy or monai",
            )
        scores = None if self.score is None else self.score(pair)
        return {
            metric.key: metric(pair) if scores is None or not metric.by_convention else defined(scores.get(metric.key))
            for metric in main_metrics()
        }

    def words(self, metrics: Sequence[Metric]) -> dict[str, str]:
        """The definition of each metric, then the rules for empty masks."""
        return {**{metric.key: self.definitions.get(metric.key, metric.definition) for metric in metrics}, **self.rules}


def get_convention(name: str) -> Convention:
    """The convention of that name. Raises `MetricError` listing the valid names."""
    if name not in CONVENTIONS:
        raise unknown_name(MetricError, "convention", name, CONVENTIONS)
    return CONVENTIONS[name]


def _transunet(pair: MaskPair) -> Scores:
    if pair.distances_vox is not None:
        return {**_overlap(pair), "hd95_vox": pair.distances_vox.hausdorff(95, pooled=True)}
    overlap = 1.0 if pair.status == "spurious" else 0.0
    return {"dice": overlap, "iou": overlap, "hd95_vox": 0.0}


def _medpy(pair: MaskPair) -> Scores:
    return {**_overlap(pair), **_hd95(pair, pooled=True)}


def _monai(pair: MaskPair) -> Scores:
    return {} if pair.counts.reference == 0 else {**_overlap(pair), **_hd95(pair, pooled=False)}


def _surface_distance(pair: MaskPair) -> Scores:
    assert pair.spacing_mm is not None
    if pair.status == "absent" or pair.prediction.ndim < 2:
        return _overlap(pair)
    if pair.status != "ok":
        return {**_overlap(pair), "nsd": 0.0}
    distances = weighted_distances(pair.prediction, pair.reference, pair.spacing_mm)
    return {
        **_overlap(pair),
        "hd95_mm": distances.hausdorff(95),
        "nsd": distances.surface_dice(pair.tolerance_mm),
    }


def _brats2020(pair: MaskPair) -> Scores:
    if pair.status == "ok":
        return {**_overlap(pair), **_hd95(pair, pooled=True)}
    both_empty = pair.status == "absent"
    overlap = 1.0 if both_empty else 0.0
    return {"dice": overlap, "iou": overlap, "hd95_mm": 0.0 if both_empty else BRATS_DIAGONAL_MM}


def _brats2023(pair: MaskPair) -> Scores:
    assert pair.spacing_mm is not None
    dice, hd95_mm = lesion_scores(pair.prediction, pair.reference, pair.spacing_mm, LesionRule(), pair.voxel_mm3)
    return {"dice": dice, "hd95_mm": hd95_mm}


def _overlap(pair: MaskPair) -> dict[str, float]:
    return {"dice": pair.counts.dice, "iou": pair.counts.iou}


def _hd95(pair: MaskPair, *, pooled: bool) -> dict[str, float]:
    """HD95 in mm if the spacing is known, else in voxels; nothing if a mask is empty."""
    key, distances = ("hd95_vox", pair.distances_vox) if pair.spacing_mm is None else ("hd95_mm", pair.distances_mm)
    return {} if distances is None else {key: distances.hausdorff(95, pooled=pooled)}


_POOLED = "95th percentile of the distances between border voxels, both directions pooled (linear interpolation)"
_NOT_PART = "not part of this convention"


def _defining(hd95: str, **others: str) -> dict[str, str]:
    """Definitions, with that of HD95 under both units; NSD is not part of a convention unless it is defined here."""
    return {"hd95_mm": hd95, "hd95_vox": hd95, "nsd": _NOT_PART, **others}


CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention(
            "default",
            {
                "absent": "in neither mask: not scored, counted",
                "one-sided": "in one mask only: Dice, IoU and NSD 0, HD95 the image diagonal; counted",
            },
        ),
        Convention(
            "transunet",
            {
                "absent": "in neither mask: Dice 0, HD95 0",
                "one-sided": "missed: Dice 0, HD95 0; predicted where the reference has none: Dice 1, HD95 0",
            },
            _transunet,
            _defining(f"{_POOLED}, in voxels"),
        ),
        Convention(
            "medpy",
            {
                "absent": "in neither mask: Dice is NaN and HD95 raises an exception in medpy, so neither is scored",
                "one-sided": "in one mask only: Dice 0; HD95 raises an exception in medpy, so it is not scored",
            },
            _medpy,
            _defining(f"{_POOLED}, in mm (in voxels where the images hold no spacing)"),
        ),
        Convention(
            "monai",
            {
                "absent": "in neither mask: not scored",
                "one-sided": "not predicted: Dice 0, HD95 not scored; reference empty: neither is scored",
            },
            _monai,
            {"nsd": _NOT_PART},
        ),
        Convention(
            "surface-distance",
            {
                "absent": "in neither mask: nothing is scored, as surface-distance gives NaN or infinity",
                "one-sided": "in one mask only: Dice and NSD 0; HD95 is infinite in surface-distance, so it is not "
                "scored",
            },
            _surface_distance,
            _defining(
                "larger of the two directed 95th percentiles of the distances between surface elements, weighted by "
                "their area (no interpolation), in mm",
                nsd="fraction of the surface area of both masks that lies within the tolerance of the other surface",
            ),
            needs_spacing=True,
        ),
        Convention(
            "brats2020",
            {
                "absent": "in neither mask: Dice 1, HD95 0",
                "one-sided": f"in one mask only: Dice 0, HD95 {BRATS_DIAGONAL_MM} mm",
            },
            _brats2020,
            _defining(f"{_POOLED}, in mm"),
            needs_spacing=True,
        ),
        Convention(
            "brats2023",
            {
                "lesions": "26-connected, merged where they touch after 3 dilations; up to 50 mm3 they are left out",
                "absent": "in neither mask: Dice 1, HD95 0",
                "one-sided": "in one mask only: Dice 0, HD95 374 mm",
            },
            _brats2023,
            _defining(
                "lesion-wise, in mm: (sum over reference lesions + 374 per false positive) / (reference lesions + "
                "false positives); per lesion the 95th percentile weighted by surface area, 374 if missed",
                dice="lesion-wise: sum over reference lesions / (reference lesions + false positives)",
                iou=_NOT_PART,
            ),
            needs_spacing=True,
        ),
    )
}
"""The one table of conventions."""
