"""From a mask to an image (M2I): used by validation during training and by `segcct compare`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from segcct.datasets.case import LoadedCase
from segcct.errors import DataError, LabelError
from segcct.inference.batched_inference import in_batches, padded_pixels
from segcct.inference.loaded_model import VolumeModel
from segcct.metrics.image import ImageDistance, class_mean_baseline, foreground_error_reduction, image_distances
from segcct.models.generator import Generator
from segcct.preparation.conditioning import one_hot, signed_distances, slice_positions
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from segcct.preparation.slice_grid import SliceGrid
from segcct.runtime import pad_to


@dataclass(frozen=True)
class Reconstruction:
    """A case and the image generated from its mask, slice by slice."""

    original: np.ndarray
    """(D, C, h, w) float32 in [0, 1]."""
    image: np.ndarray
    """(D, C, h, w) float32 in [0, 1], in the same units."""
    label: np.ndarray
    """(D, h, w) uint8 class indices: the mask it was generated from (the argmax of a soft one)."""
    classes: tuple[str, ...]
    """Names of the class indices 1, 2, ..."""
    grid: SliceGrid

    @cached_property
    def distances(self) -> dict[str, ImageDistance]:
        """Distances of `image` from `original` over whole, foreground, border and each class of `label`."""
        return image_distances(self.original, self.image, self.label, self.classes)

    @cached_property
    def baseline(self) -> dict[str, ImageDistance]:
        """The same for the piecewise-constant image of the class means, which the generator has to beat."""
        filled = class_mean_baseline(self.original, self.label)
        return image_distances(self.original, filled, self.label, self.classes)

    @property
    def gain(self) -> float | None:
        """Relative error reduction: 1 - RMSE / RMSE of the baseline, in the foreground; None without foreground."""
        return foreground_error_reduction(self.original, self.image, self.label)

    def volume(self, channel: int = 0) -> np.ndarray:
        """One channel of `image` on the case's own grid: (X, Y, Z) float32 in [0, 1]; 0 outside the crop."""
        return self.grid.to_volume(self.grid.restore(self.image[:, channel : channel + 1])[:, 0])


class Reconstructor(VolumeModel):
    """A trained reconstruction model.

    reconstructor = Reconstructor.load("runs/acdc_m2i/best")
    made = reconstructor.reconstruct(prepared)                 # from the case's own label
    made = reconstructor.reconstruct(prepared, probabilities)  # from a predicted soft mask (D, K, h, w)
    made.image, made.distances["foreground"].rmse, made.baseline["foreground"].rmse
    """

    task, noun, command = "reconstruction", "a generator", "train-m2i"
    network: Generator

    def reconstruct(self, prepared: PreparedCase, mask: np.ndarray | None = None) -> Reconstruction:
        """Generate an image from a mask, in the appearance of the case.

        Args:
            prepared: the case as `preparation` prepares it; its image is used for the style, never for shapes.
            mask: (D, h, w) class indices or (D, K, h, w) probabilities at the case's network scale; None takes the
                case's own label.

        Raises:
            DataError: other channels than the generator's, no mask at all, or a mask of another shape.
            LabelError: a class outside the generator's scheme.
        """
        channels = prepared.image.shape[1]
        if channels != self.network.in_channels:
            raise DataError(
                "channels do not fit the generator",
                file=prepared.case_id,
                found=f"{channels} channels",
                expected=", ".join(self.data.channels),
            )
        soft, label = self._mask(prepared, mask)
        batches = list(self._batches(prepared, soft, label))
        return Reconstruction(
            original=np.asarray(prepared.image, dtype=np.float32),
            image=np.concatenate(batches),
            label=label,
            classes=tuple(self.scheme.classes),
            grid=prepared.grid,
        )

    def reconstruct_case(self, loaded: LoadedCase, values: np.ndarray | None = None) -> Reconstruction:
        """The same from a case as a layout reads it.

        Args:
            loaded: image, and label where it has one.
            values: (X, Y, Z) mask in the scheme's own values, such as a predicted one; None takes the label.

        Raises:
            DataError: as `reconstruct`; LabelError: a value outside the generator's scheme.
        """
        if loaded.image.shape[0] != self.network.in_channels:
            raise DataError(
                "channels do not fit the generator",
                file=loaded.case.id,
                found=", ".join(loaded.case.channels),
                expected=", ".join(self.data.channels),
            )
        prepared = prepare_case(loaded, self.preparation, self.scheme)
        if values is None:
            return self.reconstruct(prepared)
        slices = prepared.grid.to_slices(self.scheme.to_index(values))
        return self.reconstruct(prepared, prepared.grid.shrink_labels(slices))

    def _mask(self, prepared: PreparedCase, mask: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray]:
        """Probabilities, if the mask is soft, and class indices (D, h, w) uint8."""
        if mask is None:
            if prepared.label is None:
                raise DataError("no mask to reconstruct from", file=prepared.case_id, expected="a label or a mask")
            mask = np.asarray(prepared.label)
        depth, _, *size = prepared.image.shape
        classes = self.network.num_classes
        hard, soft = (depth, *size), (depth, classes, *size)
        if mask.shape not in (hard, soft):
            raise DataError(
                "the mask does not fit the slices of the case",
                file=prepared.case_id,
                found=mask.shape,
                expected=f"{hard} class indices or {soft} probabilities",
            )
        if mask.ndim == 4:
            return mask.astype(np.float32, copy=False), mask.argmax(axis=1).astype(np.uint8)
        if mask.size and not 0 <= mask.min() <= mask.max() < classes:
            raise LabelError(
                f"class indices outside the generator's scheme {self.scheme.name}",
                file=prepared.case_id,
                found=f"{mask.min()} to {mask.max()}",
                expected=f"0 to {classes - 1}: background, {', '.join(self.scheme.classes)}",
            )
        return None, mask.astype(np.uint8, copy=False)

    def _batches(self, prepared: PreparedCase, soft: np.ndarray | None, label: np.ndarray) -> Iterator[np.ndarray]:
        """Images in [0, 1], (n, C, h, w) float32 per batch of slices, padded inside as in training."""
        size, classes = self.preparation.image_size, self.network.num_classes
        positions = slice_positions(len(label))

        def step(part: slice) -> torch.Tensor:
            unit, (rows, columns) = pad_to(prepared.image[part], size)
            hard, _ = pad_to(label[part], size)
            mask = one_hot(hard, classes)  # (n, K, S, S)
            if soft is not None:
                mask[..., rows, columns] = soft[part]
            distance = np.stack([signed_distances(each, classes) for each in hard])
            inputs = (prepared.standardize(unit), mask, distance, positions[part, None])
            image, *conditions = (torch.from_numpy(each).to(self.how.device) for each in inputs)
            style = self.network.style_of(image, *conditions[:2])
            made: torch.Tensor = self.network(*conditions, style)
            return made[..., rows, columns].float()

        mean, sd = (each[:, None, None] for each in (prepared.mean, prepared.std))
        for image in in_batches(step, len(label), self.how, pixels=padded_pixels(label, size)):
            yield np.clip(image * sd + mean, 0, 1)
