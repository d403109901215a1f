"""One case through segmenter and generator: every figure of the I2M / M2I comparison, and the volumes to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segcct.datasets.case import Examination
from segcct.images.volume import Volume
from segcct.inference.cycle import Cycles
from segcct.inference.reconstructor import Reconstruction
from segcct.metrics import class_counts, pixel_accuracy
from segcct.metrics.image import FOREGROUND, class_mean_baseline, regions, rmse_within
from segcct.preparation.intensity import to_unit
from segcct.quality.observe import estimate_all, missed, observe, signals_of_case
from segcct.quality.quality_model import QualityModel


@dataclass(frozen=True)
class Channel:
    """One channel before and after, on the scan's own grid, in the [0, 1] units that the networks see."""

    original: np.ndarray
    """(X, Y, Z) float32."""
    reconstruction: np.ndarray
    """(X, Y, Z) float32, from the predicted mask; 0 outside the generator's crop."""


@dataclass(frozen=True)
class Compared:
    """One case of the comparison."""

    grid: Volume
    channels: Mapping[str, Channel]
    prediction: np.ndarray
    """(X, Y, Z) class indices."""
    reference: np.ndarray | None
    figures: Mapping[str, Any]
    """What report.json says of the case; None where a figure is not defined."""


def compare(cycles: Cycles, examination: Examination, *, quality: QualityModel | None, channels: int) -> Compared:
    """Segment, reconstruct, segment again, and measure one examination.

    Args:
        cycles: the two models.
        examination: with its label where there is a reference.
        quality: estimates Dice without a reference; None where the segmenter has no quality.json.
        channels: how many channels are kept for pictures; the figures are always over all.
    """
    seen = observe(cycles.predictor, examination, cycles)
    case, segmented, made, again = seen.case, seen.segmented, seen.made, seen.again
    assert case is not None and made is not None and again is not None  # noqa: PT018 - observe was given cycles
    estimate: dict[str, Any] | None = None
    missing: list[str] | None = None
    if quality is not None:
        signals = signals_of_case(cycles.predictor, seen, with_m2i=quality.uses_m2i)
        estimate, missing = estimate_all(quality, signals), missed(quality, signals)
    reference = None if examination.label is None else np.asarray(case.for_segmenter.full_label)
    figures: dict[str, Any] = {
        "patient": examination.case.patient,
        "slices": len(made.label),
        **_overlap(segmented.full, reference, made.classes),
        "reconstruction": {"predicted": _distances(made)},
        "cycle": {"predicted": _agreement(again, made.label, made.classes)},
        "estimate": estimate,
        "missing": missing,
    }
    if reference is not None:
        from_reference = cycles.image_cycle(case)
        recovered = cycles.recover(case, from_reference)
        figures["reconstruction"]["reference"] = _distances(from_reference)
        figures["cycle"]["reference"] = _agreement(recovered, from_reference.label, made.classes)
        # The prediction against the reference on the slices of the line above.
        figures["cycle"]["image"] = _agreement(made.label, from_reference.label, made.classes)
    return Compared(
        examination.grid, _channels(cycles, examination, made, channels), segmented.full, reference, figures
    )


def _overlap(prediction: np.ndarray, reference: np.ndarray | None, classes: tuple[str, ...]) -> dict[str, Any]:
    """Dice, IoU and status per class, their means, and pixel accuracy; None without a reference."""
    if reference is None:
        blank = {"dice": None, "iou": None}
        return {
            "classes": {
                name: {**blank, "status": "predicted" if (prediction == number).any() else "not predicted"}
                for number, name in enumerate(classes, start=1)
            },
            "mean": blank,
            "pixel_accuracy": None,
        }
    table: dict[str, dict[str, Any]] = {}
    for name, one in class_counts(prediction, reference, classes).items():
        if one is None:
            table[name] = {"dice": None, "iou": None, "status": "absent"}
        else:
            status = ("ok" if one.reference else "spurious") if one.prediction else "missed"
            table[name] = {"dice": one.dice, "iou": one.iou, "status": status}
    return {
        "classes": table,
        "mean": {key: _mean([entry[key] for entry in table.values()]) for key in ("dice", "iou")},
        "pixel_accuracy": pixel_accuracy(prediction, reference),
    }


def _distances(made: Reconstruction) -> dict[str, Any]:
    """Distances by region, and for the baselines of class means over the case and over each slice: their RMSE there,
    and the share of it that is gone in the foreground."""
    found: dict[str, Any] = {"distances": {name: distance.to_json() for name, distance in made.distances.items()}}
    named = regions(made.label, made.classes)
    for suffix, each_slice in (("", False), ("_by_slice", True)):
        painted = class_mean_baseline(made.original, made.label, each_slice=each_slice)
        baseline = {name: rmse_within(made.original, painted, region) for name, region in named.items()}
        found["baseline" + suffix] = {name: {"rmse": value} for name, value in baseline.items()}
        ours, theirs = made.distances[FOREGROUND].rmse, baseline[FOREGROUND]
        found["gain" + suffix] = 1 - ours / theirs if ours is not None and theirs else None
    return found


def _agreement(found: np.ndarray, mask: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Of a mask found again: Dice (mean and per class), the same of IoU, and pixel accuracy on the slices."""
    overlap = _overlap(found, mask, classes)
    dice, iou = ({name: one[key] for name, one in overlap["classes"].items()} for key in ("dice", "iou"))
    return {
        "mean": overlap["mean"]["dice"],
        "classes": dice,
        "iou": {"mean": overlap["mean"]["iou"], "classes": iou},
        "pixel_accuracy": overlap["pixel_accuracy"],
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _channels(cycles: Cycles, examination: Examination, made: Reconstruction, count: int) -> dict[str, Channel]:
    rule = cycles.predictor.data.intensity
    return {
        name: Channel(to_unit(examination.image[number], rule, mask=examination.mask).unit, made.volume(number))
        for number, name in enumerate(list(cycles.predictor.data.channels)[:count])
    }
