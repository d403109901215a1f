"""The slice grid: exact inverses, the direction of display, crops, resampling."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import from_matvec
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch.nn.functional import interpolate

from segcct.errors import GeometryError
from segcct.preparation.slice_grid import SliceGrid
from segcct.runtime import pad_to, resample

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def planned(shape, affine=LPS, spacing=(1.0, 1.0, 1.0), **changes):
    settings_ = {
        "orientation": "canonical",
        "box_of": None,
        "target_spacing_mm": None,
        "fit": "pad",
        "image_size": 32,
        **changes,
    }
    return SliceGrid.plan(shape, affine, spacing, **settings_)


@st.composite
def volumes(draw):
    """A labelled volume of any shape under any rotated, flipped, sheared, anisotropic affine, and a crop mask."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    permutation = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], size=3)
    oblique = Rotation.from_rotvec(rng.uniform(-0.6, 0.6, size=3)).as_matrix()
    shear = np.eye(3) + 0.1 * np.triu(rng.uniform(-1, 1, size=(3, 3)), 1)
    spacing = rng.uniform(0.3, 6, size=3)
    affine = from_matvec(permutation @ oblique @ shear @ np.diag(spacing), rng.uniform(-100, 100, size=3))
    label = rng.integers(0, 5, size=shape).astype(np.uint8)
    mask = rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    return label, affine, tuple(spacing), mask


@given(volumes(), st.sampled_from(["canonical", "native"]))
@settings(max_examples=60)
def test_slices_return_to_the_very_same_voxels(case, orientation):
    label, affine, spacing, mask = case
    whole = planned(label.shape, affine, spacing, orientation=orientation)
    assert np.array_equal(whole.to_volume(whole.to_slices(label)), label)

    cropped = planned(label.shape, affine, spacing, orientation=orientation, box_of=mask)
    back = cropped.to_volume(cropped.to_slices(label + 1))
    kept = back != 0
    assert kept[mask].all(), "the crop lost foreground"
    assert np.array_equal(back[kept], label[kept] + 1)
    assert kept.sum() == np.prod(cropped.slice_shape)

    again = SliceGrid.from_json(json.loads(json.dumps(cropped.to_json())))
    assert again == cropped


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "SPR", "ASL", "PIR"])
def test_canonical_slices_show_every_orientation_alike(codes):
    """Superior last, posterior down, the patient's left at the right: as in a volume stored as L, P, S."""
    lps = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    change = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
    stored = apply_orientation(lps, change)
    affine = LPS @ inv_ornt_aff(change, lps.shape)
    slices = planned(stored.shape, affine).to_slices(stored)
    assert np.array_equal(slices, lps.transpose(2, 1, 0))  # (D, H, W) = (S, P, L)


def test_spacing_follows_its_axis():
    affine = np.array([[0, 0, 3.0, 0], [1.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])  # X to A, Y to S, Z to R
    grid = planned((4, 5, 6), affine, (1.0, 2.0, 3.0))
    assert grid.slice_shape == (5, 4, 6)
    assert grid.spacing_dhw_mm == (2.0, 1.0, 3.0)


def test_native_slices_are_upright_as_stored():
    volume = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    ras = np.diag([1.0, 1.0, 1.0, 1.0])
    assert np.array_equal(planned(volume.shape, ras, orientation="native").to_slices(volume), volume.transpose(2, 1, 0))
    without_geometry = planned(volume.shape, ras, None)
    assert np.array_equal(without_geometry.to_slices(volume), volume.transpose(2, 1, 0))


def test_crop_keeps_margin_and_stops_at_the_border():
    mask = np.zeros((40, 40, 20), dtype=bool)
    mask[20:25, 2:4, 10] = True
    grid = planned(mask.shape, box_of=mask)
    assert grid.box == ((9, 12), (0, 8), (16, 29))
    volume = np.arange(1, 1 + mask.size).reshape(mask.shape)
    expected = np.zeros_like(volume)
    expected[16:29, :8, 9:12] = volume[16:29, :8, 9:12]
    assert np.array_equal(grid.to_volume(grid.to_slices(volume)), expected)


def test_sizes():
    assert planned((50, 40, 3), fit="resize").size == (32, 32)
    assert planned((50, 40, 3)).size == (40, 50)
    assert planned((50, 40, 3), spacing=(1.0, 2.0, 5.0), target_spacing_mm=1.6).size == (50, 31)  # 40*2/1.6, 50/1.6


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((50, 40, 3), (26, 32)),
        ((40, 50, 3), (32, 26)),
        ((16, 12, 1), (24, 32)),
        ((64, 64, 2), (32, 32)),
        ((900, 3, 1), (1, 32)),
    ],
)
def test_a_letterbox_scales_by_the_longer_side_alone(shape, size):
    assert planned(shape, fit="letterbox").size == size


@settings(max_examples=30)
@given(st.tuples(st.integers(8, 60), st.integers(8, 60), st.integers(1, 3)))
def test_a_letterbox_is_undone_exactly(shape):
    """Blocks of a mask come back to within a pixel of their borders, and the padding adds nothing."""
    grid = planned(shape, fit="letterbox", image_size=64)
    mask = np.zeros(grid.slice_shape, dtype=np.uint8)
    rows, columns = mask.shape[1:]
    mask[:, rows // 4 : rows // 2, columns // 4 :] = 1
    small, inside = pad_to(np.eye(2, dtype=np.float32)[grid.shrink_labels(mask)].transpose(0, 3, 1, 2), 64)
    assert small.shape[-2:] == (64, 64)
    back = grid.restore_labels(small[..., inside[0], inside[1]])
    assert back.shape == mask.shape
    border = ndimage.binary_dilation(mask, np.ones((1, 3, 3))) & ~ndimage.binary_erosion(mask, np.ones((1, 3, 3)))
    assert np.array_equal(back[~border], mask[~border])


def test_spacing_cannot_be_asked_of_a_file_without_one():
    with pytest.raises(GeometryError, match=r"no pixel spacing.*spacing_mm: null"):
        planned((5, 5, 5), spacing=None, target_spacing_mm=1.0)


def test_degenerate_affine_is_refused():
    with pytest.raises(GeometryError, match="without a direction"):
        planned((5, 5, 5), np.diag([1.0, 1.0, 0.0, 1.0]))


def test_wrong_shapes_are_refused():
    grid = planned((5, 6, 7))
    with pytest.raises(GeometryError):
        grid.to_slices(np.zeros((5, 7, 6)))
    with pytest.raises(GeometryError):
        grid.to_volume(np.zeros((5, 6, 7)))
    with pytest.raises(GeometryError, match="found 4; expected 7"):
        grid.collect([np.zeros((4, 6, 5), dtype=np.uint8)])  # a part of the slices


def test_resampling_keeps_pixel_centers():
    """A linear ramp halves to the means of its pairs, and comes back away from the border."""
    ramp = np.tile(np.arange(64, dtype=np.float32), (1, 1, 64, 1))
    grid = planned((64, 64, 1), fit="resize")
    small = grid.shrink(ramp)
    assert small.shape == (1, 1, 32, 32)
    assert small.dtype == np.float32
    np.testing.assert_allclose(small[0, 0, :, 1:-1], np.tile(np.arange(2.5, 61, 2), (32, 1)), rtol=1e-5)
    np.testing.assert_allclose(grid.restore(small)[0, 0, :, 3:-3], ramp[0, 0, :, 3:-3], rtol=1e-4)


def test_equal_size_changes_nothing():
    rng = np.random.default_rng(0)
    image = rng.random((2, 3, 32, 32), dtype=np.float32)
    label = rng.integers(0, 4, (2, 32, 32)).astype(np.uint8)
    grid = planned((32, 32, 2))
    assert np.array_equal(grid.shrink(image), image)
    assert np.array_equal(grid.shrink_labels(label), label)
    assert np.array_equal(grid.restore(image), image)


def test_no_class_of_a_slice_is_lost_when_labels_shrink():
    label = np.zeros((3, 256, 256), dtype=np.uint8)
    label[0, 17, 33] = 1  # one pixel
    label[1, 100, :] = 2  # a line one pixel thin
    label[2, 50:120, 50:120] = 3
    label[2, 80, 80] = 1  # one pixel inside another class
    small = planned((256, 256, 3), fit="resize").shrink_labels(label)
    assert [set(np.unique(part)) for part in small] == [{0, 1}, {0, 2}, {0, 1, 3}]
    assert small[0, 17 // 8, 33 // 8] == 1
    assert (small[2] == 3).sum() in range(70, 90)  # (70 / 8) ** 2 = 76.6


def test_a_class_of_one_pixel_does_not_take_that_of_another():
    label = np.zeros((1, 256, 256), dtype=np.uint8)
    label[0, 17, 33:35] = 1, 2  # both lie in one pixel of the network
    small = planned((256, 256, 1), fit="resize").shrink_labels(label)
    assert set(np.unique(small)) == {0, 1, 2}
    label = np.ones((1, 8, 8), dtype=np.uint8)
    label[0, 7, 7] = 2
    assert planned((8, 8, 1), fit="resize", image_size=1).shrink_labels(label).tolist() == [[[1]]]


def test_background_that_a_slice_loses_takes_no_pixel():
    label = np.ones((1, 64, 64), dtype=np.uint8)
    label[0, 17, 33] = 0
    assert (planned((64, 64, 1), fit="resize", image_size=8).shrink_labels(label) == 1).all()


def test_shrunk_labels_come_back_better_than_by_nearest_neighbours():
    """Disks in rings at 12 places, 120 pixels to 64 and back: mean Dice of the ring and of the disk."""
    rows, columns = np.mgrid[:120, :120]
    centers = np.random.default_rng(0).uniform(50, 70, (12, 2, 1, 1))
    distance = np.hypot(rows - centers[:, 0], columns - centers[:, 1])
    label = np.select([distance < 20, distance < 26], [2, 1]).astype(np.uint8)
    grid = planned((120, 120, 12), fit="resize", image_size=64)
    places = np.floor((np.arange(64) + 0.5) * 120 / 64).astype(int)

    def dice_after(small, index):
        one_hot = np.stack([small == each for each in range(3)], axis=1).astype(np.float32)
        back = grid.restore_labels(one_hot) == index
        return 2 * (back & (label == index)).sum() / (back.sum() + (label == index).sum())

    nearest = label[:, places][:, :, places]
    ours = grid.shrink_labels(label)
    assert dice_after(ours, 1) > max(0.93, dice_after(nearest, 1) + 0.002)
    assert dice_after(ours, 2) > max(0.975, dice_after(nearest, 2))


def test_small_structures_keep_their_volume_when_labels_shrink():
    """Disks of radius 1.6, 256 pixels to 112: a majority vote over antialiased shares leaves two fifths of them."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:256, :256]
    centers = rng.uniform(10, 246, (4, 12, 2, 1, 1))
    distance = np.hypot(rows - centers[:, :, 0], columns - centers[:, :, 1]).min(axis=1)
    label = (distance < 1.6).astype(np.uint8)
    grid = planned((256, 256, 4), fit="resize", image_size=112)
    small = grid.shrink_labels(label)
    assert 0.6 < small.sum() * (256 / 112) ** 2 / label.sum() < 1.3


@pytest.mark.parametrize("side", [192, 128])
def test_no_class_shrinks_where_classes_tie(side):
    """Disks in rings, 256 pixels to 192 and 128: if the first class won, disks would lose 1 and 3.5% of their area."""
    rows, columns = np.mgrid[:256, :256]
    centers = np.random.default_rng(0).uniform(120, 136, (40, 2, 1, 1))
    distance = np.hypot(rows - centers[:, 0], columns - centers[:, 1])
    label = np.select([distance < 16, distance < 24], [2, 1]).astype(np.uint8)
    small = planned((256, 256, 40), fit="resize", image_size=side).shrink_labels(label)
    for index in (1, 2):
        area = (small == index).sum() * (256 / side) ** 2 / (label == index).sum()
        assert area == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("shape", [(50, 41, 7), (32, 32, 7), (20, 70, 7)])
def test_restored_labels_are_the_argmax_of_restored_probabilities(shape):
    probabilities = np.random.default_rng(1).random((7, 3, 32, 32), dtype=np.float32)
    probabilities[2, :, 4:9] = 0.25  # classes that tie: the first
    before = probabilities.copy()
    grid = planned(shape, fit="resize")
    labels = grid.restore_labels(probabilities)
    assert np.array_equal(labels, grid.restore(probabilities).argmax(1))
    assert np.array_equal(probabilities, before)
    assert labels.dtype == np.uint8
    assert labels.shape == (7, shape[1], shape[0])


@pytest.mark.parametrize("spacing_mm", [5e-324, 1e-300, 1e-3])
def test_a_spacing_that_makes_slices_of_terabytes_is_refused(spacing_mm):
    with pytest.raises(GeometryError, match=r"slices become too large .*data\.spacing_mm"):
        SliceGrid.plan(
            (64, 64, 3), np.eye(4), (1.0, 1.0, 5.0),
            orientation="native", box_of=None, target_spacing_mm=spacing_mm, fit="pad", image_size=32,
        )  # fmt: skip


def test_only_slices_that_resampling_enlarges_are_too_large():
    assert planned((20_000, 2, 1), spacing=(0.5, 0.5, 5.0), target_spacing_mm=0.5).size == (2, 20_000)
    assert planned((5, 5, 5), spacing=None, target_spacing_mm=1e-3, fit="resize").size == (32, 32)


@given(
    before=st.tuples(st.integers(2, 40), st.integers(2, 40)),  # of or to one column, PyTorch repeats the first row
    after=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    antialias=st.booleans(),
)
@settings(max_examples=60)
def test_resampling_is_that_of_pytorch(before, after, antialias):
    slices = np.random.default_rng(0).random((2, 3, *before), dtype=np.float32)
    theirs = interpolate(torch.from_numpy(slices), after, mode="bilinear", align_corners=False, antialias=antialias)
    np.testing.assert_allclose(resample(slices, after, antialias=antialias), theirs, rtol=0, atol=2e-5)
