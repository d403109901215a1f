"""Two folders of predictions against the same references, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segcct.datasets.label_schemes import Scheme
from segcct.errors import EvaluationError
from segcct.evaluation.scoring import Row, structures_of
from segcct.evaluation.summary import case_means, metrics_of
from segcct.metrics import Convention, Metric, holm, paired

DEFINITION = (
    "difference: these minus the others, mean over the cases that both score, with its 95% interval by patient; "
    "p: two-sided Wilcoxon signed-rank test on patients, Holm-corrected over the classes, and over the regions"
)


def compare(rows: Sequence[Row], others: Sequence[Row], scheme: Scheme, convention: Convention) -> dict[str, Any]:
    """Paired differences per structure and metric, and of the cases' means over classes.

    Raises:
        EvaluationError: the two do not hold the same cases.
    """
    cases, other_cases = ({row.case for row in each} for each in (rows, others))
    if cases != other_cases:
        raise EvaluationError(
            "the two folders of predictions hold different cases",
            found=f"only on one side: {', '.join(sorted(cases ^ other_cases))}",
            remedy="Compare predictions of the same cases",
        )
    metrics = metrics_of([*rows, *others], convention.name)
    names = list(structures_of(scheme))
    classes: dict[str, dict[str, Any]] = {name: {} for name in names}
    # Regions are unions of the classes: tests of the same question again, so a family of their own.
    families = [list(scheme.classes), [name for name in names if name not in scheme.classes]]
    for metric in metrics:
        own = {name: _of_structure(rows, others, name, convention.name, metric) for name in names}
        for family in families:
            for name, p_holm in zip(family, holm([own[name]["p"] for name in family]), strict=True):
                classes[name][metric.key] = {**own[name], "p_holm": p_holm}
    overall = {metric.key: _of_means(rows, others, scheme, convention.name, metric) for metric in metrics}
    return {
        "convention": convention.name,
        "definition": DEFINITION,
        "cases": len(cases),
        "overall": overall,
        "classes": classes,
    }


def _of_structure(
    rows: Sequence[Row], others: Sequence[Row], name: str, convention: str, metric: Metric
) -> dict[str, Any]:
    other = {row.case: row.scores[convention][metric.key] for row in others if row.structure == name}
    own = [row for row in rows if row.structure == name]
    return dict(
        paired(
            [row.scores[convention][metric.key] for row in own],
            [other[row.case] for row in own],
            [row.patient for row in own],
            higher_is_better=bool(metric.higher_is_better),
        )
    )


def _of_means(
    rows: Sequence[Row], others: Sequence[Row], scheme: Scheme, convention: str, metric: Metric
) -> dict[str, Any]:
    means, patients = case_means(rows, scheme, convention, metric)
    other, _ = case_means(others, scheme, convention, metric)
    result = paired(
        list(means.values()),
        [other[case] for case in means],
        [patients[case] for case in means],
        higher_is_better=bool(metric.higher_is_better),
    )
    # One test, not one of a family: nothing to correct.
    return {**result, "p_holm": result["p"]}
