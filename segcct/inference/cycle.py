"""Segmentation and reconstruction together: image -> mask -> image, and mask -> image -> mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from segcct.datasets.case import LoadedCase
from segcct.errors import DataError, ModelError
from segcct.inference.predictor import Predictor, Segmented
from segcct.inference.reconstructor import Reconstruction, Reconstructor
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from segcct.preparation.slice_grid import SliceGrid


@dataclass(frozen=True)
class CycleCase:
    """One case as prepared for each of the two models; the same object twice if both prepare alike."""

    for_segmenter: PreparedCase
    for_generator: PreparedCase


@dataclass(frozen=True)
class CycleOfScan:
    """I -> M -> I' -> M': a scan, its predicted mask, the image generated from that, and the mask segmented from it."""

    segmented: Segmented
    """With its probabilities kept."""
    case: CycleCase
    made: Reconstruction
    again: np.ndarray
    """(D, h, w) class indices, on the generator's slices."""


class Cycles:
    """A segmentation and a reconstruction model with the same label scheme and channels.

        cycles = Cycles(Predictor.load("runs/acdc/best"), Reconstructor.load("runs/acdc_m2i/best"))
        case = cycles.case(loaded)
        soft = cycles.probabilities(case)              # (D, K, h, w) on the generator's slices
        predicted = cycles.image_cycle(case, soft)     # I -> M -> I' with the predicted mask: a Reconstruction
        reference = cycles.image_cycle(case)           # ... with the reference
        cycles.recover(case, predicted)                # M -> I -> M': class indices (D, h, w)

    They may differ in size, spacing, crop and orientation: slices are then resampled over the case's own grid.

    Raises `ModelError` if channels, classes or intensity rules differ.
    """

    def __init__(self, predictor: Predictor, reconstructor: Reconstructor) -> None:
        self.predictor = predictor
        self.reconstructor = reconstructor
        for what, generator, segmenter in (
            ("channels", list(reconstructor.data.channels), list(predictor.data.channels)),
            ("label scheme", list(reconstructor.scheme.classes.items()), list(predictor.scheme.classes.items())),
            ("intensity rule", reconstructor.data.intensity.model_dump(), predictor.data.intensity.model_dump()),
        ):
            if generator != segmenter:
                raise ModelError(
                    f"the generator and the segmenter differ in the {what}",
                    found=generator,
                    expected=segmenter,
                    remedy="Train the generator on the same data section (segcct train-m2i)",
                )
        self.prepare_alike = predictor.preparation == reconstructor.preparation

    def case(self, loaded: LoadedCase, for_segmenter: PreparedCase | None = None) -> CycleCase:
        """A case prepared for both models, or for the generator alone if it is prepared for the segmenter already."""
        if for_segmenter is None:
            for_segmenter = prepare_case(loaded, self.predictor.preparation, self.predictor.scheme)
        if self.prepare_alike:
            return CycleCase(for_segmenter, for_segmenter)
        preparation, scheme = self.reconstructor.preparation, self.reconstructor.scheme
        return CycleCase(for_segmenter, prepare_case(loaded, preparation, scheme))

    def of_scan(self, loaded: LoadedCase, *, count_agreement: bool = False) -> CycleOfScan:
        """Segment a case as `Predictor.segment`, generate an image from the mask, and segment that too."""
        segmented = self.predictor.segment(loaded, keep_probabilities=True, count_agreement=count_agreement)
        case = self.case(loaded, segmented.prepared)
        alike = self.prepare_alike
        index = segmented.soft.index if alike else self.probabilities(case).argmax(axis=1).astype(np.uint8)
        made = self.image_cycle(case, index)
        return CycleOfScan(segmented, case, made, self.recover(case, made))

    def probabilities(self, case: CycleCase) -> np.ndarray:
        """The segmenter's softmax on the generator's slices, (D, K, h, w) float32."""
        return self._segmented(case, case.for_segmenter)

    def image_cycle(self, case: CycleCase, mask: np.ndarray | None = None) -> Reconstruction:
        """I -> M -> I'.

        Args:
            case: the case.
            mask: on the generator's slices, class indices (D, h, w) or probabilities (D, K, h, w); None takes the
                reference label. Raises `DataError` if there is none.
        """
        return self.reconstructor.reconstruct(case.for_generator, mask)

    def recover(self, case: CycleCase, made: Reconstruction) -> np.ndarray:
        """The segmentation of a generated image: (D, h, w) uint8 class indices on the generator's slices."""
        target = case.for_segmenter
        image = made.image if self.prepare_alike else resampled(made.image, case.for_generator.grid, target.grid)
        generated = replace(target, arrays={"image": image.astype(np.float16)})
        return np.asarray(self._segmented(case, generated).argmax(axis=1), dtype=np.uint8)

    def _segmented(self, case: CycleCase, prepared: PreparedCase) -> np.ndarray:
        soft = np.concatenate(list(self.predictor.probabilities(prepared)))
        if self.prepare_alike:
            return soft
        moved = resampled(soft, prepared.grid, case.for_generator.grid)
        moved[:, 0] += 1 - moved.sum(axis=1)  # outside the segmenter's crop is background
        return moved


def resampled(slices: np.ndarray, source: SliceGrid, target: SliceGrid) -> np.ndarray:
    """Slices (D, C, h, w) of one grid on another of the same stored volume, (D', C, h', w') float32; 0 outside.

    Raises `DataError` for grids of different volumes.
    """
    if source.shape_xyz != target.shape_xyz:
        raise DataError("slices of different volumes", found=source.shape_xyz, expected=target.shape_xyz)
    channels = slices.shape[1]
    moved = np.empty((target.slice_shape[0], channels, *target.size), dtype=np.float32)
    for channel in range(channels):  # one at a time, so that only one channel is in memory at full size
        volume = source.to_volume(source.restore(slices[:, channel : channel + 1])[:, 0])  # (X, Y, Z)
        moved[:, channel] = target.shrink(target.to_slices(volume)[:, None])[:, 0]
    return moved
