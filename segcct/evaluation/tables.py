"""The tables of an evaluation: metrics.csv, details.csv, and Markdown ready to paste."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from segcct.errors import EvaluationError
from segcct.escape import for_markdown
from segcct.evaluation.scoring import LabelMapScores, Row
from segcct.evaluation.summary import VOLUMES, metrics_of
from segcct.evaluation.summary_record import (
    STATUSES,
    MetricStats,
    PairedSummary,
    SegmentationSummary,
)
from segcct.files.json_file import read_object
from segcct.files.table_file import write_csv
from segcct.metrics.metric_table import Quantity, all_metrics, quantity
from segcct.plurals import counted

_OVERALL = "**mean of classes**"


def write_metrics(file: Path, rows: Sequence[Row], convention: str, *, private: bool = True) -> None:
    """metrics.csv: a row per case and structure, with metrics that are not in every table last. `private`: cases are
    named by their own ids, not by hashes."""
    metrics = metrics_of(rows, convention)
    always = [metric.key for metric in metrics if not metric.when_scored]
    more = [metric.key for metric in metrics if metric.when_scored]
    cells = (
        [
            *(row.scores[convention][key] for key in always),
            row.volume_pred_ml,
            row.volume_ref_ml,
            row.status,
            *(row.scores[convention][key] for key in more),
        ]
        for row in rows
    )
    _write(file, rows, [*always, *VOLUMES, "status", *more], cells, private=private)


def write_details(file: Path, rows: Sequence[Row], *, private: bool = True) -> None:
    """details.csv: the other metrics, and counts of voxels."""
    _write(file, rows, list(rows[0].details), (row.details.values() for row in rows), private=private)


def _write(
    file: Path,
    rows: Sequence[Row],
    columns: Sequence[str],
    cells: Iterable[Iterable[float | str | None]],
    *,
    private: bool,
) -> None:
    lines = ([row.case, row.structure, *map(_cell, values)] for row, values in zip(rows, cells, strict=True))
    write_csv(file, ["case", "class", *columns], lines, private=private)


def write_cases(file: Path, cases: Sequence[LabelMapScores], *, private: bool = True) -> None:
    """cases.csv: a row per case, for its label maps as a whole."""
    columns = ["case", "pixel_accuracy", "background", "voxels"]
    write_csv(file, columns, ([_cell(getattr(case, column)) for column in columns] for case in cases), private=private)


def markdown(summaries: Sequence[SegmentationSummary]) -> str:
    """The first summary as a table; below it comparisons of conventions, and of two sets of predictions."""
    parts = [_scores(summaries[0])]
    if len(summaries) > 1:
        parts.append(_by_convention(summaries))
    if summaries[0].paired is not None:
        parts.append(_paired(summaries[0].paired))
    return "\n".join(line for part in parts for line in [*part, ""])


def public_scores(folder: Path) -> str:
    """The scores in summary.json of an evaluation, in Markdown that names no case or folder.

    Raises `EvaluationError` if it is damaged, or if masks were edited, so that the scores are not those of the model.
    """
    file = folder / "summary.json"
    content = read_object(file, SegmentationSummary.NOT_THIS, error=EvaluationError)
    summary = SegmentationSummary.from_json(content, file)
    if summary.edited:
        found = f"{counted(len(summary.edited), 'mask')} edited or replaced since the prediction"
        raise EvaluationError("these scores are not those of the model", file=file, found=found)
    return markdown([summary.model_copy(update={"paired": None})]).strip()


def _scores(summary: SegmentationSummary) -> list[str]:
    metrics = [quantity(key, summary.tolerance_mm) for key in summary.scored_metrics]
    cases, patients = counted(summary.cases, "case"), counted(summary.patients, "patient")
    words = summary.definitions
    warnings = _warnings(summary.seen_sentence(), summary.edited_sentence(), summary.synthetic_sentence())
    entries = [(for_markdown(name), entry.scores, entry.counts) for name, entry in summary.classes.items()]
    rows = []
    for name, scores, counts in [*entries, (_OVERALL, summary.overall, summary.counts_over_classes())]:
        means = [_mean(scores[metric.key], metric) for metric in metrics]
        rows.append(_line([name, *means, *(str(counts[status]) for status in STATUSES)]))
    lines = [
        *_head(["Structure", *(metric.title for metric in metrics), *STATUSES]),
        *rows,
        "",
        *warnings,
        f"Mean [95% interval] over {cases} of {patients}, scheme {for_markdown(summary.scheme)}, "
        f"convention {summary.convention}. {words['ci95']}.",
        f"HD95: {words[summary.hd95]}.",
        f"Missed (only in the reference), spurious (only predicted): {words['one-sided']}.",
        f"Absent: {words['absent']}.",
    ]
    accuracy, background = summary.label_map.pixel_accuracy, summary.label_map.background
    lines.append(
        "Pixel accuracy, all classes and the background at once, mean [95% interval] over the cases: "
        f"{_mean(accuracy, quantity('pixel_accuracy'))}; "
        f"an empty mask would reach {_mean(background, quantity('background'))}."
    )
    return lines


def _by_convention(summaries: Sequence[SegmentationSummary]) -> list[str]:
    """The same masks under every convention: mean Dice, then mean HD95, each with the number of scored cases."""
    names = [*map(for_markdown, summaries[0].classes), _OVERALL]
    dice, hd95 = {}, {}
    for summary in summaries:
        rows = [*(entry.scores for entry in summary.classes.values()), summary.overall]
        distance = quantity(summary.hd95)
        dice[summary.convention] = [_mean_and_count(row["dice"], quantity("dice")) for row in rows]
        hd95[f"{summary.convention} ({distance.unit})"] = [_mean_and_count(row[distance.key], distance) for row in rows]
    lines = ["The same masks under each convention: mean (number of scored cases)."]
    for corner, columns in (("Dice", dice), ("HD95", hd95)):
        cells = zip(names, *columns.values(), strict=True)
        lines += ["", *_head([corner, *columns]), *map(_line, cells)]
    return lines


def _paired(comparison: PairedSummary) -> list[str]:
    """These predictions minus the others: difference with interval, corrected p, wins and losses."""
    known = all_metrics()
    metrics = [known[key] for key, one in comparison.overall.items() if known[key].compared and one.n]
    heads = [head for metric in metrics for head in (f"{metric.title} difference", "p (Holm)", "won : lost")]
    lines = [f"Against {for_markdown(comparison.against)}, case by case ({comparison.definition}).", ""]
    lines += _warnings(comparison.seen_sentence(), comparison.edited_sentence())
    lines += _head(["Structure", *heads])
    rows = {for_markdown(name): entry for name, entry in comparison.classes.items()}
    for name, entry in {**rows, _OVERALL: comparison.overall}.items():
        cells = []
        for metric in metrics:
            one = entry[metric.key]
            p = "-" if one.p_holm is None else f"{one.p_holm:.3g}"
            cells += [_mean(MetricStats(mean=one.difference, ci95=one.ci95), metric, sign="+"), p]
            cells.append(f"{one.wins} : {one.losses}")
        lines.append(_line([name, *cells]))
    return lines


def _warnings(*sentences: str) -> list[str]:
    """The lines of the sentences that are not empty."""
    return [line for sentence in sentences if sentence for line in (f"**{for_markdown(sentence)}**", "")]


def _mean(stats: MetricStats, metric: Quantity, sign: str = "") -> str:
    """`0.873 [0.841, 0.902]`; a dash where nothing is scored."""
    if stats.mean is None:
        return "-"
    form = f"{sign}z.{metric.digits}f"
    low, high = stats.ci95 or (None, None)
    interval = "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"
    return f"{stats.mean:{form}}{interval}"


def _mean_and_count(stats: MetricStats, metric: Quantity) -> str:
    return "-" if stats.mean is None else f"{stats.mean:.{metric.digits}f} ({stats.n})"


def _head(cells: Sequence[str]) -> list[str]:
    """The head of a table: its first column to the left, the others to the right."""
    return [_line(cells), _line(["---", *["---:"] * (len(cells) - 1)])]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else repr(value)
