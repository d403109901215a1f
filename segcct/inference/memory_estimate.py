"""The memory that the prediction of a case takes, estimated before it starts, so that no process is killed for it.

Counted are the scan, its slices as the network takes them, one batch in the network, kept probabilities, the mask and
what finishes it. A network on the processor is counted as PyTorch runs it in fp32: bf16 takes less, and what --adapt
model needs for its gradients comes on top.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from segcct.errors import DataError
from segcct.hardware.memory import free_memory_gb
from segcct.images.volume import Volume
from segcct.inference.batched_inference import Inference
from segcct.model_card import Architecture, ModelCard
from segcct.models.cost import activation_bytes, on_meta
from segcct.preparation.preparation_settings import Preparation

_WORTH_ASKING_GB = 0.5
"""The system is asked for its free memory from here on."""
_OVER_VOLUMES = 5
"""Float32 copies of all probabilities in MONAI's sliding window: logits, their weighted sum, the softmax, a transposed
copy of it, and what a step needs in between."""
_PARTS = 48 * 2**20
"""Bytes of the parts of a volume that are scaled, resampled or looked up at a time."""
_FITTED, _CROPPED = 5, 6
"""Bytes per voxel while a z-score is fitted to the foreground of a channel (float32 and a bool), and while the
foreground is looked for (float32 and two bool)."""
_FINISHED, _COMPONENTS = 2, 7
"""Bytes per voxel of the mask in the scheme's values and its volumes, and of the components in postprocessing."""


@dataclass(frozen=True)
class CaseMemory:
    """What the memory for a case depends on."""

    card: ModelCard
    preparation: Preparation
    how: Inference
    voxels: int
    """Of the scan on its own grid."""
    slices: tuple[int, int, int]
    """(D, h, w) in the network."""
    keep_probabilities: bool
    """Those of the whole case are kept, as float16."""

    def prediction(self, batch_size: int) -> int:
        """Bytes beside the prepared case."""
        values = math.prod(self.slices) * self.card.architecture.num_classes
        kept = 2 * values * (self.keep_probabilities or self.how.protocol == "orientations")
        batch = min(batch_size, self.slices[0]) * self._window() if self.card.spatial_dims == 2 else 0
        if self.card.spatial_dims == 3:
            batch = batch_size * self._window() + 4 * _OVER_VOLUMES * values
        steps = self.how.postprocessing and self.card.postprocessing
        return self.voxels + kept + _PARTS + max(batch, (_COMPONENTS if steps else _FINISHED) * self.voxels)

    def from_files(self, batch_size: int, held: int, stored: int) -> int:
        """Bytes from the reading of the files to the writing of the mask.

        Args:
            batch_size: slices in the network at a time.
            held: bytes of a voxel of one channel in memory.
            stored: the same as the file stores it, where that is converted; else 0.
        """
        channels = self.card.architecture.in_channels
        fitted = _FITTED if self.preparation.intensity.rule.startswith("zscore") else 0
        cropped = _CROPPED if self.preparation.crop == "foreground" else 0
        scan, prepared = channels * held * self.voxels, 2 * channels * math.prod(self.slices)
        return max(
            scan + max(stored, fitted, cropped) * self.voxels,
            scan + prepared + _PARTS,
            held * self.voxels + prepared + self.prediction(batch_size),
        )

    def _window(self) -> int:
        """Bytes of one slice in the network, or of one window of a network over volumes."""
        built = self.card.architecture
        sides = [built.image_size] * 3
        if self.card.spatial_dims == 2:
            sides = [max(side, built.image_size) for side in self.slices[1:]]
        inside = _bytes_per_pixel(self.card.architecture.model_dump_json(), self.card.spatial_dims)
        around = 12 * built.in_channels + 8 * built.num_classes  # float32 slices, logits and probabilities
        return math.prod(sides) * (around + (inside if self.how.device == "cpu" else 0))


@cache
def _bytes_per_pixel(architecture: str, spatial_dims: int) -> int:
    """Of the input, while a network is at its peak; 0 for a network of another package that needs the values too."""
    built = Architecture.model_validate_json(architecture)
    sides = (built.image_size,) * spatial_dims
    try:
        network, _ = on_meta(built.name, built.in_channels, built.num_classes, built.image_size, built.options)
        activations = activation_bytes(network, torch.empty(1, built.in_channels, *sides, device="meta"))
    except Exception:  # whatever it raises over tensors without values
        return 0
    return -(-activations // math.prod(sides))


def voxel_bytes(header: Volume, channels: int, *, as_stored: bool) -> tuple[int, int]:
    """Bytes of a voxel of each channel in memory, and in its file if it is converted (else 0).

    Args:
        header: that of the first channel. Of other formats than NIfTI, 16-bit integers are expected.
        channels: of the case.
        as_stored: integers stay what they are.
    """
    dtype, scaled = np.dtype(np.int16), False
    if header.header is not None:
        dtype, scaled = header.header.get_data_dtype(), header.header.get_slope_inter()[0] not in (None, 1.0)
    converted = channels > 1 or scaled or not (as_stored or dtype == np.float32)
    return (4, dtype.itemsize) if converted else (dtype.itemsize, 0)


def check_memory(case: CaseMemory, needed: Callable[[int], int], file: Path | None) -> None:
    """Compare what a case needs with the free memory; not below half a GB.

    Args:
        case: the case.
        needed: batch size -> bytes, by a method of `case`.
        file: of the case.

    Raises:
        DataError: it does not fit.
    """
    needed_gb = needed(case.how.batch_size) / 1e9
    free_gb = free_memory_gb() if needed_gb > _WORTH_ASKING_GB else None
    if free_gb is None or needed_gb <= free_gb:
        return
    smaller = (case.how.batch_size >> halvings for halvings in range(1, case.how.batch_size.bit_length()))
    fitting = next((size for size in smaller if needed(size) / 1e9 <= free_gb), None)
    remedies = [
        f"--batch-size {fitting}" if fitting else "",
        "--no-quality, and no --probabilities" if case.keep_probabilities else "",
        "a machine with more memory",
    ]
    depth, rows, columns = case.slices
    found = f"{depth} slices of {rows} x {columns} pixels and {case.card.architecture.num_classes} classes"
    raise DataError(
        "its prediction does not fit into the free memory",
        file=file,
        found=f"{found}, in batches of {case.how.batch_size}: {needed_gb:.1f} GB",
        expected=f"at most {free_gb:.1f} GB",
        remedy=f"Use {', or '.join(filter(None, remedies))}",
    )
