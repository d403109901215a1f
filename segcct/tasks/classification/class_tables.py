"""The tables of a classification evaluation: per class, per picture, and one to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segcct.escape import for_markdown
from segcct.evaluation.summary_record import MetricStats, seen_sentence
from segcct.files.table_file import write_csv
from segcct.plurals import counted
from segcct.tasks.classification.class_record import ClassEntry, ClassSummary

FIGURES = ("precision", "recall", "f1", "auroc")
OVERALL = ("accuracy", "top5", "balanced_accuracy", "macro_f1", "auroc", "ece", "log_loss", "brier")


def write_classes(file: Path, summary: ClassSummary) -> None:
    """metrics.csv: a row per class, empty where a figure is not defined."""
    head = ["class", *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")), "specificity", "support"]
    rows = []
    for name, entry in summary.classes.items():
        cells = [_cell(value) for stats in _figures(entry) for value in (stats.mean, *_ends(stats))]
        rows.append([name, *cells, _cell(entry.specificity), entry.support])
    write_csv(file, head, rows)


def write_pictures(
    file: Path, ids: Sequence[str], probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> None:
    """pictures.csv: a row per picture with its true class, the predicted one and the probabilities of both."""
    predicted = probabilities.argmax(axis=1)
    rows = []
    for place, name in enumerate(ids):
        row, true, taken = probabilities[place], int(labels[place]), int(predicted[place])
        right = "yes" if true == taken else "no"
        rows.append([name, classes[true], classes[taken], right, _cell(row[taken]), _cell(row[true])])
    write_csv(file, ["picture", "class", "predicted", "correct", "confidence", "p_class"], rows, private=True)


def markdown(summary: ClassSummary) -> str:
    """The figures as Markdown, with their intervals."""
    lines = [f"{counted(summary.pictures, 'picture', comma=True)}, {counted(len(summary.classes), 'class')}", ""]
    seen = seen_sentence(summary.seen, summary.pictures, "pictures")
    lines += [f"**{seen}**", ""] if seen else []
    lines += ["| figure | value | 95% interval |", "|---|---|---|"]
    overall = {name: summary.overall[name] for name in OVERALL if name in summary.overall}
    lines += [f"| {name} | {_text(stats.mean)} | {_range(stats)} |" for name, stats in overall.items()]
    lines += ["", f"| class | {' | '.join(FIGURES)} | pictures |", "|---" * (2 + len(FIGURES)) + "|"]
    for name, entry in summary.classes.items():
        cells = [f"{_text(stats.mean)} [{_range(stats)}]" for stats in _figures(entry)]
        lines.append(f"| {for_markdown(name)} | {' | '.join(cells)} | {entry.support} |")
    return "\n".join(lines) + "\n"


def _figures(entry: ClassEntry) -> tuple[MetricStats, ...]:
    return entry.precision, entry.recall, entry.f1, entry.auroc


def _ends(stats: MetricStats) -> list[float | None]:
    return stats.ci95 or [None, None]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _range(stats: MetricStats) -> str:
    low, high = _ends(stats)
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
