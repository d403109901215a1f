"""Figures over the cases of a comparison: the summary of report.json, and in which order to review the cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from segcct.comparison.comparison_record import (
    PREDICTED,
    REFERENCE,
    CaseFigures,
    ComparisonSummary,
    CycleStats,
    RankCorrelations,
    RegionMeans,
)
from segcct.evaluation.summary_record import MetricStats
from segcct.metrics import summarize
from segcct.metrics.defined_values import mean_of
from segcct.metrics.image import BORDER, FOREGROUND, WHOLE, rmse_reduction
from segcct.metrics.ranking import spearman

Cases = Mapping[str, CaseFigures]
ValueOf = Callable[[CaseFigures], float | None]
"""A figure of a case; None where it is not defined."""
ClassValueOf = Callable[[CaseFigures, str], float | None]
"""The same of a class of a case."""
ENOUGH_MASKS = 8
"""With fewer masks no correlation is stated."""
DISTANCES = ("euclidean", "rmse", "mae", "psnr", "ssim", "correlation")
_DEFINITIONS = {
    "M, I, M'": "M: the predicted mask. I: the image the generator makes of it. M': what the segmenter finds in I.",
    "Euclidean distance": "root of the summed squared differences of original and reconstruction over the voxels and "
    "channels of a region; it grows with their number, so compare it between images of one size only",
    "RMSE": "root of the mean squared difference of original and reconstruction, intensities normalized to 0..1",
    "MAE": "mean absolute difference, the same units",
    "PSNR": "10 log10(1 / mean squared difference), in dB",
    "SSIM": "structural similarity (Gaussian window, sigma 1.5), mean over the region",
    "class means": "the original with every class filled by its own mean intensity of this case: the baseline",
    "slice means": "the same with the means of each slice: the harder baseline, since it knows the brightness of each "
    "slice, as the style code of a generator does; an RMSE below it is due to structure, or to intensities that change "
    "from the border of a class to its middle",
    "Dice, IoU": "per class on the scan's own grid; not defined where neither mask holds the class; a case's value is "
    "the mean over its classes",
    "pixel accuracy": "fraction of all voxels, background included, on which predicted mask and reference agree",
    "M → I → M'": "Dice, IoU and pixel accuracy of M' against M, on the slices that the generator makes, background "
    "included in the pixel accuracy; they say that mask and generator fit, not that the mask is right",
}


def definitions(level: float | None) -> dict[str, str]:
    """What the figures are. `level` is that of the intervals of the estimated Dice; None where nothing is estimated."""
    if level is None:
        return _DEFINITIONS
    estimated = (
        f"from quality.json of the segmenter, with its {100 * level:.0f}% interval; not defined for an empty mask. A "
        "structure that was not predicted counts as 0 if most such cases of the calibration contained it"
    )
    return {**_DEFINITIONS, "estimated Dice": estimated}


def summary_of(cases: Cases, classes: Sequence[str], flag_below: float | None) -> ComparisonSummary:
    """Statistics over the cases, by patient; None where nothing is defined."""
    patients = [case.patient for case in cases.values()]

    def over(value_of: ValueOf, bounds: tuple[float, float] = (0, 1)) -> MetricStats:
        return MetricStats(**summarize([value_of(case) for case in cases.values()], patients, bounds=bounds))

    def of_masks(value_of: Callable[[str, CaseFigures], float | None], low: float = 0) -> dict[str, MetricStats]:
        return {mask: over(partial(value_of, mask), (low, 1)) for mask in (PREDICTED, REFERENCE)}

    cycle = of_masks(lambda mask, case: case.cycle[mask].mean if mask in case.cycle else None)
    return ComparisonSummary(
        cases=len(cases),
        with_reference=sum(case.pixel_accuracy is not None for case in cases.values()),
        dice=over(lambda case: case.mean.dice),
        iou=over(lambda case: case.mean.iou),
        pixel_accuracy=over(lambda case: case.pixel_accuracy),
        gain=of_masks(lambda mask, case: getattr(case.reconstruction.get(mask), "gain", None), -math.inf),
        gain_by_slice=of_masks(
            lambda mask, case: getattr(case.reconstruction.get(mask), "gain_by_slice", None), -math.inf
        ),
        regions=[_region_means(cases, name) for name in (WHOLE, FOREGROUND, BORDER, *classes)],
        cycle=CycleStats(
            predicted=cycle[PREDICTED],
            reference=cycle[REFERENCE],
            iou=of_masks(lambda mask, case: case.cycle[mask].iou.mean if mask in case.cycle else None),
            pixel_accuracy=of_masks(lambda mask, case: case.cycle[mask].pixel_accuracy if mask in case.cycle else None),
        ),
        cycle_share_of_dice=_fraction_recovered(cases),
        spearman_with_one_minus_iou=RankCorrelations(
            rmse_in_class=_rank(cases, classes, CaseFigures.class_rmse),
            one_minus_cycle_dice=_rank(cases, classes, CaseFigures.cycle_error),
        ),
        flag_below=flag_below,
        flagged=None if flag_below is None else [name for name in cases if cases[name].flagged(flag_below)],
    )


def ordered(cases: Cases) -> list[str]:
    """Lowest `CaseFigures.trust` first; a case in which nothing was predicted before all others."""
    return sorted(cases, key=lambda name: (-1.0 if (value := cases[name].trust) is None else value, name))


def class_pairs(
    cases: Cases, classes: Sequence[str], x_of: ClassValueOf, y_of: ClassValueOf
) -> list[tuple[str, str, float, float]]:
    """(case, class, x, y) of every mask for which two figures are defined."""
    return [
        (case, name, x, y)
        for name in classes
        for case, figures in cases.items()
        if (x := x_of(figures, name)) is not None and (y := y_of(figures, name)) is not None
    ]


def _region_means(cases: Cases, name: str) -> RegionMeans:
    """Mean distances of one region over the cases that define it, the baselines' RMSE, and its relative reductions."""
    made = [case.made for case in cases.values()]
    rmse = [each.distances[name].rmse for each in made]
    by_case = [each.baseline[name].rmse for each in made]
    by_slice = [each.baseline_by_slice[name].rmse for each in made]
    references = [case.reconstruction.get(REFERENCE) for case in cases.values()]
    return RegionMeans(
        name=name,
        **{key: mean_of([getattr(each.distances[name], key) for each in made]) for key in DISTANCES},
        baseline=mean_of(by_case),
        gain=mean_of(_gains(rmse, by_case)),
        baseline_by_slice=mean_of(by_slice),
        gain_by_slice=mean_of(_gains(rmse, by_slice)),
        reference=mean_of([each.distances[name].rmse for each in references if each is not None]),
    )


def _gains(rmse: Sequence[float | None], baseline: Sequence[float | None]) -> list[float | None]:
    return [rmse_reduction(ours, theirs) for ours, theirs in zip(rmse, baseline, strict=True)]


def _fraction_recovered(cases: Cases) -> float | None:
    """Dice of the reference found again in its generated image, over that found in the image itself: on the same cases
    and slices, those of the generator."""
    pairs = [
        (generated, real)
        for case in cases.values()
        if REFERENCE in case.cycle
        and (generated := case.cycle[REFERENCE].mean) is not None
        and (real := case.cycle["image"].mean) is not None
    ]
    total = sum(real for _, real in pairs)
    return sum(generated for generated, _ in pairs) / total if total else None


def _rank(cases: Cases, classes: Sequence[str], value_of: ClassValueOf) -> float | None:
    pairs = class_pairs(cases, classes, value_of, CaseFigures.iou_error)
    return spearman([value for _, _, value, _ in pairs], [lost for _, _, _, lost in pairs])
