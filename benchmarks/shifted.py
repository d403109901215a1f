"""ACDC slices as another scanner might give them: a copy of the files with other intensities."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import h5py
import numpy as np

from segcct.datasets.case import Case

GAMMA, BIAS, NOISE = 1.8, 0.5, 0.04
"""Curve of contrast; largest logarithm of the bias field; standard deviation of the noise, in [0, 1] units."""


def shifted(image: np.ndarray, case: str, file: str) -> np.ndarray:
    """Slices (..., H, W) in [0, 1] with gamma, a smooth bias field and noise; no standardising undoes it.

    The field is a function of the case id, the noise of the file's name.
    """
    moved = np.asarray(image, dtype=np.float64) ** GAMMA * np.exp(bias_field(image.shape[-2:], _random(case)))
    return np.clip(moved + _random(file).normal(0, NOISE, image.shape), 0, 1)


def bias_field(size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(H, W) logarithm of a field of half a wave along a random direction, in [-BIAS, BIAS]."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, side) for side in size), indexing="ij")
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    return BIAS * np.sin(np.pi / 2 * (np.cos(angle) * rows + np.sin(angle) * columns) + phase)


def write_shifted(cases: Sequence[Case], as_they_are: Collection[str], root: Path) -> Path:
    """Copy the files of cases into a folder below `root`, shifted but for these patients; one that is there is taken.

    The folder's name holds what its content depends on.
    """
    depends = repr((GAMMA, BIAS, NOISE, sorted(as_they_are), [case.id for case in cases]))
    folder = root / f"shifted_{hashlib.sha256(depends.encode()).hexdigest()[:8]}"
    if folder.is_dir():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for case in cases:
        for file in next(iter(case.channels.values())):
            shutil.copyfile(file, part / file.name)
            if case.patient not in as_they_are:
                with h5py.File(part / file.name, "r+") as stored:
                    stored["image"][...] = shifted(stored["image"][()], case.id, file.name)
    part.rename(folder)
    return folder


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
