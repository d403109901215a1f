"""Augmentation of training images, determined by the seeds that are passed: flips and shifts of a whole batch at once;
crops, timm's RandAugment and erasing image by image; and timm's mixup and CutMix."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import exp, log, sqrt
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from segcct.config import ImageAugmentSection
from segcct.errors import ConfigError
from segcct.tasks.classification.normalization import Normalization

_RATIOS = (3 / 4, 4 / 3)
_ATTEMPTS = 10
DRAWS = 4
"""Numbers in [0, 1) that `move` needs per image."""
_Seed = Callable[..., None]


class ImageAugmenter:
    """Applies a section to batches.

    Args:
        section: probabilities and ranges.
        size: height and width of the images.
        normalization: the last step; its mean also fills what RandAugment moves in.
    """

    def __init__(self, section: ImageAugmentSection, size: int, normalization: Normalization) -> None:
        self.section = section
        self.size = size
        self.normalization = normalization
        self.randaugment = None
        if section.randaugment is not None:
            self.randaugment = _randaugment(section.randaugment, size, normalization.mean)

    def apply(self, images: np.ndarray, draws: np.ndarray, seeds: Sequence[tuple[int, ...]]) -> Tensor:
        """A batch as the network sees it: (B, S, S, C) uint8 -> (B, C, S, S) float32, standardized.

        Args:
            draws: (B, DRAWS) uniform in [0, 1), for flips and shifts.
            seeds: whole numbers per image, for the rest.
        """
        moved = self.move(images, draws)  # (B, C, S, S)
        with _seeded_generators() as seed:
            if self.randaugment is not None or self.section.crop_area < 1:
                moved = np.stack([self._redrawn(one, seed, words) for one, words in zip(moved, seeds, strict=True)])
            batch = self.normalization.apply(moved)
            if self.section.erase:
                from timm.data.random_erasing import RandomErasing

                erasing = RandomErasing(self.section.erase, mode="pixel", device="cpu")
                for image, words in zip(batch, seeds, strict=True):
                    seed(*words, 1)
                    erasing(image)
        return batch

    def move(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Flips and shifts: (B, S, S, C) -> (B, C, S, S); zeros move in."""
        far, size = self.section.shift_px, self.size
        if far:
            padded = np.pad(images, ((0, 0), (far, far), (far, far), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))  # (B, ., ., C, S, S)
            down, right = (draws[:, 2:4] * (2 * far + 1)).astype(np.int64).T
            moved: np.ndarray = windows[np.arange(len(images)), down, right]
        else:
            moved = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        for axis, column, probability in ((-1, 0, self.section.flip), (-2, 1, self.section.flip_vertical)):
            chosen = draws[:, column] < probability
            moved[chosen] = np.flip(moved[chosen], axis)
        return moved

    def _redrawn(self, pixels: np.ndarray, seed: _Seed, words: tuple[int, ...]) -> np.ndarray:
        """Crop and RandAugment of one image, (C, S, S) uint8."""
        seed(*words, 0)
        gray = len(pixels) == 1
        # timm's color operations need three channels; those of a gray image stay equal.
        image = Image.fromarray(pixels[0] if gray else pixels.transpose(1, 2, 0)).convert("RGB")
        if self.section.crop_area < 1:
            image = _cropped(image, self.section.crop_area)
        if self.randaugment is not None:
            image = self.randaugment(image)
        pixels = np.asarray(image).transpose(2, 0, 1)
        return pixels[:1] if gray else pixels


class Mixing:
    """Turns a batch into mixed images and soft targets, drawn as a function of (seed, epoch, first index).

    Args:
        section: alphas of mixup and CutMix and how often and how long they are used.
        label_smoothing: fraction of each target spread over all classes, whether the batch is mixed or not.
        num_classes: K.
        seed: of the draw.
    """

    def __init__(self, section: ImageAugmentSection, label_smoothing: float, num_classes: int, seed: int) -> None:
        self.label_smoothing = label_smoothing
        self.num_classes = num_classes
        self.seed = seed
        self.epochs = section.mix_epochs
        self.mixup = None
        if section.mix and (section.mixup or section.cutmix):
            self.mixup = Mixup(
                mixup_alpha=section.mixup,
                cutmix_alpha=section.cutmix,
                prob=section.mix,
                label_smoothing=label_smoothing,
                num_classes=num_classes,
            )

    def apply(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Images (B, C, S, S) and targets (B, K) that sum to 1. Each image is mixed with its mirror in the batch.

        timm mixes pairs; of an odd batch the last image stays as it is.
        """
        image, label, epoch = batch["image"], batch["label"], batch["epoch"]
        pairs = len(image) - len(image) % 2
        if self.mixup is None or not pairs or (self.epochs is not None and epoch >= self.epochs):
            return image, mixup_target(label, self.num_classes, 1.0, self.label_smoothing)
        with _seeded_generators() as seed:
            seed(self.seed, epoch, batch["first"], 2)
            mixed, target = self.mixup(image[:pairs].clone(), label[:pairs])
        rest = mixup_target(label[pairs:], self.num_classes, 1.0, self.label_smoothing)
        return torch.cat([mixed, image[pairs:]]), torch.cat([target, rest])


@contextmanager
def _seeded_generators() -> Iterator[_Seed]:
    """Yields `seed(*words)`, which sets the global generators of `random`, NumPy and torch (CPU), from which timm
    draws, by whole numbers; their states are restored at the end."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002

    def seed(*words: int) -> None:
        first, second, third = np.random.SeedSequence(words).generate_state(3).tolist()
        random.seed(first)
        np.random.seed(second)  # noqa: NPY002
        torch.random.default_generator.manual_seed(third)

    try:
        yield seed
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.random.set_rng_state(states[2])


def _cropped(image: Image.Image, smallest_area: float) -> Image.Image:
    """A part of the image, resized back: area from `smallest_area` to 1 of it, as in Inception's training."""
    width, height = image.size
    for _ in range(_ATTEMPTS):
        area = random.uniform(smallest_area, 1.0) * width * height
        ratio = exp(random.uniform(*(log(end) for end in _RATIOS)))
        wide, high = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if wide <= width and high <= height:
            left, top = random.randint(0, width - wide), random.randint(0, height - high)
            how = random.choice((Image.Resampling.BILINEAR, Image.Resampling.BICUBIC))
            return image.resize((width, height), how, box=(left, top, left + wide, top + high))
    return image


def _randaugment(text: str, size: int, mean: Sequence[float]) -> Callable[[Image.Image], Image.Image]:
    from timm.data.auto_augment import rand_augment_transform

    fill = tuple(min(255, round(255 * value)) for value in (mean if len(mean) == 3 else [mean[0]] * 3))
    try:
        transform = rand_augment_transform(text, {"translate_const": int(0.45 * size), "img_mean": fill})
    except (AssertionError, ValueError, KeyError) as error:
        raise ConfigError(
            "augment.randaugment is not understood by timm", found=f"{text}: {error}", expected="rand-m9-mstd0.5-inc1"
        ) from None
    for operation in transform.ops:
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterized
    typed: Callable[[Image.Image], Image.Image] = transform
    return typed


def _posterized(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Fewer bits per value. timm asks for 0 bits at the far end of its range, which Pillow refuses."""
    return image if bits >= 8 else ImageOps.posterize(image, max(1, bits))
