"""Reconstruction and cycles with a segmenter and a generator whose answers are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from segcct.datasets.case import Case
from segcct.errors import CheckpointError, DataError, LabelError, ModelError
from segcct.inference.cycle import Cycles, resampled
from segcct.inference.reconstructor import Reconstructor
from segcct.metrics import class_dice
from segcct.model_card import save_model
from segcct.preparation.prepared_case import prepare_case
from tests.support.toy_pair import INTENSITIES, card, class_filler, data_section, loaded_case, predictor


def test_a_synthesized_mask_is_what_comes_back():
    made = class_filler().reconstruct_case(loaded_case(noise=0))
    assert made.image.shape == made.original.shape == (5, 1, 30, 36)
    expected = np.asarray(INTENSITIES)[made.label] / 100
    np.testing.assert_allclose(made.image[:, 0], expected, atol=2e-3)
    assert made.distances["foreground"].rmse < 2e-3


def test_volume_lies_on_the_grid_of_the_case():
    scan = loaded_case(noise=0)
    made = class_filler(spacing_mm=1.0).reconstruct_case(scan)
    assert made.image.shape[2:] != made.grid.slice_shape[1:]
    volume = made.volume()
    assert volume.shape == scan.image.shape[1:]
    assert np.abs(volume - scan.image[0] / 100).mean() < 0.03


def test_baseline_knows_the_means_of_the_case():
    made = class_filler().reconstruct_case(loaded_case(noise=5))
    assert made.baseline["foreground"].rmse == pytest.approx(0.05, rel=0.1)
    assert made.distances["foreground"].rmse == pytest.approx(0.05, rel=0.1)
    assert abs(made.gain) < 0.01  # painting is all this generator does


def test_reconstruction_does_not_depend_on_batches():
    first, second = class_filler(), class_filler()
    second.how = dataclasses.replace(second.how, batch_size=2)
    images = [each.reconstruct_case(loaded_case()).image for each in (first, second)]
    np.testing.assert_allclose(images[0], images[1], atol=1e-6)


def test_every_slice_has_its_own_position_in_any_batch():
    made, seen = class_filler(), []
    made.how = dataclasses.replace(made.how, batch_size=2)
    made.network.register_forward_pre_hook(lambda _, given: seen.extend(given[2][:, 0].tolist()))
    made.reconstruct_case(loaded_case())
    assert seen == [0, 0.25, 0.5, 0.75, 1]


def test_images_stay_within_their_units():
    of = class_filler()
    of.network.palette.data[2] = 9.0
    made = of.reconstruct_case(loaded_case())
    assert made.image.max() == 1


def test_a_mask_on_the_grid_of_the_case_is_that_of_its_label():
    of, scan = class_filler(spacing_mm=1.0), loaded_case()
    np.testing.assert_array_equal(of.reconstruct_case(scan, scan.label).image, of.reconstruct_case(scan).image)


def test_the_error_shows_what_the_mask_does_not_explain():
    scan = loaded_case(noise=0)
    scan.image[0, 10:14, 8:12, 2] = 100.0  # a bright spot inside the square that no class stands for
    made = class_filler().reconstruct_case(scan)
    prepared_error = np.sqrt(np.square(made.image - made.original).mean(axis=1))
    assert prepared_error.shape == (5, 30, 36)
    assert prepared_error[2, 8:12, 10:14].min() > 0.05
    assert prepared_error[1].max() < 0.01


def test_without_foreground_distances_are_not_defined():
    made = class_filler().reconstruct_case(loaded_case(foreground=False))
    assert not made.label.any()
    assert made.distances["foreground"].rmse is None
    assert made.distances["low"].ssim is None
    assert made.gain is None
    assert made.distances["whole"].rmse is not None


def test_soft_masks_blend():
    reconstructor, scan = class_filler(), loaded_case()
    prepared = prepare_case(scan, reconstructor.preparation, reconstructor.scheme)
    soft = np.zeros((5, 3, 30, 36), dtype=np.float32)
    soft[:, 0], soft[:, 2] = 0.25, 0.75
    made = reconstructor.reconstruct(prepared, soft)
    np.testing.assert_allclose(made.image, 0.7, atol=2e-3)  # a quarter of 0.1 and three of 0.9


def test_masks_that_do_not_fit_are_refused():
    reconstructor, scan = class_filler(), loaded_case()
    prepared = prepare_case(scan, reconstructor.preparation, reconstructor.scheme)
    with pytest.raises(DataError, match=r"does not fit the slices.*\(5, 30, 36\) class indices or \(5, 3, 30, 36\)"):
        reconstructor.reconstruct(prepared, np.zeros((5, 30, 35), dtype=np.uint8))
    with pytest.raises(LabelError, match=r"outside the generator's scheme.*background, low, high"):
        reconstructor.reconstruct(prepared, np.full((5, 30, 36), 3, dtype=np.uint8))
    with pytest.raises(LabelError, match=r"outside the generator's scheme.*found -1 to -1"):
        reconstructor.reconstruct(prepared, np.full((5, 30, 36), -1))
    with pytest.raises(LabelError, match="outside scheme custom"):
        reconstructor.reconstruct_case(scan, np.full((36, 30, 5), 4, dtype=np.uint8))
    with pytest.raises(DataError, match="no mask"):
        reconstructor.reconstruct_case(loaded_case(labeled=False))


def test_other_channels_are_refused():
    scan = loaded_case()
    two = dataclasses.replace(
        scan,
        case=Case("toy", "toy", {"ct": (Path("toy.nii.gz"),), "pet": (Path("pet.nii.gz"),)}),
        image=np.repeat(scan.image, 2, axis=0),
    )
    with pytest.raises(DataError, match=r"channels do not fit the generator.*ct, pet.*expected ct"):
        class_filler().reconstruct_case(two)


def test_another_model_is_no_generator(tmp_path):
    save_model(tmp_path / "best", {}, card("segmentation", data_section()))
    with pytest.raises(ModelError, match=r"is not a generator.*segmentation.*train-m2i"):
        Reconstructor.load(tmp_path / "best")


def test_weights_of_another_generator_are_refused(tmp_path):
    save_model(tmp_path / "best", {}, card("reconstruction", data_section()))
    with pytest.raises(CheckpointError, match=r"do not fit the m2i_s.*missing, such as"):
        Reconstructor.load(tmp_path / "best")


@pytest.mark.parametrize("more", [{}, {"spacing_mm": 1.0}, {"crop": "foreground"}, {"fit": "resize", "image_size": 48}])
def test_cycles_recover_a_synthesized_mask(more):
    """Also where segmenter and generator see slices of different size, crop or spacing."""
    cycles = Cycles(predictor(), class_filler(**more))
    case = cycles.case(loaded_case())
    made = cycles.image_cycle(case)
    recovered = cycles.recover(case, made)
    assert all(score > 0.97 for score in class_dice(recovered, made.label, made.classes).values())
    soft = cycles.probabilities(case)
    assert soft.shape == (*recovered.shape[:1], 3, *recovered.shape[1:])
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-4)
    predicted = cycles.image_cycle(case, soft)
    assert predicted.image.shape == made.image.shape
    assert abs(predicted.distances["whole"].rmse - made.distances["whole"].rmse) < 0.05


def test_outside_the_segmenters_crop_is_background():
    scan = loaded_case(noise=0)
    scan.image[:, 18:] = 0  # nothing, which is cropped away
    cycles = Cycles(predictor(crop="foreground"), class_filler())
    case = cycles.case(scan)
    assert case.for_segmenter.grid.slice_shape != case.for_generator.grid.slice_shape
    soft = cycles.probabilities(case)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(soft[:, 0, :, -1], 1, atol=1e-4)


def test_a_wrong_mask_is_further_from_the_image():
    cycles = Cycles(predictor(), class_filler())
    case = cycles.case(loaded_case())
    wrong = np.roll(np.asarray(case.for_generator.label), 5, axis=2)
    right = cycles.image_cycle(case).distances["whole"].rmse
    assert cycles.image_cycle(case, wrong).distances["whole"].rmse > 2 * right


def test_prepared_cases_are_taken_where_both_prepare_alike():
    cycles = Cycles(predictor(), class_filler())
    case = cycles.case(loaded_case())
    assert case.for_segmenter is case.for_generator
    assert cycles.case(loaded_case(), case.for_segmenter).for_generator is case.for_segmenter


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"channels": {"mr": "*.nii.gz"}}, "differ in the channels"),
        ({"labels": {"low": 3, "high": 8}}, "differ in the label scheme"),
        ({"labels": {"high": 7, "low": 3}}, "differ in the label scheme"),
        ({"intensity": {"rule": "clip", "low": 0, "high": 50}}, "differ in the intensity rule"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(more, message):
    generator = class_filler()
    data = data_section(**more)
    generator.data = data
    generator.scheme = dataclasses.replace(generator.scheme, classes=data.labels)
    with pytest.raises(ModelError, match=message):
        Cycles(predictor(), generator)


def test_slices_of_another_volume_are_not_resampled():
    one, other = (class_filler(**more).reconstruct_case(loaded_case()) for more in ({}, {"crop": "foreground"}))
    moved = resampled(one.image, one.grid, other.grid)
    assert moved.shape == other.image.shape
    other_grid = dataclasses.replace(other.grid, shape_xyz=(9, 9, 9))
    with pytest.raises(DataError, match="different volumes"):
        resampled(one.image, one.grid, other_grid)
