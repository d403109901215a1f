"""Phantom volumes on disk, marked as synthetic, and the random streams they are drawn from."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from segcct.images.volume import PHANTOM_MARK, Volume


@dataclass(frozen=True)
class Phantom:
    """The synthetic dataset of one layout."""

    write_case: Callable[[Path, int, int, int], str]
    """(folder, index, seed, reduce): writes one case atomically and returns its id."""
    config_keys: tuple[str, ...] = ()
    """Keys that the layout's config in configs/ needs for it."""


def streams(layout: str, seed: int, index: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Two generators of one case: anatomy and contrast (equal on every grid), and noise (one value per voxel)."""
    anatomy, noise = np.random.default_rng([seed, zlib.crc32(layout.encode()), index]).spawn(2)
    return anatomy, noise


def save(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write an integer volume as NIfTI, in mm, its header's description saying that it is synthetic."""
    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_xyzt_units("mm")
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    header["descrip"] = PHANTOM_MARK.encode()
    x, y, z = (float(step) for step in nib.affines.voxel_sizes(affine))
    Volume(array, affine, (x, y, z), header).save(path)
