"""The memory that the prediction of a case takes, estimated before it starts, so that no process is killed for it.

The estimate counts the scan, its slices as the network takes them, one batch in the network, kept probabilities, the
mask and its postprocessing. It leaves out the inside of a network that PyTorch does not run on the processor, and the
gradients and the generator of --adapt model. A case is refused only where even the least that it needs does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from segcct.datasets.layouts.volumes import AT_A_TIME
from segcct.errors import DataError
from segcct.hardware.memory import free_memory_gb
from segcct.images.volume import Volume
from segcct.inference.ensemble import EnsembleCard
from segcct.inference.inference_settings import InferenceSettings
from segcct.model_card import Architecture, ModelCard
from segcct.models.cost import activation_bytes, on_meta
from segcct.preparation.preparation_settings import Preparation

_WORTH_ASKING_GB = 0.5
"""Estimates below this are not compared with the free memory."""
_AT_MOST_ABOVE = 1.3
"""Largest ratio of the estimate to the measured peak; see tests/inference/test_memory.py."""
_OVER_VOLUMES = 2
"""Float32 copies of all slices (standardized, and in one piece) and of all logits (blended, and their softmax) of a
network over volumes on the processor; else there is one."""
_PARTS = 48 * 2**20
"""Bytes of the parts of a volume that are scaled, resampled or looked up at a time."""
_FITTED, _CROPPED = 1, 6
"""Bytes per voxel, at least, while a z-score is fitted to the foreground of a channel (a bool; how much is foreground
is not known before), and while another rule looks for the foreground (float32 and two bool)."""
_FINISHED, _COMPONENTS = 2, 7
"""Bytes per voxel of the mask in the scheme's values and its volumes, and of the components in postprocessing."""


@dataclass(frozen=True)
class CaseMemory:
    """What the memory for a case depends on."""

    card: ModelCard
    preparation: Preparation
    how: InferenceSettings
    voxels: int
    """Of the scan on its own grid."""
    slices: tuple[int, int, int]
    """(D, h, w) in the network."""
    keep_probabilities: bool
    """Those of the whole case are kept, as float16."""

    @property
    def batch_size(self) -> int:
        """Slices, or windows, in the network at a time."""
        return self.how.batch_of(self._pixels())

    def prediction(self, batch_size: int) -> int:
        """Bytes in addition to the prepared case."""
        channels, classes = self.card.architecture.in_channels, self.card.architecture.num_classes
        pixels = math.prod(self.slices)
        kept = (2 * classes + 1) * pixels if self.keep_probabilities else 0
        averaged = 2 * (classes + channels) * pixels if self.how.protocol == "orientations" else 0
        steps = self.how.postprocessing and self.card.postprocessing
        finished = (_COMPONENTS if steps else _FINISHED) * self.voxels + _PARTS
        return self.voxels + kept + averaged + max(self._in_network(batch_size), finished)

    def from_files(self, batch_size: int, held: int, stored: int) -> int:
        """Bytes from the reading of the files to the writing of the mask; where slices are cropped to the foreground,
        up to the crop, since their size is not known before.

        Args:
            batch_size: slices in the network at a time.
            held: bytes of a voxel of one channel in memory.
            stored: bytes of a voxel that reading holds in addition to all channels (`voxel_bytes`).
        """
        channels = self.card.architecture.in_channels
        cropped = self.preparation.crop == "foreground"
        fitted = _FITTED if self.preparation.intensity.rule.startswith("zscore") else _CROPPED * cropped
        scan, prepared = channels * held * self.voxels, 2 * channels * math.prod(self.slices)
        read = scan + max(stored, fitted) * self.voxels
        if cropped:
            return read
        return max(read, scan + prepared + _PARTS, held * self.voxels + prepared + self.prediction(batch_size))

    def _in_network(self, batch_size: int) -> int:
        """Bytes of a batch in the network, of its input and of its output; not those on a GPU."""
        built, inside, on_host = self.card.architecture, self._inside(), self.how.device == "cpu"
        size, (depth, *sides) = built.image_size, self.slices
        batch = self.how.batch_of(self._pixels(), batch_size)
        read = 12 * built.in_channels  # float32 slices
        around = read + (8 if on_host else 4) * built.num_classes  # logits and probabilities
        if self.card.spatial_dims == 3:
            whole = 4 * (built.in_channels + built.num_classes) * math.prod(self.slices)  # float32
            windows = math.prod(max(1, -(-2 * side // size) - 1) for side in self.slices)  # that overlap by half
            windowed = min(batch, windows) * self._pixels() * (inside + around)
            return _OVER_VOLUMES * whole + windowed if on_host else whole
        return min(batch, depth) * max(math.prod(sides) * read, self._pixels() * (inside + around))

    def _pixels(self) -> int:
        """Of a slice in the network, or voxels of a window."""
        size = self.card.architecture.image_size
        if self.card.spatial_dims == 3:
            return size**3
        return size**2 if self.how.protocol == "transunet" else math.prod(max(side, size) for side in self.slices[1:])

    def _inside(self) -> int:
        """Bytes inside the network per pixel of its input."""
        if self.how.device != "cpu" or self.how.backend != "torch":
            return 0
        members = self.card.members if isinstance(self.card, EnsembleCard) else (self.card,)
        built = {member.architecture.model_dump_json() for member in members}
        in_fp32 = max(_bytes_per_pixel(each, self.card.spatial_dims) for each in built)
        return in_fp32 // 2 if self.how.precision == "bf16" else in_fp32


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
    """Bytes of a voxel of each channel in memory, and of the most that reading holds in addition to all channels: the
    voxels as files store them, of all files that are read at a time, where they are converted.

    Args:
        header: that of the first channel. Of other formats than NIfTI, 16-bit integers are expected.
        channels: of the case.
        as_stored: integers stay what they are.
    """
    dtype, scaled = np.dtype(np.int16), False
    if header.header is not None:
        slope, inter = header.header.get_slope_inter()
        dtype, scaled = header.header.get_data_dtype(), slope is not None and (slope, inter) != (1.0, 0.0)
    float32, native = np.dtype(np.float32), dtype.newbyteorder("=")
    loaded = float32 if scaled or dtype.kind == "f" else native
    converted = dtype.itemsize if scaled or dtype != loaded else 0
    if channels == 1:
        held = loaded if as_stored else float32
        return held.itemsize, dtype.itemsize if scaled or dtype != held else 0
    files = min(channels, AT_A_TIME) if header.header is not None else 1
    # While files are read, their channels of the result are still empty; then each is copied into its own.
    reading = files * (converted + loaded.itemsize - float32.itemsize)
    return float32.itemsize, max(reading, loaded.itemsize)


def check_memory(case: CaseMemory, needed: Callable[[int], int], file: Path | None) -> None:
    """Compare what a case needs at least with the free memory; not below half a GB.

    Args:
        case: the case.
        needed: batch size -> bytes, by a method of `case`.
        file: of the case.

    Raises:
        DataError: it does not fit.
    """
    needed_gb = needed(case.how.batch_size) / _AT_MOST_ABOVE / 1e9
    free_gb = free_memory_gb() if needed_gb > _WORTH_ASKING_GB else None
    if free_gb is None or needed_gb <= free_gb:
        return
    batch = case.batch_size
    smaller = (batch >> halvings for halvings in range(1, batch.bit_length()))
    fitting = next((size for size in smaller if needed(size) / 1e9 <= free_gb), None)
    remedies = [
        f"--batch-size {fitting}" if fitting else "",
        "--no-quality, and no --probabilities" if case.keep_probabilities else "",
        "a machine with more memory, or fewer Spark tasks or shards on this one at a time",
    ]
    depth, rows, columns = case.slices
    found = f"{depth} slices of {rows} x {columns} pixels and {case.card.architecture.num_classes} classes"
    raise DataError(
        "its prediction does not fit into the free memory",
        file=file,
        found=f"{found}, in batches of {batch}: at least {needed_gb:.1f} GB",
        expected=f"at most {free_gb:.1f} GB",
        remedy=f"Use {', or '.join(filter(None, remedies))}",
    )
