"""Looking at one case with a segmenter, and with a generator where there is one: the mask and its signals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segcct.datasets.case import LoadedCase
from segcct.inference.cycle import CycleCase, Cycles, carried
from segcct.inference.predictor import KeptProbabilities, Predictor, Segmented
from segcct.inference.reconstructor import Reconstruction
from segcct.metrics import dice
from segcct.preparation.conditioning import one_hot
from segcct.preparation.prepared_case import PreparedCase
from segcct.preparation.slice_grid import SliceGrid
from segcct.quality.features import Evidence, signals_of, with_others
from segcct.quality.fitting import Measured
from segcct.quality.quality_model import QualityModel
from segcct.quality.views import flipped, rotated

Signals = dict[str, dict[str, float | None] | None]
"""Class -> its signals; None where it was not predicted."""


@dataclass(frozen=True)
class Observed:
    """One case through the segmenter, and through the generator where there is one."""

    segmented: Segmented
    """With its probabilities kept."""
    case: CycleCase | None = None
    made: Reconstruction | None = None
    """The image that the generator makes of the predicted mask."""
    again: np.ndarray | None = None
    """(D, h, w) class indices that the segmenter finds in it, on the generator's slices."""

    @property
    def kept(self) -> KeptProbabilities:
        """Probabilities and class indices at the network's scale."""
        assert self.segmented.kept is not None
        return self.segmented.kept


def observe(predictor: Predictor, loaded: LoadedCase, cycles: Cycles | None = None) -> Observed:
    """Segment a case; with `cycles`, make an image of the mask and segment that too."""
    segmented = predictor.segment(loaded, keep_probabilities=True)
    seen = Observed(segmented)
    if cycles is None:
        return seen
    case = cycles.case(loaded, segmented.prepared)
    alike = cycles.prepare_alike
    index = seen.kept.index if alike else cycles.probabilities(case).argmax(axis=1).astype(np.uint8)
    made = cycles.image_cycle(case, index)
    return Observed(segmented, case, made, cycles.recover(case, made))


def signals_of_case(predictor: Predictor, seen: Observed, *, with_m2i: bool = True) -> Signals:
    """The signals of every class of a case. Costs three more passes of the network (two flips, a quarter turn).

    Args:
        with_m2i: False leaves the generator's signals undefined.
    """
    classes = predictor.scheme.num_classes
    prepared, made, again = seen.segmented.prepared, seen.made, seen.again
    evidence = Evidence(
        probabilities=seen.kept.probabilities,
        flips=flipped(predictor, prepared),
        rotations=rotated(predictor, prepared),
        residual=_residual(prepared, made) if with_m2i and made is not None else None,
        again=_moved(again, made.grid, prepared.grid, classes) if with_m2i and made and again is not None else None,
        volumes=volumes_of(seen.segmented.full, prepared.spacing_mm, classes),
    )
    return with_others({
        name: signals_of(evidence, seen.kept.index, number)
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


def _residual(prepared: PreparedCase, made: Reconstruction) -> np.ndarray:
    """(D, h, w) on the segmenter's slices: root mean square over the channels of image minus reconstruction, in the
    image's own standard deviations."""
    difference = (made.original - made.image) / prepared.sd[:, None, None]
    residual: np.ndarray = np.sqrt(np.square(difference).mean(axis=1))
    if made.grid == prepared.grid:
        return residual
    return carried(residual[:, None], made.grid, prepared.grid)[:, 0]


def _moved(index: np.ndarray, source: SliceGrid, target: SliceGrid, classes: int) -> np.ndarray:
    """Class indices carried to another grid of the same volume by their largest share."""
    if source == target:
        return index
    shares = carried(one_hot(index, classes), source, target)
    return shares.argmax(axis=1).astype(np.uint8)


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


def measured(seen: Observed, signals: Signals) -> list[Measured]:
    """One row per class for calibration: signals, and the Dice on the scan's own grid.

    The case must have had its label.
    """
    prepared = seen.segmented.prepared
    reference = np.asarray(prepared.full_label)
    rows = []
    for number, (name, own) in enumerate(signals.items(), start=1):
        ours, theirs = seen.segmented.full == number, reference == number
        scored = ours.any() or theirs.any()
        rows.append(
            Measured(prepared.case_id, prepared.patient, name, own, float(dice(ours, theirs)) if scored else None)
        )
    return rows
