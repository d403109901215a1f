"""What a prediction holds of a whole volume at once besides images and mask, estimated before it starts."""

from __future__ import annotations

import math

from segcct.errors import DataError
from segcct.hardware.memory import free_memory_gb

_WORTH_ASKING_GB = 0.5
"""The system is asked for its free memory from here on."""
_OVER_VOLUMES = 5
"""Float32 copies of all probabilities in MONAI's sliding window: logits, their weighted sum, the softmax, a transposed
copy of it, and what a step needs in between."""


def needed_gb(slices: int, classes: int, size: tuple[int, int], keep_probabilities: bool, spatial_dims: int) -> float:
    """GB (1e9 bytes) of class probabilities; 0 where they are made and resampled a few slices at a time.

    Args:
        slices: D of the case.
        classes: K, background included.
        size: (h, w) of a slice in the network.
        keep_probabilities: those of the whole case are kept, as float16.
        spatial_dims: 2 or 3, of the network.
    """
    values = slices * classes * math.prod(size)
    copies = 2 * keep_probabilities + 4 * _OVER_VOLUMES * (spatial_dims == 3)
    return values * copies / 1e9


def check_memory(slices: int, classes: int, size: tuple[int, int], keep_probabilities: bool, spatial_dims: int) -> None:
    """Raises `DataError` where the probabilities of a case do not fit into the free memory; see `needed_gb`."""
    needed = needed_gb(slices, classes, size, keep_probabilities, spatial_dims)
    free = free_memory_gb() if needed > _WORTH_ASKING_GB else None
    if free is None or needed <= free:
        return
    kept = "Leave out --probabilities and quality.csv (--no-quality)"
    raise DataError(
        "the probabilities of the case do not fit into the free memory",
        found=f"{classes} classes in {slices} slices of {size[0]} x {size[1]} pixels: {needed:.1f} GB",
        expected=f"at most {free:.1f} GB",
        remedy=f"{kept}, or free memory" if spatial_dims == 2 else "Free memory, or cut the scan",
    )
