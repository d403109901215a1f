"""Small volumes in folders as a layout has them, and what the layout reads of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import LoadedCase
from segcct.datasets.layouts import find_cases, read_case, scheme_of

SHAPE = (6, 5, 4)


def volume(path: Path, array: np.ndarray | None = None, affine: np.ndarray | None = None) -> Path:
    """A NIfTI file; without an array, noise that depends on the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if array is None:
        array = np.random.default_rng(len(path.name)).random(SHAPE, dtype=np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1, 2, 1]) if affine is None else affine), path)
    return path


def labels(values: list[int], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A label with these values, repeated."""
    return np.resize(np.array(values, dtype=np.uint8), shape)


def section(layout: str, root: Path, channels: Mapping[str, str], scheme: str = "binary", **more: Any) -> DataSection:
    """The data section of a config."""
    return DataSection(layout=layout, root=root, channels=dict(channels), scheme=scheme, **more)


def read_all(data: DataSection) -> dict[str, LoadedCase]:
    """Case id -> the case in memory, of every case below the root."""
    return {case.id: read_case(case, data, scheme_of(data)) for case in find_cases(data)}
