"""Corruptions of images in [0, 1], of random kind and strength; the mask stays the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from segcct.datasets.case import LoadedCase


def noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Rician noise, as in magnitude images."""
    real, imaginary = rng.normal(0, 0.25 * strength, (2, *image.shape))
    return np.hypot(image + real, imaginary)


def blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur within slices."""
    return ndimage.gaussian_filter(image, (0, 6 * strength, 6 * strength, 0))


def gamma(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gamma, in either direction."""
    return image ** np.exp(rng.choice([-1, 1]) * 1.4 * strength)


def bias(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness that changes across the image, as with a surface coil."""
    x, y = np.meshgrid(np.linspace(-1, 1, image.shape[1]), np.linspace(-1, 1, image.shape[2]), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    field = np.exp(2.5 * strength * (np.cos(angle) * x + np.sin(angle) * y))
    return image * field[None, :, :, None]


def ghosts(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Shifted copies, as from breathing."""
    return image + sum(0.7 * strength * np.roll(image, sign * image.shape[2] // 6, axis=2) for sign in (-1, 1))


def coarse(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Lower resolution: pixels left out, the others enlarged."""
    step = 1 + round(7 * strength)
    small = image[:, ::step, ::step]
    return small.repeat(step, axis=1).repeat(step, axis=2)[:, : image.shape[1], : image.shape[2]]


CORRUPTIONS: tuple[Callable[[np.ndarray, float, np.random.Generator], np.ndarray], ...] = (
    noise,
    blur,
    gamma,
    bias,
    ghosts,
    coarse,
)


def corrupted(loaded: LoadedCase, draw: int) -> LoadedCase:
    """A corruption of random kind and strength, which depends only on the case id and `draw`."""
    digest = hashlib.sha256(f"{loaded.case.id} {draw}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    kind = CORRUPTIONS[rng.integers(len(CORRUPTIONS))]
    image = kind(np.clip(loaded.image, 0, 1).astype(np.float64), float(rng.uniform(0.2, 1.0)), rng)
    case = replace(loaded.case, id=f"{loaded.case.id}+{kind.__name__}{draw}")
    return replace(loaded, image=np.clip(image, 0, 1).astype(np.float32), case=case)
