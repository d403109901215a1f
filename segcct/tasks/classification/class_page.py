"""The report of a classification: how often the class is right, how confident the model is, and where it fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segcct.evaluation.summary_record import seen_sentence
from segcct.plurals import counted, listed_in_prose
from segcct.report.findings import best_and_worst, left_out
from segcct.report.html import Tile, interval, make_way_for_page, number, provenance, render, write_page
from segcct.tasks.classification.class_images import MOST_CLASSES, gallery
from segcct.tasks.classification.class_quantities import QUANTITIES
from segcct.tasks.classification.class_results import ClassResults, ClassSummary, read_class_results

_TILES = ("balanced_accuracy", "macro_f1", "auroc", "top5", "ece", "log_loss", "brier")
_COLUMNS = ("f1", "recall", "precision", "auroc")
_LABELS = {key: each.label for key, each in QUANTITIES.items()} | {"ci95": "95% interval"}
_CALIBRATED = 0.02
"""Gap between mean confidence and accuracy below which the page speaks of neither over- nor underconfidence."""
MOST_CELLS = 25
"""Classes up to which the confusion matrix is drawn; beyond, only the most frequent mistakes are listed."""


def write_class_report(evaluation: Path, output: Path) -> Path:
    """Write `report.html` of a classification, as `write_report` does of a segmentation.

    Images are read from the dataset that the evaluation names, and their token weights are computed by the model that
    it names; where one of the two is missing, the page says so.
    """
    results = read_class_results(Path(evaluation))
    file = make_way_for_page(Path(output))
    page = render(Path(__file__).with_name("classification.html"), **_context(results))
    return write_page(file, page, private=True)


def _context(results: ClassResults) -> dict[str, object]:
    summary = results.summary
    accuracy = summary.overall["accuracy"]
    binned = sum(each.count for each in summary.reliability) or 1
    return {
        "title": f"Classification report, {counted(summary.images, 'image')}",
        "colors": {},
        "headline": Tile(
            "Accuracy", accuracy.mean, [f"95% interval {interval(accuracy.ci95)}", _size(summary)], stats=accuracy
        ),
        "accuracy": accuracy,
        "tiles": [Tile.of(QUANTITIES[key], stats) for key in _TILES if (stats := summary.overall.get(key))],
        "columns": [QUANTITIES[key] for key in _COLUMNS],
        "classes": summary.classes,
        "findings": class_findings(results),
        "matrix": _matrix(results) if len(results.classes) <= MOST_CELLS else None,
        "confusions": confusions(results, 10),
        "bins": [(each, each.count / binned) for each in summary.reliability if each.count],
        "mean_confidence": summary.mean_confidence,
        "gallery": gallery(results),
        "most_classes": MOST_CLASSES,
        "definitions": [(_LABELS.get(key, key.capitalize()), text) for key, text in summary.definitions.items()],
        "provenance": provenance(
            {
                "Model": {"architecture": summary.architecture, "selected_on": summary.selected_on},
                "Images": {**(summary.data or {}), "selection": summary.selection},
                "Evaluation": summary.provenance,
            }
        ),
    }


def _size(summary: ClassSummary) -> str:
    """`5,000 images of 10 classes`, with the number of independent ones where some belong together."""
    images, groups = summary.images, summary.groups
    text = f"{counted(images, 'image', comma=True)} of {counted(len(summary.classes), 'class')}"
    return text + (f", {groups:,} of them independent" if groups != images else "")


def _matrix(results: ClassResults) -> list[tuple[str, list[tuple[int, float | None, bool]]]]:
    """Per true class: count, fraction of the row and whether it is right, for every predicted class."""
    return [
        (name, [(n, n / sum(counts) if n else None, place == column) for column, n in enumerate(counts)])
        for place, (name, counts) in enumerate(zip(results.classes, results.summary.confusion, strict=True))
    ]


@dataclass(frozen=True)
class Confusion:
    """How often one class was predicted as another."""

    true: str
    predicted: str
    count: int
    total: int
    """Images of the true class."""

    @property
    def fraction(self) -> float:
        """Of the images of the true class."""
        return self.count / self.total


def confusions(results: ClassResults, most: int = 5) -> list[Confusion]:
    """The most frequent mistakes, by fraction of the true class."""
    names = results.classes
    mistakes = [
        Confusion(names[row], names[column], count, sum(counts))
        for row, counts in enumerate(results.summary.confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(mistakes, key=lambda one: (-one.fraction, -one.count, one.true, one.predicted))[:most]


def class_findings(results: ClassResults) -> list[str]:
    """Up to six sentences on what the numbers say, the most useful first; each is read off the tables."""
    summary = results.summary
    seen = seen_sentence(summary.seen, summary.images, "image")
    f1 = {name: entry.f1.mean for name, entry in summary.classes.items() if entry.support}
    predictions = [sum(column) for column in zip(*summary.confusion, strict=True)]
    never = [name for name, count in zip(results.classes, predictions, strict=True) if not count]
    mistake = next(iter(confusions(results, 1)), None)
    return [
        *([seen] if seen else []),
        *best_and_worst(f1, "classified", "F1"),
        *([f"Never predicted: {listed_in_prose(never)}."] if never else []),
        "No image was classified wrongly."
        if mistake is None
        else f"The most frequent mistake: {mistake.true} predicted as {mistake.predicted}, in {mistake.count} of "
        f"{counted(mistake.total, 'image')} ({100 * mistake.fraction:.0f}%).",
        *_confidence(summary),
        *left_out(summary.unmatched, "image", named=False),
    ]


def _confidence(summary: ClassSummary) -> list[str]:
    confidence, accuracy = summary.mean_confidence, summary.overall["accuracy"].mean
    if accuracy is None:
        return []
    if abs(confidence - accuracy) < _CALIBRATED:
        kind = "well calibrated"
    else:
        kind = "overconfident" if confidence > accuracy else "underconfident"
    return [f"On average the model is {kind}: confidence {number(confidence)}, accuracy {number(accuracy)}."]
