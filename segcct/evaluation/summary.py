"""From rows per case and structure to what summary.json holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from segcct.datasets.label_schemes import Scheme
from segcct.evaluation.scoring import Agreement, Row, structures_of
from segcct.evaluation.summary_record import (
    STATUSES,
    LabelMapSummary,
    MetricStats,
    SegmentationSummary,
    StructureSummary,
)
from segcct.metrics import Convention, summarise

BOUNDS = {
    "dice": (0.0, 1.0),
    "iou": (0.0, 1.0),
    "hd95_mm": (0.0, float("inf")),
    "hd95_vox": (0.0, float("inf")),
    "nsd": (0.0, 1.0),
}
"""Range of each metric; also the order in which metrics are listed."""
UNITS = {
    "dice": "1",
    "iou": "1",
    "hd95_mm": "mm",
    "hd95_vox": "voxels",
    "nsd": "1",
    "volume_pred_ml": "ml",
    "volume_ref_ml": "ml",
}
CI95 = (
    "95% interval of the mean, resampling patients: BCa bootstrap with 10,000 draws, Student-widened; "
    "Student's interval below 8 patients"
)


def metrics_of(rows: Iterable[Row], convention: str) -> list[str]:
    """The metrics to list: the four of every table, and `hd95_vox` where a distance is in voxels."""
    in_voxels = any(row.scores[convention].hd95_vox is not None for row in rows)
    return [metric for metric in BOUNDS if metric != "hd95_vox" or in_voxels]


def value(row: Row, convention: str, metric: str) -> float | None:
    """One score of a row."""
    score: float | None = getattr(row.scores[convention], metric)
    return score


def summary_of(
    rows: Sequence[Row], scheme: Scheme, convention: Convention, tolerance_mm: float, sources: Mapping[str, Any]
) -> SegmentationSummary:
    """The summary under one convention: what follows from the scores, and `sources`, where they come from."""
    metrics = metrics_of(rows, convention.name)
    structures = structures_of(scheme)
    by_structure = {name: [row for row in rows if row.structure == name] for name in structures}
    classes = {
        name: StructureSummary(
            scores={metric: _stats(own, convention.name, metric) for metric in metrics},
            counts={status: sum(row.status == status for row in own) for status in STATUSES},
        )
        for name, own in by_structure.items()
    }
    return SegmentationSummary(
        convention=convention.name,
        scheme=scheme.name,
        labels=dict(scheme.classes),
        regions={name: list(values) for name, values in structures.items() if name not in scheme.classes},
        units={name: unit for name, unit in UNITS.items() if name in metrics or name.startswith("volume")},
        definitions=_definitions(convention, metrics),
        tolerance_mm=tolerance_mm,
        cases=len({row.case for row in rows}),
        patients=len({row.patient for row in rows}),
        overall={metric: _overall(rows, scheme, convention.name, metric) for metric in metrics},
        classes=classes,
        **sources,
    )


PIXEL_ACCURACY = (
    "share of all voxels of the image that hold the same label in prediction and reference: all classes at once, "
    "background included, regions left out; most voxels are background, so an empty mask scores high too"
)
BACKGROUND = "share of all voxels of the image that are background in the reference: the accuracy of an empty mask"


def label_map_summary(agreements: Sequence[Agreement]) -> LabelMapSummary:
    """Statistics over cases of what is of a case as a whole, not of a class."""
    patients = [each.patient for each in agreements]
    accuracies, backgrounds = (
        [getattr(each, name) for each in agreements] for name in ("pixel_accuracy", "background")
    )
    return LabelMapSummary(
        pixel_accuracy=MetricStats(**summarise(accuracies, patients, bounds=(0.0, 1.0))),
        background=MetricStats(**summarise(backgrounds, patients, bounds=(0.0, 1.0))),
        definitions={"pixel_accuracy": PIXEL_ACCURACY, "background": BACKGROUND},
        unit="1",
    )


def _definitions(convention: Convention, metrics: Sequence[str]) -> dict[str, str]:
    """What each listed metric is, then the rules for empty masks, in words."""
    words = dict(convention.definitions)
    of_metric = {metric: words.get(metric) or words["hd95"] for metric in metrics}
    rules = {name: text for name, text in words.items() if name not in BOUNDS and name != "hd95"}
    return {**of_metric, **rules, "ci95": CI95, "overall": OVERALL}


OVERALL = "mean over cases of each case's mean over its scored classes; background and regions left out"


def _overall(rows: Iterable[Row], scheme: Scheme, convention: str, metric: str) -> MetricStats:
    means, patients = case_means(rows, scheme, convention, metric)
    stats = summarise(list(means.values()), [patients[case] for case in means], bounds=BOUNDS[metric])
    return MetricStats(**stats)


def case_means(
    rows: Iterable[Row], scheme: Scheme, convention: str, metric: str
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Case -> its mean over scored classes (None: none is scored), and case -> patient."""
    scored: dict[str, list[float]] = {}
    patients: dict[str, str] = {}
    for row in rows:
        if row.structure in scheme.classes:
            scores = scored.setdefault(row.case, [])
            patients[row.case] = row.patient
            score = value(row, convention, metric)
            if score is not None:
                scores.append(score)
    return {case: float(np.mean(scores)) if scores else None for case, scores in scored.items()}, patients


def _stats(rows: Sequence[Row], convention: str, metric: str) -> MetricStats:
    scores = [value(row, convention, metric) for row in rows]
    return MetricStats(**summarise(scores, [row.patient for row in rows], bounds=BOUNDS[metric]))
