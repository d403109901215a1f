"""What a layout yields: a case on disk (`Case`) and the same case in memory (`LoadedCase`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.errors import DataError
from segcct.images.volume import Volume


@dataclass(frozen=True)
class Case:
    """One study of one patient, as files.

    A channel or label is a tuple of files: one volume, or the slices of a patient in order.
    """

    id: str
    patient: str
    channels: dict[str, tuple[Path, ...]]
    label: tuple[Path, ...] | None = None
    mask: tuple[Path, ...] | None = None
    """Region over which intensities are normalized (rule zscore_mask)."""
    split: str | None = None
    """`train`, `val` or `test` where the dataset itself says so."""
    error: DataError | None = None
    """Why the case cannot be read, such as a missing channel; it then has no files."""

    def files(self) -> tuple[Path, ...]:
        """Every file of the case once: channels in order, then label, then mask."""
        groups = [*self.channels.values(), self.label or (), self.mask or ()]
        return tuple(dict.fromkeys(path for group in groups for path in group))


@dataclass(frozen=True)
class LoadedCase:
    """One case read into memory, every array on the first channel's voxel grid, in its stored axis order."""

    case: Case
    image: np.ndarray
    """(C, X, Y, Z) float32, the file's own intensities."""
    grid: Volume
    """The first-named channel: affine, spacing (None where the files hold none), header. Masks are written on it."""
    label: np.ndarray | None = None
    """(X, Y, Z) integer values of the scheme, after `label_map`."""
    mask: np.ndarray | None = None
    """(X, Y, Z) bool."""
