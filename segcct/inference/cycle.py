"""Segmenter and generator together: image -> mask -> image, and mask -> image -> mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from segcct.datasets.case import LoadedCase
from segcct.errors import DataError, ModelError
from segcct.inference.predictor import Predictor, Segmented
from segcct.inference.reconstructor import Reconstruction, Reconstructor
from segcct.metrics import class_counts, class_dice, pixel_accuracy
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from segcct.preparation.slice_grid import SliceGrid


@dataclass(frozen=True)
class CycleCase:
    """One case as each of the two models sees it; one object twice where both prepare alike."""

    for_segmenter: PreparedCase
    for_generator: PreparedCase


@dataclass(frozen=True)
class MaskCycle:
    """M -> I -> M': a mask, the image generated from it, and what the segmenter finds in that image."""

    made: Reconstruction
    recovered: np.ndarray
    """(D, h, w) uint8 class indices on the generator's slices."""

    @property
    def dice(self) -> dict[str, float | None]:
        """Dice of the recovered against the given mask per class; None for a class that both are without."""
        return class_dice(self.recovered, self.made.label, self.made.classes)

    @property
    def iou(self) -> dict[str, float | None]:
        """The same of IoU."""
        found = class_counts(self.recovered, self.made.label, self.made.classes)
        return {name: one.iou if one else None for name, one in found.items()}

    @property
    def pixel_accuracy(self) -> float:
        """Share of the slices' pixels, background included, on which both masks hold the same class."""
        return pixel_accuracy(self.recovered, self.made.label)


@dataclass(frozen=True)
class CycleOfScan:
    """I -> M -> I' -> M': a scan, its predicted mask, the image made of that, and the mask found in it."""

    segmented: Segmented
    """With its probabilities kept."""
    case: CycleCase
    made: Reconstruction
    again: np.ndarray
    """(D, h, w) class indices, on the generator's slices."""


class Cycles:
    """A segmenter and a generator of one scheme and the same channels.

        cycles = Cycles(Predictor.load("runs/acdc/best"), Reconstructor.load("runs/acdc_m2i/best"))
        case = cycles.case(loaded)
        soft = cycles.probabilities(case)              # (D, K, h, w) on the generator's slices
        predicted = cycles.image_cycle(case, soft)     # I -> M -> I' with the predicted mask: a Reconstruction
        reference = cycles.image_cycle(case)           # ... with the reference
        cycles.mask_cycle(case, soft.argmax(1)).dice   # M -> I -> M'

    They may differ in size, spacing, crop and orientation: slices are then carried over the case's own grid.

    Raises `ModelError` where channels, classes or intensity rules differ.
    """

    def __init__(self, predictor: Predictor, reconstructor: Reconstructor) -> None:
        self.predictor = predictor
        self.reconstructor = reconstructor
        ours, theirs = predictor.data, reconstructor.data
        _same("channels", list(theirs.channels), list(ours.channels))
        _same("label scheme", dict(reconstructor.scheme.classes), dict(predictor.scheme.classes))
        _same("intensity rule", theirs.intensity.model_dump(), ours.intensity.model_dump())
        self.prepare_alike = predictor.preparation == reconstructor.preparation

    def case(self, loaded: LoadedCase, segmenter: PreparedCase | None = None) -> CycleCase:
        """A case prepared for both; `segmenter`: as it is prepared for that one already."""
        if segmenter is None:
            segmenter = prepare_case(loaded, self.predictor.preparation, self.predictor.scheme)
        if self.prepare_alike:
            return CycleCase(segmenter, segmenter)
        preparation, scheme = self.reconstructor.preparation, self.reconstructor.scheme
        return CycleCase(segmenter, prepare_case(loaded, preparation, scheme))

    def of_scan(self, loaded: LoadedCase) -> CycleOfScan:
        """Segment a case, make an image of the mask, and segment that too."""
        segmented = self.predictor.segment(loaded, keep_probabilities=True)
        case = self.case(loaded, segmented.prepared)
        alike = self.prepare_alike
        index = segmented.soft.index if alike else self.probabilities(case).argmax(axis=1).astype(np.uint8)
        made = self.image_cycle(case, index)
        return CycleOfScan(segmented, case, made, self.recover(case, made))

    def prepared(self, case: PreparedCase) -> CycleCase:
        """A case that is prepared already, for models that prepare alike."""
        if not self.prepare_alike:
            raise ModelError(
                "segmenter and generator prepare their slices differently",
                found=self.reconstructor.preparation,
                expected=self.predictor.preparation,
                remedy="Prepare the case for both by Cycles.case",
            )
        return CycleCase(case, case)

    def probabilities(self, case: CycleCase) -> np.ndarray:
        """The segmenter's softmax on the generator's slices, (D, K, h, w) float32."""
        return self._segmented(case, case.for_segmenter)

    def image_cycle(self, case: CycleCase, mask: np.ndarray | None = None) -> Reconstruction:
        """I -> M -> I'.

        Args:
            case: the case.
            mask: on the generator's slices, class indices (D, h, w) or probabilities (D, K, h, w); None takes the
                reference label. Raises `DataError` where there is none.
        """
        return self.reconstructor.reconstruct(case.for_generator, mask)

    def mask_cycle(self, case: CycleCase, mask: np.ndarray | None = None) -> MaskCycle:
        """M -> I -> M': segment the image generated from a mask (as in `image_cycle`)."""
        made = self.image_cycle(case, mask)
        return MaskCycle(made, self.recover(case, made))

    def recover(self, case: CycleCase, made: Reconstruction) -> np.ndarray:
        """What the segmenter finds in a generated image: (D, h, w) uint8 on the generator's slices."""
        target = case.for_segmenter
        image = made.image
        if not self.prepare_alike:
            image = carried(image, case.for_generator.grid, target.grid)
        generated = replace(target, arrays={"image": image.astype(np.float16)})
        return self._segmented(case, generated).argmax(axis=1).astype(np.uint8)

    def _segmented(self, case: CycleCase, prepared: PreparedCase) -> np.ndarray:
        soft = np.concatenate(list(self.predictor.probabilities(prepared)))
        if self.prepare_alike:
            return soft
        moved = carried(soft, prepared.grid, case.for_generator.grid)
        moved[:, 0] += 1 - moved.sum(axis=1)  # what lies outside the segmenter's crop is background
        return moved


def carried(slices: np.ndarray, source: SliceGrid, target: SliceGrid) -> np.ndarray:
    """Slices (D, C, h, w) of one grid on another of the same stored volume, (D', C, h', w') float32; 0 outside.

    Raises `DataError` for grids of different volumes.
    """
    if source.shape_xyz != target.shape_xyz:
        raise DataError("slices of different volumes", found=source.shape_xyz, expected=target.shape_xyz)
    channels = slices.shape[1]
    moved = np.empty((target.slice_shape[0], channels, *target.size), dtype=np.float32)
    for channel in range(channels):  # one at a time, so that one channel at full size is the most that is held
        volume = source.to_volume(source.restore(slices[:, channel : channel + 1])[:, 0])  # (X, Y, Z)
        moved[:, channel] = target.shrink(target.to_slices(volume)[:, None])[:, 0]
    return moved


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ModelError(
            f"the generator has another {what} than the segmenter",
            found=found,
            expected=expected,
            remedy="Train it on the same data section (segcct train-m2i)",
        )
