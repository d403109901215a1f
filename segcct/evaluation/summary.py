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
from segcct.metrics import Convention, Metric, summarize
from segcct.metrics.metric_table import LABEL_MAP_QUANTITIES, all_metrics, main_metrics

CI95 = (
    "95% interval of the mean, resampling patients: BCa bootstrap with 10,000 draws, Student-widened; "
    "Student's interval below 8 patients"
)


OVERALL = "mean over cases of each case's mean over its scored classes; background and regions left out"
VOLUMES = ("volume_pred_ml", "volume_ref_ml")


def metrics_of(rows: Sequence[Row], convention: str) -> list[Metric]:
    """The metrics to list; those in voxels only where some row has one."""
    return [
        metric
        for metric in main_metrics()
        if not metric.when_scored or any(row.scores[convention][metric.key] is not None for row in rows)
    ]


def summary_of(
    rows: Sequence[Row], scheme: Scheme, convention: Convention, tolerance_mm: float, sources: Mapping[str, Any]
) -> SegmentationSummary:
    """The summary under one convention: what follows from the scores, and `sources`, where they come from."""
    metrics = metrics_of(rows, convention.name)
    structures = structures_of(scheme)
    by_structure = {name: [row for row in rows if row.structure == name] for name in structures}
    classes = {
        name: StructureSummary(
            scores={metric.key: _stats(own, convention.name, metric) for metric in metrics},
            counts={status: sum(row.status == status for row in own) for status in STATUSES},
        )
        for name, own in by_structure.items()
    }
    return SegmentationSummary(
        task="segmentation",
        convention=convention.name,
        scheme=scheme.name,
        labels=dict(scheme.classes),
        regions={name: list(values) for name, values in structures.items() if name not in scheme.classes},
        units={metric.key: metric.unit or "1" for metric in metrics} | dict.fromkeys(VOLUMES, "ml"),
        definitions={**convention.words(metrics), "ci95": CI95, "overall": OVERALL},
        tolerance_mm=tolerance_mm,
        cases=len({row.case for row in rows}),
        patients=len({row.patient for row in rows}),
        overall={metric.key: _overall(rows, scheme, convention.name, metric) for metric in metrics},
        classes=classes,
        case_dice=case_means(rows, scheme, convention.name, all_metrics()["dice"])[0],
        **sources,
    )


def label_map_summary(agreements: Sequence[Agreement]) -> LabelMapSummary:
    """Statistics over cases of what is of a case as a whole, not of a class."""
    patients = [each.patient for each in agreements]
    accuracy, background = LABEL_MAP_QUANTITIES.values()
    reached, empty = [each.pixel_accuracy for each in agreements], [each.background for each in agreements]
    return LabelMapSummary(
        pixel_accuracy=MetricStats(**summarize(reached, patients, bounds=accuracy.bounds)),
        background=MetricStats(**summarize(empty, patients, bounds=background.bounds)),
        definitions={each.key: each.definition for each in LABEL_MAP_QUANTITIES.values()},
        unit="1",
    )


def _overall(rows: Iterable[Row], scheme: Scheme, convention: str, metric: Metric) -> MetricStats:
    means, patients = case_means(rows, scheme, convention, metric)
    stats = summarize(list(means.values()), [patients[case] for case in means], bounds=metric.bounds)
    return MetricStats(**stats)


def case_means(
    rows: Iterable[Row], scheme: Scheme, convention: str, metric: Metric
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Case -> its mean over scored classes (None: none is scored), and case -> patient."""
    scored: dict[str, list[float]] = {}
    patients: dict[str, str] = {}
    for row in rows:
        if row.structure in scheme.classes:
            scores = scored.setdefault(row.case, [])
            patients[row.case] = row.patient
            score = row.scores[convention][metric.key]
            if score is not None:
                scores.append(score)
    return {case: float(np.mean(scores)) if scores else None for case, scores in scored.items()}, patients


def _stats(rows: Sequence[Row], convention: str, metric: Metric) -> MetricStats:
    scores = [row.scores[convention][metric.key] for row in rows]
    return MetricStats(**summarize(scores, [row.patient for row in rows], bounds=metric.bounds))
