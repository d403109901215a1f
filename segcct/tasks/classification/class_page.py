"""The report of a classification: one page that says how often the class is right, how sure, and where it fails."""

from __future__ import annotations

from pathlib import Path

from segcct.plurals import counted
from segcct.report.html import Tile, interval, provenance, render, write_page
from segcct.tasks.classification.class_evaluation import QUANTITIES
from segcct.tasks.classification.class_findings import class_findings, confusions
from segcct.tasks.classification.class_images import MOST_CLASSES, gallery
from segcct.tasks.classification.class_record import ClassSummary
from segcct.tasks.classification.class_results import ClassResults, read_class_results

_TILES = ("balanced_accuracy", "macro_f1", "auroc", "top5", "ece", "log_loss", "brier")
_COLUMNS = ("f1", "recall", "precision", "auroc")
_LABELS = {key: each.label for key, each in QUANTITIES.items()} | {"ci95": "95% interval"}
MOST_CELLS = 25
"""Classes up to which the confusion matrix is drawn; beyond, only the most frequent mistakes are listed."""


def write_class_report(evaluation: Path, output: Path) -> Path:
    """Write `report.html` of a classification's evaluation folder into the folder `output`.

    The page is one file without any reference to another. Pictures are read from the dataset, and the weights of their
    tokens computed by the model, that the evaluation names; where one is gone the page says so.

    Args:
        evaluation: a folder written by `segcct evaluate`.
        output: made when missing.

    Returns:
        the path of the page.

    Raises:
        EvaluationError: the evaluation folder is missing, incomplete or damaged; nothing is written then.
    """
    results = read_class_results(Path(evaluation))
    file = Path(output) / "report.html"
    file.unlink(missing_ok=True)  # a page of other scores must not pass for this one where this one fails
    page = render(Path(__file__).with_name("classification.html"), **_context(results))
    return write_page(file, page, private=True)


def _context(results: ClassResults) -> dict[str, object]:
    summary = results.summary
    accuracy = summary.overall["accuracy"]
    lines = [f"95% interval {interval(accuracy.ci95)}", _counted(summary)]
    pictures = sum(each.count for each in summary.reliability) or 1
    return {
        "title": f"Classification report, {counted(summary.pictures, 'picture')}",
        "colors": {},
        "headline": Tile("Accuracy", accuracy.mean, lines, stats=accuracy),
        "accuracy": accuracy,
        "tiles": [Tile.of(QUANTITIES[key], stats) for key in _TILES if (stats := summary.overall.get(key))],
        "columns": [QUANTITIES[key] for key in _COLUMNS],
        "classes": summary.classes,
        "findings": class_findings(results),
        "matrix": _matrix(results) if len(results.classes) <= MOST_CELLS else None,
        "confusions": confusions(results, 10),
        "bins": [(each, each.count / pictures) for each in summary.reliability if each.count],
        "mean_confidence": summary.mean_confidence,
        "gallery": gallery(results),
        "most_classes": MOST_CLASSES,
        "definitions": [
            (_LABELS.get(key, key.capitalize()), text) for key, text in (summary.definitions or {}).items()
        ],
        "provenance": provenance(
            {
                "Model": {"architecture": summary.architecture, "selected_on": summary.selected_on},
                "Pictures": {**(summary.data or {}), "selection": summary.selection},
                "Evaluation": summary.provenance,
            }
        ),
    }


def _counted(summary: ClassSummary) -> str:
    """`5,000 pictures of 10 classes`, with the number of independent ones where some belong together."""
    pictures, groups = summary.pictures, summary.groups or summary.pictures
    text = f"{counted(pictures, 'picture', comma=True)} of {counted(len(summary.classes), 'class')}"
    return text + (f", {groups:,} of them independent" if groups != pictures else "")


def _matrix(results: ClassResults) -> list[tuple[str, list[tuple[int, float | None, bool]]]]:
    """Per true class: count, fraction of the row and whether it is right, for every predicted class."""
    return [
        (name, [(n, n / sum(counts) if n else None, place == column) for column, n in enumerate(counts)])
        for place, (name, counts) in enumerate(zip(results.classes, results.summary.confusion, strict=True))
    ]
