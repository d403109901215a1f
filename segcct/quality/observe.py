"""One segmented case: the signals of its masks, what is estimated from them, and what was measured."""

from __future__ import annotations

import numpy as np

from segcct.inference.predictor import Predictor, Segmented
from segcct.metrics import dice
from segcct.quality.features import Evidence, signals_of, with_others
from segcct.quality.fitting import Measured
from segcct.quality.quality_model import QualityModel
from segcct.quality.views import flipped, rotated

Signals = dict[str, dict[str, float | None] | None]
"""Class -> its signals; None where it was not predicted."""


def signals_of_case(predictor: Predictor, segmented: Segmented) -> Signals:
    """The signals of every class of a case whose probabilities were kept. Costs three more passes of the network (two
    flips, a quarter turn)."""
    prepared, classes = segmented.prepared, predictor.scheme.num_classes
    evidence = Evidence(
        probabilities=segmented.soft.probabilities,
        flips=flipped(predictor, prepared),
        rotations=rotated(predictor, prepared),
        volumes=volumes_of(segmented.full, prepared.spacing_mm, classes),
    )
    return with_others({
        name: signals_of(evidence, segmented.soft.index, number)
        for number, name in enumerate(predictor.scheme.classes, start=1)
    })  # fmt: skip


def estimate_all(quality: QualityModel, signals: Signals) -> dict[str, dict[str, float | None] | None]:
    """Class -> estimated Dice with its interval; None for a class that was not predicted or not calibrated."""
    found: dict[str, dict[str, float | None] | None] = {}
    for name, own in signals.items():
        estimate = quality.estimate(name, own) if name in quality.slopes else None
        found[name] = None
        if estimate is not None:
            found[name] = {"dice": estimate.dice, "low": estimate.low, "high": estimate.high}
    return found


def missed(quality: QualityModel, signals: Signals) -> list[str]:
    """Classes that were not predicted and are taken as missed: to be counted as a Dice of 0."""
    return [name for name, own in signals.items() if own is None and quality.misses(name)]


def volumes_of(
    full: np.ndarray, spacing_mm: tuple[float, float, float] | None, classes: int
) -> dict[int, tuple[int, float | None]]:
    """Class index -> voxels, and ml (None without spacing)."""
    voxel_ml = None if spacing_mm is None else float(np.prod(spacing_mm)) / 1000
    counts = np.bincount(full.ravel(), minlength=classes)
    return {
        number: (int(counts[number]), None if voxel_ml is None else float(counts[number] * voxel_ml))
        for number in range(1, classes)
    }


def measured(segmented: Segmented, signals: Signals) -> list[Measured]:
    """One row per class for calibration: signals, and the Dice on the scan's own grid.

    The case must have had its label.
    """
    prepared = segmented.prepared
    reference = np.asarray(prepared.full_label)
    rows = []
    for number, (name, own) in enumerate(signals.items(), start=1):
        ours, theirs = segmented.full == number, reference == number
        scored = ours.any() or theirs.any()
        rows.append(
            Measured(prepared.case_id, prepared.patient, name, own, float(dice(ours, theirs)) if scored else None)
        )
    return rows
