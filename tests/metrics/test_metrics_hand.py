"""Metrics worked out by hand: single voxels, shifted cubes, nested spheres, pictures, bad input."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from segcct import metrics
from segcct.errors import MetricError
from segcct.metrics.pair import bounding_box
from segcct.metrics.surface_distances import border_voxels
from segcct.metrics.surfels import WeightedDistances


def cube(shape: tuple[int, ...], start: tuple[int, ...], side: int) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, first + side) for first in start)] = True
    return mask


def voxel(shape: tuple[int, ...], place: tuple[int, ...]) -> np.ndarray:
    return cube(shape, place, 1)


def sphere(shape: tuple[int, ...], radius_mm: float, spacing_mm: tuple[float, ...]) -> np.ndarray:
    axes = [(np.arange(n) - n // 2) * size for n, size in zip(shape, spacing_mm, strict=True)]
    squares = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))
    return np.asarray(squares <= radius_mm**2)


def test_overlap_of_two_squares() -> None:
    prediction, reference = cube((6, 6), (0, 0), 3), cube((6, 6), (1, 1), 3)  # 9 and 9 voxels, 4 shared
    assert metrics.dice(prediction, reference) == pytest.approx(8 / 18)
    assert metrics.iou(prediction, reference) == pytest.approx(4 / 14)
    assert metrics.sensitivity(prediction, reference) == pytest.approx(4 / 9)
    assert metrics.precision(prediction, reference) == pytest.approx(4 / 9)
    assert metrics.specificity(prediction, reference) == pytest.approx(22 / 27)
    assert metrics.accuracy(prediction, reference) == pytest.approx(26 / 36)
    assert metrics.volume_difference(cube((6, 6), (0, 0), 2), reference) == pytest.approx(-5 / 9)


def test_masks_of_zero_and_one_are_masks() -> None:
    prediction = np.array([[0, 1], [1, 1]], dtype=np.float32)
    assert metrics.dice(prediction, np.array([[0, 0], [1, 1]])) == pytest.approx(4 / 5)


@pytest.mark.parametrize("percentile", [0, 50, 95, 100])
def test_two_single_voxels_are_their_distance_apart(percentile: float) -> None:
    a, b = voxel((5, 6, 7), (1, 1, 1)), voxel((5, 6, 7), (3, 4, 2))
    expected = math.sqrt((2 * 0.5) ** 2 + (3 * 2.0) ** 2 + (1 * 5.0) ** 2)
    assert metrics.hausdorff(a, b, (0.5, 2.0, 5.0), percentile) == pytest.approx(expected, abs=1e-12)


def test_cube_shifted_by_two_voxels() -> None:
    """4x4x4 cubes: 56 border voxels each; their distances are 24 x 0, 16 x 1 and 16 x 2 steps along the shift."""
    a, b = cube((10, 6, 6), (1, 1, 1), 4), cube((10, 6, 6), (3, 1, 1), 4)
    spacing = (1.5, 1.5, 1.5)
    distances = metrics.MaskPair.of(a, b, spacing).distances_mm
    assert distances is not None
    for directed in (distances.to_reference, distances.to_prediction):
        assert sorted(directed.tolist()) == [0.0] * 24 + [1.5] * 16 + [3.0] * 16
    assert metrics.dice(a, b) == pytest.approx(0.5)
    assert metrics.hausdorff(a, b, spacing) == pytest.approx(3.0)
    assert metrics.hausdorff(a, b, spacing, 100) == pytest.approx(3.0)
    assert metrics.average_surface_distance(a, b, spacing) == pytest.approx((16 * 1.5 + 16 * 3.0) / 56)
    assert metrics.surface_dice(a, b, spacing, 1.5) == pytest.approx(40 / 56)
    assert metrics.surface_dice(a, b, spacing, 1.4) == pytest.approx(24 / 56)


def test_percentile_interpolates_between_order_statistics() -> None:
    """A row of 21 voxels against its first voxel: all are border; 95% of 0..20 is 19, 94% is 18.8."""
    row, first = np.zeros((2, 30), dtype=bool)
    row[2:23] = first[2] = True
    spacing = (1.0,)
    # Of 21 voxels in a line only the two ends are border.
    assert border_voxels(row).sum() == 2
    assert metrics.hausdorff(row, first, spacing, 95) == pytest.approx(19.0)
    assert metrics.hausdorff(row, first, spacing, 94) == pytest.approx(18.8)
    assert metrics.hausdorff(row, first, spacing, 95, pooled=True) == pytest.approx(np.percentile([0, 0, 20], 95))


def test_directed_percentiles_are_not_pooled() -> None:
    """One voxel against itself and nine others in a row: from the lone voxel 0, towards it up to 9."""
    lone, comb = np.zeros((2, 3, 40), dtype=bool)
    lone[1, 0] = True
    comb[1, 0:20:2] = True  # ten separate voxels, at 0, 2, ..., 18
    directed = np.percentile(np.arange(0, 20, 2), 95)
    pooled = np.percentile([0.0, *np.arange(0, 20, 2)], 95)
    assert directed != pooled
    assert metrics.hausdorff(comb, lone, (1.0, 1.0)) == pytest.approx(directed)
    assert metrics.hausdorff(comb, lone, (1.0, 1.0), pooled=True) == pytest.approx(pooled)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 2.5)])
def test_nested_spheres_are_their_radii_apart(spacing: tuple[float, float, float]) -> None:
    shape = tuple(2 * round(26 / size) + 1 for size in spacing)
    inner, outer = sphere(shape, 12.0, spacing), sphere(shape, 24.0, spacing)
    step = max(spacing)
    assert metrics.hausdorff(inner, outer, spacing) == pytest.approx(12.0, abs=step)
    assert metrics.hausdorff(inner, outer, spacing, 100) == pytest.approx(12.0, abs=step)
    assert metrics.average_surface_distance(inner, outer, spacing) == pytest.approx(12.0, abs=step)
    assert metrics.surface_dice(inner, outer, spacing, 12.0 - step) < 0.5
    assert metrics.surface_dice(inner, outer, spacing, 12.0 + step) == 1.0


def test_picture_with_a_third_axis_of_one_is_a_picture() -> None:
    """Otherwise every voxel would have a neighbour outside the image and count as border."""
    a, b = cube((12, 12), (1, 1), 6), cube((12, 12), (3, 4), 6)
    flat = metrics.MaskPair.of(a[:, :, None], b[:, :, None], (0.5, 2.0, 9.0))
    assert flat.distances_mm is not None
    assert flat.distances_mm.to_reference.size == 20  # the outline of 6 x 6
    for metric in (metrics.hausdorff, metrics.average_surface_distance):
        assert metric(a[:, :, None], b[:, :, None], (0.5, 2.0, 9.0)) == metric(a, b, (0.5, 2.0))
    assert flat.diagonal_mm == pytest.approx(math.hypot(6.0, 24.0))


def test_a_voxel_has_its_extent_along_axes_of_one_too() -> None:
    mask = cube((6, 6), (1, 1), 2)[:, :, None]
    assert metrics.MaskPair.of(mask, mask, (0.5, 2.0, 9.0)).voxel_mm3 == pytest.approx(9.0)
    assert metrics.MaskPair.of(mask, mask).voxel_mm3 is None
    labels = mask.astype(np.uint8)
    ((_, sheared),) = metrics.label_pairs(labels, labels, {"one": (1,)}, (0.5, 2.0, 9.0), voxel_mm3=8.0)
    assert sheared.voxel_mm3 == 8.0


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (2.0, 2.0), (0.5, 3.0)])
def test_distances_in_voxels_do_not_depend_on_the_spacing(spacing_mm: tuple[float, float]) -> None:
    one, other = cube((9, 9), (1, 1), 1), cube((9, 9), (4, 5), 1)
    distances = metrics.MaskPair.of(one, other, spacing_mm).distances_vox
    assert distances is not None
    assert distances.hausdorff() == 5.0


def test_a_percentile_of_area_is_the_first_distance_that_reaches_it() -> None:
    there, back = np.array([3.0, 1.0, 2.0]), np.zeros(1)
    distances = WeightedDistances(there, np.array([1.0, 1.0, 2.0]), back, np.ones(1))
    assert [distances.hausdorff(percentile) for percentile in (0, 25, 26, 75, 76, 100)] == [1, 1, 2, 2, 3, 3]


def test_masks_at_the_image_border_end_there() -> None:
    full = np.ones((4, 4, 4), dtype=bool)
    assert border_voxels(full).sum() == 64 - 8
    assert metrics.hausdorff(full, full, (1, 1, 1)) == 0.0


def test_tolerance_allows_for_spacings_stored_in_float32() -> None:
    size = float(np.float32(0.4))  # 0.4000000059604645, as a NIfTI header holds it
    a, b = voxel((9, 3, 3), (1, 1, 1)), voxel((9, 3, 3), (6, 1, 1))
    assert metrics.surface_dice(a, b, (size, 1.0, 1.0), 2.0) == 1.0
    assert metrics.surface_dice(a, b, (0.41, 1.0, 1.0), 2.0) == 0.0


def test_empty_masks_of_the_functions_follow_the_default_convention() -> None:
    empty, full = np.zeros((3, 4, 12), dtype=bool), np.ones((3, 4, 12), dtype=bool)
    for prediction, reference in ((empty, full), (full, empty)):
        assert metrics.dice(prediction, reference) == 0.0
        assert metrics.iou(prediction, reference) == 0.0
        assert metrics.hausdorff(prediction, reference, (1, 1, 1)) == 13.0  # 3-4-12 has the diagonal 13
        assert metrics.surface_dice(prediction, reference, (1, 1, 1), 2.0) == 0.0
    assert math.isnan(metrics.dice(empty, empty))
    assert math.isnan(metrics.hausdorff(empty, empty, (1, 1, 1)))
    assert math.isnan(metrics.surface_dice(empty, empty, (1, 1, 1), 2.0))


@pytest.mark.parametrize("order", ["CC", "FF", "CF"])
def test_memory_order_does_not_matter(order: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 7, 8, 9)) > 0.6
    a, b = np.asarray(a, order=order[0]), np.asarray(b, order=order[1])
    spacing = (0.5, 1.0, 3.0)
    plain = metrics.hausdorff(np.ascontiguousarray(a), np.ascontiguousarray(b), spacing)
    assert metrics.hausdorff(a, b, spacing) == plain
    assert metrics.hausdorff(a[::-1], b[::-1], spacing) == plain


def test_label_pairs_crop_and_count_as_whole_masks() -> None:
    rng = np.random.default_rng(1)
    prediction, reference = rng.integers(0, 4, (2, 8, 9, 10)).astype(np.uint8)
    structures = {"one": (1,), "some": (1, 3), "none": (7,)}
    pairs = dict(metrics.label_pairs(prediction, reference, structures, (1, 2, 3)))
    for name, values in structures.items():
        whole = metrics.MaskPair.of(np.isin(prediction, values), np.isin(reference, values), (1, 2, 3))
        assert pairs[name].counts == whole.counts
        assert pairs[name].diagonal_mm == whole.diagonal_mm
        if name != "none":
            assert pairs[name].distances_mm.hausdorff(95) == whole.distances_mm.hausdorff(95)
    assert pairs["none"].status == "absent"


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_labels_are_searched_in_the_order_of_memory(axes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """In another order, as NIfTI volumes would be, a search takes ten times as long."""
    searched = []
    find = ndimage.find_objects
    monkeypatch.setattr(ndimage, "find_objects", lambda labels: searched.append(labels) or find(labels))
    labels = np.zeros((6, 9, 12), dtype=np.uint8)
    labels[1:3, 2:7, 4:8] = np.random.default_rng(1).integers(0, 3, (2, 5, 4))
    labels = labels.transpose(axes)[::-1]
    pair = dict(metrics.label_pairs(labels, labels, {"one": (1,)}))["one"]
    np.testing.assert_array_equal(pair.reference, (labels == 1)[bounding_box(labels == 1)])
    assert all(sorted(each.strides, key=abs, reverse=True) == list(each.strides) for each in searched)


def test_bad_input_says_what_is_wrong() -> None:
    a = np.ones((3, 3, 3), dtype=bool)
    with pytest.raises(MetricError, match=r"do not cover one grid.*prediction \(3, 3, 3\), reference \(3, 3, 4\)"):
        metrics.dice(a, np.ones((3, 3, 4), dtype=bool))
    with pytest.raises(MetricError, match=r"reference is not a mask.*values 0, 2"):
        metrics.dice(a, np.array([0, 2, 0] * 9).reshape(3, 3, 3))
    for spacing in ((1.0, 1.0), (1.0, 0.0, 1.0), (1.0, math.inf, 1.0), (1.0, math.nan, 1.0)):
        with pytest.raises(MetricError, match=r"spacing.*3 positive numbers"):
            metrics.hausdorff(a, a, spacing)
    labels = a.astype(np.uint8)
    for values in ((0,), (1, -1), ()):
        with pytest.raises(MetricError, match=r"structure brain is not made of label values .*values of 1 or more"):
            list(metrics.label_pairs(labels, labels, {"brain": values}))
    distances = metrics.SurfaceDistances(np.zeros(3), np.ones(2))
    for percentile, words in ((101, "out of range"), (math.nan, "out of range"), (0.95, "95 for HD95"), (1, "95")):
        for measure in (partial(metrics.hausdorff, a, a, (1.0, 1.0, 1.0)), distances.hausdorff):
            with pytest.raises(MetricError, match=f"percentile .*{words}"):
                measure(percentile)
    with pytest.raises(MetricError, match="tolerance"):
        metrics.surface_dice(a, a, (1.0, 1.0, 1.0), -1)
    with pytest.raises(MetricError, match=r"unknown convention 'nnunet'.*default, transunet, medpy"):
        metrics.get_convention("nnunet")
    with pytest.raises(MetricError, match=r"Did you mean transunet\?"):
        metrics.get_convention("tranunet")


COMPARED = {
    **{name: getattr(metrics, name) for name in ("dice", "iou", "accuracy", "counts", "label_map_accuracy")},
    "class_dice": lambda a, b: metrics.class_dice(a, b, ["structure"]),
    "class_counts": lambda a, b: metrics.class_counts(a, b, ["structure"]),
    "label_pairs": lambda a, b: dict(metrics.label_pairs(a, b, {"structure": [1]}))["structure"].counts,
    "hausdorff": lambda a, b: metrics.hausdorff(a, b, (1.0, 2.0)),
    "surface_dice": lambda a, b: metrics.surface_dice(a, b, (1.0, 2.0), 1.0),
    "lesion_scores": lambda a, b: metrics.lesion_scores(a, b, (1.0, 2.0), metrics.LesionRule(0, 0.0)),
}


@pytest.mark.parametrize("name", COMPARED)
def test_every_function_takes_nested_lists_and_refuses_other_shapes(name: str) -> None:
    first, second = [[0, 1, 1], [0, 1, 0]], [[0, 1, 1], [0, 0, 0]]
    assert COMPARED[name](first, second) == COMPARED[name](np.array(first), np.array(second))
    with pytest.raises(MetricError, match=r"do not cover one grid.*prediction \(2, 3\), reference \(2, 2\)"):
        COMPARED[name](np.array(first), np.array(second)[:, :2])


def test_lesion_scores_refuse_label_maps_and_spacings_of_other_images() -> None:
    mask, rule = cube((4, 4, 4), (1, 1, 1), 2), metrics.LesionRule(0, 0.0)
    with pytest.raises(MetricError, match="prediction is not a mask"):
        metrics.lesion_scores(3 * mask.astype(int), mask, (1.0, 1.0, 1.0), rule)
    for spacing_mm in ((1.0, 1.0), (1.0, 1.0, -1.0)):
        with pytest.raises(MetricError, match="the voxel spacing does not fit"):
            metrics.lesion_scores(mask, mask, spacing_mm, rule)


def test_dice_per_class_by_hand() -> None:
    prediction, reference = np.array([1, 1, 2, 0]), np.array([1, 0, 0, 0])
    assert metrics.class_dice(prediction, reference, ["a", "b", "c"]) == {
        "a": pytest.approx(2 / 3),
        "b": 0.0,
        "c": pytest.approx(math.nan, nan_ok=True),
    }


def test_accuracy_of_label_maps_of_several_classes() -> None:
    """Nine pixels: five of six background pixels, one of two of class 1 and none of class 2 hold the same label."""
    reference = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 2]])
    prediction = np.array([[0, 0, 0], [0, 0, 2], [1, 2, 1]])
    assert metrics.label_map_accuracy(prediction, reference) == pytest.approx(6 / 9)
    assert metrics.label_map_accuracy(reference, reference) == 1.0
    with pytest.raises(MetricError, match="do not cover one grid"):
        metrics.label_map_accuracy(prediction, reference[:2])
