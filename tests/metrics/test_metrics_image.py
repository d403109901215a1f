"""Image distances: by hand, against scikit-image and numpy, and where they are not defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from segcct.errors import MetricError
from segcct.metrics import image


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two images (2, 2, 20, 24) and a label of two classes; class 3 is absent."""
    rng = np.random.default_rng(0)
    original = rng.random((2, 2, 20, 24), dtype=np.float32)
    reconstruction = np.clip(original + rng.normal(0, 0.1, original.shape), 0, 1).astype(np.float32)
    label = np.zeros((2, 20, 24), dtype=np.uint8)
    label[:, 4:12, 5:15] = 1
    label[0, 12:16, 5:15] = 2
    return original, reconstruction, label


def test_by_hand():
    original = np.zeros((1, 1, 2, 2), dtype=np.float32)
    reconstruction = np.array([[[[0.3, 0.4], [0.0, 0.0]]]], dtype=np.float32)
    label = np.array([[[1, 1], [0, 0]]], dtype=np.uint8)
    found = image.image_distances(original, reconstruction, label, ["a"])
    assert found["whole"].rmse == pytest.approx(0.25)
    assert found["whole"].euclidean == pytest.approx(0.5)
    assert found["whole"].mae == pytest.approx(0.175)
    assert found["whole"].psnr == pytest.approx(20 * math.log10(1 / 0.25))
    assert found["a"].rmse == pytest.approx(math.sqrt(0.125))
    assert found["foreground"] == found["a"]
    assert found["a"].pixels == 2
    assert found["whole"].ssim is None  # smaller than the window
    assert found["whole"].correlation is None  # the original is constant


def test_regions_are_named_in_order(pair):
    assert list(image.image_distances(*pair, ["a", "b", "c"])) == ["whole", "foreground", "border", "a", "b", "c"]


def test_a_class_named_as_a_region_is_refused(pair):
    original, reconstruction, label = pair
    for name in ("whole", "foreground", "border"):
        with pytest.raises(MetricError, match=f"has the name of a region .*found {name}"):
            image.image_distances(original, reconstruction, label, [name, "b"])
    only = image.image_distances(original, reconstruction, (label > 0).astype(np.uint8), ["foreground"])
    assert list(only) == ["whole", "foreground", "border"]


def test_against_scikit_image(pair):
    original, reconstruction, label = pair
    found = image.image_distances(original, reconstruction, label, ["a", "b"])["whole"]
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(original, reconstruction, data_range=1))
    expected = np.mean([
        structural_similarity(
            original[d, c], reconstruction[d, c], data_range=1, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )[1].mean()
        for d in range(2) for c in range(2)
    ])  # fmt: skip
    assert found.ssim == pytest.approx(expected, abs=1e-6)


def test_class_and_foreground_against_numpy(pair):
    original, reconstruction, label = pair
    found = image.image_distances(original, reconstruction, label, ["a", "b"])
    inside = np.repeat((label == 2)[:, None], 2, axis=1)
    difference = (reconstruction - original)[inside]
    assert found["b"].rmse == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-5)
    assert found["b"].mae == pytest.approx(np.abs(difference).mean(), rel=1e-5)
    assert found["b"].correlation == pytest.approx(np.corrcoef(original[inside], reconstruction[inside])[0, 1])
    squares = [found[name].rmse ** 2 * found[name].pixels for name in ("a", "b")]
    assert found["foreground"].rmse ** 2 * found["foreground"].pixels == pytest.approx(sum(squares))


def test_what_is_not_defined_is_none(pair):
    original, _, label = pair
    same = image.image_distances(original, original, label, ["a", "b", "c"])
    assert same["c"] == image.ImageDistance(0, None, None, None, None, None, None)
    assert same["whole"].rmse == 0
    assert same["whole"].psnr is None
    assert same["whole"].ssim == pytest.approx(1)
    empty = image.image_distances(original, original, np.zeros_like(label), ["a"])
    assert empty["foreground"].rmse is None
    assert empty["border"].rmse is None
    assert image.rmse_reduction(empty["foreground"].rmse, empty["foreground"].rmse) is None


def test_border_band_by_hand():
    label = np.zeros((2, 5, 8), dtype=np.uint8)
    label[0, :, 4:] = 1
    band = image.border_band(label, 1)
    assert band[0].sum(axis=0).tolist() == [0, 0, 0, 5, 5, 0, 0, 0]
    assert image.border_band(label, 2)[0].sum(axis=0).tolist() == [0, 0, 5, 5, 5, 5, 0, 0]
    assert not band[1].any()  # a band never reaches into the next slice


def test_border_is_also_between_two_classes():
    label = np.ones((1, 4, 4), dtype=np.uint8)
    label[:, 2:] = 2
    assert image.border_band(label, 1)[0].sum(axis=1).tolist() == [0, 4, 4, 0]


def test_baseline_fills_each_class_with_its_mean():
    label = np.array([[[0, 1], [1, 2]]], dtype=np.uint8)
    original = np.array([[[[0.1, 0.2], [0.4, 0.9]], [[1.0, 0.0], [0.5, 0.25]]]], dtype=np.float16)
    painted = image.class_mean_baseline(original, label)
    np.testing.assert_allclose(painted[0, 0], [[0.1, 0.3], [0.3, 0.9]], atol=1e-3)
    np.testing.assert_allclose(painted[0, 1], [[1.0, 0.25], [0.25, 0.25]], atol=1e-3)


def test_baseline_of_each_slice_knows_more(pair):
    original, _, label = pair
    painted = image.class_mean_baseline(original, label, each_slice=True)
    inside = label[1] == 1
    np.testing.assert_allclose(painted[1, 0][inside], original[1, 0][inside].mean(), rtol=1e-5)
    whole, by_slice = (
        image.image_distances(original, each, label, ["a", "b"])["foreground"].rmse
        for each in (image.class_mean_baseline(original, label), painted)
    )
    assert by_slice < whole


def test_no_constant_per_class_is_nearer_than_the_baseline(pair):
    original, _, label = pair
    means = image.class_means(original, label, 3)
    best = image.image_distances(original, image.fill_classes(label, means), label, ["a", "b"])["foreground"].rmse
    for shift in (-0.05, 0.05):
        other = image.fill_classes(label, means + shift)
        assert image.image_distances(original, other, label, ["a", "b"])["foreground"].rmse > best


def test_gain():
    assert image.rmse_reduction(0.3, 0.4) == pytest.approx(0.25)
    assert image.rmse_reduction(0.3, 0.0) is None


def test_foreground_gain_is_the_gain_of_the_table(pair):
    original, reconstruction, label = pair
    errors = [
        image.image_distances(original, each, label, ["a", "b"])["foreground"].rmse
        for each in (reconstruction, image.class_mean_baseline(original, label))
    ]
    assert image.foreground_error_reduction(original, reconstruction, label) == pytest.approx(
        image.rmse_reduction(*errors)
    )
    assert image.foreground_error_reduction(original, reconstruction, 0 * label) is None
    flat = np.full_like(original, 0.25)
    assert image.foreground_error_reduction(flat, reconstruction, label) is None


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.1, 2.0), st.floats(-1.0, 1.0))
def test_properties(seed, scale, shift):
    rng = np.random.default_rng(seed)
    one, other = rng.random((2, 1, 2, 12, 13), dtype=np.float32)
    label = rng.integers(0, 3, (1, 12, 13)).astype(np.uint8)
    there, back = (image.image_distances(a, b, label, ["a", "b"])["whole"] for a, b in ((one, other), (other, one)))
    assert there.rmse == pytest.approx(back.rmse)
    assert there.ssim == pytest.approx(back.ssim, abs=1e-5)
    assert there.mae <= there.rmse + 1e-9
    moved = image.image_distances(one, other * scale + shift, label, ["a", "b"])["whole"]
    assert moved.correlation == pytest.approx(there.correlation, abs=1e-4)


@pytest.mark.parametrize(
    ("original", "reconstruction", "label", "message"),
    [
        ((1, 1, 4, 4), (1, 1, 4, 5), (1, 4, 4), "cannot be compared"),
        ((1, 1, 4, 4), (1, 1, 4, 4), (4, 4), "label does not fit"),
    ],
)
def test_shapes_that_do_not_fit(original, reconstruction, label, message):
    with pytest.raises(MetricError, match=message):
        image.image_distances(np.zeros(original), np.zeros(reconstruction), np.zeros(label, dtype=int), ["a"])


def test_values_that_cannot_be_used():
    zeros = np.zeros((1, 1, 4, 4))
    with pytest.raises(MetricError, match="without a name"):
        image.image_distances(zeros, zeros, np.full((1, 4, 4), 2), ["a"])
    with pytest.raises(MetricError, match="not finite"):
        image.image_distances(zeros, zeros + np.nan, np.ones((1, 4, 4), dtype=int), ["a"])
