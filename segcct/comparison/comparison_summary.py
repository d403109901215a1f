"""Figures over the cases of a comparison: what report.json says beside the cases, and in which order to look."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from segcct.metrics import summarise
from segcct.metrics.image import BORDER, FOREGROUND, WHOLE
from segcct.metrics.ranking import spearman

Cases = Mapping[str, Mapping[str, Any]]
"""Case -> its figures, as `segcct.comparison.cases` makes them."""
ValueOf = Callable[[Mapping[str, Any]], float | None]
"""A figure of a case; None where it is not defined."""
DISTANCES = ("euclidean", "rmse", "mae", "psnr", "ssim", "correlation")

DEFINITIONS = {
    "M, I, M'": "M: the predicted mask. I: the image the generator makes of it. M': what the segmenter finds in I.",
    "Euclidean distance": "root of the summed squared differences of original and reconstruction over the voxels and "
    "channels of a region; it grows with their number, so compare it between images of one size only",
    "RMSE": "root of the mean squared difference of original and reconstruction, intensities normalized to 0..1",
    "MAE": "mean absolute difference, the same units",
    "PSNR": "10 log10(1 / mean squared difference), in dB",
    "SSIM": "structural similarity (Gaussian window, sigma 1.5), mean over the region",
    "class means": "the original with every class painted in its own mean intensity of this case: the baseline",
    "slice means": "the same with the means of each slice: the harder baseline, which knows what the style code of a "
    "generator knows of brightness; what is saved against it is structure, or the slope of a class towards its inside",
    "Dice, IoU": "per class on the scan's own grid; not defined where neither mask holds the class; a case's value is "
    "the mean over its classes",
    "pixel accuracy": "share of all voxels, background included, on which predicted mask and reference agree",
    "M → I → M'": "Dice, IoU and pixel accuracy of M' against M, on the slices that the generator makes, background "
    "included in the pixel accuracy; they say that mask and generator fit, not that the mask is right",
    "estimated Dice": "from quality.json of the segmenter, with its 90% interval; not defined for an empty mask. A "
    "structure that was not predicted counts as 0 where most such cases of the calibration held it",
}


def summary_of(cases: Cases, classes: Sequence[str], doubtful_below: float | None) -> dict[str, Any]:
    """Statistics over the cases, by patient; None where nothing is defined."""
    patients = [str(case["patient"]) for case in cases.values()]

    def over(value_of: ValueOf, bounds: tuple[float, float] = (0, 1)) -> dict[str, Any]:
        return dict(summarise([value_of(case) for case in cases.values()], patients, bounds=bounds))

    return {
        "cases": len(cases),
        "with_reference": sum(case["pixel_accuracy"] is not None for case in cases.values()),
        "dice": over(lambda case: case["mean"]["dice"]),
        "iou": over(lambda case: case["mean"]["iou"]),
        "pixel_accuracy": over(lambda case: case["pixel_accuracy"]),
        **{gain: _gains(over, gain) for gain in ("gain", "gain_by_slice")},
        "regions": [region_row(cases, name) for name in (WHOLE, FOREGROUND, BORDER, *classes)],
        "cycle": {
            "predicted": over(lambda case: _at(case, "cycle", "predicted", "mean")),
            "reference": over(_cycle_of_reference),
            **{
                key: {mask: over(partial(_at_path, ("cycle", mask, *path))) for mask in ("predicted", "reference")}
                for key, path in (("iou", ("iou", "mean")), ("pixel_accuracy", ("pixel_accuracy",)))
            },
        },
        "cycle_share_of_dice": _share_recovered(cases),
        "spearman_with_one_minus_iou": {
            "rmse_in_class": _rank(cases, classes, lambda case, name: region_value(case, name, "rmse")),
            "one_minus_cycle_dice": _rank(cases, classes, _cycle_lost),
        },
        "doubtful_below": doubtful_below,
        "doubtful": None if doubtful_below is None else [name for name in cases if doubts(cases[name], doubtful_below)],
    }


def _gains(over: Callable[..., dict[str, Any]], gain: str) -> dict[str, Any]:
    """From predicted masks and from references."""
    return {
        mask: over(lambda case, mask=mask: _at(case, "reconstruction", mask, gain), (-math.inf, 1))
        for mask in ("predicted", "reference")
    }


def region_row(cases: Cases, name: str) -> dict[str, Any]:
    """Mean distances of one region over the cases that define it, the baselines' RMSE, and the shares of it saved."""
    row: dict[str, Any] = {
        "name": name,
        **{key: _mean([region_value(case, name, key) for case in cases.values()]) for key in DISTANCES},
    }
    rmse = [region_value(case, name, "rmse") for case in cases.values()]
    for suffix in ("", "_by_slice"):
        baseline = [region_value(case, name, "rmse", "baseline" + suffix) for case in cases.values()]
        gains = [1 - ours / theirs for ours, theirs in zip(rmse, baseline, strict=True) if ours is not None and theirs]
        row |= {"baseline" + suffix: _mean(baseline), "gain" + suffix: _mean(gains)}
    return {
        **row,
        "reference": _mean(
            [_at(case, "reconstruction", "reference", "distances", name, "rmse") for case in cases.values()]
        ),
    }


def region_value(case: Mapping[str, Any], region: str, key: str, of: str = "distances") -> float | None:
    """One distance of the reconstruction from the predicted mask."""
    value: float | None = case["reconstruction"]["predicted"][of][region][key]
    return value


def doubts(case: Mapping[str, Any], below: float) -> list[str]:
    """Classes whose estimated Dice lies below the threshold, and those that were not predicted and count as missed."""
    return [
        name
        for name, one in (case["estimate"] or {}).items()
        if name in case["missing"] or (one is not None and one["dice"] < below)
    ]


def empty(case: Mapping[str, Any]) -> bool:
    """Nothing at all was predicted."""
    return all(one["status"] in ("missed", "absent", "not predicted") for one in case["classes"].values())


def trust(case: Mapping[str, Any]) -> float | None:
    """What cases are ordered by: mean estimated Dice, in which a missed class counts as 0; without a calibration the
    Dice, else M -> I -> M'."""
    if case["estimate"] is not None:
        known = {name: one["dice"] for name, one in case["estimate"].items() if one is not None}
        return _mean(list({**known, **dict.fromkeys(case["missing"], 0.0)}.values()))
    if case["mean"]["dice"] is not None:
        dice: float = case["mean"]["dice"]
        return dice
    return _at(case, "cycle", "predicted", "mean")


def ordered(cases: Cases) -> list[str]:
    """Least trusted first; a case in which nothing was predicted before all others."""
    return sorted(cases, key=lambda name: (-1.0 if (value := trust(cases[name])) is None else value, name))


def _cycle_of_reference(case: Mapping[str, Any]) -> float | None:
    score: float | None = _at(case, "cycle", "reference", "mean")
    return score


def _share_recovered(cases: Cases) -> float | None:
    """Dice of the reference found again in its generated image, over that found in the image itself: on the same cases
    and slices, those of the generator."""
    pairs = [
        (again, own)
        for case in cases.values()
        if (again := _cycle_of_reference(case)) is not None and (own := _at(case, "cycle", "image", "mean")) is not None
    ]
    whole = sum(own for _, own in pairs)
    return sum(again for again, _ in pairs) / whole if whole else None


def _rank(
    cases: Cases, classes: Sequence[str], value_of: Callable[[Mapping[str, Any], str], float | None]
) -> float | None:
    pairs = [
        (value, 1 - case["classes"][name]["iou"])
        for case in cases.values()
        for name in classes
        if (value := value_of(case, name)) is not None and case["classes"][name]["iou"] is not None
    ]
    return spearman([value for value, _ in pairs], [lost for _, lost in pairs])


def _cycle_lost(case: Mapping[str, Any], name: str) -> float | None:
    score = case["cycle"]["predicted"]["classes"][name]
    return None if score is None else 1 - score


def _at_path(path: Sequence[str], case: Mapping[str, Any]) -> float | None:
    found: float | None = _at(case, *path)
    return found


def _at(case: Mapping[str, Any], *path: str) -> Any:
    """The value below nested keys; None where one is missing or None."""
    found: Any = case
    for key in path:
        found = None if found is None else found.get(key)
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
