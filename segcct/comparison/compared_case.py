"""One case through segmenter and generator: every figure of the I2M / M2I comparison, and its slice viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segcct import figures
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
)
from segcct.datasets.case import LoadedCase
from segcct.images.volume import Volume
from segcct.inference.cycle import Cycles
from segcct.inference.predictor import Segmented
from segcct.inference.reconstructor import Reconstruction
from segcct.metrics import class_counts, label_map_accuracy
from segcct.metrics.defined_values import mean_of
from segcct.metrics.image import FOREGROUND, class_mean_baseline, regions, rmse_reduction, rmse_within
from segcct.preparation.intensity import unit_scale
from segcct.quality.case_features import features_of_case
from segcct.quality.quality_model import QualityModel
from segcct.report.viewer import SMALLEST_PX, Channel, Pane, SliceChoice, Viewer, build_viewer

FULL_ERROR = 0.4
"""Fraction of the window's width that is the palest color of an error map; the same for every case of a page."""
_WINDOW_VOXELS = 1e6
"""About as many voxels are enough for the percentiles of a window."""
_QUALITY = 76
"""Of the embedded images, each as small as the viewer takes them: a page holds three stacks per channel."""


@dataclass(frozen=True)
class ChannelPair:
    """One channel before and after, on the scan's own grid, in the [0, 1] units that the networks see."""

    original: np.ndarray
    """(X, Y, Z) float32."""
    reconstruction: np.ndarray
    """(X, Y, Z) float32, from the predicted mask; 0 outside the generator's crop."""


@dataclass(frozen=True)
class ComparedCase:
    """One case of the comparison."""

    grid: Volume
    channels: Mapping[str, ChannelPair]
    prediction: np.ndarray
    """(X, Y, Z) class indices."""
    reference: np.ndarray | None
    figures: CaseFigures


def compare_case(cycles: Cycles, loaded: LoadedCase, *, quality: QualityModel | None, channels: int) -> ComparedCase:
    """Segment, reconstruct, segment again, and measure one case.

    Args:
        cycles: the two models.
        loaded: with its label where there is a reference.
        quality: estimates Dice without a reference; None where the segmenter has no quality.json.
        channels: how many channels are kept for the viewer; the figures are always over all.
    """
    result = cycles.of_scan(loaded, count_agreement=quality is not None)
    made, classes, prediction = result.made, result.made.classes, result.segmented.full
    estimate, missing = _estimates(cycles, result.segmented, quality)
    reference = None if loaded.label is None else np.asarray(result.case.for_segmenter.full_label)
    reconstruction = {PREDICTED: _reconstructed(made)}
    cycle = {PREDICTED: _agreement(result.again, made.label, classes)}
    if reference is not None:
        from_reference = cycles.image_cycle(result.case)
        recovered = cycles.recover(result.case, from_reference)
        reconstruction[REFERENCE] = _reconstructed(from_reference)
        cycle[REFERENCE] = _agreement(recovered, from_reference.label, classes)
        # The prediction against the reference on the slices of the line above.
        cycle["image"] = _agreement(made.label, from_reference.label, classes)
    overlaps, accuracy = _overlap(prediction, reference, classes)
    rule, names = cycles.predictor.data.intensity, list(cycles.predictor.data.channels)[:channels]
    return ComparedCase(
        grid=loaded.grid,
        channels={
            name: ChannelPair(unit_scale(voxels, rule, mask=loaded.mask).unit(voxels, loaded.mask), made.volume(number))
            for number, (name, voxels) in enumerate(zip(names, loaded.image, strict=False))
        },
        prediction=prediction,
        reference=reference,
        figures=CaseFigures(
            patient=loaded.case.patient,
            slices=len(made.label),
            classes=overlaps,
            mean=_means(overlaps),
            pixel_accuracy=accuracy,
            reconstruction=reconstruction,
            cycle=cycle,
            estimate=estimate,
            missing=missing,
        ),
    )


def case_viewer(key: str, compared: ComparedCase, *, count: int) -> Viewer:
    """Original, reference, prediction, reconstruction and error map of a case, in `count` slices at most.

    Args:
        key: unique on the page, usable as an HTML id.
        compared: the case.
        count: slices, through its structures.
    """
    choice = SliceChoice.of(compared.grid, compared.reference, compared.prediction, count)
    panes = [
        Pane("Original", "original"),
        Pane("Predicted mask", "original", choice.prediction),
        Pane("Reconstruction", "reconstruction"),
        Pane("Error map", "error", choice.prediction, style="thin"),
    ]
    if choice.reference is not None:
        panes.insert(1, Pane("Reference", "original", choice.reference))
    channels = {name: _viewed(pair, choice) for name, pair in compared.channels.items()}
    return build_viewer(key, choice, channels, panes, quality=_QUALITY, largest_px=SMALLEST_PX)


def _viewed(pair: ChannelPair, choice: SliceChoice) -> Channel:
    """Original and reconstruction under one window, that of the original, and their difference as colors."""
    step = max(1, round((pair.original.size / _WINDOW_VOXELS) ** (1 / 3)))
    window = figures.window(pair.original[::step, ::step, ::step])
    original, reconstruction = choice.pick(pair.original), choice.pick(pair.reconstruction)
    error = figures.heat(np.abs(original - reconstruction) / (window.high - window.low) / FULL_ERROR)
    stacks = {"original": window.apply(original), "reconstruction": window.apply(reconstruction), "error": error}
    return Channel(stacks, f", normalized to 0..1: {window.text}, the same for original and reconstruction")


def _estimates(
    cycles: Cycles, segmented: Segmented, quality: QualityModel | None
) -> tuple[dict[str, EstimatedDice | None] | None, list[str] | None]:
    """`CaseFigures.estimate` and `CaseFigures.missing`."""
    if quality is None:
        return None, None
    features = features_of_case(cycles.predictor, segmented)
    estimates = {
        name: None if one is None else EstimatedDice(dice=one.dice, low=one.low, high=one.high)
        for name, one in quality.estimates(features).items()
    }
    return estimates, quality.missed(features)


def _overlap(
    prediction: np.ndarray, reference: np.ndarray | None, classes: tuple[str, ...]
) -> tuple[dict[str, ClassOverlap], float | None]:
    """Dice, IoU and status per class, and pixel accuracy; None without a reference."""
    if reference is None:
        predicted = {name: (prediction == number).any() for number, name in enumerate(classes, start=1)}
        return {
            name: ClassOverlap(dice=None, iou=None, status="predicted" if is_predicted else "not predicted")
            for name, is_predicted in predicted.items()
        }, None
    overlaps = {}
    for name, counts in class_counts(prediction, reference, classes).items():
        if counts is None:
            overlaps[name] = ClassOverlap(dice=None, iou=None, status="absent")
        else:
            status = ("ok" if counts.reference else "spurious") if counts.prediction else "missed"
            overlaps[name] = ClassOverlap(dice=counts.dice, iou=counts.iou, status=status)
    return overlaps, label_map_accuracy(prediction, reference)


def _means(overlaps: Mapping[str, ClassOverlap]) -> MeanOverlap:
    return MeanOverlap(
        dice=mean_of([each.dice for each in overlaps.values()]), iou=mean_of([each.iou for each in overlaps.values()])
    )


def _reconstructed(made: Reconstruction) -> Reconstructed:
    """Distances by region, and for the baselines of class means over the case and over each slice: their RMSE there,
    and its relative reduction in the foreground."""
    named = regions(made.label, made.classes)
    baselines, gains = [], []
    for each_slice in (False, True):
        filled = class_mean_baseline(made.original, made.label, each_slice=each_slice)
        rmse = {name: rmse_within(made.original, filled, region) for name, region in named.items()}
        baselines.append({name: RegionDistances(rmse=value) for name, value in rmse.items()})
        gains.append(rmse_reduction(made.distances[FOREGROUND].rmse, rmse[FOREGROUND]))
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
