"""What a classification's numbers say, in sentences; each is read off the tables and nothing is guessed."""

from __future__ import annotations

from dataclasses import dataclass

from segcct.evaluation.summary_record import seen_sentence
from segcct.plurals import counted
from segcct.report.html import listed, number
from segcct.tasks.classification.class_results import ClassResults

_CALIBRATED = 0.02
"""Gap between mean confidence and accuracy below which nothing is said of over- or underconfidence."""


@dataclass(frozen=True)
class Confused:
    """How often one class was taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """Of the pictures of the true class."""


def confusions(results: ClassResults, most: int = 5) -> list[Confused]:
    """The most frequent mistakes, by share of the true class."""
    names = results.classes
    found = [
        Confused(names[row], names[column], count, count / sum(counts))
        for row, counts in enumerate(results.confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda one: (-one.share, -one.count, one.true, one.predicted))[:most]


def class_findings(results: ClassResults) -> list[str]:
    """Up to six sentences, the most useful first."""
    seen = seen_sentence(results.summary.get("seen"), results.summary["pictures"], "pictures")
    return [
        *([seen] if seen else []),
        *_best_and_worst(results),
        *_never_predicted(results),
        *_most_confused(results),
        *_confidence(results),
        *_left_out(results),
    ]


def _best_and_worst(results: ClassResults) -> list[str]:
    known = {
        name: own["f1"]["mean"]
        for name, own in results.summary["classes"].items()
        if own["support"] and own["f1"]["mean"] is not None
    }
    if len(known) < 2:
        return []
    best, worst = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    return [f"Of the classes, {best} is told best (F1 {number(known[best])}), {worst} least well ({number(known[worst])})."]  # fmt: skip  # noqa: E501


def _never_predicted(results: ClassResults) -> list[str]:
    taken = [sum(column) for column in zip(*results.confusion, strict=True)]
    never = [name for name, count in zip(results.classes, taken, strict=True) if not count]
    return [f"Never predicted: {listed(never)}."] if never else []


def _most_confused(results: ClassResults) -> list[str]:
    first = confusions(results, 1)
    if not first:
        return ["No picture was taken for another class."]
    one = first[0]
    held = round(one.count / one.share)
    return [
        f"The most frequent mistake: {one.true} taken for {one.predicted}, in {one.count} of "
        f"{counted(held, 'picture')} ({100 * one.share:.0f}%)."
    ]


def _confidence(results: ClassResults) -> list[str]:
    sure, right = results.summary.get("mean_confidence"), results.summary["overall"]["accuracy"]["mean"]
    if sure is None:
        return []
    if abs(sure - right) < _CALIBRATED:
        return [
            f"On average the model is as sure as it is right (confidence {number(sure)}, accuracy {number(right)})."
        ]
    word = "surer than it is right" if sure > right else "less sure than it is right"
    return [f"On average the model is {word}: confidence {number(sure)}, accuracy {number(right)}."]


def _left_out(results: ClassResults) -> list[str]:
    unmatched = results.summary.get("unmatched") or {}
    parts = [
        f"{counted(len(unmatched[side]), noun)} {lacking}"
        for side, noun, lacking in (
            ("references", "picture", "without a prediction"),
            ("predictions", "prediction", "without a reference"),
        )
        if unmatched.get(side)
    ]
    return [f"Left out of every number: {listed(parts)}."] if parts else []
