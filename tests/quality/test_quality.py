"""Quality without a reference: features by hand, the regressor, intervals that hold for new patients, calibration."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from torch import nn

import segcct
from segcct.cli import main
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.split_record import Splits
from segcct.errors import DataError, ModelError, RunError, SplitError
from segcct.files.json_file import write_json
from segcct.images.volume import Volume
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.inferers import SliceInferer
from segcct.inference.predictor import Predictor, Segmented
from segcct.inference.unseen_cases import UnseenCases
from segcct.metrics.ranking import aurc, auroc, mean_absolute_error, pearson, spearman
from segcct.model_card import PostprocessingStep, SchemeCard, load_card
from segcct.predictions.case_tables import merge_rows
from segcct.predictions.quality_rows import read_rows
from segcct.quality import (
    FEATURES,
    FILE,
    GROUPS,
    CalibrationRow,
    CasePredictions,
    QualityModel,
    class_features,
    cross_fit,
    fit,
)
from segcct.quality.calibration_run import calibrate, check_folds
from segcct.quality.case_features import calibration_rows, features_of_case, volumes_of
from segcct.quality.conformal import patient_coverage, patient_quantile
from segcct.quality.features import with_other_classes
from segcct.quality.fitting import Calibration
from segcct.quality.performance import performance
from segcct.quality.quality_model import identity_of_masks
from segcct.quality.quality_table import quality_rows, quality_table
from segcct.quality.regression import Ridge, make_covariate, monotone_curve, on_curve
from segcct.quality.shape_features import off_center, shape_features
from tests.support.toy_pair import HOW, card, data_section, loaded_case, predictor

CLASSES = ("a", "b", "c")


def simulated(patients: int, seed: int, *, cases: int = 2) -> list[CalibrationRow]:
    """Patients whose cases share an offset; two features that follow the Dice, one that does not, skewed failures."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        offset = 0.06 * rng.normal()
        for case in range(cases):
            for number, name in enumerate(CLASSES):
                quality = (
                    0.85 - 0.05 * number + offset + 0.08 * rng.normal() - (rng.random() < 0.1) * rng.exponential(0.3)
                )
                dice = float(np.clip(quality, 0, 1))
                features: dict[str, float | None] = dict.fromkeys(FEATURES)
                features["expected_dice"] = float(np.clip(dice + 0.05 * rng.normal(), 0.01, 0.99))
                features["flip_agreement"] = float(np.clip(dice + 0.1 * rng.normal(), 0.01, 0.99))
                features["volume_voxels"] = float(rng.normal())
                rows.append(CalibrationRow(f"s{seed}p{patient}_{case}", f"s{seed}p{patient}", name, features, dice))
    return rows


@pytest.fixture(scope="module")
def rows() -> list[CalibrationRow]:
    return simulated(40, 0)


@pytest.fixture(scope="module")
def model(rows) -> QualityModel:
    return fit(rows, CLASSES)


# Measures of prediction


def test_correlations_against_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=30), rng.integers(0, 5, 30)
    assert pearson(a, b) == pytest.approx(pearsonr(a, b).statistic)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert mean_absolute_error([1, 2], [2, 4]) == 1.5


def test_what_has_no_correlation_has_none():
    assert pearson([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2], [1, 2]) is None
    assert auroc([1, 2], [True, True]) is None
    assert aurc([], []) is None
    assert mean_absolute_error([], []) is None


def test_auroc_counts_pairs():
    values, positive = [0.9, 0.5, 0.5, 0.1], [True, True, False, False]
    pairs = [(0.9 > 0.5) + (0.9 > 0.1), 0.5 + (0.5 > 0.1)]  # a tie is half a win
    assert auroc(values, positive) == pytest.approx(sum(pairs) / 4)


def test_aurc_by_hand():
    assert aurc([3, 2, 1], [0.0, 0.3, 0.6]) == pytest.approx((0 + 0.15 + 0.3) / 3)
    assert aurc([1, 1, 1], [0.0, 0.3, 0.6]) == pytest.approx(0.3)  # no order: the mean risk
    assert aurc([1, 2, 3], [0.0, 0.3, 0.6]) > 0.3


# Features


def test_shape_by_hand():
    mask = np.zeros((4, 8, 8), dtype=bool)
    mask[0, 1:5, 1:5] = True
    mask[1, 1:5, 1:5] = True
    mask[3, 6:8, 6:8] = True
    found = shape_features(mask)
    assert found["components"] == 1.0  # log2 of two pieces
    assert found["largest_share"] == 32 / 36
    assert found["compactness"] == 1.0  # squares only
    assert found["slice_agreement"] == 1.0
    assert found["slice_gaps"] == 0.25
    assert found["extent"] == 0.75
    assert found["area_jump"] == (0 + 16 + 4) / 36  # areas 16, 16, 0, 4
    assert found["thickness"] == math.log(2)
    assert shape_features(mask[:1])["slice_agreement"] is None
    assert shape_features(mask[:1])["area_jump"] is None
    assert shape_features(np.ones((2, 8, 8), dtype=bool))["thickness"] == math.log(4)  # up to the edge of the slice

    foreground = mask.copy()
    foreground[2:] = True
    away = math.hypot(6.5 - 3.5, 6.5 - 3.5)  # in the last slice, whose foreground is all of it; elsewhere 0
    expected = away * 4 / 36 / math.sqrt((16 + 16 + 64 + 64) / 4 / math.pi)
    assert off_center(mask, foreground) == pytest.approx(expected)
    assert off_center(mask, mask) == 0


def test_a_line_is_less_compact_than_a_square():
    mask = np.zeros((1, 12, 12), dtype=bool)
    mask[0, 5, 1:11] = True
    assert shape_features(mask)["compactness"] == pytest.approx(16 * 10 / 22**2)


def predictions(confidence: float = 0.8) -> CasePredictions:
    """A square of class 1 in three classes, everywhere predicted with one probability."""
    index = np.zeros((3, 20, 20), dtype=np.uint8)
    index[:, 6:14, 6:14] = 1
    rest = (1 - confidence) / 2
    probabilities = np.full((3, 3, 20, 20), rest, dtype=np.float32)
    np.put_along_axis(probabilities, index[:, None].astype(np.int64), confidence, axis=1)
    return CasePredictions(probabilities, index, volumes={1: (192, 1.92)})


def test_softmax_features_by_hand():
    one = predictions()
    found = class_features(one, 1)
    entropy = -(0.8 * math.log(0.8) + 2 * 0.1 * math.log(0.1)) / math.log(3)
    assert found["entropy_foreground"] == pytest.approx(entropy, rel=1e-4)
    assert found["entropy_border"] == pytest.approx(entropy, rel=1e-4)
    inside, outside = 3 * 64, 3 * (400 - 64)
    assert found["expected_dice"] == pytest.approx(2 * 0.8 * inside / (0.8 * inside + 0.1 * outside + inside), rel=1e-4)
    assert found["volume_ml"] == pytest.approx(math.log10(1.921))
    assert found["flip_agreement"] is None
    assert set(found) == set(FEATURES)


def test_a_mask_that_fills_its_slices_has_no_border():
    probabilities = np.zeros((2, 2, 12, 12), dtype=np.float32)
    probabilities[:, 1] = 1.0
    found = class_features(CasePredictions(probabilities, np.ones((2, 12, 12), dtype=np.uint8)), 1)
    assert found["entropy_border"] is None
    assert found["expected_dice"] == 1.0


def test_classes_of_a_case_tell_of_each_other():
    own = dict.fromkeys(FEATURES, 0.5)
    found = with_other_classes({"a": {**own, "flip_agreement": 0.9}, "b": {**own, "flip_agreement": 0.7}, "c": None})
    assert found["a"]["flip_agreement_others"] == 0.7
    assert found["b"]["flip_agreement_others"] == 0.9
    assert found["c"] is None
    assert with_other_classes({"a": own})["a"]["flip_agreement_others"] is None


def kept(of: Predictor, scan: LoadedCase) -> Segmented:
    return of.segment(scan, keep_probabilities=True)


class Leaning(nn.Module):
    """Sees class 1 in the left part of a slice only: flips and turns disagree with it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        left = torch.linspace(3, -3, image.shape[-1]).expand_as(image[:, 0])
        return torch.stack([torch.zeros_like(left), left, torch.full_like(left, -9.0)], dim=1)


def test_views_come_back_in_place():
    """A network without a sense of direction agrees with itself exactly, whatever the slices' proportions."""
    features = features_of_case(predictor(), kept(predictor(), loaded_case()))
    for name in ("low", "high"):
        assert features[name]["flip_agreement"] == features[name]["rotation_agreement"] == 1.0


def test_a_network_with_a_sense_of_direction_disagrees_with_itself():
    leaning = Predictor(Leaning(), card("segmentation", data_section()), HOW)
    features = features_of_case(leaning, kept(leaning, loaded_case()))
    assert features["low"]["flip_agreement"] == pytest.approx(0.5, abs=0.05)  # up-down agrees, left-right not at all
    assert features["low"]["rotation_agreement"] < 0.7
    assert features["high"] is None


def test_a_case_is_measured_on_its_own_grid():
    seen = kept(predictor(), loaded_case(noise=0.0))
    features = features_of_case(predictor(), seen)
    for own in features.values():
        assert {name for name, value in own.items() if value is None} == set(GROUPS["members"])  # one model has none
    assert [(row.class_name, row.dice) for row in calibration_rows(seen, features)] == [("low", 1.0), ("high", 1.0)]


def test_volumes_without_spacing():
    full = np.array([[[0, 1, 1, 2]]], dtype=np.uint8)
    assert volumes_of(full, None, 3) == {1: (2, None), 2: (1, None)}
    assert volumes_of(full, 1.0, 3) == {1: (2, 2.0), 2: (1, 1.0)}


def test_a_case_without_foreground_is_not_estimated(model):
    seen = kept(predictor(), loaded_case(foreground=False, noise=0.1))
    features = features_of_case(predictor(), seen)
    assert features == {"low": None, "high": None}
    assert [row.dice for row in calibration_rows(seen, features)] == [None, None]
    assert model.estimate("a", None) is None


def test_a_class_on_the_scans_grid_alone_was_predicted():
    seen = kept(predictor(), loaded_case(noise=0.0))
    seen.soft.index[seen.soft.index == 2] = 0
    features = features_of_case(predictor(), seen)["high"]
    assert features is not None
    assert features["expected_dice"] == 0
    assert {"expected_dice", "volume_voxels", "volume_ml"} <= {name for name in FEATURES if features[name] is not None}
    assert features["entropy_foreground"] is features["components"] is None


def test_a_class_that_postprocessing_removed_was_not_predicted():
    step = PostprocessingStep(step="minimum_volume", classes=("high",), ml=1e6)
    of = another(postprocessing=(step,))
    seen = kept(of, loaded_case(noise=0.0))
    assert (seen.soft.index == 2).any()  # the network did find it
    features = features_of_case(of, seen)
    assert features["low"] is not None
    assert features["high"] is None
    assert [(row.class_name, row.dice) for row in calibration_rows(seen, features)] == [("low", 1.0), ("high", 0.0)]


# The regressor


def test_ridge_solves_its_equations():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    slopes, intercept = Ridge.of(x, y).weights(2.0)
    centred = x - x.mean(axis=0)
    np.testing.assert_allclose((centred.T @ centred + 2.0 * np.eye(4)) @ slopes, centred.T @ (y - y.mean()), atol=1e-10)
    assert intercept == pytest.approx(y.mean() - x.mean(axis=0) @ slopes)


def test_knots_by_hand():
    x, y = np.arange(5.0), np.array([0.1, 0.4, 0.2, 0.6, 0.6])
    assert monotone_curve(x, y, least=1) == (
        [0.0, 1.5, 3.5],
        [pytest.approx(0.1), pytest.approx(0.3), pytest.approx(0.6)],
    )
    assert monotone_curve(x, y, least=2)[0] == [1.0, 3.5]  # a block of one joins the next
    assert monotone_curve(x, y, least=9)[0] == [2.0]


@pytest.mark.parametrize(
    ("x", "y"),
    [(0.4, 0.5), (0.0, 0.25), (0.9, 0.775), (-2.0, 0.0), (3.0, 1.0)],  # 0.3 - 0.2 / 4, 0.7 + 0.3 / 4
)
def test_beyond_its_ends_a_curve_goes_on_gently(x, y):
    assert on_curve(x, [0.2, 0.6], [0.3, 0.7]) == pytest.approx(y)


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_the_table_never_falls(count, seed):
    rng = np.random.default_rng(seed)
    x = rng.random(count)
    knots = monotone_curve(x, np.clip(x + rng.normal(0, 0.3, count), 0, 1))
    assert list(knots[0]) == sorted(knots[0])
    read = [on_curve(value, *knots) for value in np.linspace(0, 1, 50)]
    assert all(later >= earlier for earlier, later in pairwise(read))
    assert 0 <= min(read) <= max(read) <= 1


def test_an_estimate_follows_its_features(rows, model):
    good = model.estimate("a", {**dict.fromkeys(FEATURES), "expected_dice": 0.95, "flip_agreement": 0.95})
    poor = model.estimate("a", {**dict.fromkeys(FEATURES), "expected_dice": 0.4, "flip_agreement": 0.4})
    assert poor.dice < 0.6 < 0.85 < good.dice
    assert poor.low <= poor.dice <= poor.high
    assert poor.high - poor.low > good.high - good.low  # a poor mask is harder to estimate
    estimates = [model.estimate(row.class_name, row.features).dice for row in rows]
    assert spearman(estimates, [row.dice for row in rows]) > 0.8


def test_features_far_outside_are_not_followed_without_end(model):
    wild = {**dict.fromkeys(FEATURES), "expected_dice": 0.9, "flip_agreement": 0.9, "volume_voxels": 1e9}
    estimate = model.estimate("a", wild)
    assert 0 <= estimate.low <= estimate.dice <= estimate.high <= 1


def test_columns_are_the_covariates_of_their_rows(rows):
    """Many rows at once as one by one, each worked here from the definitions."""
    rng = np.random.default_rng(0)
    names = ("expected_dice", "entropy_border", "volume_voxels", "components")
    some = [
        replace(row, features={name: None if rng.random() < 0.2 else float(rng.exponential()) for name in names})
        for row in rows
    ]
    calibration = Calibration(some, CLASSES, names)
    kept = rng.random(len(some)) < 0.7
    features = calibration.covariates(kept, names)
    assert [(one.feature, one.transform) for one in features] == [
        ("expected_dice", "logit"), ("expected_dice", "distance"), ("entropy_border", "log"),
        ("entropy_border", "distance"), ("volume_voxels", "identity"), ("volume_voxels", "distance"),
        ("components", "identity"), ("components", "distance"),
    ]  # fmt: skip
    change = {
        "log": lambda value: math.log(max(value, 1e-4)),
        "logit": lambda value: math.log(min(max(value, 2e-3), 0.998) / (1 - min(max(value, 2e-3), 0.998))),
    }
    found = calibration.values(features)
    for place, row in enumerate(some):
        for number, one in enumerate(features):
            of = change.get(one.transform, float)
            same = [each for each, keep in zip(some, kept, strict=True) if keep and each.class_name == row.class_name]
            values = [of(each.features[one.feature]) for each in same if each.features[one.feature] is not None]
            value, expected = row.features[one.feature], 0.0
            if value is not None:
                z = (of(value) - np.mean(values)) / np.std(values)
                expected = min(max(abs(z) - 0.8 if one.transform == "distance" else z, -4), 4)
            assert found[place, number] == pytest.approx(expected, abs=1e-12)
            assert one.of(row.features, row.class_name) == pytest.approx(expected, abs=1e-12)


def test_an_unknown_class_is_an_error(model):
    with pytest.raises(ModelError, match="found liver; expected a, b, c"):
        model.estimate("liver", {})


def test_through_json_and_back(model, rows):
    text = json.dumps(model.to_json(), allow_nan=False)
    back = QualityModel.from_json(json.loads(text), Path("quality.json"))
    for row in rows[:12]:
        assert back.estimate(row.class_name, row.features) == model.estimate(row.class_name, row.features)
    assert json.loads(json.dumps(back.to_json())) == json.loads(text)


@pytest.mark.parametrize("content", [{}, {"format": 7}, {"format": 1, "classes": 3}])
def test_what_is_no_estimate_is_refused(content):
    with pytest.raises(ModelError):
        QualityModel.from_json(content, Path("quality.json"))


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("quantiles", lambda own: dict(list(own.items())[1:])),
        ("slopes", lambda own: {name: values[1:] for name, values in own.items()}),
        ("intercepts", lambda own: dict.fromkeys(own)),
        ("intercepts", lambda own: dict.fromkeys(own, math.nan)),
        ("flag_below", lambda _: math.nan),
        ("flag_below", lambda _: 70),
        ("curve", lambda own: [own[0], [math.inf] * len(own[1])]),
        ("covariates", lambda own: [{**own[0], "center": {}}, *own[1:]]),
    ],
)
def test_a_damaged_estimate_is_refused_before_it_is_used(model, key, change):
    content = json.loads(json.dumps(model.to_json()))
    QualityModel.from_json(content, Path("quality.json"))
    with pytest.raises(ModelError, match="cannot be used as a quality estimate"):
        QualityModel.from_json({**content, key: change(content[key])}, Path("quality.json"))


def test_a_class_of_fewer_than_five_values_is_centered_as_all_rows_are():
    own, few = np.arange(5.0), np.array([10.0, 20.0, 30.0, 40.0])
    found = make_covariate("volume_ml", "identity", {"own": own, "few": np.append(few, math.nan)}, ["absent"])
    pooled = np.concatenate([own, few])
    assert found.center == pytest.approx({"own": 2, "few": 110 / 9, "absent": (2 + 110 / 9) / 2})
    assert found.scale == pytest.approx(
        {"own": math.sqrt(2), "few": pooled.std(), "absent": (math.sqrt(2) + pooled.std()) / 2}
    )


# Intervals


def test_the_quantile_counts_patients_not_cases():
    scores, patients = [1.0] * 50 + [2.0, 3.0, 4.0], ["many"] * 50 + ["b", "c", "d"]
    # Four patients: each has 1/5 of the mass, and 1/5 lies at infinity.
    assert patient_quantile(scores, patients, 0.2) == 1.0
    assert patient_quantile(scores, patients, 0.5) == 3.0
    assert patient_quantile(scores, patients, 0.8) == 4.0
    assert patient_quantile(scores, patients, 0.9) == math.inf


@pytest.mark.parametrize(("patients", "distinct"), [(19, 1), (20, len(CLASSES))])
def test_a_class_has_a_quantile_of_its_own_from_twenty_patients(patients, distinct):
    quantiles = fit(simulated(patients, 3, cases=1), CLASSES).quantiles
    assert len(set(quantiles.values())) == distinct


def test_coverage_counts_patients_not_cases():
    assert patient_coverage([True, True, True, False], ["a", "a", "a", "b"]) == 0.5
    assert patient_coverage([], []) is None


def test_intervals_hold_for_new_patients():
    """90% of the Dice of patients that were not there; the mean over twenty calibrations of 40 patients each."""
    coverage = []
    for seed in range(20):
        fitted, new = fit(simulated(40, seed), CLASSES), simulated(40, 1000 + seed)
        found = [fitted.estimate(row.class_name, row.features) for row in new]
        inside = [one.low <= row.dice <= one.high for one, row in zip(found, new, strict=True)]
        coverage.append(patient_coverage(inside, [row.patient for row in new]))
    assert 0.88 <= np.mean(coverage) <= 0.95


def test_too_few_patients_for_an_interval_is_said():
    fitted = fit(simulated(6, 0), CLASSES)
    estimate = fitted.estimate("a", simulated(1, 9)[0].features)
    assert (estimate.low, estimate.high) == (0.0, 1.0)
    calibrated = calibrate(simulated(6, 0), CLASSES, sources=["run"])
    assert "Too few patients for an interval" in calibrated.facts["summary"]


@pytest.mark.parametrize(("patients", "known"), [(6, False), (9, False), (30, True)])
def test_coverage_is_reported_only_if_it_was_measured(patients, known):
    """Of nine patients, eight are left in each fold: too few for an interval, though all nine give one."""
    calibrated = calibrate(simulated(patients, 0), CLASSES, sources=["run"]).facts
    assert (calibrated["performance"]["coverage"] is not None) == known
    assert ("lay in their 90% interval" in calibrated["summary"]) == known
    assert ("Too few patients" in calibrated["summary"]) != known


def test_too_few_patients_for_anything_is_an_error():
    with pytest.raises(DataError, match="found 2 with a predicted structure"):
        fit(simulated(2, 0), CLASSES)
    empty = [replace(row, features=None) for row in simulated(20, 0)]
    with pytest.raises(DataError, match="found 0"):
        fit(empty, CLASSES)


# Cross-fitting and calibration


def test_no_estimate_has_seen_its_patient(rows):
    """Another Dice for one patient changes others' estimates, never its own."""
    changed = [replace(row, dice=0.02) if row.patient == "s0p3" else row for row in rows]
    before, after = (
        {(row.case, row.class_name): one.dice for row, one in cross_fit(each, CLASSES)} for each in (rows, changed)
    )
    own = {key for key in before if key[0].startswith("s0p3_")}
    assert len(own) == 6
    assert all(before[key] == after[key] for key in own)
    assert any(before[key] != after[key] for key in before.keys() - own)


def test_a_fit_on_some_rows_knows_nothing_of_the_others(rows):
    """Neither their values nor, in the inner folds, how many there are."""
    kept = np.array([row.patient < "s0p3" for row in rows])
    some = Calibration([row for row, keep in zip(rows, kept, strict=True) if keep], CLASSES)
    part = Calibration(rows, CLASSES).point(kept, some.features)
    alone = some.point(np.ones(kept.sum(), dtype=bool), some.features)
    for name in ("slopes", "intercepts", "curve", "residual_scale"):
        np.testing.assert_allclose(getattr(part, name), getattr(alone, name), atol=1e-9)


def test_of_penalties_that_lose_alike_the_largest_is_taken(rows):
    """A feature that says nothing gets next to no slope."""
    calibration = Calibration(rows, CLASSES, ["volume_voxels"])
    slopes = calibration.point(np.ones(len(rows), dtype=bool), calibration.features).slopes
    assert np.abs(slopes).max() < 0.001  # 0.0013 at the smallest loss, 0.04 at the smallest penalty


def test_an_error_is_taken_for_one_hundredth_at_least(rows):
    """However well the estimates fit the masks that they were fitted to."""
    assert fit([replace(row, dice=0.9) for row in rows], CLASSES).residual_scale[1] == [0.01]


def test_rows_in_another_order_give_the_same_estimates(rows, model):
    shuffled = fit([rows[place] for place in np.random.default_rng(1).permutation(len(rows))], CLASSES)
    for row in rows[:9]:
        assert shuffled.estimate(row.class_name, row.features).dice == pytest.approx(
            model.estimate(row.class_name, row.features).dice, abs=1e-9
        )


def test_performance_is_of_the_estimates(rows):
    found = cross_fit(rows, CLASSES)
    kept, intervals = [row for row, _ in found], [one for _, one in found]
    row = performance(kept, [one.dice for one in intervals], intervals)
    assert row.masks == 240
    assert row.patients == 40
    assert row.spearman > 0.8
    assert row.mae < 0.06
    assert 0.82 < row.coverage < 0.98
    assert 0 < row.width < 0.5
    useless = performance(kept, np.full(240, 0.8))
    assert useless.spearman is None
    assert useless.coverage is None
    assert useless.auroc == 0.5


def test_a_calibration_leaves_groups_out():
    calibrated = calibrate(simulated(30, 0), CLASSES, sources=["run"])
    table = {row["name"]: row for row in calibrated.facts["leave_one_out"]}
    assert [name for name, row in table.items() if row["in_use"]] == ["all features"]
    assert table["without flips"]["mae"] > table["all features"]["mae"]
    assert table["flips alone"]["spearman"] > table["volume alone"]["spearman"]
    assert "rough" in calibrated.facts["summary"]  # 30 patients


def test_features_are_in_one_group_each():
    assert len(FEATURES) == len(set(FEATURES))


def test_undefined_features_are_left_out(rows, model):
    assert set(Calibration(rows, CLASSES).features) == {"expected_dice", "flip_agreement", "volume_voxels"}
    assert not quality_table(predictor(), model).needs_agreement


def test_a_feature_that_few_patients_have_is_no_error():
    """One patient has it, in most of the masks: the fits without that patient know nothing of it."""
    rows = simulated(3, 0, cases=1) + [
        replace(row, case=f"{row.case}{visit}", patient="s0p0")
        for visit in range(4)
        for row in simulated(1, 1, cases=1)
    ]
    rows = [
        replace(row, features={**row.features, "volume_ml": 1.0 + number if row.patient == "s0p0" else None})
        for number, row in enumerate(rows)
    ]
    assert "volume_ml" in Calibration(rows, CLASSES).features
    assert "volume_ml" in fit(rows, CLASSES).features


@pytest.mark.parametrize(("lacking", "used"), [(120, True), (121, False)])
def test_a_feature_that_half_of_the_rows_have_is_used(rows, lacking, used):
    some = [replace(row, features=row.features | {"volume_voxels": None}) for row in rows[:lacking]]
    assert ("volume_voxels" in Calibration([*some, *rows[lacking:]], CLASSES).features) == used


def test_missed_structures_are_counted():
    rows = simulated(20, 0)
    rows += [CalibrationRow("x", "x", "a", None, 0.0), CalibrationRow("y", "y", "a", None, None)]
    facts = calibrate(rows, CLASSES, sources=["run"]).facts
    assert facts["not_predicted"] == {
        "a": {"cases": 2, "held_it": 1},
        "b": {"cases": 0, "held_it": 0},
        "c": {"cases": 0, "held_it": 0},
    }


def test_the_digest_is_that_of_the_estimates(tmp_path):
    """Two calibrations on the same rows at different times are one; by it, finished cases are found."""

    def stored(time: str, **changed: object) -> QualityModel:
        model = calibrate(rows, CLASSES, sources=["run"]).model_copy(update=changed)
        identity = {"weights_sha256": time, "provenance": {"time": time}}
        write_json(tmp_path / "quality.json", {**model.with_facts(summary=time).to_json(), **identity})
        return QualityModel.from_json(json.loads((tmp_path / "quality.json").read_text()), tmp_path / "quality.json")

    rows = simulated(20, 0)
    digest = stored("now").digest
    assert digest == stored("then").digest == calibrate(rows, CLASSES, sources=["run"]).digest
    rows.append(CalibrationRow("x", "x", "a", None, 0.0))
    assert stored("now").digest != digest  # another class counts as missed
    assert stored("now", flag_below=0.9).digest != stored("now").digest


def fold(folder: str, *names: str) -> UnseenCases:
    return UnseenCases(Path(folder), predictor(), tuple(Case(name, name, {}) for name in names), data_section())


def test_folds_must_not_share_cases():
    with pytest.raises(SplitError, match="case b is in the validation split of two runs"):
        check_folds(Path("one"), predictor().card, [fold("one", "a", "b"), fold("two", "b")])


def another(**parts: object) -> Predictor:
    """The toy predictor with parts of its card replaced."""
    return Predictor(predictor().network, predictor().card.model_copy(update=parts), HOW)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            another(scheme=SchemeCard(name="custom", classes={"low": 3})),
            r"two: is a different experiment from one: .*classes",
        ),
        (
            another(architecture=predictor().card.architecture.model_copy(update={"name": "unet"})),
            "other model .*m2i_s",
        ),
        (predictor(image_size=64), "other preparation"),
        (predictor(channels={"mr": "*.nii.gz"}), "other channels"),
    ],
)
def test_folds_must_be_of_one_experiment(other, said):
    own, folds = predictor().card, [fold("one", "a"), fold("two", "b")]
    assert check_folds(Path("one"), own, folds) == ("low", "high")
    with pytest.raises(ModelError, match=said):
        check_folds(Path("one"), own, [folds[0], replace(folds[1], predictor=other)])


@pytest.mark.parametrize("rename", ["{}", "{}_at_another_visit"])
def test_a_model_that_the_run_learnt_from_may_not_know_the_patients(trained, phantom, tmp_path, rename):
    splits = Splits.load(trained / "splits.json")
    loaded = Predictor.load(trained / "best", InferenceSettings(device="cpu"))
    other = tmp_path / "other" / "best"
    shutil.copytree(trained / "best", other)
    UnseenCases.of_run(trained / "best", loaded, phantom, trained_with=[other])  # nothing is known of it
    patients = {rename.format(name): splits.patients[name] for name in splits.val}
    Splits(train=tuple(patients), val=splits.train, patients=patients).save(tmp_path / "other" / "splits.json")
    for source in (other, other / "weights.safetensors"):
        with pytest.raises(DataError, match="trained with has seen the patients of 1 of the 1"):
            UnseenCases.of_run(trained / "best", loaded, phantom, trained_with=[source])
    real = loaded.card.model_copy(update={"synthetic": not loaded.card.synthetic})
    UnseenCases.of_run(trained / "best", Predictor(loaded.network, real, HOW), phantom, trained_with=[other])


def test_a_model_outside_its_run_cannot_be_calibrated(trained, phantom, tmp_path):
    loaded = Predictor.load(trained / "best", InferenceSettings(device="cpu"))
    with pytest.raises(RunError, match=r"splits\.json"):
        UnseenCases.of_run(tmp_path / "best", loaded, phantom)


# Commands


@pytest.fixture
def estimated(trained, tmp_path) -> Path:
    """A copy of the trained model with a made-up quality.json."""
    best = tmp_path / "run" / "best"
    shutil.copytree(trained / "best", best)
    shutil.copy(trained / "splits.json", best.parent / "splits.json")
    names = load_card(best).scheme.classes
    renamed = dict(zip(CLASSES, names, strict=True))
    fitted = fit([replace(row, class_name=renamed[row.class_name]) for row in simulated(30, 0)], tuple(names))
    write_json(best / "quality.json", {**fitted.to_json(), **identity_of_masks(load_card(best))})
    return best


def test_predict_writes_the_table(estimated, phantom, tmp_path, capsys):
    arguments = ["predict", "--model", str(estimated), "--input", str(phantom), "--split", "test"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    table = list(csv.DictReader((tmp_path / "out" / "quality.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["class"] for row in table] == list(load_card(estimated).scheme.classes)
    for row in table:
        assert row["flag_below"] == "0.7"
        if row["estimated_dice"]:
            assert 0 <= float(row["low"]) <= float(row["estimated_dice"]) <= float(row["high"]) <= 1
            assert row["flagged"] == ("yes" if float(row["estimated_dice"]) < 0.7 else "no")
        else:
            assert row["flagged"] == "yes"
            assert row["note"] == "not predicted: taken as missed"
    flagged = any(row["flagged"] == "yes" for row in table)
    shown = f"{int(flagged)} of 1 case flagged for review (estimated Dice below 0.7, or a structure missed)"
    written = capsys.readouterr()
    assert shown in written.out
    assert ("another scanner, --adapt statistics may help" in written.err) == flagged
    assert main([*arguments, "--output", str(tmp_path / "out"), "--overwrite", "--no-quality"]) == 0
    assert read_rows(tmp_path / "out" / "quality.csv") == []  # new masks, no old estimates


def test_a_prediction_from_python_writes_the_table_too(estimated, phantom, tmp_path):
    arguments = ["predict", "--model", str(estimated), "--input", str(phantom), "--split", "test"]
    assert main([*arguments, "--output", str(tmp_path / "command"), "--precision", "fp32"]) == 0
    how, output = InferenceSettings(precision="fp32"), tmp_path / "python"
    predicted = segcct.predict(estimated, phantom, output, split="test", settings=how)
    rows = read_rows(output / "quality.csv")
    assert rows == read_rows(tmp_path / "command" / "quality.csv")
    assert predicted.flagged == sorted({row["case"] for row in rows if row["flagged"] == "yes"})
    assert predicted.problem == ""
    again = segcct.predict(estimated, phantom, output, split="test", settings=how, existing="replace", quality=False)
    assert again.flagged == []
    assert read_rows(output / "quality.csv") == []


def test_masks_that_fail_keep_no_old_estimate_and_the_others_get_theirs(estimated, phantom, tmp_path, capsys):
    scans, output = tmp_path / "scans", tmp_path / "out"
    names = sorted(folder.name for folder in phantom.iterdir() if folder.is_dir())[:2]
    for name in names:
        shutil.copytree(phantom / name, scans / name)
    command = ["predict", "--model", str(estimated), "--input", str(scans), "--output", str(output), "--overwrite"]
    assert main(command) == 0
    assert {row["case"] for row in read_rows(output / "quality.csv")} == set(names)
    next((scans / names[0]).glob("*_t1.nii.gz")).write_bytes(b"damaged")
    (output / "quality.csv").write_text((output / "quality.csv").read_text().replace(",yes,", ",old,"))
    assert main(command) == 1
    assert "1 of 2 cases failed" in capsys.readouterr().err
    rows = read_rows(output / "quality.csv")
    assert {row["case"] for row in rows} == {names[1]}
    assert all(row["flagged"] != "old" for row in rows)


def test_another_calibration_is_no_finished_case(estimated, phantom, tmp_path, capsys):
    command = ["predict", "--model", str(estimated), "--input", str(phantom), "--split", "test"]
    command += ["--output", str(tmp_path / "out")]
    assert main(command) == 0
    before = read_rows(tmp_path / "out" / "quality.csv")
    content = json.loads((estimated / "quality.json").read_text(encoding="utf-8"))
    write_json(estimated / "quality.json", {**content, "flag_below": 0.9})
    capsys.readouterr()
    assert main([*command, "--status"]) == 0
    assert "0 of 1 case finished" in capsys.readouterr().out
    assert main([*command, "--status", "--no-quality"]) == 0
    assert "1 of 1 case finished" in capsys.readouterr().out  # its mask is as it was
    assert main([*command, "--continue"]) == 0
    assert read_rows(tmp_path / "out" / "quality.csv") == [{**row, "flag_below": "0.9"} for row in before]
    capsys.readouterr()
    assert main([*command, "--status"]) == 0
    assert "1 of 1 case finished" in capsys.readouterr().out


def test_a_mask_without_an_estimate_is_reported(estimated, phantom, tmp_path, capsys, monkeypatch):
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("segcct.quality.case_features.features_of_case", fails)
    command = ["predict", "--model", str(estimated), "--input", str(phantom), "--split", "test"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    assert "1 of 1 mask got no row in quality.csv" in errors
    assert "too little memory. Lower --batch-size" in errors
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1


@pytest.mark.parametrize("value", ["nan", "70", "0", "much"])
def test_a_threshold_that_is_no_dice_is_wrong_usage(value, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["calibrate", "--i2m", "best", "--flag-below", value])
    assert "is not a number above 0 and at most 1" in capsys.readouterr().err


def test_masks_and_estimates_come_of_one_pass(estimated, phantom, tmp_path, monkeypatch):
    """Each file is decoded once; the network sees a case four times: as it is, two flips, a quarter turn."""
    passes, reads = [], []
    infer, load = SliceInferer.probabilities, Volume.load.__func__
    monkeypatch.setattr(SliceInferer, "probabilities", lambda *given: passes.append(1) or infer(*given))
    monkeypatch.setattr(Volume, "load", classmethod(lambda cls, *given: reads.append(given[0]) or load(cls, *given)))
    arguments = ["predict", "--model", str(estimated), "--input", str(phantom), "--split", "test"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    assert read_rows(tmp_path / "out" / "quality.csv")
    assert len(passes) == 4
    assert len(reads) == len(set(reads)) == 4  # channels of one case


def test_an_estimate_of_other_weights_is_refused(estimated, phantom, tmp_path, capsys):
    content = json.loads((estimated / "quality.json").read_text(encoding="utf-8"))
    write_json(estimated / "quality.json", {**content, "weights_sha256": "0" * 64})
    with pytest.raises(ModelError, match="calibrated for other weights"):
        QualityModel.load(estimated / FILE, load_card(estimated))
    (estimated / "quality.json").write_text("{")
    with pytest.raises(ModelError, match=r"quality\.json"):
        QualityModel.load(estimated / FILE, load_card(estimated))
    (estimated / "quality.json").unlink()
    assert QualityModel.load(estimated / FILE, load_card(estimated)) is None


def test_an_estimate_of_other_preparation_is_refused(model, tmp_path):
    """The weights are the same, but model.json was edited."""
    of = predictor().card
    fitted = model.model_copy(update={"classes": [], "slopes": {}, "intercepts": {}, "quantiles": {}})
    write_json(tmp_path / FILE, {**fitted.to_json(), **identity_of_masks(of)})
    elsewhere = {**of.data, "channels": dict.fromkeys(of.data["channels"], "elsewhere/*.nii.gz")}
    assert QualityModel.load(tmp_path / FILE, of.model_copy(update={"data": elsewhere})) is not None
    edited = of.model_copy(update={"data": {**of.data, "orientation": "canonical"}})
    with pytest.raises(ModelError, match="calibrated for other preparation"):
        QualityModel.load(tmp_path / FILE, edited)
    content = json.loads((tmp_path / FILE).read_text())
    del content["preparation"]  # as files of earlier versions
    write_json(tmp_path / FILE, content)
    assert QualityModel.load(tmp_path / FILE, of) is not None


def test_rows_of_the_table(model, tmp_path):
    features = {"a": {**dict.fromkeys(FEATURES), "expected_dice": 0.3}, "b": None, "z": dict.fromkeys(FEATURES)}
    table = {row["class"]: row for row in quality_rows(model, features)}
    assert table["a"]["flagged"] == "yes"
    assert table["b"]["estimated_dice"] == ""
    assert table["b"]["flagged"] == "yes"
    assert table["z"]["flagged"] == ""
    assert "not in the calibration" in table["z"]["note"]
    merge_rows(tmp_path, {}, listed=["case"], drop=["case"])
    assert not (tmp_path / "quality.csv").exists()
    merge_rows(tmp_path, {"case": {"quality.csv": list(table.values())}}, listed=["case"])
    merge_rows(tmp_path, {}, listed=["case"], drop=["other"])
    rows = read_rows(tmp_path / "quality.csv")
    assert [(row["case"], row["class"]) for row in rows] == [("case", name) for name in table]
    merge_rows(tmp_path, {}, listed=["case"], drop=["case"])
    assert read_rows(tmp_path / "quality.csv") == []


def test_a_class_that_is_not_predicted_is_missed_where_the_calibration_says_so(model):
    """Never unpredicted: missed. Unpredicted in two cases: missed where one held it, absent where none did."""
    features = {"a": None, "b": dict.fromkeys(FEATURES)}
    assert model.missed(features) == ["a"]
    for held_it, found in ((0, []), (1, ["a"]), (2, ["a"])):
        calibrated = model.with_facts(not_predicted={"a": {"cases": 2, "held_it": held_it}})
        assert calibrated.missed(features) == found
    absent = quality_rows(model.with_facts(not_predicted={"a": {"cases": 2, "held_it": 0}}), features)[0]
    assert (absent["flagged"], absent["note"]) == ("no", "not predicted: taken as absent")


def test_one_validation_patient_is_too_few(trained, phantom, capsys):
    assert main(["calibrate", "--i2m", str(trained / "best"), "--input", str(phantom)]) == 1
    assert "too few patients" in capsys.readouterr().err
    assert not (trained / "best" / "quality.json").exists()
