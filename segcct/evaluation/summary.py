"""From scores per case and structure to the content of summary.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from segcct.datasets.label_schemes import Scheme
from segcct.evaluation.scoring import LabelMapScores, Row, structures_of
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
    """The metrics to list; one marked `when_scored` only if some row has a score of it."""
    return [
        metric
        for metric in main_metrics()
        if not metric.when_scored or any(row.scores[convention][metric.key] is not None for row in rows)
    ]


def summary_of(
    rows: Sequence[Row], scheme: Scheme, convention: Convention, tolerance_mm: float, sources: Mapping[str, Any]
) -> SegmentationSummary:
    """The summary under one convention: statistics of the scores, and `sources`, where they come from."""
    key, metrics = convention.name, metrics_of(rows, convention.name)
    patients = {row.case: row.patient for row in rows}

    def stats(scores: Mapping[str, float | None], metric: Metric) -> MetricStats:
        return MetricStats(
            **summarize(list(scores.values()), [patients[case] for case in scores], bounds=metric.bounds)
        )

    classes = {}
    for name, own in by_structure(rows).items():
        found = Counter(row.status for row in own)
        classes[name] = StructureSummary(
            scores={metric.key: stats(case_scores(own, key, metric), metric) for metric in metrics},
            counts={status: found[status] for status in STATUSES},
        )
    return SegmentationSummary(
        task="segmentation",
        convention=key,
        scheme=scheme.name,
        labels=dict(scheme.classes),
        regions={name: list(values) for name, values in structures_of(scheme).items() if name not in scheme.classes},
        units={metric.key: metric.unit or "1" for metric in metrics} | dict.fromkeys(VOLUMES, "ml"),
        definitions={**convention.words(metrics), "ci95": CI95, "overall": OVERALL},
        tolerance_mm=tolerance_mm,
        cases=len(patients),
        patients=len(set(patients.values())),
        overall={metric.key: stats(case_means(rows, scheme, key, metric), metric) for metric in metrics},
        classes=classes,
        case_dice=case_means(rows, scheme, key, all_metrics()["dice"]),
        **sources,
    )


def by_structure(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Structure -> its rows. Every case has a row of every structure, the classes first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.structure, []).append(row)
    return groups


def case_scores(rows: Iterable[Row], convention: str, metric: Metric) -> dict[str, float | None]:
    """Case -> score, from the rows of one structure."""
    return {row.case: row.scores[convention][metric.key] for row in rows}


def case_means(rows: Iterable[Row], scheme: Scheme, convention: str, metric: Metric) -> dict[str, float | None]:
    """Case -> mean over its scored classes; None if none is scored."""
    scored: dict[str, list[float]] = {}
    for row in rows:
        if row.structure in scheme.classes:
            scores = scored.setdefault(row.case, [])
            score = row.scores[convention][metric.key]
            if score is not None:
                scores.append(score)
    return {case: float(np.mean(scores)) if scores else None for case, scores in scored.items()}


def label_map_summary(cases: Sequence[LabelMapScores]) -> LabelMapSummary:
    """Statistics over cases of the scores of whole label maps."""
    patients = [case.patient for case in cases]
    stats = {
        each.key: MetricStats(**summarize([getattr(case, each.key) for case in cases], patients, bounds=each.bounds))
        for each in LABEL_MAP_QUANTITIES.values()
    }
    definitions = {each.key: each.definition for each in LABEL_MAP_QUANTITIES.values()}
    return LabelMapSummary(**stats, definitions=definitions, unit="1")
