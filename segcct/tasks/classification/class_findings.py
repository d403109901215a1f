"""What a classification's numbers say, in sentences; each is read off the tables and nothing is guessed."""

from __future__ import annotations

from dataclasses import dataclass

from segcct.evaluation.summary_record import seen_sentence
from segcct.plurals import counted
from segcct.report.findings import best_and_worst, left_out
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
    fraction: float
    """Of the pictures of the true class."""


def confusions(results: ClassResults, most: int = 5) -> list[Confused]:
    """The most frequent mistakes, by fraction of the true class."""
    names = results.classes
    found = [
        Confused(names[row], names[column], count, count / sum(counts))
        for row, counts in enumerate(results.summary.confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda one: (-one.fraction, -one.count, one.true, one.predicted))[:most]


def class_findings(results: ClassResults) -> list[str]:
    """Up to six sentences, the most useful first."""
    seen = seen_sentence(results.summary.seen, results.summary.pictures, "pictures")
    f1 = {name: entry.f1.mean for name, entry in results.summary.classes.items() if entry.support}
    return [
        *([seen] if seen else []),
        *best_and_worst(f1, "classified", "F1"),
        *_never_predicted(results),
        *_most_confused(results),
        *_confidence(results),
        *left_out(results.summary.unmatched, "picture", named=False),
    ]


def _never_predicted(results: ClassResults) -> list[str]:
    taken = [sum(column) for column in zip(*results.summary.confusion, strict=True)]
    never = [name for name, count in zip(results.classes, taken, strict=True) if not count]
    return [f"Never predicted: {listed(never)}."] if never else []


def _most_confused(results: ClassResults) -> list[str]:
    first = confusions(results, 1)
    if not first:
        return ["No picture was taken for another class."]
    one = first[0]
    held = round(one.count / one.fraction)
    return [
        f"The most frequent mistake: {one.true} taken for {one.predicted}, in {one.count} of "
        f"{counted(held, 'picture')} ({100 * one.fraction:.0f}%)."
    ]


def _confidence(results: ClassResults) -> list[str]:
    sure, right = results.summary.mean_confidence, results.summary.overall["accuracy"].mean
    if sure is None or right is None:
        return []
    if abs(sure - right) < _CALIBRATED:
        return [
            f"On average the model is as sure as it is right (confidence {number(sure)}, accuracy {number(right)})."
        ]
    word = "surer than it is right" if sure > right else "less sure than it is right"
    return [f"On average the model is {word}: confidence {number(sure)}, accuracy {number(right)}."]
