"""What the comparison page shows, in the order it shows it: headline, tiles, ranking, table, images, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segcct.comparison.compared_case import FULL_ERROR
from segcct.comparison.comparison_findings import findings
from segcct.comparison.comparison_record import (
    CaseFigures,
    ClassOverlap,
    Comparison,
    ComparisonSummary,
    EstimatedDice,
    RegionMeans,
)
from segcct.comparison.comparison_summary import ENOUGH_MASKS, Cases, ClassValueOf, ValueOf, class_pairs
from segcct.figures import HEAT
from segcct.metrics.image import BAND_PX, BORDER, FOREGROUND, WHOLE
from segcct.metrics.ranking import spearman
from segcct.plurals import counted, listed_in_prose
from segcct.quality.quality_model import QualityModel
from segcct.report.html import Tile, class_colors, interval, number, provenance, render
from segcct.report.plots import Dot, Plot, linear_plot
from segcct.report.viewer import Viewer

_REGIONS = {WHOLE: "Whole image", FOREGROUND: "Foreground", BORDER: "Border band"}


@dataclass(frozen=True)
class CaseColumn:
    """One figure of every case: a column of the table, and an entry of the line above the images."""

    name: str
    help: str
    value_of: ValueOf
    digits: int = 3
    tinted: bool = False
    fact: str = ""
    """Its name in that line; without one it is not there."""


@dataclass(frozen=True)
class Ranked:
    """A case of the ranking, and why it is flagged."""

    case: str
    key: str
    figures: CaseFigures
    flagged: bool
    reason: str

    @classmethod
    def of(cls, case: str, key: str, figures: CaseFigures, below: float) -> Ranked:
        """A case; `key` is that of its viewer."""
        flagged, missing = figures.flagged(below), figures.missing or []
        if figures.is_empty:
            reason = "nothing predicted"
        elif flagged:
            parts = {"not predicted": missing, "low estimate": [name for name in flagged if name not in missing]}
            reason = "; ".join(f"{what}: {listed_in_prose(names)}" for what, names in parts.items() if names)
        else:
            measured = None if figures.estimate is None else figures.mean.dice  # without estimate the order shows it
            reason = "" if measured is None else f"Dice {number(measured, 2)}"
        return cls(case, key, figures, bool(flagged) or (figures.estimate is None and figures.is_empty), reason)

    @property
    def classes(self) -> list[tuple[str, ClassOverlap, EstimatedDice | None]]:
        """Name, overlap and estimate of every class."""
        estimates = self.figures.estimate or {}
        return [(name, overlap, estimates.get(name)) for name, overlap in self.figures.classes.items()]


def comparison_page(comparison: Comparison, viewers: Mapping[str, Viewer], quality: QualityModel | None) -> str:
    """report.html.

    Args:
        comparison: report.json.
        viewers: case -> its images.
        quality: the segmenter's quality.json.
    """
    cases, summary = comparison.cases, comparison.summary
    classes = list(comparison.scheme.classes)
    with_reference = summary.with_reference > 0
    below = quality.flag_below if quality else 0.0
    columns = _columns(with_reference=with_reference, calibrated=quality is not None)
    return render(
        Path(__file__).with_name("comparison.html"),
        title=f"Image, mask, image: {counted(len(cases), 'case')}",
        synthetic=comparison.synthetic,
        synthetic_training=comparison.synthetic_training,
        classes=classes,
        colors=class_colors(classes),
        heat=HEAT,
        full_error=FULL_ERROR,
        band_px=BAND_PX,
        with_reference=with_reference,
        calibrated=quality is not None,
        flag_below=below,
        headline=_headline(summary, comparison.scheme.name),
        findings=findings(comparison),
        tiles=_tiles(summary),
        order_note=_order_note(quality, with_reference=with_reference),
        ranking=[Ranked.of(name, viewers[name].key, cases[name], below) for name in comparison.order],
        columns=columns,
        facts=[column for column in columns if column.fact],
        viewers=viewers,
        regions=[(_REGIONS.get(region.name, region.name), region) for region in summary.regions],
        plots=plots_of(cases, classes),
        left_out="; ".join(f"{name}: {reason}" for name, reason in comparison.failed.items()),
        channels_note=_channels_note(viewers, comparison.channels),
        calibration=None if quality is None else str(quality.facts.get("summary", "")),
        leave_one_out=quality.facts.get("leave_one_out", ()) if quality else (),
        definitions=list(comparison.definitions.items()),
        provenance=provenance({**comparison.models, "Report": comparison.provenance}),
    )


def plots_of(cases: Cases, classes: Sequence[str]) -> list[Plot]:
    """Every plot that has at least one dot: what predicts the overlap, against it; none without references."""
    iou = (CaseFigures.iou_error, "1 \N{MINUS SIGN} IoU")
    plots = [
        _plot(cases, classes, CaseFigures.class_rmse, "RMSE in the class", *iou, "Reconstruction distance and IoU"),
        _plot(cases, classes, CaseFigures.cycle_error, "1 \N{MINUS SIGN} Dice of M → I → M'", *iou,
              "Dice of the mask found again, and IoU"),
        _plot(cases, classes, CaseFigures.estimated_dice, "Estimated Dice", CaseFigures.class_dice, "Dice",
              "Estimated and measured Dice", same=True),
    ]  # fmt: skip
    return [plot for plot in plots if plot is not None]


def _plot(
    cases: Cases, classes: Sequence[str], x_of: ClassValueOf, x_name: str, y_of: ClassValueOf, y_name: str, title: str,
    *, same: bool = False,
) -> Plot | None:  # fmt: skip
    dots = [
        Dot(name, x, y, f"{case}: {name}, {x_name} {x:.3f}, {y_name} {y:.3f}")
        for case, name, x, y in class_pairs(cases, classes, x_of, y_of)
    ]
    if not dots:
        return None
    rank = spearman([dot.x for dot in dots], [dot.y for dot in dots]) if len(dots) >= ENOUGH_MASKS else None
    masks = counted(len(dots), "mask")
    note = f"{masks}: too few for a correlation" if rank is None else f"Spearman {number(rank, 2)}, {masks}"
    plot = linear_plot(classes, dots, x_name, y_name, 1.0 if same else 0.0)
    return replace(plot, title=title, note=note, diagonal=same)


def _headline(summary: ComparisonSummary, scheme: str) -> Tile:
    """Mean Dice where there are references; else how many masks are flagged for review; else M -> I -> M'."""
    cases = counted(summary.cases, "case")
    if summary.with_reference:
        dice = summary.dice
        scored = "" if dice.n == summary.cases else f", {dice.n} of them scored"
        lines = [f"95% interval {interval(dice.ci95)}", f"{cases}{scored}, scheme {scheme}"]
        return Tile("Mean Dice", dice.mean, lines, stats=dice)
    if summary.flagged is not None:
        rule = f"estimated Dice below {summary.flag_below:g}, or a structure missed"
        lines = [f"of {cases} without reference, scheme {scheme}", rule]
        return Tile("Flagged for review", float(len(summary.flagged)), lines, digits=0)
    lines = [f"{cases} without reference, scheme {scheme}", "not a score: how well mask and generator fit"]
    return Tile("M → I → M' Dice", summary.cycle.predicted.mean, lines)


def _tiles(summary: ComparisonSummary) -> list[Tile]:
    regions = {region.name: region for region in summary.regions}
    whole, cycle = regions[WHOLE], summary.cycle
    overlap = [
        Tile("IoU", summary.iou.mean, (interval(summary.iou.ci95),)),
        Tile("Pixel accuracy", summary.pixel_accuracy.mean, (interval(summary.pixel_accuracy.ci95, 4),), 4),
    ]
    return [
        *(overlap if summary.with_reference else ()),
        Tile("Foreground RMSE", regions[FOREGROUND].rmse, _baselines(regions[FOREGROUND])),
        Tile("Border RMSE", regions[BORDER].rmse, _baselines(regions[BORDER])),
        Tile("SSIM", whole.ssim, ("whole image",)),
        Tile("PSNR (dB)", whole.psnr, ("whole image",), 1),
        Tile("Euclidean distance", whole.euclidean, ("whole image",), 1),
        Tile("M → I → M' Dice", cycle.predicted.mean, ("of the predicted masks",)),
        Tile("M → I → M' IoU", cycle.iou["predicted"].mean, ("of the predicted masks",)),
        Tile("M → I → M' pixel accuracy", cycle.pixel_accuracy["predicted"].mean, ("background included",), 4),
    ]


def _baselines(region: RegionMeans) -> tuple[str, str]:
    return f"class means {number(region.baseline)}", f"of each slice {number(region.baseline_by_slice)}"


def _columns(*, with_reference: bool, calibrated: bool) -> list[CaseColumn]:
    estimate = CaseColumn(
        "Estimate", "Estimated Dice, mean over the classes, 0 for a missed one", lambda case: case.trust, tinted=True
    )
    overlap = [
        CaseColumn("Dice", "Mean over the classes", lambda case: case.mean.dice, tinted=True, fact="Dice"),
        CaseColumn("IoU", "Mean over the classes", lambda case: case.mean.iou, tinted=True, fact="IoU"),
        CaseColumn("Pixel acc.", "Pixel accuracy", lambda case: case.pixel_accuracy, 4, fact="Pixel accuracy"),
    ]
    return [
        *([estimate] if calibrated else ()),
        *(overlap if with_reference else ()),
        _distance("RMSE fg.", "RMSE in the foreground", "rmse", FOREGROUND, fact="RMSE, foreground"),
        CaseColumn("Cl. means", "RMSE of the class-mean baseline in the foreground",
                   lambda case: case.made.baseline[FOREGROUND].rmse),
        CaseColumn("Slice means", "The same with the means of each slice",
                   lambda case: case.made.baseline_by_slice[FOREGROUND].rmse),
        _distance("RMSE border", "RMSE in the border band", "rmse", BORDER, fact="RMSE, border"),
        _distance("Euclid.", "Euclidean distance, whole image", "euclidean", digits=1, fact="Euclidean distance"),
        _distance("MAE", "Mean absolute error, whole image", "mae", fact="MAE"),
        _distance("PSNR", "dB, whole image", "psnr", digits=1, fact="PSNR (dB)"),
        _distance("SSIM", "Whole image", "ssim", fact="SSIM"),
        CaseColumn("M→I→M'", "Dice of the mask found again", lambda case: case.again.mean, tinted=True,
                   fact="M → I → M'"),
        CaseColumn("its IoU", "IoU of the mask found again", lambda case: case.again.iou.mean, tinted=True,
                   fact="its IoU"),
        CaseColumn("its pixel acc.", "Pixel accuracy of the mask found again", lambda case: case.again.pixel_accuracy,
                   4, fact="its pixel accuracy"),
    ]  # fmt: skip


def _distance(name: str, help: str, key: str, region: str = WHOLE, *, digits: int = 3, fact: str = "") -> CaseColumn:
    return CaseColumn(name, help, lambda case: getattr(case.made.distances[region], key), digits, fact=fact)


def _order_note(quality: QualityModel | None, *, with_reference: bool) -> str:
    if quality is not None:
        return (
            f"Estimated Dice per class with its {100 * quality.level:.0f}% interval, lowest mean first. "
            f"Flagged: an estimate below {quality.flag_below:g}. A structure that was not predicted "
            "counts as 0 if most such cases of the calibration contained it."
        )
    if with_reference:
        return "By the Dice against the reference, lowest first: the segmenter has no calibrated estimate."
    return "By M → I → M', lowest first. This is not a calibrated estimate of quality: run segcct calibrate for one."


def _channels_note(viewers: Mapping[str, Viewer], channels: Sequence[str]) -> str:
    """Where the page would get too large with all of them."""
    shown = max((list(viewer.channels) for viewer in viewers.values()), key=len, default=[])
    if len(shown) == len(channels):
        return ""
    return f"Images show {listed_in_prose(shown)} of {len(channels)} channels, so that the page stays small."
