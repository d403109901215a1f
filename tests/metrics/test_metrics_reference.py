"""Surface metrics against independent programs: brute force, medpy, surface-distance, MONAI; random shapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from segcct import metrics
from segcct.metrics import nearest, surfels

SHAPES = 240


def shapes(count: int = SHAPES, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[float, ...]]]:
    """(prediction, reference, spacing): smooth blobs, noise, shells and far-off pieces, in 2-D and 3-D."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        axes = 2 if number % 4 == 0 else 3
        shape = rng.integers(3, 16 if axes == 3 else 40, axes)
        reference = _blob(rng, shape)
        prediction = {
            0: lambda mask: _blob(rng, mask.shape),
            1: lambda mask: ndimage.binary_dilation(mask),
            2: lambda mask: np.roll(mask, rng.integers(-3, 4, mask.ndim), range(mask.ndim)),
            3: lambda mask: mask ^ ndimage.binary_erosion(mask, iterations=2),
        }[number % 5 % 4](reference)
        spacing = tuple(rng.uniform(0.3, 5.0, axes)) if number % 3 else (1.0,) * axes
        yield prediction, reference, spacing


def _blob(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    field = ndimage.gaussian_filter(rng.normal(size=tuple(shape)), rng.uniform(0.2, 3.0))
    mask = field >= np.quantile(field, rng.uniform(0.2, 0.99))
    return np.asarray(mask)


def brute_force(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> list[np.ndarray]:
    """Both directions of all pairwise distances between border voxels, float64."""
    borders = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * spacing for mask in (prediction, reference)]
    table = cdist(*borders)
    return [table.min(axis=1), table.min(axis=0)]


def test_default_equals_brute_force() -> None:
    for prediction, reference, spacing in shapes():
        expected = brute_force(prediction, reference, spacing)
        distances = metrics.MaskPair.of(prediction, reference, spacing).distances_mm
        assert distances is not None
        np.testing.assert_allclose(distances.to_reference, expected[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(distances.to_prediction, expected[1], rtol=0, atol=1e-9)
        hd95 = max(np.percentile(directed, 95) for directed in expected)
        assert metrics.hausdorff(prediction, reference, spacing) == pytest.approx(hd95, abs=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 5.0), (3.0, 0.31, 0.97), (0.2, 2.0)])
@pytest.mark.parametrize("gap", [3, 9, 25])
def test_every_way_to_the_nearest_voxel_is_exact(spacing: tuple[float, ...], gap: int) -> None:
    """Near offsets, tree and transform, with the targets near and far."""
    rng = np.random.default_rng(gap)
    shape = (12 + gap, *(10,) * (len(spacing) - 1))
    queries, targets = np.zeros((2, *shape), dtype=bool)
    queries[:5] = rng.random((5, *shape[1:])) > 0.5
    targets[gap:] = rng.random((shape[0] - gap, *shape[1:])) > 0.7
    points = np.argwhere(queries)
    expected = cdist(points * spacing, np.argwhere(targets) * spacing).min(axis=1)
    np.testing.assert_allclose(nearest.nearest_distances(queries, targets, spacing), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(nearest._by_tree(points, targets, spacing), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(nearest._by_transform(points, targets, spacing), expected, rtol=0, atol=1e-9)


def test_few_far_voxels_in_a_large_box_go_to_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the transform of a large box for two voxels")

    monkeypatch.setattr(nearest, "_by_transform", refuse)
    a, b = np.zeros((2, 60, 60, 60), dtype=bool)
    a[2, 2, 2] = b[57, 57, 57] = True
    assert metrics.hausdorff(a, b, (1, 1, 1)) == pytest.approx(55 * 3**0.5, abs=1e-9)


def test_medpy_convention_equals_medpy() -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    convention = metrics.get_convention("medpy")
    for prediction, reference, spacing in shapes():
        scores = convention(metrics.MaskPair.of(prediction, reference, spacing))
        assert scores["hd95_mm"] == pytest.approx(binary.hd95(prediction, reference, spacing), abs=1e-9)
        assert scores["dice"] == pytest.approx(binary.dc(prediction, reference), abs=1e-12)
        assert scores["iou"] == pytest.approx(binary.jc(prediction, reference), abs=1e-12)
        hd = metrics.hausdorff(prediction, reference, spacing, 100)
        assert hd == pytest.approx(binary.hd(prediction, reference, spacing), abs=1e-9)


EMPTY = {
    "missed": (np.zeros((5, 6, 7), dtype=bool), np.ones((5, 6, 7), dtype=bool)),
    "spurious": (np.ones((5, 6, 7), dtype=bool), np.zeros((5, 6, 7), dtype=bool)),
    "absent": (np.zeros((5, 6, 7), dtype=bool), np.zeros((5, 6, 7), dtype=bool)),
}


@pytest.mark.parametrize("status", EMPTY)
def test_medpy_convention_scores_empty_masks_as_medpy(status: str) -> None:
    """For two empty masks the Dice of medpy is NaN with NumPy 2.4 and newer; with older versions it is 1, or 0."""
    binary = pytest.importorskip("medpy.metric.binary")
    found = metrics.get_convention("medpy")(metrics.MaskPair.of(*EMPTY[status], (1, 1, 2)))
    if status == "absent":
        assert found["dice"] is None
        assert found["iou"] is None
    else:
        assert found["dice"] == binary.dc(*EMPTY[status]) == 0
        assert found["iou"] == binary.jc(*EMPTY[status]) == 0
    assert found["hd95_mm"] is None
    with pytest.raises(RuntimeError, match="does not contain any binary object"):
        binary.hd95(*EMPTY[status])


def test_transunet_convention_equals_medpy_in_voxels() -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    convention = metrics.get_convention("transunet")
    for prediction, reference, spacing in shapes(60, seed=1):
        scores = convention(metrics.MaskPair.of(prediction, reference, spacing))
        assert scores["hd95_vox"] == pytest.approx(binary.hd95(prediction, reference), abs=1e-9)
        assert scores["hd95_mm"] is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_monai_convention_equals_monai() -> None:
    """MONAI works in float32: 2e-5 mm apart at most."""
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    convention = metrics.get_convention("monai")
    for prediction, reference, spacing in shapes():
        one_hot = [torch.from_numpy(mask[None, None].copy()) for mask in (prediction, reference)]
        options = {"include_background": True, "spacing": list(spacing)}
        pair = metrics.MaskPair.of(prediction, reference, spacing)
        scores = convention(pair)
        expected = monai.compute_hausdorff_distance(*one_hot, percentile=95, **options).item()
        assert scores["hd95_mm"] == pytest.approx(expected, abs=2e-5)
        assert scores["dice"] == pytest.approx(monai.compute_dice(*one_hot).item(), abs=1e-6)
        average = monai.compute_average_surface_distance(*one_hot, symmetric=True, **options).item()
        assert pair.distances_mm is not None
        assert pair.distances_mm.average() == pytest.approx(average, abs=2e-5)
        nsd = monai.compute_surface_dice(*one_hot, class_thresholds=[2.0], **options).item()
        assert pair.distances_mm.surface_dice(2.0) == pytest.approx(nsd, abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("status", EMPTY)
def test_monai_convention_scores_empty_masks_as_monai(status: str) -> None:
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    one_hot = [torch.from_numpy(mask[None, None].copy()) for mask in EMPTY[status]]
    scores = metrics.get_convention("monai")(metrics.MaskPair.of(*EMPTY[status], (1, 1, 2)))
    found = {
        "dice": monai.compute_dice(*one_hot).item(),
        "iou": monai.compute_iou(*one_hot).item(),
        "hd95_mm": monai.compute_hausdorff_distance(*one_hot, include_background=True, percentile=95).item(),
    }
    assert {key: scores[key] for key in found} == {
        key: None if np.isnan(value) else value for key, value in found.items()
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_area_weighting_equals_surface_distance() -> None:
    package = pytest.importorskip("surface_distance")
    convention = metrics.get_convention("surface-distance")
    for prediction, reference, spacing in shapes():
        distances = package.compute_surface_distances(reference, prediction, spacing)
        expected = package.compute_robust_hausdorff(distances, 95)
        scores = convention(metrics.MaskPair.of(prediction, reference, spacing))
        assert scores["hd95_mm"] == pytest.approx(expected, abs=1e-9)
        nsd = package.compute_surface_dice_at_tolerance(distances, 2.0)
        assert scores["nsd"] == pytest.approx(nsd, abs=1e-9)
        assert scores["dice"] == pytest.approx(package.compute_dice_coefficient(reference, prediction), abs=1e-12)


def test_areas_equal_those_of_surface_distance() -> None:
    tables = pytest.importorskip("surface_distance.lookup_tables")
    for spacing in ((1.0, 1.0, 1.0), (0.7, 0.9, 3.0), (4.0, 0.5, 1.0)):
        areas = tables.create_table_neighbour_code_to_surface_area(spacing)
        np.testing.assert_allclose(surfels.element_areas(spacing), areas, rtol=0, atol=1e-12)
        lengths = tables.create_table_neighbour_code_to_contour_length(spacing[:2])
        np.testing.assert_allclose(surfels.element_areas(spacing[:2]), lengths, rtol=0, atol=1e-12)


def test_where_area_weighting_differs_from_border_voxels() -> None:
    """A rod and the same rod with a one-voxel spur of 10: the spur is 10 of 258 border voxels (3.9%), below the
    twentieth that HD95 leaves out, but all its sides are surface, 8% of the area: only the weighted one sees it.
    """
    rod = np.zeros((24, 24, 60), dtype=bool)
    rod[4:8, 4:8, 5:25] = True
    spurred = rod.copy()
    spurred[8:18, 5, 15] = True
    plain = metrics.hausdorff(spurred, rod, (1, 1, 1))
    weighted = surfels.weighted_distances(spurred, rod, (1, 1, 1)).hausdorff(95)
    assert plain < 1.0
    assert weighted > 1.0


def test_noise_far_from_its_reference_goes_to_the_transform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the voxels of a box are border: a tree would take minutes where images are large."""

    def refuse(*_: object) -> None:
        raise AssertionError("a tree query for every voxel of a noisy mask")

    prediction, reference = np.zeros((2, 40, 16, 16), dtype=bool)
    prediction[8:] = np.random.default_rng(0).random((32, 16, 16)) > 0.5
    reference[:2] = True
    expected = brute_force(prediction, reference, (1.0, 0.5, 2.0))
    monkeypatch.setattr(nearest, "_by_tree", refuse)
    distances = metrics.MaskPair.of(prediction, reference, (1.0, 0.5, 2.0)).distances_mm
    assert distances is not None
    np.testing.assert_allclose(distances.to_reference, expected[0], rtol=0, atol=1e-9)
