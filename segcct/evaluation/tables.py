"""The tables of an evaluation: metrics.csv, details.csv, and Markdown ready to paste."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segcct.escape import for_markdown
from segcct.evaluation.scoring import DETAILS, Agreement, Row
from segcct.evaluation.summary import (
    STATUSES,
    counts_over_classes,
    edited_sentence,
    metrics_of,
    seen_sentence,
    synthetic_sentence,
    value,
)
from segcct.files.table_file import write_csv
from segcct.plurals import counted

_HEADS = {"dice": "Dice", "iou": "IoU", "hd95_mm": "HD95 (mm)", "hd95_vox": "HD95 (voxels)", "nsd": "NSD"}
_DIGITS = {"dice": 3, "iou": 3, "hd95_mm": 2, "hd95_vox": 2, "nsd": 3, "pixel_accuracy": 4, "background": 4}


def write_metrics(file: Path, rows: Sequence[Row], convention: str, *, private: bool = True) -> None:
    """metrics.csv: a row per case and structure; `hd95_vox` is added where distances are in voxels; `private` where the
    cases are not hashed."""
    extra = [metric for metric in metrics_of(rows, convention) if metric == "hd95_vox"]
    columns = ["case", "class", "dice", "iou", "hd95_mm", "nsd", "volume_pred_ml", "volume_ref_ml", "status", *extra]
    write_csv(
        file,
        columns,
        (
            [
                row.case,
                row.structure,
                *(_cell(value(row, convention, metric)) for metric in ("dice", "iou", "hd95_mm", "nsd")),
                _cell(row.volume_pred_ml),
                _cell(row.volume_ref_ml),
                row.status,
                *(_cell(value(row, convention, metric)) for metric in extra),
            ]
            for row in rows
        ),
        private=private,
    )


def write_details(file: Path, rows: Sequence[Row], *, private: bool = True) -> None:
    """details.csv: what metrics.csv has no room for."""
    write_csv(
        file,
        ["case", "class", *DETAILS],
        ([row.case, row.structure, *(_cell(row.details[name]) for name in DETAILS)] for row in rows),
        private=private,
    )


def write_cases(file: Path, agreements: Sequence[Agreement], *, private: bool = True) -> None:
    """cases.csv: a row per case, of its label maps as a whole."""
    columns = ["case", "pixel_accuracy", "background", "voxels"]
    rows = ([each.case, *(repr(getattr(each, column)) for column in columns[1:])] for each in agreements)
    write_csv(file, columns, rows, private=private)


def markdown(summaries: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any] | None = None) -> str:
    """The first summary as a table; below it several conventions side by side, and the comparison with others."""
    parts = [_scores(summaries[0])]
    if len(summaries) > 1:
        parts.append(_side_by_side(summaries))
    if comparison is not None:
        parts.append(_paired(comparison))
    return "\n".join(parts)


def _scores(summary: Mapping[str, Any]) -> str:
    metrics = [metric for metric in _HEADS if metric in summary["overall"] and _is_scored(summary, metric)]
    heads = [_head(metric, summary) for metric in metrics]
    lines = [_line(["Structure", *heads, *STATUSES]), _line(["---", *["---:"] * (len(heads) + len(STATUSES))])]
    for name, entry in summary["classes"].items():
        cells = [mean_and_interval(entry[metric], metric) for metric in metrics]
        lines.append(_line([for_markdown(name), *cells, *(str(entry["counts"][status]) for status in STATUSES)]))
    totals = counts_over_classes(summary)
    cells = [mean_and_interval(summary["overall"][metric], metric) for metric in metrics]
    lines.append(_line(["**mean of classes**", *cells, *(str(totals[status]) for status in STATUSES)]))
    words = summary["definitions"]
    edited = for_markdown(edited_sentence(summary))
    warnings = [sentence for sentence in (seen_sentence(summary), edited, synthetic_sentence(summary)) if sentence]
    patients = summary["patients"]
    lines += [
        "",
        *(line for sentence in warnings for line in (f"**{sentence}**", "")),
        f"Mean [95% interval] over {counted(summary['cases'], 'case')} of {counted(patients, 'patient')}, "
        f"scheme {summary['scheme']}, convention {summary['convention']}. {words['ci95']}.",
        f"HD95: {words[_distance(summary)]}.",
        f"Missed (only in the reference), spurious (only predicted): {words['one-sided']}.",
        f"Absent: {words['absent']}.",
        f"{_pixel_accuracy(summary['label_map'])}.",
        "",
    ]
    return "\n".join(lines)


def _pixel_accuracy(label_map: Mapping[str, Any]) -> str:
    """Pixel accuracy beside what no mask at all would reach."""
    reached, empty = (mean_and_interval(label_map[key], key) for key in ("pixel_accuracy", "background"))
    return (
        f"Pixel accuracy, all classes and the background at once, mean [95% interval] over the cases: {reached}; "
        f"an empty mask would reach {empty}"
    )


def _side_by_side(summaries: Sequence[Mapping[str, Any]]) -> str:
    """The same masks under every convention: mean Dice, then mean HD95, each with the number of scored cases."""
    dice = {
        summary["convention"]: [_mean_and_count(entry["dice"], "dice") for entry in _lines(summary)]
        for summary in summaries
    }
    distance = {
        f"{summary['convention']} ({'voxels' if _distance(summary) == 'hd95_vox' else 'mm'})": [
            _mean_and_count(entry[_distance(summary)], "hd95_mm") for entry in _lines(summary)
        ]
        for summary in summaries
    }
    names = [*map(for_markdown, summaries[0]["classes"]), "**mean of classes**"]
    return "\n".join(
        [
            "The same masks under each convention: mean (number of scored cases).",
            "",
            *_columns("Dice", names, dice),
            "",
            *_columns("HD95", names, distance),
            "",
        ]
    )


def _paired(comparison: Mapping[str, Any]) -> str:
    """These predictions minus the others: difference with interval, corrected p, wins and losses."""
    metrics = [metric for metric in ("dice", "hd95_mm", "hd95_vox") if metric in comparison["overall"]]
    metrics = [metric for metric in metrics if comparison["overall"][metric]["n"]]
    heads = [head for metric in metrics for head in (f"{_HEADS[metric]} difference", "p (Holm)", "won : lost")]
    lines = [f"Against {for_markdown(comparison['against'])}, case by case ({comparison['definition']}).", ""]
    lines += [_line(["Structure", *heads]), _line(["---", *["---:"] * len(heads)])]
    for name, entry in [*_named(comparison["classes"]), ("**mean of classes**", comparison["overall"])]:
        cells = []
        for metric in metrics:
            one = entry[metric]
            p = one["p_holm"]
            cells += [
                mean_and_interval({"mean": one["difference"], "ci95": one["ci95"]}, metric, sign="+"),
                "-" if p is None else f"{p:.3g}",
                f"{one['wins']} : {one['losses']}",
            ]
        lines.append(_line([name, *cells]))
    return "\n".join([*lines, ""])


def _named(classes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(for_markdown(name), entry) for name, entry in classes.items()]


def _lines(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*summary["classes"].values(), summary["overall"]]


def _columns(corner: str, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[str]:
    head = [_line([corner, *columns]), _line(["---", *["---:"] * len(columns)])]
    return head + [
        _line([name, *cells]) for name, cells in zip(names, zip(*columns.values(), strict=True), strict=True)
    ]


def mean_and_interval(stats: Mapping[str, Any], metric: str, sign: str = "") -> str:
    """`0.873 [0.841, 0.902]`; a dash where nothing is scored."""
    if stats["mean"] is None:
        return "-"
    digits = _DIGITS[metric]
    low, high = stats["ci95"]
    interval = "" if low is None else f" [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
    return f"{stats['mean']:{sign}.{digits}f}{interval}"


def _mean_and_count(stats: Mapping[str, Any], metric: str) -> str:
    return "-" if stats["mean"] is None else f"{stats['mean']:.{_DIGITS[metric]}f} ({stats['n']})"


def _is_scored(summary: Mapping[str, Any], metric: str) -> bool:
    return any(entry[metric]["n"] for entry in summary["classes"].values())


def _distance(summary: Mapping[str, Any]) -> str:
    return "hd95_vox" if "hd95_vox" in summary["overall"] and not _is_scored(summary, "hd95_mm") else "hd95_mm"


def _head(metric: str, summary: Mapping[str, Any]) -> str:
    return f"NSD ({summary['tolerance_mm']:g} mm)" if metric == "nsd" else _HEADS[metric]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(number: float | None) -> str:
    return "" if number is None else repr(number)
