"""Augmentation: the identity at zero strength, equal for equal seeds whatever was called before, labels that follow."""

from __future__ import annotations

import os
import pickle
import random

import numpy as np
import pytest

from segcct.config import AugmentSection
from segcct.preparation.augmentation import ELASTIC_SHIFT, Augmenter, _of_same_mean

SIDE = 48
OFF = {
    "flip": 0,
    "flip_vertical": 0,
    "affine": 0,
    "elastic": 0,
    "intensity": 0,
    "noise": 0,
    "blur": 0,
    "scanner": 0,
}
ALL = dict.fromkeys(OFF, 1)


def example(channels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(channels)
    return rng.random((channels, SIDE, SIDE), dtype=np.float32), rng.integers(0, 4, (SIDE, SIDE)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_zero_strength_is_the_identity(channels):
    image, label = example(channels)
    augmenter = Augmenter(AugmentSection(strength=0, **ALL), SIDE)
    for dtype in (np.float32, np.float16):
        out_image, out_label = augmenter.apply(image.astype(dtype), label, np.random.default_rng(0))
        assert np.array_equal(out_image, image.astype(dtype).astype(np.float32))
        assert np.array_equal(out_label, label)


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 8])
def test_result_depends_on_the_generator_alone(channels):
    image, label = example(channels)
    section = AugmentSection(**ALL)
    fresh = Augmenter(section, SIDE)
    first = fresh.apply(image, label, np.random.default_rng(5))

    used = Augmenter(section, SIDE)
    for seed in range(3):
        used.apply(image, label, np.random.default_rng(seed))
    np.random.seed(1)  # noqa: NPY002  (the global generators must not matter)
    random.seed(1)
    travelled = pickle.loads(pickle.dumps(used))
    for augmenter in (used, travelled, fresh):
        again = augmenter.apply(image, label, np.random.default_rng(5))
        assert np.array_equal(first[0], again[0])
        assert np.array_equal(first[1], again[1])
    other = fresh.apply(image, label, np.random.default_rng(6))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_shape_range_and_classes_stay(channels):
    image, label = example(channels)
    kept_image, kept_label = image.copy(), label.copy()
    augmenter = Augmenter(AugmentSection(**ALL), SIDE)
    for seed in range(5):
        out_image, out_label = augmenter.apply(image, label, np.random.default_rng(seed))
        assert out_image.shape == image.shape
        assert out_image.dtype == np.float32
        assert out_label.shape == label.shape
        assert out_label.dtype == np.uint8
        assert 0 <= out_image.min() <= out_image.max() <= 1
        assert set(np.unique(out_label)) <= set(range(4))
    assert np.array_equal(image, kept_image), "the cached slice was changed in place"
    assert np.array_equal(label, kept_label)


@pytest.mark.parametrize("name", list(OFF))
def test_every_key_has_an_effect_of_its_own(name):
    image, label = example(2)
    out_image, out_label = Augmenter(AugmentSection(**{**OFF, name: 1}), SIDE).apply(
        image, label, np.random.default_rng(3)
    )
    assert not np.array_equal(out_image, image)
    moves = name in ("flip", "flip_vertical", "affine", "elastic")
    assert np.array_equal(out_label, label) != moves


@pytest.mark.parametrize(("key", "value"), [("rotate_deg", 90.0), ("scale", 0.8), ("shift", 0.5)])
def test_affine_ranges_are_obeyed(key, value):
    image, label = example(1)
    still = {"rotate_deg": 0, "scale": 0, "shift": 0}
    none = Augmenter(AugmentSection(**{**OFF, **still, "affine": 1}), SIDE)
    assert np.array_equal(none.apply(image, label, np.random.default_rng(0))[1], label)
    some = Augmenter(AugmentSection(**{**OFF, **still, key: value, "affine": 1}), SIDE)
    assert not np.array_equal(some.apply(image, label, np.random.default_rng(0))[1], label)


def test_label_follows_image():
    """An image that is its own label's picture stays so, up to interpolated edges, through every deformation."""
    rows, columns = np.mgrid[:96, :96]
    label = ((rows - 40) ** 2 + (columns - 60) ** 2 < 22**2).astype(np.uint8)
    section = AugmentSection(**{**OFF, "flip": 1, "flip_vertical": 1, "affine": 1, "elastic": 1}, rotate_deg=60)
    augmenter = Augmenter(section, 96)
    for seed in range(8):
        image, moved = augmenter.apply(label[None].astype(np.float32), label, np.random.default_rng(seed))
        agree = ((image[0] > 0.5) == moved).mean()
        assert agree > 0.98
        assert (moved == label).mean() < 0.95


@pytest.mark.parametrize("side", [64, 65])
def test_the_middle_stays_where_it_is(side):
    """No shift by half a pixel, whatever turns, scales, mirrors or bends; and shifts go as far as they may."""
    middle = (side - 1) / 2
    rows, columns = np.mgrid[:side, :side] - middle
    label = (rows**2 + columns**2 < (side / 5) ** 2).astype(np.uint8)
    off = {**OFF, "flip": 1, "flip_vertical": 1, "affine": 1}

    def middles(seeds: int, around: int = 0, **section: float) -> np.ndarray:
        augmenter = Augmenter(AugmentSection(**{**off, "rotate_deg": 30, "scale": 0.2, **section}), side)
        image = np.pad(label, around)[None].astype(np.float32)
        moved = [augmenter.apply(image, np.pad(label, around), np.random.default_rng(seed)) for seed in range(seeds)]
        return np.stack([np.argwhere(mask).mean(axis=0) - middle for _, mask in moved])

    np.testing.assert_allclose(middles(20, shift=0), 0, atol=1e-3)
    assert np.abs(middles(200, shift=0, elastic=1).mean(axis=0)).max() < 0.2
    for around in (0, 40):
        furthest = np.abs(middles(60, around, shift=0.1, rotate_deg=0, scale=0)).max()
        assert 0.07 * side < furthest <= 0.1 * side


def test_a_larger_slice_fills_the_borders():
    """Nothing but what the slice holds, where it holds enough; of a smaller one, as if it lay in zeros."""
    section = AugmentSection(**{**OFF, "flip": 1, "affine": 1, "elastic": 1}, rotate_deg=45)
    augmenter = Augmenter(section, SIDE)
    assert 0.4 * SIDE < augmenter.margin <= 0.5 * SIDE
    around = augmenter.margin
    large = np.full((2, *[SIDE + 2 * around] * 2), 0.5, np.float16)
    image, label = example(2)
    beyond = np.pad(image, ((0, 0), (around, around), (around, around)))
    for seed in range(20):
        moved, mask = augmenter.apply(large, np.ones(large.shape[1:], np.uint8), np.random.default_rng(seed))
        assert moved.shape == (2, SIDE, SIDE)
        np.testing.assert_allclose(moved, 0.5, rtol=1e-5)
        assert (mask == 1).all()
        assert np.array_equal(augmenter.deform(large, np.random.default_rng(seed)), moved)
        one, other = (
            augmenter.apply(each, np.pad(label, (each.shape[1] - SIDE) // 2), np.random.default_rng(seed))
            for each in (image, beyond)
        )
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


def test_bending_after_a_small_shift_fills_the_borders_too():
    """The shift alone would need one pixel of what lies beyond them; bending needs more."""
    section = AugmentSection(**{**OFF, "affine": 1, "elastic": 1}, rotate_deg=0, scale=0, shift=0.01)
    augmenter = Augmenter(section, SIDE)
    large = np.full((1, *[SIDE + 2 * augmenter.margin] * 2), 0.5, np.float16)
    for seed in range(20):
        moved = augmenter.deform(large, np.random.default_rng(seed))
        np.testing.assert_allclose(moved, 0.5, rtol=1e-5)


@pytest.mark.parametrize("section", [AugmentSection(strength=0), AugmentSection(affine=0, elastic=0)])
def test_nothing_beyond_the_borders_is_needed_where_nothing_moves(section):
    assert Augmenter(section, SIDE).margin == 0


def test_channels_vary_apart():
    image = np.tile(np.linspace(0.2, 0.8, SIDE, dtype=np.float32), (3, SIDE, 1))
    section = AugmentSection(**{**OFF, "intensity": 1})
    out, _ = Augmenter(section, SIDE).apply(image, np.zeros((SIDE, SIDE), np.uint8), np.random.default_rng(0))
    assert not np.allclose(out[0], out[1])
    assert not np.allclose(out[1], out[2])


def test_operations_come_independently():
    """Noise and blur of equal probability: together in about a quarter of the slices, not in half of them."""
    image = np.full((1, SIDE, SIDE), 0.5, np.float32)
    image[:, 20:28, 20:28] = 0.9
    label = np.zeros((SIDE, SIDE), np.uint8)
    augmenter = Augmenter(AugmentSection(**{**OFF, "noise": 0.5, "blur": 0.5}), SIDE)
    noisy = blurred = both = 0
    for seed in range(300):
        out, _ = augmenter.apply(image, label, np.random.default_rng(seed))
        has_noise = out[0, 0, 0] != 0.5  # far from the edge, blur leaves it
        has_blur = abs(out[0, 18:20, 20:28].mean() - 0.5) > 0.03
        noisy, blurred, both = noisy + has_noise, blurred + has_blur, both + (has_noise and has_blur)
    assert 110 < noisy < 190
    assert 60 < blurred < 190
    assert both < 0.75 * min(noisy, blurred)


@pytest.mark.parametrize("name", ["intensity", "noise"])
def test_changes_are_in_proportion_to_the_picture(name):
    """A picture in the lowest tenth of [0, 1], as one very bright voxel leaves it, changes as much as another."""
    image, label = example(1)
    image = 0.3 + 0.2 * image
    section = AugmentSection(**{**OFF, name: 1})
    for seed in range(5):
        bright, _ = Augmenter(section, SIDE).apply(image, label, np.random.default_rng(seed))
        dark, _ = Augmenter(section, SIDE).apply(image / 10, label, np.random.default_rng(seed))
        change, small = np.abs(bright - image).mean(), np.abs(dark * 10 - image).mean()
        assert 0.9 * change < small < 1.1 * change


def test_gamma_keeps_mean_and_background():
    image = example(1)[0]
    image[:, :10] = 0
    augmenter = Augmenter(AugmentSection(**OFF), SIDE)
    operations = augmenter._operations
    for seed in range(4):
        operations.gamma.set_random_seed(seed)
        bent = _of_same_mean(operations.gamma(image=image[0] / 2)["image"], image[0] / 2)
        assert bent.mean() == pytest.approx(image.mean() / 2, rel=1e-4)
        assert not bent[:10].any()
        assert not np.allclose(bent, image[0] / 2, atol=1e-3)


def test_strength_scales_the_ranges():
    image = np.full((1, SIDE, SIDE), 0.3, np.float32)
    image[:, ::2] = 0.7
    label = np.zeros((SIDE, SIDE), np.uint8)

    def spread(strength):
        augmenter = Augmenter(AugmentSection(**{**OFF, "noise": 1}, strength=strength), SIDE)
        outs = [augmenter.apply(image, label, np.random.default_rng(seed))[0] for seed in range(40)]
        changed = [(out - image).std() for out in outs if not np.array_equal(out, image)]
        return len(changed), np.mean(changed)

    count, half = spread(0.5)
    everywhere, whole = spread(1.0)
    assert everywhere == 40
    assert 10 < count < 30
    assert 0.3 * whole < half < 0.7 * whole


def test_the_network_is_not_asked_for_news():
    Augmenter(AugmentSection(), SIDE).apply(*example(1), np.random.default_rng(0))
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


def test_elastic_moves_the_border_no_more_than_the_middle():
    """By the standard deviation of the horizontal displacement, which an image of its own columns shows."""
    side = 96
    columns = np.tile((np.arange(side, dtype=np.float32) + side) / (3 * side), (1, side, 1))
    augmenter = Augmenter(AugmentSection(**{**OFF, "elastic": 1}), side)
    moved = np.stack([augmenter.deform(columns, np.random.default_rng(seed))[0] for seed in range(60)])
    spread = ((moved - columns) * 3)[..., 12:-12].std(axis=(0, 2))  # of each row, as a fraction of the side
    assert spread[12:-12].mean() == pytest.approx(ELASTIC_SHIFT, rel=0.2)
    assert spread[4:8].mean() == pytest.approx(ELASTIC_SHIFT, rel=0.2)  # further out, some pixels are of the outside
