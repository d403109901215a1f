"""Scores of class probabilities, against scikit-learn and by hand; intervals, calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from segcct.errors import MetricError
from segcct.metrics.calibration import expected_error, reliability
from segcct.metrics.class_scores import (
    brier_scores,
    class_aurocs,
    class_scores,
    log_losses,
    top_k,
)
from segcct.metrics.classification_intervals import class_intervals
from segcct.metrics.defined_values import mean_of


def sample(seed: int, count: int = 300, classes: int = 6, skill: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model with some skill, and the true classes."""
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, classes, count)
    logits = rng.normal(0, 1.5, (count, classes)) + skill * np.eye(classes)[reference]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True), reference


@pytest.mark.parametrize("seed", range(3))
def test_everything_equals_scikit_learn(seed):
    probabilities, reference = sample(seed)
    predicted = probabilities.argmax(axis=1)
    scores = class_scores(reference, predicted, 6)
    expected = sk.precision_recall_fscore_support(reference, predicted, labels=range(6))
    found = [(one.precision, one.recall, one.f1, one.support) for one in scores]
    np.testing.assert_allclose(np.array(found).T, expected)
    for k in (1, 2, 5):
        assert top_k(probabilities, reference, k).mean() == pytest.approx(
            sk.top_k_accuracy_score(reference, probabilities, k=k)
        )
    aurocs = class_aurocs(probabilities, reference)
    assert mean_of(aurocs) == pytest.approx(sk.roc_auc_score(reference, probabilities, multi_class="ovr"))
    assert log_losses(probabilities, reference).mean() == pytest.approx(sk.log_loss(reference, probabilities))
    specificity = [sk.recall_score(reference != c, predicted != c) for c in range(6)]
    np.testing.assert_allclose([one.specificity for one in scores], specificity)


def test_two_classes_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    reference = np.array([0, 1, 1, 1])
    scores = class_scores(reference, probabilities.argmax(axis=1), 2)
    assert (scores[0].precision, scores[0].recall, scores[0].f1) == (0.5, 1.0, pytest.approx(2 / 3))
    assert (scores[1].precision, scores[1].recall, scores[1].specificity) == (1.0, pytest.approx(2 / 3), 1.0)
    assert class_aurocs(probabilities, reference) == [1.0, 1.0]
    np.testing.assert_allclose(log_losses(probabilities, reference), -np.log([0.9, 0.4, 0.7, 0.8]))
    np.testing.assert_allclose(brier_scores(probabilities, reference), [0.02, 0.72, 0.18, 0.08])


def test_a_class_that_nothing_is_said_of():
    scores = class_scores(np.array([0, 0, 1]), np.array([0, 0, 0]), 3)
    assert (scores[1].precision, scores[1].recall, scores[1].f1) == (None, 0.0, 0.0)
    assert (scores[2].precision, scores[2].recall, scores[2].f1, scores[2].support) == (None, None, None, 0)
    assert class_aurocs(np.full((3, 3), 1 / 3), np.array([0, 0, 1]))[2] is None
    assert mean_of([None, None]) is None


def test_equal_probabilities_favour_the_lower_class():
    flat = np.full((4, 4), 0.25)
    assert top_k(flat, np.arange(4), 1).tolist() == [True, False, False, False]
    assert top_k(flat, np.arange(4), 3).tolist() == [True, True, True, False]
    np.testing.assert_array_equal(top_k(flat, np.arange(4), 1), flat.argmax(axis=1) == np.arange(4))


@pytest.mark.parametrize("measure", [lambda p, r: top_k(p, r, 1), log_losses, brier_scores])
def test_what_is_no_number_is_no_probability(measure):
    with pytest.raises(MetricError, match="not finite"):
        measure(np.array([[0.5, 0.5], [np.nan, np.nan]]), np.array([0, 0]))


def test_a_certain_mistake_costs_much_but_not_everything():
    assert 30 < log_losses(np.array([[1.0, 0.0]]), np.array([1]))[0] < 40


@pytest.mark.parametrize(("shape", "reference"), [((0, 3), []), ((2, 3), [0]), ((2, 3), [0, 3]), ((2, 3), [-1, 0])])
def test_arrays_that_do_not_fit(shape, reference):
    with pytest.raises(MetricError):
        top_k(np.full(shape, 0.5), np.array(reference, dtype=int), 1)


# calibration


@pytest.mark.parametrize("seed", range(3))
def test_bins_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    confidence = rng.random(500)
    correct = rng.random(500) < confidence
    bins = [one for one in reliability(confidence, correct, 10) if one.count]
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10)
    np.testing.assert_allclose([one.accuracy for one in bins], accuracy)
    np.testing.assert_allclose([one.confidence for one in bins], mean)
    gap = sum(one.count * abs(a - m) for one, a, m in zip(bins, accuracy, mean, strict=True)) / 500
    assert expected_error(bins) == pytest.approx(gap)


def test_calibration_by_hand():
    bins = reliability(np.array([0.95, 0.95, 0.55, 0.0, 1.0]), np.array([True, False, True, False, True]), 10)
    assert [one.count for one in bins] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert bins[1].accuracy is None
    # (1 * |0 - 0| + 1 * |1 - 0.55| + 3 * |2/3 - 2.9/3|) / 5
    assert expected_error(bins) == pytest.approx((0.45 + 0.9) / 5)
    assert expected_error([]) is None


# intervals


def test_intervals_hold_the_figures_and_narrow_with_more_pictures():
    widths = []
    for count in (200, 3200):
        probabilities, reference = sample(1, count)
        ranges = class_intervals(probabilities, reference, resamples=300)
        scores = class_scores(reference, probabilities.argmax(axis=1), 6)
        for one, precision, recall, f1 in zip(scores, ranges.precision, ranges.recall, ranges.f1, strict=True):
            assert precision[0] <= one.precision <= precision[1]
            assert recall[0] <= one.recall <= recall[1]
            assert f1[0] <= one.f1 <= f1[1]
        for area, held in zip(class_aurocs(probabilities, reference), ranges.auroc, strict=True):
            assert held[0] <= area <= held[1]
        assert ranges.macro_f1[0] <= mean_of([one.f1 for one in scores]) <= ranges.macro_f1[1]
        widths.append(ranges.macro_auroc[1] - ranges.macro_auroc[0])
    assert 0.15 < widths[1] / widths[0] < 0.4  # about 1 / sqrt(16)


def test_one_draw_equals_the_figures_of_the_drawn_pictures():
    """With two groups every draw is AA, AB or BB: the interval's ends are figures of one group alone."""
    probabilities, reference = sample(3, 80, 3)
    groups = [number < 40 for number in range(80)]
    ranges = class_intervals(probabilities, reference, groups, resamples=400)
    halves = []
    for half in (slice(0, 40), slice(40, 80)):
        p, r = probabilities[half], reference[half]
        scores = class_scores(r, p.argmax(axis=1), 3)
        halves.append(
            {
                "auroc": class_aurocs(p, r)[1],
                "precision": scores[1].precision,
                "recall": scores[1].recall,
                "f1": scores[1].f1,
                "macro_f1": mean_of([one.f1 for one in scores]),
                "balanced_accuracy": mean_of([one.recall for one in scores]),
                "macro_auroc": mean_of(class_aurocs(p, r)),
            }
        )
    for name, first in halves[0].items():
        found = getattr(ranges, name)
        assert (found[1] if isinstance(found[0], list) else found) == pytest.approx(sorted([first, halves[1][name]]))
    errors = [calibration_error(probabilities[part], reference[part]) for part in (slice(40), slice(40, 80), slice(80))]
    assert ranges.ece[0] > 0  # so that no end was clipped, and the draws moved together
    assert ranges.ece[1] - ranges.ece[0] == pytest.approx(max(errors) - min(errors))
    assert ranges.ece[0] <= errors[2] <= ranges.ece[1]


def calibration_error(probabilities: np.ndarray, reference: np.ndarray) -> float:
    error = expected_error(reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == reference))
    assert error is not None
    return error


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_the_calibration_error_holds_it_for_a_calibrated_model(seed):
    """Gaps of pure chance add up again in every draw: uncorrected, the figure lies at the interval's lower end."""
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.5, 1.0, 400)
    right = rng.random(400) < sure
    probabilities = np.stack([sure, 1 - sure], axis=1)
    reference = np.where(right, 0, 1)
    low, high = class_intervals(probabilities, reference, resamples=300).ece
    place = (calibration_error(probabilities, reference) - low) / (high - low)
    assert 0.3 < place < 0.7


@pytest.mark.parametrize("pictures", [1, 30])
def test_one_group_has_no_intervals(pictures):
    probabilities, reference = sample(4, pictures, 3)
    ranges = class_intervals(probabilities, reference, ["a"] * pictures)
    nothing = [None, None]
    assert ranges.macro_f1 == ranges.balanced_accuracy == ranges.macro_auroc == ranges.ece == nothing
    assert ranges.precision == ranges.recall == ranges.f1 == ranges.auroc == [nothing] * 3


def test_groups_widen_the_intervals():
    probabilities, reference = sample(2, 100)
    again = np.repeat(probabilities, 9, axis=0), np.repeat(reference, 9)
    alone = class_intervals(*again, resamples=300).macro_f1
    together = class_intervals(*again, np.repeat(np.arange(100), 9).tolist(), resamples=300).macro_f1
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_nothing_to_say_of_an_absent_class():
    ranges = class_intervals(np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]), np.array([0, 1]), resamples=50)
    assert ranges.recall[2] == [None, None]
    assert ranges.auroc[2] == [None, None]


def test_a_class_that_is_only_predicted_is_not_in_the_macro_f1():
    """Every draw holds classes 0 and 1 alike, class 2 only as a mistake: F1 of 2 / 3 and 1."""
    once = np.array([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    ranges = class_intervals(np.tile(once, (4, 1)), np.tile([0, 0, 1], 4), np.repeat(range(4), 3).tolist())
    assert ranges.macro_f1 == pytest.approx([5 / 6, 5 / 6])


def test_a_rare_class_that_a_draw_lacks_still_counts_in_the_means():
    """The third class, of two images, is never found, and the others always: its absence must not look like 1."""
    reference = np.repeat([0, 1, 2], [20, 20, 2])
    certain = np.eye(3)[np.where(reference == 2, 1, reference)]
    ranges = class_intervals(certain, reference)
    f1 = mean_of([one.f1 for one in class_scores(reference, certain.argmax(axis=1), 3)])
    assert ranges.balanced_accuracy == pytest.approx([2 / 3, 2 / 3])
    assert ranges.macro_f1[0] <= f1 <= ranges.macro_f1[1] < 0.7
    assert ranges.macro_auroc[1] < 1


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(5, 60))
def test_figures_lie_in_their_range(seed, classes, count):
    probabilities, reference = sample(seed, count, classes)
    ranges = class_intervals(probabilities, reference, resamples=20, seed=seed)
    for low, high in (ranges.macro_f1, ranges.balanced_accuracy, ranges.ece, *ranges.precision, *ranges.auroc):
        assert low is None or 0 <= low <= high <= 1
