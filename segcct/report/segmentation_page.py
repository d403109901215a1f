"""The report of a segmentation evaluation: one page that says how good the masks are and where they fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from segcct import figures
from segcct.errors import CASE_FAILURES, SegcctError, failure_of, kind_of, reason_of
from segcct.evaluation.anonymous import NAMING
from segcct.inference.index import is_anonymized, without_ids
from segcct.plurals import counted
from segcct.progress import say
from segcct.report import plots
from segcct.report.changed import changed_files, changed_sentence
from segcct.report.embedded_images import CaseImages, images_of, is_other_model, read_predictions
from segcct.report.findings import findings, worst_cases
from segcct.report.html import MAIN, METRICS, Metric, flat, metric, render, write_page
from segcct.report.results import STATUSES, Results, read_results
from segcct.report.viewer import Viewer, build_viewer

_MOST_CHANNELS = 4
_SLICES = {1: 9, 2: 9, 3: 7, 4: 6}
"""Slices per case by number of channels: about the same weight of pictures on every page."""

_DEFINED = {
    "ci95": "95% interval",
    "overall": "Mean over the classes",
    "absent": "Absent",
    "one-sided": "Missed, spurious",
}


@dataclass(frozen=True)
class Shown:
    """One case of the picture section: its viewer, or why there is none."""

    rank: str
    case: str
    dice: float | None
    scores: Mapping[str, float | None]
    """Class -> Dice."""
    viewer: Viewer | None
    problem: str = ""
    synthetic: bool = False


@dataclass(frozen=True)
class Side:
    """One column of the table of conventions."""

    metric: Metric
    convention: str
    stats: list[Mapping[str, Any] | None]
    """Per class and region, then overall."""


def write_report(evaluation: Path, output: Path) -> Path:
    """Write `report.html` of an evaluation folder into the folder `output`.

    The page is one file without any reference to another. Pictures of the best, median and worst case are drawn from
    the image files that the evaluation names; where they cannot be read the page says why.

    Args:
        evaluation: a folder written by `segcct evaluate`.
        output: made when missing.

    Returns:
        the path of the page.

    Raises:
        EvaluationError: the evaluation folder is missing, incomplete or damaged; nothing is written then.
    """
    results = read_results(Path(evaluation))
    predictions = read_predictions(results)
    file = Path(output) / "report.html"
    file.unlink(missing_ok=True)  # a page of other scores must not pass for this one where this one fails
    changed = changed_files(results)
    warning = changed_sentence(changed, other_model=is_other_model(results))
    if warning:
        say(warning)
    shown = [_show(results, predictions, rank, case, changed.get(case)) for rank, case in ranked(results)]
    page = render("template.html", {**_context(results, shown, predictions), "changed": warning})
    return write_page(file, page, private=not is_anonymized(results.summary))


def _context(results: Results, shown: list[Shown], predictions: Mapping[str, Any]) -> dict[str, Any]:
    summary = results.summary
    described = partial(metric, tolerance_mm=summary.get("tolerance_mm"))
    return {
        "title": f"Segmentation report, {counted(len(results.cases), 'case')}",
        "scheme": str(summary.get("scheme", "not stated")),
        "convention": str(summary["convention"]),
        "counted": _counted(results),
        "classes": results.classes,
        "regions": results.regions,
        "colours": dict(zip(results.classes, figures.class_colours(len(results.classes)), strict=True)),
        "difference_colours": {"missed": figures.MISSED, "extra": figures.EXTRA, "other class": figures.SWAPPED},
        "overall": summary["overall"],
        "stats": summary["classes"],
        "main": [described(key) for key in _main_metrics(summary)],
        "metrics": [described(key) for key in results.metrics],
        "statuses": STATUSES,
        "findings": findings(results),
        "worst": worst_cases(results),
        "strips": _strips(results),
        "scatter": plots.scatter(results.classes, results.scores),
        "shown": shown,
        "synthetic": bool(summary.get("synthetic")) or any(case.synthetic for case in shown),
        "synthetic_training": bool(summary.get("synthetic_training")),
        "rows": [(case, results.mean_dice(case), results.of_case(case)) for case in results.cases],
        "label_map": summary.get("label_map") or {},
        "pixel_accuracy": results.pixel_accuracy,
        "whole": {key: described(key) for key in ("pixel_accuracy", "background")},
        "paired": results.paired,
        "conventions": _conventions(results),
        "definitions": _definitions(summary),
        "provenance": _provenance(results, predictions),
    }


def _counted(results: Results) -> str:
    """`20 cases of 10 patients`; patients only where they are fewer than the cases."""
    cases, patients = len(results.cases), int(results.summary.get("patients") or len(results.cases))
    return counted(cases, "case") + (f" of {counted(patients, 'patient')}" if patients != cases else "")


def _main_metrics(summary: Mapping[str, Any]) -> list[str]:
    """Metrics of the headline and the tables: Dice, and those that are scored at least once."""
    entries = [summary["overall"], *summary["classes"].values()]
    scored = [key for key in MAIN if any((entry.get(key) or {}).get("mean") is not None for entry in entries)]
    return scored if "dice" in scored else ["dice", *scored]


def _strips(results: Results) -> list[plots.Strip]:
    return [
        plots.strip(
            name,
            [score for score in results.scores if score.name == name],
            results.summary["classes"][name].get("dice"),
        )
        for name in (*results.classes, *results.regions)
    ]


def ranked(results: Results) -> list[tuple[str, str]]:
    """(`Best`, `Median` or `Worst`, case) by mean Dice over the classes; fewer where fewer cases are scored."""
    scored = sorted((dice, case) for case in results.cases if (dice := results.mean_dice(case)) is not None)
    if not scored:
        return []
    middle = median(dice for dice, _ in scored)
    picks = {"Best": scored[-1][1], "Worst": scored[0][1]}
    between = [entry for entry in scored if entry[1] not in picks.values()]
    if between:
        picks["Median"] = min(between, key=lambda entry: (abs(entry[0] - middle), entry[1]))[1]
    if picks["Best"] == picks["Worst"]:
        return [("Only", picks["Best"])]
    return [(rank, picks[rank]) for rank in ("Best", "Median", "Worst") if rank in picks]


def _show(results: Results, predictions: Mapping[str, Any], rank: str, case: str, changed: str | None) -> Shown:
    of_case = results.of_case(case)
    scores = {name: of_case[name].values["dice"] for name in results.classes if name in of_case}
    blank = Shown(rank, case, results.mean_dice(case), scores, None)
    if changed is not None:
        return replace(blank, problem=f"the {changed} is another file by now than the one that was scored")
    try:
        images = images_of(results, predictions, case)
        return replace(blank, viewer=_viewer(results, images, rank), synthetic=images.synthetic)
    except CASE_FAILURES as error:
        hidden = is_anonymized(results.summary)
        reason = reason_of(error) if isinstance(error, OSError | SegcctError) else failure_of(error, case)
        return replace(blank, problem=kind_of(error) if hidden else reason)


def _viewer(results: Results, images: CaseImages, rank: str) -> Viewer:
    channels = dict(list(images.channels.items())[:_MOST_CHANNELS])
    return build_viewer(
        f"v{rank.lower()}",
        channels,
        images.reference,
        images.prediction,
        figures.plane_of(images.grid.shape, images.grid.affine, images.grid.spacing_mm),
        results.classes,
        count=_SLICES[len(channels)],
        shown=images.window,
    )


def _conventions(results: Results) -> list[Side]:
    """Dice and HD95 under every convention, this page's first; empty where there is only one."""
    own = str(results.summary["convention"])
    summaries = {own: results.summary, **{name: other for name, other in results.others.items() if name != own}}
    if len(summaries) == 1:
        return []
    keys = [("dice",) * len(summaries), tuple(_distance(summary) for summary in summaries.values())]
    return [
        Side(
            metric(key),
            name,
            [summary["classes"].get(row, {}).get(key) for row in results.names] + [summary["overall"].get(key)],
        )
        for row_of_keys in keys
        for key, (name, summary) in zip(row_of_keys, summaries.items(), strict=True)
    ]


def _distance(summary: Mapping[str, Any]) -> str:
    return "hd95_vox" if "hd95_vox" in _main_metrics(summary) else "hd95_mm"


def _definitions(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the summary defines, without the metrics that it does not score."""
    scored = _main_metrics(summary)
    told = {**(summary.get("definitions") or {}), **((summary.get("label_map") or {}).get("definitions") or {})}
    return [
        (metric(key).label if key in METRICS else _DEFINED.get(key, key.capitalize()), str(text))
        for key, text in told.items()
        if key not in MAIN or key in scored
    ]


def _provenance(results: Results, predictions: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Where the masks and the scores come from; nothing that names a file or folder where ids are hashed."""
    predictions = results.summary.get("model") or predictions
    selected_on = without_ids(predictions.get("selected_on"))
    hidden = NAMING if is_anonymized(results.summary) else ()
    groups = [("Model", {"architecture": predictions.get("architecture"), "selected_on": selected_on})]
    for name, made in (("Prediction", predictions), ("Evaluation", results.summary)):
        details = made.get("provenance") or {}
        groups.append((name, {key: value for key, value in details.items() if key not in hidden}))
    return [(name, rows) for name, details in groups if (rows := flat(details))]
