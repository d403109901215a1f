"""Two folders of predictions against the same references, case by case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from segcct.datasets.label_schemes import Scheme
from segcct.errors import EvaluationError
from segcct.evaluation.scoring import Row
from segcct.evaluation.summary import by_structure, case_means, case_scores, metrics_of
from segcct.metrics import Convention, Metric, holm, paired

Scores = Mapping[str, float | None]
"""Case -> score."""
DEFINITION = (
    "difference: these minus the others, mean over the cases that both score, with its 95% interval by patient; "
    "overall: of the means over the classes of a case, without those of the reference that only one of the two scores; "
    "p: two-sided Wilcoxon signed-rank test on patients, Holm-corrected over the classes, and over the regions"
)


def check_same_cases(ours: Iterable[str], theirs: Iterable[str]) -> None:
    """Raises `EvaluationError` where two folders of predictions have different cases."""
    differing = set(ours) ^ set(theirs)
    if differing:
        raise EvaluationError(
            "the two folders of predictions hold different cases",
            found=f"only in one folder: {', '.join(sorted(differing))}",
            remedy="Compare predictions of the same cases",
        )


def paired_differences(
    rows: Sequence[Row], others: Sequence[Row], scheme: Scheme, convention: Convention
) -> dict[str, Any]:
    """Paired differences over the same cases: per structure and metric, and of the cases' means over classes."""
    patients = {row.case: row.patient for row in rows}

    def compared(one: Scores, other: Scores, metric: Metric) -> dict[str, Any]:
        return dict(
            paired(
                list(one.values()),
                [other[case] for case in one],
                [patients[case] for case in one],
                higher_is_better=metric.higher_is_better,
                bounds=metric.bounds,
            )
        )

    ours, theirs, key = by_structure(rows), by_structure(others), convention.name
    names = list(ours)
    classes: dict[str, dict[str, Any]] = {name: {} for name in names}
    overall: dict[str, dict[str, Any]] = {}
    # Regions are unions of the classes: their tests ask the same question again, and so are a family of their own.
    families = [list(scheme.classes), [name for name in names if name not in scheme.classes]]
    for metric in metrics_of([*rows, *others], key):
        tests = {
            name: compared(case_scores(ours[name], key, metric), case_scores(theirs[name], key, metric), metric)
            for name in names
        }
        for family in families:
            for name, p_holm in zip(family, holm([tests[name]["p"] for name in family]), strict=True):
                classes[name][metric.key] = {**tests[name], "p_holm": p_holm}
        one, other = (case_means(each, scheme, key, metric) for each in _scored_alike(rows, others, key, metric))
        test = compared(one, other, metric)
        overall[metric.key] = {**test, "p_holm": test["p"]}  # one test, not one of a family: nothing to correct
    return {
        "convention": key,
        "definition": DEFINITION,
        "cases": len(patients),
        "overall": overall,
        "classes": classes,
    }


def _scored_alike(rows: Sequence[Row], others: Sequence[Row], key: str, metric: Metric) -> tuple[list[Row], list[Row]]:
    """Both without the scores of a structure of the reference that one of the two leaves unscored: else the mean over
    the classes of a case would rise where the difficult one is missed. What the reference lacks stays, so that it
    counts against those who draw it."""
    unscored = {
        (row.case, row.structure)
        for row in (*rows, *others)
        if row.status in ("ok", "missed") and row.scores[key][metric.key] is None
    }
    nothing: dict[str, Scores] = {key: {metric.key: None}}

    def without(each: Sequence[Row]) -> list[Row]:
        return [replace(row, scores=nothing) if (row.case, row.structure) in unscored else row for row in each]

    return without(rows), without(others)
