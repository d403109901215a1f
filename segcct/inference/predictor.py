"""From a case to a mask on the case's own grid: the one path of prediction and of validation during training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from segcct.datasets.case import Case, Examination
from segcct.errors import DataError
from segcct.files.file_names import case_name
from segcct.images.volume import Volume, check_same_grid
from segcct.inference.arithmetic_device import Inference, autocast, finite
from segcct.inference.protocol import native, segment_by_protocol
from segcct.inference.trained import VolumeModel
from segcct.preparation.prepared_case import PreparedCase, prepare_examination
from segcct.preparation.training_window import pad_to


def probabilities(network: nn.Module, prepared: PreparedCase, how: Inference, size: int) -> Iterator[np.ndarray]:
    """Softmax per batch of slices at the network's scale, (n, K, h, w) float32, in slice order.

    Slices smaller than the training size are padded to it as in training. One batch at a time, so that memory does
    not grow with the depth of the volume. Raises `ModelError` where they are not finite.
    """
    network.eval()
    with torch.inference_mode(), autocast(how):
        for start in range(0, len(prepared.image), how.batch_size):
            unit, (rows, columns) = pad_to(prepared.image[start : start + how.batch_size], size)  # (n, C, S, S)
            logits = network(torch.from_numpy(prepared.standardise(unit)).to(how.device))  # (n, K, S, S)
            yield finite(logits[..., rows, columns].float().softmax(dim=1)).cpu().numpy()


def segment(network: nn.Module, prepared: PreparedCase, how: Inference, size: int) -> np.ndarray:
    """Class indices (X, Y, Z) uint8 on the case's own grid; outside the crop is background.

    Args:
        network: (B, C, H, W) -> logits (B, K, H, W).
        prepared: the case.
        how: batch size, precision, device.
        size: side of the training slices, in pixels.
    """
    batches = probabilities(network, prepared, how, size)
    return prepared.grid.collect(prepared.grid.restore_labels(batch) for batch in batches)


def largest_components(index: np.ndarray) -> np.ndarray:
    """Keep, of each class, its largest face-connected component; the rest becomes background."""
    from scipy import ndimage

    kept = np.zeros_like(index)
    for value, box in enumerate(ndimage.find_objects(index), start=1):
        if box is not None:
            parts, _ = ndimage.label(index[box] == value)
            sizes = np.bincount(parts.ravel())[1:]
            kept[box][parts == 1 + int(sizes.argmax())] = value
    return kept


def _stacked(volumes: Sequence[Volume]) -> np.ndarray:
    """(C, X, Y, Z): a view of the voxels of one volume, float32 of several."""
    if len(volumes) == 1:
        return volumes[0].array[None]
    return np.stack([volume.array for volume in volumes], dtype=np.float32, casting="unsafe")


class Predictor(VolumeModel):
    """A trained segmenter: (B, C, H, W) -> logits (B, K, H, W)."""

    task, noun, command = "segmentation", "a segmenter", "train-seg"

    def predict(
        self,
        scan: Volume | Mapping[str, Volume],
        *,
        mask: Volume | None = None,
        keep_largest: bool = False,
    ) -> Volume:
        """The mask of one scan, in the scheme's own values, on the grid of its first channel.

        Args:
            scan: the volume of a one-channel model, or channel name -> volume, all on one grid.
            mask: the region for intensity normalisation, for models trained with zscore_mask.
            keep_largest: keep only the largest component of each class.

        Raises:
            DataError: a channel is missing, or the mask is.
            GeometryError: two volumes are not on one grid.
        """
        volumes = self._by_channel(scan)
        first = next(iter(volumes.values()))
        for other in [*volumes.values(), *([] if mask is None else [mask])]:
            check_same_grid(first, other)
        if self.data.intensity.rule == "zscore_mask" and mask is None:
            raise DataError("this model needs a mask for intensity normalization", expected=self.data.intensity.mask)
        file = first.path or Path("scan")
        name = case_name(file)
        examination = Examination(
            case=Case(name, name, {channel: (volume.path or file,) for channel, volume in volumes.items()}),
            image=_stacked(list(volumes.values())),
            grid=first,
            mask=None if mask is None else mask.array > 0,
        )
        return self.predict_examination(examination, keep_largest=keep_largest)

    def predict_examination(self, examination: Examination, *, keep_largest: bool = False) -> Volume:
        """The mask of a case read by a layout, on its own grid."""
        if self.how.protocol == "transunet":
            prepared = prepare_examination(examination, native(self.preparation), self.scheme)
            index = segment_by_protocol(self.network, prepared, self.how, self.preparation.image_size)
        else:
            prepared = prepare_examination(examination, self.preparation, self.scheme)
            index = segment(self.network, prepared, self.how, self.preparation.image_size)
        if keep_largest:
            index = largest_components(index)
        return examination.grid.with_array(self.scheme.to_values(index))

    def _by_channel(self, scan: Volume | Mapping[str, Volume]) -> dict[str, Volume]:
        wanted = list(self.data.channels)
        given = {wanted[0]: scan} if isinstance(scan, Volume) else dict(scan)
        if set(given) != set(wanted):
            raise DataError(
                "channels do not fit the model", found=", ".join(given) or "none", expected=", ".join(wanted)
            )
        return {name: given[name] for name in wanted}
