"""The tables of a classification evaluation: per class, per picture, and one to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcct.escape import for_markdown
from segcct.evaluation.summary_record import seen_sentence
from segcct.files.table_file import write_csv
from segcct.plurals import counted

FIGURES = ("precision", "recall", "f1", "auroc")
OVERALL = ("accuracy", "top5", "balanced_accuracy", "macro_f1", "auroc", "ece", "log_loss", "brier")


def write_classes(file: Path, summary: Mapping[str, Any]) -> None:
    """metrics.csv: a row per class, empty where a figure is not defined."""
    head = ["class", *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")), "specificity", "support"]
    rows = []
    for name, own in summary["classes"].items():
        cells = [_cell(value) for key in FIGURES for value in (own[key]["mean"], *own[key]["ci95"])]
        rows.append([name, *cells, _cell(own["specificity"]), own["support"]])
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


def markdown(summary: Mapping[str, Any]) -> str:
    """The figures as Markdown, with their intervals."""
    overall = summary["overall"]
    lines = [f"{counted(summary['pictures'], 'picture', comma=True)}, {counted(len(summary['classes']), 'class')}", ""]
    seen = seen_sentence(summary.get("seen"), summary["pictures"], "pictures")
    lines += [f"**{seen}**", ""] if seen else []
    lines += ["| figure | value | 95% interval |", "|---|---|---|"]
    lines += [f"| {name} | {_text(overall[name]['mean'])} | {_range(overall[name]['ci95'])} |"
              for name in OVERALL if name in overall]  # fmt: skip
    lines += ["", f"| class | {' | '.join(FIGURES)} | pictures |", "|---" * (2 + len(FIGURES)) + "|"]
    for name, own in summary["classes"].items():
        cells = [f"{_text(own[key]['mean'])} [{_range(own[key]['ci95'])}]" for key in FIGURES]
        lines.append(f"| {for_markdown(name)} | {' | '.join(cells)} | {own['support']} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _range(ends: Sequence[float | None]) -> str:
    low, high = ends
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
