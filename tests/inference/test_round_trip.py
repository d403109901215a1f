"""From a scan to the network and back: masks lie on the scan's grid, at any shape, spacing, orientation and fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from segcct.datasets.case import Case, LoadedCase
from segcct.images.volume import Volume
from segcct.inference.inference_choices import ViewsName
from segcct.inference.predictor import Predictor
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from tests.support.toy_pair import CLASSES, HOW, Nearest, card, data_section

BRIGHT = 60.0
"""Intensity of class `low`, if that of background is 0: `Nearest` divides them in the middle."""


@dataclass(frozen=True)
class Scan:
    volume: Volume
    index: np.ndarray
    """(X, Y, Z): 1 in an ellipsoid, 0 elsewhere."""


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    """Any shape, spacing, order and direction of the axes; tilted and sheared."""
    shape = draw(st.tuples(*[st.integers(1, 40)] * 3).filter(lambda shape: np.prod(shape) < 12_000))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spacing = rng.uniform(0.5, 4, 3)
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    tilt = Rotation.from_rotvec(rng.uniform(-0.5, 0.5, 3)).as_matrix()
    affine = from_matvec(tilt @ axes @ np.diag(spacing), rng.uniform(-100, 100, 3))
    center, radius = rng.uniform(0, shape), rng.uniform(0.1, 0.5, 3) * shape
    places = np.moveaxis(np.indices(shape), 0, -1)
    index = ((((places - center) / radius) ** 2).sum(axis=-1) < 1).astype(np.uint8)
    voxels = (BRIGHT * index).astype(np.float32)
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    return Scan(Volume(voxels, affine, (float(sides[0]), float(sides[1]), float(sides[2])), None, None), index)


def predictor(tta: ViewsName = "none", **more: object) -> Predictor:
    return Predictor(Nearest(), card("segmentation", data_section(**more)), replace(HOW, tta=tta))


def prepared(of: Predictor, scan: Scan) -> PreparedCase:
    case = Case("toy", "toy", {"ct": (Path("toy.nii.gz"),)})
    label = scan.index * np.uint8(CLASSES["low"])
    loaded = LoadedCase(case, scan.volume.array[None], scan.volume, label)
    return prepare_case(loaded, of.preparation, of.scheme)


def near_border(case: PreparedCase, index: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: within two pixels of the network, or two voxels, of a change of class in the slice plane."""
    grid = case.grid
    reach = [0, 0, 0]
    for axis, stored, seen in zip(grid.order[1:], grid.slice_shape[1:], grid.size, strict=True):
        reach[axis] = 2 * int(np.ceil(max(1, stored / seen)))
    window = [2 * each + 1 for each in reach]
    near: np.ndarray = ndimage.maximum_filter(index, window) != ndimage.minimum_filter(index, window)
    return near


@settings(max_examples=40, deadline=None)
@given(scans(), st.sampled_from(["native", "canonical"]), st.sampled_from(["none", "foreground"]))
def test_what_is_not_resampled_comes_back_exactly_from_every_view(scan: Scan, orientation: str, crop: str) -> None:
    for tta in ("none", "flips", "rotations"):
        mask = predictor(tta, orientation=orientation, crop=crop).predict(scan.volume)
        assert np.array_equal(mask.array, CLASSES["low"] * scan.index)
        assert np.array_equal(mask.affine, scan.volume.affine)
        assert mask.spacing_mm == scan.volume.spacing_mm


@settings(max_examples=40, deadline=None)
@given(
    scans(),
    st.sampled_from(["native", "canonical"]),
    st.sampled_from(["none", "foreground"]),
    st.sampled_from([{"fit": "resize"}, {"fit": "letterbox"}, {"spacing_mm": 1.0}, {"spacing_mm": 3.0}]),
)
def test_what_is_resampled_comes_back_but_for_borders(
    scan: Scan, orientation: str, crop: str, size: dict[str, object]
) -> None:
    of = predictor(orientation=orientation, crop=crop, **size)
    mask = of.predict(scan.volume)
    assert mask.array.shape == scan.index.shape
    assert np.array_equal(mask.affine, scan.volume.affine)
    case = prepared(of, scan)
    assert case.label is not None
    inside = ~near_border(case, scan.index)
    assert np.array_equal(mask.array[inside], CLASSES["low"] * scan.index[inside])
    one_hot = np.stack([case.label == index for index in (0, 1)], axis=1).astype(np.float32)
    label = case.grid.collect([case.grid.restore_labels(one_hot)])
    assert np.array_equal(label[inside], scan.index[inside])


@pytest.mark.parametrize("size", [{"fit": "resize"}, {"fit": "letterbox"}, {"spacing_mm": 2.7}, {"spacing_mm": 1.5}])
@pytest.mark.parametrize("side", [40, 41, 57])
def test_nothing_moves_by_a_part_of_a_pixel(side: int, size: dict[str, object]) -> None:
    """The centers of disks, and their area, in masks and in the labels that train: on average of 60."""
    centers = np.random.default_rng(0).uniform(0.4 * side, 0.6 * side, (2, 60))
    rows, columns, _ = np.indices((side, side, 60))
    index = (np.hypot(rows - centers[0], columns - centers[1]) < side / 4).astype(np.uint8)
    scan = Scan(
        Volume((BRIGHT * index).astype(np.float32), np.diag([2.0, 2, 2, 1]), (2.0, 2.0, 2.0), None, None), index
    )
    of = predictor(**size)
    label = prepared(of, scan).label
    assert label is not None
    ratio = side / label.shape[1]
    for found, step in ((of.predict(scan.volume).array > 0, 1.0), (label.transpose(2, 1, 0), ratio)):
        places = np.indices(found.shape)[:2]
        middles = (places * found).sum(axis=(1, 2)) / found.sum(axis=(0, 1))  # (2, 60)
        moved = (middles + 0.5) * step - 0.5 - centers
        np.testing.assert_allclose(moved.mean(axis=1), 0, atol=0.05)
        assert found.sum() * step**2 == pytest.approx(index.sum(), rel=0.02)
