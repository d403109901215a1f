"""Augmentation of one training slice in [0, 1], a function of its random generator alone.

albumentations supplies the operations, not the randomness: whether an operation is applied, and the seed of each
application, are drawn here. Left to itself, a Compose of 2.0.8 gives every operation the same seed, so that operations
of equal probability always come together; and each of them owns two generators that remember earlier calls.
"""

from __future__ import annotations

import math
import os
from functools import cached_property
from typing import Any

import numpy as np

from segcct.config import AugmentSection
from segcct.preparation.intensity_changes import scanner_change
from segcct.runtime import pad_to

BRIGHTNESS = 0.2
"""Largest shift of intensity at strength 1, as a fraction of the channel's mean in the slice, not of [0, 1]: few bright
voxels may leave everything else in the lowest tenth of that range."""
CONTRAST = 0.25
"""Largest relative change of contrast."""
GAMMA_PERCENT = (70, 150)
"""Range of the gamma exponent, in percent. The channel's mean is kept: the curve bends, the exposure stays."""
NOISE = (0.05, 0.3)
"""Range of the noise's standard deviation, as a fraction of the channel's in the slice."""
BLUR_SIGMA = (0.4, 1.2)
"""Range of the blur's sigma, in pixels."""
ELASTIC_SIGMA = 0.06
"""Smoothness of the elastic field, as a fraction of the side."""
ELASTIC_SHIFT = 0.012
"""Standard deviation of the elastic displacement, as a fraction of the side."""
_LARGEST_SEED = 2**31


class Augmenter:
    """Flips, affine and elastic deformation of a slice and its label together; intensity, noise and blur of the image
    alone, drawn for each channel separately, because scanners vary per sequence."""

    def __init__(self, section: AugmentSection, image_size: int) -> None:
        self.section = section
        self.image_size = image_size

    @property
    def margin(self) -> int:
        """Pixels around the S x S of the result from which its borders are filled, on each side of a slice that is
        larger."""
        section = self.section
        affine = _affine_margin(section, self.image_size) if section.affine * section.strength else 0
        elastic = _elastic_margin(self.image_size) if section.elastic * section.strength else 0
        return max(affine, elastic)

    def apply(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(C, h, w) float in [0, 1] and (h, w) uint8, S x S or larger -> (C, S, S) float32 and (S, S) uint8 around
        their middle.

        Every value of the result lies in [0, 1]; labels keep their classes. Equal generators give equal results.
        At strength 0 nothing changes.
        """
        strength = self.section.strength
        if strength > 0:
            image, label = self._deform(image, label, rng)
        image, label = _framed(image, self.image_size).astype(np.float32), _framed(label, self.image_size)
        if strength > 0:
            if self.section.scanner and rng.random() < self.section.scanner * strength:
                image = scanner_change(image, rng)
            image = np.stack([self._vary(np.ascontiguousarray(channel), rng) for channel in image])
        return np.ascontiguousarray(image), np.ascontiguousarray(label)

    def deform(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Flips, affine and elastic deformation alone: (C, h, w) in [0, 1] -> (C, S, S) float32, see `apply`."""
        if self.section.strength > 0:
            image, _ = self._deform(image, np.zeros(image.shape[1:], dtype=np.uint8), rng)
        return np.ascontiguousarray(_framed(image, self.image_size), dtype=np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {"section": self.section, "image_size": self.image_size}  # operations are built in each loader process

    @cached_property
    def _operations(self) -> _Operations:
        return _Operations(self.section, self.image_size)

    def _deform(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Flips, affine, elastic; image (C, h, w) and label (h, w) move together, and may come back larger or smaller,
        around the same middle."""
        operations, section, strength = self._operations, self.section, self.section.strength
        if rng.random() < section.flip * strength:
            image, label = image[..., ::-1], label[:, ::-1]
        if rng.random() < section.flip_vertical * strength:
            image, label = image[:, ::-1], label[::-1]
        if rng.random() < section.affine * strength:
            image, label = _moved(operations.affine, rng, image, label, operations.affine_side)
        if rng.random() < section.elastic * strength:
            image, label = _moved(operations.elastic, rng, image, label, operations.elastic_side)
        return image, label

    def _vary(self, channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Intensity, blur and noise of one channel (S, S)."""
        operations, section, strength = self._operations, self.section, self.section.strength
        if rng.random() < section.intensity * strength:
            channel = _applied(operations.brightness, rng, image=channel)["image"]
        if rng.random() < section.intensity * strength:
            channel = _of_same_mean(_applied(operations.gamma, rng, image=channel)["image"], channel)
        if rng.random() < section.blur * strength:
            channel = _applied(operations.blur, rng, image=channel)["image"]
        if rng.random() < section.noise * strength:
            channel = _applied(operations.noise(float(channel.std())), rng, image=channel)["image"]
        return channel


class _Operations:
    """albumentations' transforms with the section's ranges, each always applied when called."""

    def __init__(self, section: AugmentSection, side: int) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it looks for updates online at import
        import albumentations
        import cv2

        cv2.setNumThreads(0)  # loader processes share the processor already
        strength = section.strength
        scale, shift, rotation = section.scale * strength, section.shift * strength, section.rotate_deg * strength
        # Not smaller than the elastic canvas: what the affine leaves out would be missing at the borders there.
        self.affine_side = side + 2 * max(_affine_margin(section, side), _elastic_margin(side))
        shift *= side / self.affine_side  # albumentations takes it of the canvas
        contrast, brightness = CONTRAST * strength, BRIGHTNESS * strength
        self.affine = albumentations.Affine(
            scale=(1 - scale, 1 + scale),
            translate_percent=(-shift, shift),
            rotate=(-rotation, rotation),
            keep_ratio=True,
            p=1,
        )
        sigma = _elastic_sigma(side)
        self.elastic_side = side + 2 * _elastic_margin(side)
        alpha = _elastic_alpha(ELASTIC_SHIFT * strength * side, sigma, self.elastic_side)
        self.elastic = albumentations.ElasticTransform(alpha=alpha, sigma=sigma, p=1)
        self.brightness = albumentations.RandomBrightnessContrast(
            brightness_limit=(-brightness, brightness),
            contrast_limit=(-contrast, contrast),
            brightness_by_max=False,
            p=1,
        )
        low, high = (100 + (bound - 100) * strength for bound in GAMMA_PERCENT)
        self.gamma = albumentations.RandomGamma(gamma_limit=(low, high), p=1)
        self.blur = albumentations.GaussianBlur(
            sigma_limit=(BLUR_SIGMA[0] * strength, BLUR_SIGMA[1] * strength), blur_limit=0, p=1
        )
        self._noise_range = (NOISE[0] * strength, NOISE[1] * strength)
        self._noise_of = albumentations.GaussNoise

    def noise(self, std: float) -> Any:
        """Noise for a channel of that standard deviation."""
        low, high = (fraction * std for fraction in self._noise_range)
        return self._noise_of(std_range=(low, high), p=1)


def _of_same_mean(image: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """`image` scaled to the mean of `pattern`, in [0, 1]; 0 stays 0."""
    mean = float(image.mean())
    return image if mean <= 0 else np.clip(image * np.float32(float(pattern.mean()) / mean), 0, 1)


def _affine_margin(section: AugmentSection, side: int) -> int:
    """Pixels beyond the border that the affine may bring in, at most half a side."""
    angle = math.radians(min(45.0, section.rotate_deg * section.strength))
    shift, smallest = section.shift * section.strength, 1 - section.scale * section.strength
    reach = (0.5 + shift) * (math.cos(angle) + math.sin(angle)) / smallest  # from the middle, in sides
    return min(side // 2, math.ceil((reach - 0.5) * side))


def _elastic_sigma(side: int) -> float:
    return max(2.0, ELASTIC_SIGMA * side)


def _elastic_margin(side: int) -> int:
    """Pixels around the border that have to be bent too: when albumentations blurs an elastic field, it repeats the
    border, so that pixels near it would move further."""
    return math.ceil(3 * _elastic_sigma(side))


def _elastic_alpha(shift_px: float, sigma: float, side: int) -> float:
    """albumentations' alpha for a displacement of that standard deviation.

    It scales normal noise by its largest value, about sqrt(2 ln n) for n draws, then blurs: a Gaussian of that sigma
    leaves 1 / (2 sigma sqrt(pi)) of white noise's deviation.
    """
    largest = np.sqrt(2 * np.log(2 * side * side))
    return float(shift_px * 2 * sigma * np.sqrt(np.pi) * largest)


def _framed(array: np.ndarray, side: int) -> np.ndarray:
    """(..., h, w) -> (..., side, side) with the same middle; zeros where there is nothing."""
    array, _ = pad_to(array, side)
    top, left = ((length - side) // 2 for length in array.shape[-2:])
    return array[..., top : top + side, left : left + side]


def _moved(
    operation: Any, rng: np.random.Generator, image: np.ndarray, label: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image (C, side, side) and label (side, side) after one application to a canvas of that side."""
    canvas = np.ascontiguousarray(_framed(image, side).transpose(1, 2, 0), dtype=np.float32)  # (side, side, C)
    moved = _applied(operation, rng, image=canvas, mask=np.ascontiguousarray(_framed(label, side)))
    return moved["image"].reshape(canvas.shape).transpose(2, 0, 1), moved["mask"]


def _applied(operation: Any, rng: np.random.Generator, **targets: np.ndarray) -> dict[str, np.ndarray]:
    """One application with a new seed, for both generators that the transform owns."""
    operation.set_random_seed(int(rng.integers(_LARGEST_SEED)))
    moved: dict[str, np.ndarray] = operation(**targets)
    return moved
