"""What must hold for any two masks: bounds, symmetry, invariance, order."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segcct import metrics
from segcct.metrics import Counts, MaskPair

FEW = settings(max_examples=60)


@st.composite
def pairs(draw: st.DrawFn, *, filled: bool = True) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Two masks of one shape (2-D or 3-D) and a spacing; with `filled`, neither is empty."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=2, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = rng.random((2, *shape)) < np.array(draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))).reshape(
        2, *(1,) * len(shape)
    )
    if filled:
        for mask in masks:
            mask[tuple(rng.integers(0, n) for n in shape)] = True
    spacing = tuple(draw(st.lists(st.floats(0.1, 8.0), min_size=len(shape), max_size=len(shape))))
    return masks[0], masks[1], spacing


@FEW
@given(pairs())
def test_all_are_symmetric_and_bounded(case: tuple[np.ndarray, np.ndarray, tuple[float, ...]]) -> None:
    a, b, spacing = case
    diagonal = float(np.hypot.reduce(np.array(a.shape) * spacing))
    for metric in (metrics.dice, metrics.iou):
        assert metric(a, b) == metric(b, a)
        assert 0.0 <= metric(a, b) <= 1.0
    for percentile in (50, 95, 100):
        hd = metrics.hausdorff(a, b, spacing, percentile)
        assert hd == metrics.hausdorff(b, a, spacing, percentile)
        assert 0.0 <= hd <= diagonal
    assert metrics.average_surface_distance(a, b, spacing) <= metrics.hausdorff(a, b, spacing, 100) + 1e-9
    assert 0.0 <= metrics.surface_dice(a, b, spacing, 1.0) <= 1.0


@FEW
@given(pairs())
def test_identity_is_perfect(case: tuple[np.ndarray, np.ndarray, tuple[float, ...]]) -> None:
    a, _, spacing = case
    assert metrics.dice(a, a) == metrics.iou(a, a) == metrics.surface_dice(a, a, spacing, 0.0) == 1.0
    assert metrics.hausdorff(a, a, spacing, 100) == metrics.average_surface_distance(a, a, spacing) == 0.0


@FEW
@given(pairs())
def test_order_within_and_between_metrics(case: tuple[np.ndarray, np.ndarray, tuple[float, ...]]) -> None:
    a, b, spacing = case
    by_percentile = [metrics.hausdorff(a, b, spacing, percentile) for percentile in (0, 25, 50, 90, 95, 99, 100)]
    assert by_percentile == sorted(by_percentile)
    pooled = metrics.hausdorff(a, b, spacing, 95, pooled=True)
    assert pooled <= metrics.hausdorff(a, b, spacing, 100)
    by_tolerance = [metrics.surface_dice(a, b, spacing, tolerance) for tolerance in (0.0, 0.5, 2.0, 100.0)]
    assert by_tolerance == sorted(by_tolerance)
    assert by_tolerance[-1] == 1.0
    d, j = metrics.dice(a, b), metrics.iou(a, b)
    assert abs(d - 2 * j / (1 + j)) < 1e-12


@FEW
@given(pairs(), st.randoms(use_true_random=False))
def test_turning_the_image_with_its_spacing_changes_nothing(
    case: tuple[np.ndarray, np.ndarray, tuple[float, ...]], random: object
) -> None:
    a, b, spacing = case
    axes = random.choice(list(itertools.permutations(range(a.ndim))))  # type: ignore[attr-defined]
    flips = tuple(axis for axis in range(a.ndim) if random.random() < 0.5)  # type: ignore[attr-defined]
    turned = [np.flip(mask.transpose(axes), flips) for mask in (a, b)]
    turned_spacing = tuple(spacing[axis] for axis in axes)
    for percentile in (95, 100):
        expected = metrics.hausdorff(a, b, spacing, percentile)
        assert abs(metrics.hausdorff(*turned, turned_spacing, percentile) - expected) < 1e-9
    padded = [np.pad(mask, 3) for mask in (a, b) if min(mask.shape) > 1]
    if len(padded) == 2:
        assert abs(metrics.hausdorff(*padded, spacing) - metrics.hausdorff(a, b, spacing)) < 1e-9


@FEW
@given(pairs(), st.floats(0.1, 10.0))
def test_distances_scale_with_the_spacing(
    case: tuple[np.ndarray, np.ndarray, tuple[float, ...]], factor: float
) -> None:
    a, b, spacing = case
    larger = tuple(size * factor for size in spacing)
    expected = factor * metrics.hausdorff(a, b, spacing)
    assert abs(metrics.hausdorff(a, b, larger) - expected) < 1e-9 * max(1.0, expected)


@FEW
@given(pairs(filled=False))
def test_counts_add_up(case: tuple[np.ndarray, np.ndarray, tuple[float, ...]]) -> None:
    a, b, spacing = case
    counts = MaskPair.of(a, b, spacing).counts
    assert counts == metrics.counts(a, b)
    assert counts == Counts(int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum()))


@FEW
@given(pairs(filled=False))
def test_every_convention_scores_without_infinity(case: tuple[np.ndarray, np.ndarray, tuple[float, ...]]) -> None:
    a, b, spacing = case
    pair = MaskPair.of(a, b, spacing)
    for convention in metrics.CONVENTIONS.values():
        scores = convention(pair)
        for name in ("dice", "iou", "nsd"):
            value = scores[name]
            assert value is None or 0.0 <= value <= 1.0, (convention.name, name)
        for value in (scores["hd95_mm"], scores["hd95_vox"]):
            assert value is None or (np.isfinite(value) and value >= 0.0), convention.name
