"""Looking at one case with a segmenter, and with a generator where there is one: the mask and its signals."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from segcct.data.conditions import one_hot
from segcct.data.grid import SliceGrid
from segcct.data.prepare import PreparedCase
from segcct.inference.cycle import carried
from segcct.inference.predictor import Predictor, probabilities
from segcct.inference.quality.fit import Measured
from segcct.inference.quality.model import QualityModel
from segcct.inference.quality.signals import Evidence, signals_of
from segcct.inference.quality.views import flipped, rotated
from segcct.inference.reconstructor import Reconstruction
from segcct.metrics import dice

Signals = dict[str, dict[str, float | None] | None]
"""Class -> its signals; None where it was not predicted."""


@dataclass(frozen=True)
class Segmented:
    """A case as the segmenter sees it."""

    probabilities: np.ndarray
    """(D, K, h, w) float32."""
    index: np.ndarray
    """(D, h, w) uint8: its most probable classes at the network's scale."""
    full: np.ndarray
    """(X, Y, Z) uint8 class indices on the scan's own grid, as `segcct predict` writes them."""


def segment_softly(predictor: Predictor, prepared: PreparedCase) -> Segmented:
    """Probabilities and masks of a prepared case; the whole volume's probabilities are held at once."""
    size = predictor.preparation.image_size
    batches = list(probabilities(predictor.network, prepared, predictor.how, size))
    planes = [prepared.grid.restore_labels(batch) for batch in batches]
    whole = np.concatenate(batches)
    return Segmented(
        whole, whole.argmax(axis=1).astype(np.uint8), prepared.grid.to_volume(np.concatenate(planes), fill=0)
    )


def signals_of_case(
    predictor: Predictor,
    prepared: PreparedCase,
    segmented: Segmented,
    *,
    made: Reconstruction | None = None,
    again: np.ndarray | None = None,
) -> Signals:
    """The signals of every class of a segmented case. Costs four more passes of the network (flips, quarter turns).

    Args:
        made: what the generator makes of the predicted mask; None without a generator.
        again: (D, h, w) class indices that the segmenter finds in that image, on the generator's slices.
    """
    size = predictor.preparation.image_size
    classes = predictor.scheme.num_classes
    evidence = Evidence(
        probabilities=segmented.probabilities,
        flips=flipped(predictor.network, prepared, predictor.how, size),
        rotations=rotated(predictor.network, prepared, predictor.how, size),
        residual=None if made is None else _residual(prepared, made),
        again=None if made is None or again is None else _moved_index(again, made.grid, prepared.grid, classes),
        volumes=volumes_of(segmented.full, prepared.spacing_mm, classes),
    )
    return {
        name: signals_of(evidence, segmented.index, number)
        for number, name in enumerate(predictor.scheme.classes, start=1)
    }


def estimate_all(quality: QualityModel, signals: Signals) -> dict[str, dict[str, float | None] | None]:
    """Class -> estimated Dice with its interval; None for a class that was not predicted or not calibrated."""
    found: dict[str, dict[str, float | None] | None] = {}
    for name, own in signals.items():
        estimate = quality.estimate(name, own) if name in quality.slopes else None
        found[name] = None if estimate is None else asdict(estimate)
    return found


def _residual(prepared: PreparedCase, made: Reconstruction) -> np.ndarray:
    """(D, h, w) on the segmenter's slices: root mean square over the channels of image minus reconstruction, in the
    image's own standard deviations."""
    difference = (made.original - made.image) / prepared.sd[:, None, None]
    residual: np.ndarray = np.sqrt(np.square(difference).mean(axis=1))
    if made.grid == prepared.grid:
        return residual
    return carried(residual[:, None], made.grid, prepared.grid)[:, 0]


def _moved_index(index: np.ndarray, source: SliceGrid, target: SliceGrid, classes: int) -> np.ndarray:
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


def measured(prepared: PreparedCase, segmented: Segmented, signals: Signals) -> list[Measured]:
    """One row per class for calibration: signals, and the Dice on the scan's own grid.

    The case must have been prepared with its label.
    """
    reference = np.asarray(prepared.full_label)
    rows = []
    for number, (name, own) in enumerate(signals.items(), start=1):
        ours, theirs = segmented.full == number, reference == number
        scored = ours.any() or theirs.any()
        rows.append(
            Measured(prepared.case_id, prepared.patient, name, own, float(dice(ours, theirs)) if scored else None)
        )
    return rows
