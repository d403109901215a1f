"""Lesion-wise scores: worked by hand, and against a plain transcription of the challenge's procedure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from segcct.metrics.lesions import MISSED_MM, LesionRule, lesion_scores, match_lesions
from segcct.metrics.overlap import counts
from segcct.metrics.surfels import weighted_distances

UNIT = (1.0, 1.0, 1.0)


def box(volume: np.ndarray, start: tuple[int, int, int], side: int) -> None:
    volume[tuple(slice(first, first + side) for first in start)] = True


def test_one_found_one_missed_one_false_positive() -> None:
    """Two lesions of 64 voxels: one found whole, one missed; and a false positive: Dice 1 / 3, HD95 748 / 3."""
    prediction, reference = np.zeros((2, 60, 20, 20), dtype=bool)
    box(reference, (4, 4, 4), 4)
    box(reference, (25, 4, 4), 4)
    box(prediction, (4, 4, 4), 4)
    box(prediction, (48, 10, 10), 2)
    assert lesion_scores(prediction, reference, UNIT, LesionRule()) == pytest.approx((1 / 3, 748 / 3))


def test_lesions_that_touch_after_dilation_are_one() -> None:
    """Six voxels between two boxes are bridged by three dilations on each side, seven are not."""
    for gap, expected in ((6, 1), (7, 2)):
        reference = np.zeros((30, 12, 12), dtype=bool)
        box(reference, (2, 4, 4), 4)
        box(reference, (6 + gap, 4, 4), 4)
        match = match_lesions(reference, reference, dilations=3)
        assert len(match.partners) == expected


def test_a_component_near_a_lesion_is_its_partner() -> None:
    reference = np.zeros((30, 12, 12), dtype=bool)
    box(reference, (2, 4, 4), 4)  # ends at x = 5; dilated to x = 8
    for start, partners in ((8, 1), (9, 0)):
        prediction = np.zeros_like(reference)
        box(prediction, (start, 4, 4), 2)
        match = match_lesions(prediction, reference, dilations=3)
        assert len(match.partners[0]) == partners
        assert len(match.false_positives) == 1 - partners


def test_small_lesions_are_left_out_with_what_meets_them() -> None:
    """27 voxels are below 50 mm3 at 1 mm, above it at 2 mm in z."""
    prediction, reference = np.zeros((2, 20, 20, 20), dtype=bool)
    box(reference, (5, 5, 5), 3)
    box(prediction, (5, 5, 5), 2)
    assert lesion_scores(prediction, reference, UNIT, LesionRule()) == (1.0, 0.0)
    dice, _ = lesion_scores(prediction, reference, (1.0, 1.0, 2.0), LesionRule())
    assert dice == pytest.approx(2 * 8 / 35)
    dice, _ = lesion_scores(prediction, reference, UNIT, LesionRule(dilations=1, smallest_mm3=2.0))
    assert dice == pytest.approx(2 * 8 / 35)


def test_a_lesion_of_exactly_the_smallest_volume_is_left_out() -> None:
    prediction, reference = np.zeros((2, 20, 20, 20), dtype=bool)
    reference[5:10, 5:10, 5:7] = True  # 50 mm3
    assert lesion_scores(prediction, reference, UNIT, LesionRule()) == (1.0, 0.0)
    reference[10, 5, 5] = True
    assert lesion_scores(prediction, reference, UNIT, LesionRule()) == (0.0, MISSED_MM)


def test_without_dilation_components_stand_alone() -> None:
    reference = np.zeros((10, 6, 6), dtype=bool)
    reference[1, 1, 1] = reference[2, 2, 2] = True  # touch at a corner: one lesion
    reference[5, 1, 1] = True
    assert len(match_lesions(reference, reference, dilations=0).partners) == 2


def _on_the_whole_box(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...], rule: LesionRule
) -> tuple[float, float]:
    """The scores with every lesion compared over the whole image."""
    match = match_lesions(prediction, reference, dilations=rule.dilations)
    dices, distances = [0.0] * len(match.false_positives), [MISSED_MM] * len(match.false_positives)
    for number, partners in enumerate(match.partners, start=1):
        lesion, predicted = match.lesions == number, np.isin(match.components, partners)
        if np.count_nonzero(lesion) * np.prod(spacing) > rule.smallest_mm3:
            dices.append(counts(predicted, lesion).dice)
            distances.append(weighted_distances(predicted, lesion, spacing).hausdorff(95) if partners else MISSED_MM)
    return (float(np.mean(dices)), float(np.mean(distances))) if dices else (1.0, 0.0)


@pytest.mark.parametrize("shape", [(40,), (24, 20), (16, 14, 12)])
def test_a_lesion_is_compared_in_its_own_box(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    for dilations in (0, 1, 2):
        prediction, reference = (rng.random((2, *shape)) > 0.97) | (rng.random(shape) > 0.995)
        spacing, rule = (1.0, 0.7, 3.0)[: len(shape)], LesionRule(dilations, 0.5)
        expected = _on_the_whole_box(prediction, reference, spacing, rule)
        assert lesion_scores(prediction, reference, spacing, rule) == pytest.approx(expected, rel=1e-12)


def _as_in_the_challenge(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...], rule: LesionRule
) -> tuple[float, float]:
    """The published procedure step by step on whole volumes, with surface-distance for the distances."""
    package = pytest.importorskip("surface_distance")
    cross, full = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))
    dilated = ndimage.binary_dilation(reference, cross, iterations=rule.dilations)
    zones, count = ndimage.label(dilated, full)
    components, _ = ndimage.label(prediction, full)
    pairs, matched = [], []
    for zone in range(1, count + 1):
        lesion = reference & (zones == zone)
        around = ndimage.binary_dilation(lesion, cross, iterations=rule.dilations)
        meeting = [number for number in np.unique(components[around]) if number]
        matched += meeting
        predicted = np.isin(components, meeting)
        dice = 2 * (predicted & lesion).sum() / (predicted.sum() + lesion.sum())
        distance = 374.0
        if meeting:
            distances = package.compute_surface_distances(lesion, predicted, spacing)
            distance = package.compute_robust_hausdorff(distances, 95)
        if lesion.sum() * np.prod(spacing) > rule.smallest_mm3:
            pairs.append((dice, distance))
    false = len(set(np.unique(components)) - {0} - set(matched))
    if not len(pairs) + false:
        return 1.0, 0.0
    return (
        sum(dice for dice, _ in pairs) / (len(pairs) + false),
        (sum(distance for _, distance in pairs) + 374 * false) / (len(pairs) + false),
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("rule", [LesionRule(), LesionRule(1, 50.0), LesionRule(1, 2.0)])
def test_equals_the_challenge_on_random_lesions(rule: LesionRule) -> None:
    rng = np.random.default_rng(3)
    several = 0
    for number in range(5):
        field = ndimage.gaussian_filter(rng.normal(size=(32, 36, 28)), 2.0)
        reference = field > np.quantile(field, 0.97)
        shifted = np.roll(field + 0.04 * ndimage.gaussian_filter(rng.normal(size=field.shape), 1.5), 1, axis=0)
        prediction = shifted > np.quantile(shifted, 0.97)
        spacing = UNIT if number % 2 else (1.0, 0.8, 2.2)
        expected = _as_in_the_challenge(prediction, reference, spacing, rule)
        assert lesion_scores(prediction, reference, spacing, rule) == pytest.approx(expected, abs=1e-9)
        several += len(match_lesions(prediction, reference, dilations=rule.dilations).partners) > 1
    assert several > 2
