"""Inferers: four ways from prepared slices through a network to class indices on the case's own grid.

inferer = inferer_of("soft", spatial_dims=2)
prepared = prepare_case(loaded, inferer.preparation(preparation), scheme)
index = inferer(network, prepared, how, preparation.image_size)   # (X, Y, Z) uint8
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from segcct.errors import GeometryError, ModelError
from segcct.inference.batched_inference import finite, in_batches, padded_pixels, probabilities_of
from segcct.inference.inference_choices import ProtocolName
from segcct.inference.inference_settings import InferenceSettings
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import PreparedCase
from segcct.runtime import pad_to

Listener = Callable[[np.ndarray], None]
"""Called with the probabilities of a case, (n, K, h, w) float32 of successive slices at the network's scale."""

OVERLAP = 0.5
"""Fraction of a window that the next one overlaps."""

MOST_UNEQUAL = 1.5
"""Longest side of a voxel in the network by its shortest, for slices of three orientations."""


class Inferer(ABC):
    """A strategy of inference."""

    def preparation(self, preparation: Preparation) -> Preparation:
        """How cases have to be prepared, where training prepared them as `preparation` says."""
        return preparation

    def __call__(
        self,
        network: nn.Module,
        prepared: PreparedCase,
        how: InferenceSettings,
        size: int,
        listener: Listener | None = None,
    ) -> np.ndarray:
        """Class indices (X, Y, Z) uint8 on the case's own grid; outside the crop is background.

        Args:
            network: (B, C, ...) -> logits (B, K, ...).
            prepared: the case.
            how: batch size, precision, device.
            size: height and width of the training slices, in pixels.
            listener: called with the probabilities, if there are any.
        """
        return prepared.grid.collect(self.labels(network.eval(), prepared, how, size, listener))

    @abstractmethod
    def labels(
        self, network: nn.Module, prepared: PreparedCase, how: InferenceSettings, size: int, listener: Listener | None
    ) -> Iterator[np.ndarray]:
        """Class indices (n, H, W) of successive slices of the case's own grid."""


class ProbabilityInferer(Inferer):
    """Probabilities are resampled to the case's own grid; the argmax is taken there."""

    @abstractmethod
    def probabilities(
        self, network: nn.Module, prepared: PreparedCase, how: InferenceSettings, size: int
    ) -> Iterator[np.ndarray]:
        """Softmax at the network's scale, (n, K, h, w) float32 of successive slices. Raises `ModelError` if it is
        not finite."""

    def labels(
        self, network: nn.Module, prepared: PreparedCase, how: InferenceSettings, size: int, listener: Listener | None
    ) -> Iterator[np.ndarray]:
        """See `Inferer`."""
        for batch in self.probabilities(network, prepared, how, size):
            if listener is not None:
                listener(batch)
            yield prepared.grid.restore_labels(batch)


class SliceInferer(ProbabilityInferer):
    """Slice by slice, padded to the training size where smaller; memory does not grow with the depth of the volume."""

    def probabilities(
        self, network: nn.Module, prepared: PreparedCase, how: InferenceSettings, size: int
    ) -> Iterator[np.ndarray]:
        """See `ProbabilityInferer`."""

        def softmax(part: slice) -> Tensor:
            unit, (rows, columns) = pad_to(prepared.image[part], size)  # (n, C, S, S)
            logits = network(torch.from_numpy(prepared.standardize(unit)).to(how.device))  # (n, K, S, S)
            return finite(probabilities_of(logits[..., rows, columns]))

        return in_batches(softmax, len(prepared.image), how, pixels=padded_pixels(prepared.image, size))


class SlidingWindowInferer(ProbabilityInferer):
    """Overlapping cubes of the training size, blended where they overlap (MONAI's `sliding_window_inference`)."""

    def probabilities(
        self, network: nn.Module, prepared: PreparedCase, how: InferenceSettings, size: int
    ) -> Iterator[np.ndarray]:
        """See `ProbabilityInferer`."""
        whole = _blended_windows(network, prepared, how, size)
        batch = how.batch_of(math.prod(whole.shape[2:]))
        yield from np.array_split(whole, range(batch, len(whole), batch))


def _blended_windows(network: nn.Module, prepared: PreparedCase, how: InferenceSettings, size: int) -> np.ndarray:
    """Softmax of the whole volume, (D, K, h, w) float32."""
    from monai.inferers import sliding_window_inference

    window = (size, size, size)
    depth, _, *plane = prepared.image.shape  # (D, C, h, w)
    shape = depth, *plane
    around = [(each // 2, each - each // 2) for each in (max(0, size - length) for length in shape)]
    inside = tuple(slice(before, before + length) for (before, _), length in zip(around, shape, strict=True))
    padded = np.pad(prepared.image, [around[0], (0, 0), *around[1:]])  # before it is standardized, as slices are
    volume = prepared.standardize(padded).swapaxes(0, 1)  # (C, ...)
    with torch.inference_mode(), how.autocast():
        logits = sliding_window_inference(
            torch.from_numpy(np.ascontiguousarray(volume[None])).to(how.device),
            window,
            how.batch_of(math.prod(window)),
            network,
            overlap=OVERLAP,
            mode="gaussian",
        )
        assert isinstance(logits, Tensor)  # (1, K, D, h, w), padded
        return finite(logits[0][(slice(None), *inside)].float().softmax(dim=0)).transpose(0, 1).cpu().numpy()


class OrientationInferer(ProbabilityInferer):
    """The mean of the probabilities of slices across each of the three axes, for volumes of nearly cubic voxels.

    The mean is a soft vote; counting votes would leave voxels undecided on which three masks differ. A network that was
    trained on slices of one orientation alone need not know the others: compare on validation cases. Probabilities of
    the whole volume are held at once, as float16.
    """

    def probabilities(
        self, network: nn.Module, prepared: PreparedCase, how: InferenceSettings, size: int
    ) -> Iterator[np.ndarray]:
        """See `ProbabilityInferer`. Raises `GeometryError` where voxels are not nearly cubic."""
        _require_cubic(prepared)
        volume = np.asarray(prepared.image).swapaxes(0, 1)  # (C, D, h, w)
        mean: np.ndarray | None = None
        for axis in (1, 2, 3):
            slices = np.ascontiguousarray(np.moveaxis(volume, axis, 0))  # (n, C, ...), the other two axes in order
            view = replace(prepared, arrays={"image": slices})
            start = 0
            for batch in SliceInferer().probabilities(network, view, how, size):  # (b, K, ...)
                if mean is None:
                    mean = np.zeros((batch.shape[1], *volume.shape[1:]), dtype=np.float16)  # (K, D, h, w)
                part = np.moveaxis(mean, axis, 0)[start : start + len(batch)]  # a view
                part += (batch / 3).astype(np.float16)
                start += len(batch)
        assert mean is not None
        count = how.batch_of(math.prod(mean.shape[2:]))
        for start in range(0, mean.shape[1], count):
            yield mean[:, start : start + count].swapaxes(0, 1).astype(np.float32)


def _require_cubic(prepared: PreparedCase) -> None:
    grid = prepared.grid
    if grid.spacing_dhw_mm is None:
        raise GeometryError("slices of three orientations need a voxel size", found="a file without one")
    sides = zip(grid.spacing_dhw_mm, grid.slice_shape, (grid.slice_shape[0], *grid.size), strict=True)
    steps = [spacing * stored / seen for spacing, stored, seen in sides]  # mm, in the network
    if max(steps) > MOST_UNEQUAL * min(steps):
        raise GeometryError(
            "voxels are not cubic enough for slices of three orientations",
            found=" x ".join(f"{step:.2g}" for step in steps) + " mm in the network",
            expected=f"sides that differ by at most {MOST_UNEQUAL:g} times",
            remedy="Leave --protocol orientations out",
        )


class TransUNetInferer(Inferer):
    """The slice protocol of TransUNet and Swin-Unet, for scores that are comparable with their published tables.

    Per slice: cubic resize to the training size, argmax, nearest-neighbor resize back (Chen et al. 2021). Scores differ
    from those of resampled probabilities by the effect of order-0 resampling on borders, and because the last row and
    column become 0 at some sizes (512 to 224, and 224 to 216): by rounding, SciPy takes them for the outside.
    """

    def preparation(self, preparation: Preparation) -> Preparation:
        """Without resampling: the protocol resizes by itself."""
        return replace(preparation, spacing_mm=None, fit="pad")

    def labels(
        self, network: nn.Module, prepared: PreparedCase, how: InferenceSettings, size: int, _: Listener | None
    ) -> Iterator[np.ndarray]:
        """See `Inferer`; there are no probabilities to listen to. Raises `ModelError` if logits are not finite."""
        from scipy import ndimage

        rows, columns = prepared.image.shape[-2:]

        def argmax(part: slice) -> Tensor:
            unit = prepared.standardize(prepared.image[part])
            image = ndimage.zoom(unit, (1, 1, size / rows, size / columns), order=3)
            logits = finite(network(torch.from_numpy(image).to(how.device)).float())
            return logits.argmax(dim=1).to(torch.uint8)  # (n, S, S)

        back = (1, rows / size, columns / size)
        for small in in_batches(argmax, len(prepared.image), how, pixels=size**2):
            yield ndimage.zoom(small, back, order=0)


def probability_inferer(spatial_dims: int) -> ProbabilityInferer:
    """The default for networks over slices (2) or volumes (3)."""
    return SliceInferer() if spatial_dims == 2 else SlidingWindowInferer()


INFERERS: dict[ProtocolName, type[Inferer]] = {
    "soft": SliceInferer,
    "orientations": OrientationInferer,
    "transunet": TransUNetInferer,
}
"""Value of `--protocol` -> the inferer of networks over slices."""


def inferer_of(protocol: ProtocolName, spatial_dims: int) -> Inferer:
    """The inferer of `--protocol` for a network of 2 or 3 dimensions. Raises `ModelError` if they do not fit."""
    if spatial_dims == 2:
        return INFERERS[protocol]()
    if protocol != "soft":
        raise ModelError(
            f"protocol {protocol} is for networks over slices",
            found=f"a network of {spatial_dims} dimensions",
            remedy="Leave --protocol out",
        )
    return probability_inferer(spatial_dims)
