"""Segmentation metrics: arrays in, numbers out.

    >>> import numpy as np
    >>> from segcct import metrics
    >>> prediction, reference = np.zeros((2, 6, 6, 3), dtype=bool)
    >>> prediction[1:3, 1:3] = reference[1:4, 1:3] = True  # 12 voxels, all of them among the 18 of the reference
    >>> metrics.dice(prediction, reference)
    0.8
    >>> metrics.hausdorff(prediction, reference, spacing_mm=(0.8, 0.8, 3.0))  # HD95, in mm
    0.8
    >>> metrics.surface_dice(prediction, reference, (0.8, 0.8, 3.0), tolerance_mm=0.5)
    0.8

Masks are bool arrays (or 0 and 1) of one shape, and anything else raises `MetricError`; the functions of two arrays
follow the `default` convention.
"""

from __future__ import annotations

from segcct.metrics.confidence_intervals import Stats, summarize
from segcct.metrics.conventions import CONVENTIONS, Convention, Scores, get_convention
from segcct.metrics.lesions import LesionRule, lesion_scores
from segcct.metrics.metric_table import Metric, all_metrics, register_metric
from segcct.metrics.overlap import (
    Counts,
    accuracy,
    class_counts,
    class_dice,
    counts,
    dice,
    iou,
    label_map_accuracy,
    precision,
    sensitivity,
    specificity,
    volume_difference,
)
from segcct.metrics.pair import MaskPair, label_pairs
from segcct.metrics.paired_statistics import Paired, holm, paired, signed_rank_p
from segcct.metrics.surface_distances import SurfaceDistances
from segcct.metrics.surface_metrics import average_surface_distance, hausdorff, surface_dice

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Counts",
    "LesionRule",
    "MaskPair",
    "Metric",
    "Paired",
    "Scores",
    "Stats",
    "SurfaceDistances",
    "accuracy",
    "all_metrics",
    "average_surface_distance",
    "class_counts",
    "class_dice",
    "counts",
    "dice",
    "get_convention",
    "hausdorff",
    "holm",
    "iou",
    "label_map_accuracy",
    "label_pairs",
    "lesion_scores",
    "paired",
    "precision",
    "register_metric",
    "sensitivity",
    "signed_rank_p",
    "specificity",
    "summarize",
    "surface_dice",
    "volume_difference",
]
