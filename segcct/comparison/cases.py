"""One case through segmenter and generator: every figure of the I2M / M2I comparison, and the volumes to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segcct.comparison.comparison_record import (
    PREDICTED,
    REFERENCE,
    Agreement,
    CaseFigures,
    ClassMeans,
    ClassOverlap,
    EstimatedDice,
    MeanOverlap,
    Reconstructed,
    RegionDistances,
    mean_of,
)
from segcct.datasets.case import LoadedCase
from segcct.images.volume import Volume
from segcct.inference.cycle import Cycles
from segcct.inference.reconstructor import Reconstruction
from segcct.metrics import class_counts, pixel_accuracy
from segcct.metrics.image import FOREGROUND, class_mean_baseline, regions, rmse_within
from segcct.preparation.intensity import to_unit
from segcct.quality.observe import estimate_all, missed, signals_of_case
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
    figures: CaseFigures


def compare(cycles: Cycles, loaded: LoadedCase, *, quality: QualityModel | None, channels: int) -> Compared:
    """Segment, reconstruct, segment again, and measure one case.

    Args:
        cycles: the two models.
        loaded: with its label where there is a reference.
        quality: estimates Dice without a reference; None where the segmenter has no quality.json.
        channels: how many channels are kept for pictures; the figures are always over all.
    """
    seen = cycles.of_scan(loaded)
    case, segmented, made, again = seen.case, seen.segmented, seen.made, seen.again
    estimate: dict[str, EstimatedDice | None] | None = None
    missing: list[str] | None = None
    if quality is not None:
        signals = signals_of_case(cycles.predictor, segmented)
        estimates = estimate_all(quality, signals)
        estimate = {
            name: None if each is None else EstimatedDice.model_validate(each) for name, each in estimates.items()
        }
        missing = missed(quality, signals)
    reference = None if loaded.label is None else np.asarray(case.for_segmenter.full_label)
    reconstruction = {PREDICTED: _distances(made)}
    cycle = {PREDICTED: _agreement(again, made.label, made.classes)}
    if reference is not None:
        from_reference = cycles.image_cycle(case)
        recovered = cycles.recover(case, from_reference)
        reconstruction[REFERENCE] = _distances(from_reference)
        cycle[REFERENCE] = _agreement(recovered, from_reference.label, made.classes)
        # The prediction against the reference on the slices of the line above.
        cycle["image"] = _agreement(made.label, from_reference.label, made.classes)
    overlaps, accuracy = _overlap(segmented.full, reference, made.classes)
    figures = CaseFigures(
        patient=loaded.case.patient,
        slices=len(made.label),
        classes=overlaps,
        mean=_means(overlaps),
        pixel_accuracy=accuracy,
        reconstruction=reconstruction,
        cycle=cycle,
        estimate=estimate,
        missing=missing,
    )
    return Compared(loaded.grid, _channels(cycles, loaded, made, channels), segmented.full, reference, figures)


def _overlap(
    prediction: np.ndarray, reference: np.ndarray | None, classes: tuple[str, ...]
) -> tuple[dict[str, ClassOverlap], float | None]:
    """Dice, IoU and status per class, and pixel accuracy; None without a reference."""
    if reference is None:
        predicted = {name: (prediction == number).any() for number, name in enumerate(classes, start=1)}
        return {
            name: ClassOverlap(dice=None, iou=None, status="predicted" if there else "not predicted")
            for name, there in predicted.items()
        }, None
    overlaps = {}
    for name, counts in class_counts(prediction, reference, classes).items():
        if counts is None:
            overlaps[name] = ClassOverlap(dice=None, iou=None, status="absent")
        else:
            status = ("ok" if counts.reference else "spurious") if counts.prediction else "missed"
            overlaps[name] = ClassOverlap(dice=counts.dice, iou=counts.iou, status=status)
    return overlaps, pixel_accuracy(prediction, reference)


def _means(overlaps: Mapping[str, ClassOverlap]) -> MeanOverlap:
    return MeanOverlap(
        dice=mean_of([each.dice for each in overlaps.values()]), iou=mean_of([each.iou for each in overlaps.values()])
    )


def _distances(made: Reconstruction) -> Reconstructed:
    """Distances by region, and for the baselines of class means over the case and over each slice: their RMSE there,
    and the fraction of it that is gone in the foreground."""
    named = regions(made.label, made.classes)
    baselines, gains = [], []
    for each_slice in (False, True):
        filled = class_mean_baseline(made.original, made.label, each_slice=each_slice)
        rmse = {name: rmse_within(made.original, filled, region) for name, region in named.items()}
        baselines.append({name: RegionDistances(rmse=value) for name, value in rmse.items()})
        ours, theirs = made.distances[FOREGROUND].rmse, rmse[FOREGROUND]
        gains.append(1 - ours / theirs if ours is not None and theirs else None)
    return Reconstructed(
        distances={
            name: RegionDistances.model_validate(distance.to_json()) for name, distance in made.distances.items()
        },
        baseline=baselines[0],
        gain=gains[0],
        baseline_by_slice=baselines[1],
        gain_by_slice=gains[1],
    )


def _agreement(recovered: np.ndarray, mask: np.ndarray, classes: tuple[str, ...]) -> Agreement:
    """Of a mask found again: Dice (mean and per class), the same of IoU, and pixel accuracy on the slices."""
    overlaps, accuracy = _overlap(recovered, mask, classes)
    mean = _means(overlaps)
    return Agreement(
        mean=mean.dice,
        classes={name: each.dice for name, each in overlaps.items()},
        iou=ClassMeans(mean=mean.iou, classes={name: each.iou for name, each in overlaps.items()}),
        pixel_accuracy=accuracy,
    )


def _channels(cycles: Cycles, loaded: LoadedCase, made: Reconstruction, count: int) -> dict[str, Channel]:
    rule = cycles.predictor.data.intensity
    return {
        name: Channel(to_unit(loaded.image[number], rule, mask=loaded.mask).unit, made.volume(number))
        for number, name in enumerate(list(cycles.predictor.data.channels)[:count])
    }
