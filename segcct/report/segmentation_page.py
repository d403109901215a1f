"""The report of a segmentation evaluation: one page that says how good the masks are and where they fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from segcct import figures
from segcct.errors import failure_of, kind_of
from segcct.evaluation.anonymous import FILES, NAMING
from segcct.evaluation.summary_record import STATUSES, MetricStats, SegmentationSummary
from segcct.metrics.metric_table import Quantity, quantity
from segcct.plurals import counted
from segcct.progress import say
from segcct.report import plots
from segcct.report.case_images import CaseImages, images_of, masks_of
from segcct.report.findings import changed_sentence, findings, ranked, worst_cases
from segcct.report.html import Tile, class_colors, interval, make_way_for_page, number, provenance, render, write_page
from segcct.report.results import Results, Score, read_results
from segcct.report.viewer import Channel, Pane, SliceChoice, Viewer, build_viewer

_MOST_CHANNELS = 4
_SLICES = {1: 9, 2: 9, 3: 7, 4: 6}
"""Slices per case by number of channels: about the same weight of pixels on every page."""
_DIFFERENCES = {"d-missed": figures.MISSED, "d-extra": figures.EXTRA, "d-other": figures.SWAPPED}
_DEFINED = {
    "ci95": "95% interval",
    "overall": "Mean over the classes",
    "absent": "Absent",
    "one-sided": "Missed, spurious",
}


@dataclass(frozen=True)
class Shown:
    """One case of the section of images: its viewer, of the masks alone where there is a problem with the image."""

    rank: str
    case: str
    dice: float | None
    scores: Mapping[str, float | None]
    """Class -> Dice."""
    viewer: Viewer | None = None
    problem: str = ""
    synthetic: bool = False


@dataclass(frozen=True)
class ConventionColumn:
    """One column of the table of conventions: per class and region, then overall."""

    quantity: Quantity
    convention: str
    stats: list[MetricStats | None]

    @property
    def texts(self) -> list[str]:
        """The means as they are written."""
        return [number(stats.mean if stats else None, self.quantity.digits) for stats in self.stats]


def write_report(evaluation: Path, output: Path) -> Path:
    """Write `report.html` of an evaluation folder into the folder `output`.

    The page is one file without any reference to another. The best, median and worst case are drawn from the image
    files that the evaluation names; where they cannot be read the page says why.

    Args:
        evaluation: a folder written by `segcct evaluate`.
        output: made when missing.

    Returns:
        the path of the page.

    Raises:
        EvaluationError: the evaluation folder is missing, incomplete or damaged, or `output` holds the page of a
            comparison; nothing is written then.
    """
    results = read_results(Path(evaluation))
    warning = changed_sentence(results)
    file = make_way_for_page(Path(output))
    if warning:
        say(warning)
    page = render(Path(__file__).with_name("segmentation.html"), changed=warning, **_context(results))
    return write_page(file, page, private=not results.anonymized)


def _context(results: Results) -> dict[str, object]:
    summary, classes = results.summary, results.classes
    shown = [_show(results, rank, case) for rank, case in ranked(results)]
    described = partial(quantity, tolerance_mm=summary.tolerance_mm)
    main = [described(key) for key in _main_metrics(summary)]
    metrics = [described(key) for key in ("dice", *(key for key in results.metrics if key != "dice"))]
    empty = number(summary.label_map.background.mean, quantity("background").digits)
    note = f"background included; an empty mask: {empty}"
    return {
        "title": f"Segmentation report, {counted(len(results.cases), 'case')}",
        "colors": class_colors(classes) | _DIFFERENCES,
        "scheme": summary.scheme,
        "convention": summary.convention,
        "classes": classes,
        "regions": results.regions,
        "headline": _headline(results),
        "other_means": [
            *(Tile.of(each, summary.overall.get(each.key)) for each in main if each.key != "dice"),
            Tile.of(quantity("pixel_accuracy"), summary.label_map.pixel_accuracy, note),
        ],
        "stats": summary.classes,
        "main": main,
        "metrics": metrics,
        "written": partial(_written, metrics),
        "statuses": STATUSES,
        "findings": findings(results),
        "worst": worst_cases(results),
        "strip_rows": [
            plots.strip(name, results.of_structure(name), summary.classes[name].scores.get("dice"))
            for name in (*classes, *results.regions)
        ],
        "scatter": plots.dice_by_volume(classes, results.scores),
        "shown": shown,
        "synthetic": bool(summary.synthetic) or any(case.synthetic for case in shown),
        "synthetic_training": bool(summary.synthetic_training),
        "rows": [(case, results.mean_dice(case), results.of_case(case)) for case in results.cases],
        "pixel_accuracy": results.pixel_accuracy,
        "pixel_accuracy_metric": quantity("pixel_accuracy"),
        "paired": results.paired,
        "conventions": _conventions(results),
        "definitions": _definitions(summary),
        "provenance": _provenance(results),
    }


def _headline(results: Results) -> Tile:
    """Mean Dice, over how many cases of how many patients; patients only where they are fewer than the cases."""
    dice, cases = results.summary.overall.get("dice"), len(results.cases)
    patients = results.summary.patients
    if dice is None or dice.mean is None:
        return Tile("Mean Dice", None, ["No case holds a structure that can be scored."])
    size = counted(cases, "case") + (f" of {counted(patients, 'patient')}" if patients != cases else "")
    scored = f", {dice.n} of them scored" if dice.n < cases else ""
    lines = [f"95% interval {interval(dice.ci95)}, median {number(dice.median)}", size + scored]
    return Tile("Mean Dice", dice.mean, lines, stats=dice)


def _main_metrics(summary: SegmentationSummary) -> list[str]:
    """Metrics of the headline and the tables: Dice, and those that are scored at least once."""
    return ["dice", *(name for name in summary.scored_metrics if name != "dice")]


def _written(metrics: Sequence[Quantity], score: Score) -> str:
    """The scores of a cell in the list of cases, which shows one of them at a time, separated by commas."""
    values = ((metric.digits, score.values[metric.key]) for metric in metrics)
    return ",".join("" if value is None else f"{value:z.{digits}f}" for digits, value in values)


def _show(results: Results, rank: str, case: str) -> Shown:
    of_case = results.of_case(case)
    scores = {name: of_case[name].values["dice"] for name in results.classes if name in of_case}
    shown = Shown(rank, case, results.mean_dice(case), scores)
    if case in results.changed_files:
        problem = f"the {results.changed_files[case]} has changed since it was scored"
        return replace(shown, problem=problem)
    if results.anonymized and not results.summary.files:
        return replace(shown, problem=f"{FILES}, which names the images, is not in the folder of the evaluation")
    for read in (images_of, masks_of):
        try:
            images = read(results, case)
            return replace(shown, viewer=_viewer(images, f"v{rank.lower()}"), synthetic=images.synthetic)
        except Exception as error:  # of anonymized cases neither the page nor `--debug` names files
            reason = kind_of(error) if results.anonymized else failure_of(error)
            shown = replace(shown, problem=shown.problem or reason)
    return shown


def _viewer(images: CaseImages, key: str) -> Viewer:
    names = list(images.channels)[:_MOST_CHANNELS]
    choice = SliceChoice.of(images.grid, images.reference, images.prediction, _SLICES[len(names) or 1])
    channels = {}
    for name in names:
        window, pixels = images.window_of(name), choice.pick(images.channels[name])
        if window is None:
            channels[name] = Channel({"image": pixels}, ": as stored, not windowed")
        else:
            channels[name] = Channel({"image": window.apply(pixels)}, f": {window.text}")
    panes = [Pane("Image", "image")] if channels else []
    if choice.reference is not None:
        panes.append(Pane("Reference", "image", choice.reference))
    panes.append(Pane("Prediction", "image", choice.prediction))
    if choice.reference is not None:
        panes.append(Pane("Difference", "image", choice.prediction, choice.reference, "dim"))
    if not channels:
        channels = {"masks": Channel({"image": np.zeros(choice.prediction.shape, np.uint8)}, " without the image")}
    return build_viewer(key, choice, channels, panes)


def _conventions(results: Results) -> list[ConventionColumn]:
    """Dice and HD95 under every convention, this page's first; empty where there is only one."""
    summaries = {results.summary.convention: results.summary}
    summaries |= {name: other for name, other in results.others.items() if name not in summaries}
    if len(summaries) == 1:
        return []
    columns = []
    for metric in ("dice", "hd95"):
        for name, summary in summaries.items():
            key = summary.hd95 if metric == "hd95" else metric
            entries = [summary.classes.get(structure) for structure in results.names]
            stats = [entry.scores.get(key) if entry else None for entry in entries]
            columns.append(ConventionColumn(quantity(key), name, [*stats, summary.overall.get(key)]))
    return columns


def _definitions(summary: SegmentationSummary) -> list[tuple[str, str]]:
    """What the summary defines, without the metrics that it does not score."""
    scored = _main_metrics(summary)
    return [
        (_DEFINED.get(key) or quantity(key).label, text)
        for key, text in {**summary.definitions, **summary.label_map.definitions}.items()
        if key not in summary.overall or key in scored
    ]


def _provenance(results: Results) -> list[tuple[str, list[tuple[str, str]]]]:
    """Where the masks and the scores come from; nothing that names a file or folder where ids are hashed."""
    model = results.summary.model
    hidden = NAMING if results.anonymized else ()
    groups: dict[str, Mapping[str, object] | None] = {
        "Model": {"architecture": model.architecture, "selected_on": model.selected_on}
    }
    for name, details in (("Prediction", model.provenance), ("Evaluation", results.summary.provenance)):
        groups[name] = {key: value for key, value in (details or {}).items() if key not in hidden}
    return provenance(groups)
