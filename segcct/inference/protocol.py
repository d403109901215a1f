"""The slice protocol of TransUNet and Swin-Unet, so that a number can stand beside their published tables.

Per slice: cubic resize to the training size, argmax, nearest-neighbour resize back (Chen et al. 2021). segcct's own way
resamples probabilities instead and is the default; scores differ by what order-0 resampling does to borders.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from segcct.inference.arithmetic_device import Inference, autocast
from segcct.preparation.prepared_case import Preparation, PreparedCase

CUBIC, NEAREST = 3, 0


def native(preparation: Preparation) -> Preparation:
    """The same preparation without any resampling: the protocol resizes by itself."""
    return replace(preparation, spacing_mm=None, fit="pad")


def segment_by_protocol(network: nn.Module, prepared: PreparedCase, how: Inference, size: int) -> np.ndarray:
    """Class indices (X, Y, Z) uint8 of a case prepared by `native`, slices resized to `size` x `size`."""
    network.eval()
    return prepared.grid.collect(
        _segment_batch(network, prepared, prepared.image[start : start + how.batch_size], how, size)
        for start in range(0, len(prepared.image), how.batch_size)
    )


def _segment_batch(
    network: nn.Module, prepared: PreparedCase, unit: np.ndarray, how: Inference, size: int
) -> np.ndarray:
    rows, columns = unit.shape[-2:]
    there = (1, 1, size / rows, size / columns)
    image = ndimage.zoom(prepared.standardise(unit), there, order=CUBIC)  # (n, C, S, S)
    with torch.inference_mode(), autocast(how):
        index = network(torch.from_numpy(image).to(how.device)).argmax(dim=1)  # (n, S, S)
    small = index.to(torch.uint8).cpu().numpy()
    return ndimage.zoom(small, (1, rows / size, columns / size), order=NEAREST)  # (n, H, W)
