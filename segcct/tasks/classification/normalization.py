"""The last step before a network: 8-bit images to numbers of mean 0 and standard deviation 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segcct.config import ImagesSection
from segcct.tasks.classification.labeled_images import LabeledImages

_AT_ONCE = 1024


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, of values in [0, 1]; part of the model card."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, data: ImagesSection, images: LabeledImages, rows: np.ndarray) -> Normalization:
        """That of the configuration where it names one, else that of the images at `rows`."""
        if data.mean is not None and data.std is not None:
            return cls(tuple(data.mean), tuple(data.std))
        mean, std = _measured(images.pixels, rows)
        return cls(tuple(data.mean or mean), tuple(data.std or std))

    def apply(self, images: np.ndarray) -> Tensor:
        """(B, C, S, S) uint8 -> float32, channels last in memory, which processors are faster with."""
        mean, std = (255.0 * torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        batch = torch.from_numpy(images).to(torch.float32, memory_format=torch.channels_last)
        return batch.sub_(mean).div_(std)


def _measured(images: np.ndarray, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Over pixels of (N, S, S, C) uint8; a standard deviation of 0 becomes 1."""
    counts = np.zeros((images.shape[-1], 256), dtype=np.int64)
    in_order = np.sort(rows)  # of the file, which is faster on a disk
    for start in range(0, len(rows), _AT_ONCE):
        part = images[in_order[start : start + _AT_ONCE]]
        for channel in range(len(counts)):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    value = np.arange(256) / 255.0
    frequency = counts / counts.sum(axis=1, keepdims=True)
    mean = frequency @ value
    std = np.sqrt(np.maximum(frequency @ value**2 - mean**2, 0.0))
    return [round(float(m), 6) for m in mean], [round(float(s), 6) if s > 1e-6 else 1.0 for s in std]
