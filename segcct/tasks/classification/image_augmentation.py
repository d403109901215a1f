"""Changes of training pictures: flips and shifts of a whole batch at once; crops, RandAugment and erasing one by one.

The latter are timm's own. What a picture undergoes is a function of the seed words given for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import exp, log, sqrt

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from segcct.config import PictureAugmentSection
from segcct.errors import ConfigError
from segcct.tasks.classification.normalization import Normalisation
from segcct.tasks.classification.timm_random import Seed, seeded_generators

_RATIOS = (3 / 4, 4 / 3)
_ATTEMPTS = 10
DRAWS = 4
"""Numbers in [0, 1) that `move` needs per picture."""


class PictureAugmenter:
    """Applies a section to batches.

    Args:
        section: probabilities and ranges.
        size: side of the pictures.
        normalisation: what follows the changes; its mean also fills what RandAugment moves in.
    """

    def __init__(self, section: PictureAugmentSection, size: int, normalisation: Normalisation) -> None:
        self.section = section
        self.size = size
        self.normalisation = normalisation
        self.randaugment = None
        if section.randaugment is not None:
            self.randaugment = _randaugment(section.randaugment, size, normalisation.mean)

    def apply(self, images: np.ndarray, draws: np.ndarray, seeds: Sequence[tuple[int, ...]]) -> Tensor:
        """A batch as the network sees it: (B, S, S, C) uint8 -> (B, C, S, S) float32, standardised.

        Args:
            draws: (B, DRAWS) uniform in [0, 1), for flips and shifts.
            seeds: whole numbers per picture, for the rest.
        """
        moved = self.move(images, draws)  # (B, C, S, S)
        with seeded_generators() as seed:
            if self.randaugment is not None or self.section.crop_area < 1:
                moved = np.stack([self._redrawn(one, seed, words) for one, words in zip(moved, seeds, strict=True)])
            batch = self.normalisation.apply(moved)
            if self.section.erase:
                self._erase(batch, seed, seeds)
        return batch

    def move(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Flips and shifts: (B, S, S, C) -> (B, C, S, S); zeros move in."""
        far, side = self.section.shift_px, self.size
        if far:
            padded = np.pad(images, ((0, 0), (far, far), (far, far), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))  # (B, ., ., C, S, S)
            down, right = (draws[:, 2:4] * (2 * far + 1)).astype(np.int64).T
            moved = windows[np.arange(len(images)), down, right]
        else:
            moved = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        for axis, column, share in ((-1, 0, self.section.flip), (-2, 1, self.section.flip_vertical)):
            chosen = draws[:, column] < share
            moved[chosen] = np.flip(moved[chosen], axis)
        return moved

    def _redrawn(self, image: np.ndarray, seed: Seed, words: tuple[int, ...]) -> np.ndarray:
        """Crop and RandAugment of one picture, (C, S, S) uint8."""
        seed(*words, 0)
        grey = len(image) == 1
        # timm's colours need three channels; those of a grey picture stay equal.
        picture = Image.fromarray(image[0] if grey else image.transpose(1, 2, 0)).convert("RGB")
        if self.section.crop_area < 1:
            picture = _cropped(picture, self.section.crop_area)
        if self.randaugment is not None:
            picture = self.randaugment(picture)
        pixels = np.asarray(picture).transpose(2, 0, 1)
        return pixels[:1] if grey else pixels

    def _erase(self, batch: Tensor, seed: Seed, seeds: Sequence[tuple[int, ...]]) -> None:
        from timm.data.random_erasing import RandomErasing

        erasing = RandomErasing(self.section.erase, mode="pixel", device="cpu")
        for image, words in zip(batch, seeds, strict=True):
            seed(*words, 1)
            erasing(image)


def _cropped(picture: Image.Image, smallest_area: float) -> Image.Image:
    """A part of the picture, resized back: area from `smallest_area` to 1 of it, as in Inception's training."""
    width, height = picture.size
    for _ in range(_ATTEMPTS):
        area = random.uniform(smallest_area, 1.0) * width * height
        ratio = exp(random.uniform(*(log(end) for end in _RATIOS)))
        wide, high = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if wide <= width and high <= height:
            left, top = random.randint(0, width - wide), random.randint(0, height - high)
            how = random.choice((Image.Resampling.BILINEAR, Image.Resampling.BICUBIC))
            return picture.resize((width, height), how, box=(left, top, left + wide, top + high))
    return picture


def _randaugment(text: str, size: int, mean: Sequence[float]) -> Callable[[Image.Image], Image.Image]:
    from timm.data.auto_augment import rand_augment_transform

    fill = tuple(min(255, round(255 * value)) for value in (mean if len(mean) == 3 else [mean[0]] * 3))
    try:
        change = rand_augment_transform(text, {"translate_const": int(0.45 * size), "img_mean": fill})
    except (AssertionError, ValueError, KeyError) as error:
        raise ConfigError(
            "augment.randaugment is not understood by timm", found=f"{text}: {error}", expected="rand-m9-mstd0.5-inc1"
        ) from None
    for operation in change.ops:
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterised
    given: Callable[[Image.Image], Image.Image] = change
    return given


def _posterised(picture: Image.Image, bits: int, **_: object) -> Image.Image:
    """Fewer bits per value. timm asks for 0 bits at the far end of its range, which Pillow refuses."""
    return picture if bits >= 8 else ImageOps.posterize(picture, max(1, bits))
