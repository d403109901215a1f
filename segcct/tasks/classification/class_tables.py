"""The tables of a classification evaluation: metrics.csv, and one in Markdown to read."""

from __future__ import annotations

from pathlib import Path

from segcct.escape import for_markdown
from segcct.evaluation.summary_record import MetricStats, seen_sentence
from segcct.files.table_file import write_csv
from segcct.plurals import counted
from segcct.tasks.classification.class_results import ClassSummary

METRICS = ("precision", "recall", "f1", "auroc")
OVERALL = ("accuracy", "top5", "balanced_accuracy", "macro_f1", "auroc", "ece", "log_loss", "brier")


def write_classes(file: Path, summary: ClassSummary) -> None:
    """metrics.csv: a row per class, empty where a figure is not defined."""
    head = ["class", *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")), "specificity", "support"]
    rows = []
    for name, entry in summary.classes.items():
        metrics: list[MetricStats] = [getattr(entry, key) for key in METRICS]
        values = [value for stats in metrics for value in (stats.mean, *(stats.ci95 or (None, None)))]
        cells = ["" if value is None else f"{value:.6g}" for value in (*values, entry.specificity)]
        rows.append([name, *cells, entry.support])
    write_csv(file, head, rows)


def markdown(summary: ClassSummary) -> str:
    """The figures as Markdown, with their intervals."""
    lines = [f"{counted(summary.pictures, 'image', comma=True)}, {counted(len(summary.classes), 'class')}", ""]
    seen = seen_sentence(summary.seen, summary.pictures, "images")
    lines += [f"**{seen}**", ""] if seen else []
    lines += ["| figure | value | 95% interval |", "|---|---|---|"]
    overall = {name: summary.overall[name] for name in OVERALL if name in summary.overall}
    lines += [f"| {name} | {_mean(stats)} | {_interval(stats)} |" for name, stats in overall.items()]
    lines += ["", f"| class | {' | '.join(METRICS)} | images |", "|---" * (2 + len(METRICS)) + "|"]
    for name, entry in summary.classes.items():
        metrics: list[MetricStats] = [getattr(entry, key) for key in METRICS]
        cells = [f"{_mean(stats)} [{_interval(stats)}]" for stats in metrics]
        lines.append(f"| {for_markdown(name)} | {' | '.join(cells)} | {entry.support} |")
    return "\n".join(lines) + "\n"


def _mean(stats: MetricStats) -> str:
    return "-" if stats.mean is None else f"{stats.mean:.3f}"


def _interval(stats: MetricStats) -> str:
    low, high = stats.ci95 or (None, None)
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
