"""Postprocessing: each step by hand, what all steps keep to, and every entry point does what model.json lists."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage import measure

from segcct.errors import CheckpointError
from segcct.images.volume import Volume
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.postprocessing import check_steps, postprocess
from segcct.inference.predictor import Predictor
from segcct.model_card import ModelCard, PostprocessingStep
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from segcct.runtime import STEPS
from tests.support.toy_pair import CLASSES, Nearest, card, data_section, loaded_case

NAMES = ("a", "b")


def step(name: str, *classes: str, ml: float | None = None) -> PostprocessingStep:
    return PostprocessingStep(step=name, classes=classes, ml=ml)


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def test_the_largest_component_by_hand() -> None:
    index = line(1, 0, 1, 1, 0, 2, 0, 2)
    kept = postprocess(index.copy(), [step("largest_component", "a")], NAMES, None)
    assert kept.ravel().tolist() == [0, 0, 1, 1, 0, 2, 0, 2]
    both = postprocess(index.copy(), [step("largest_component", "a", "b")], NAMES, None)
    assert both.ravel().tolist() == [0, 0, 1, 1, 0, 2, 0, 0]  # of two of one size, the first


def test_components_below_a_volume_by_hand() -> None:
    index = line(1, 0, 1, 1, 0, 1, 1, 1, 0, 2)
    small = step("minimum_volume", "a", ml=0.02)
    assert postprocess(index.copy(), [small], NAMES, 0.01).ravel().tolist() == [0, 0, 1, 1, 0, 1, 1, 1, 0, 2]
    assert postprocess(index.copy(), [small], NAMES, 0.001).ravel().tolist() == [0] * 9 + [2]
    assert postprocess(index.copy(), [small], NAMES, None).ravel().tolist() == index.ravel().tolist()


def test_holes_by_hand() -> None:
    index = np.zeros((5, 5, 5), dtype=np.uint8)
    index[1:4, 1:4, 1:4] = 1
    index[2, 2, 2] = 0
    filled = postprocess(index.copy(), [step("fill_holes", "a")], NAMES, None)
    assert (filled[1:4, 1:4, 1:4] == 1).all()
    index[2, 2, 2] = 2  # another class inside is no hole
    np.testing.assert_array_equal(postprocess(index.copy(), [step("fill_holes", "a")], NAMES, None), index)
    index[2, 2, 2] = 0
    index[1, 2, 2] = 0  # open to the outside
    np.testing.assert_array_equal(postprocess(index.copy(), [step("fill_holes", "a")], NAMES, None), index)


MASKS = arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 2))


def test_a_ring_in_a_2d_image_encloses_what_is_in_it() -> None:
    index = np.zeros((7, 7, 1), dtype=np.uint8)
    index[1:6, 1:6] = 1
    index[2:5, 2:5] = 0
    expected = np.zeros_like(index)
    expected[1:6, 1:6] = 1
    np.testing.assert_array_equal(postprocess(index.copy(), [step("fill_holes", "a")], NAMES, None), expected)
    volume = np.concatenate([index, np.zeros_like(index)], axis=2)  # nothing is enclosed in one slice of a volume
    np.testing.assert_array_equal(postprocess(volume.copy(), [step("fill_holes", "a")], NAMES, None), volume)


@given(MASKS, st.sampled_from(sorted(STEPS)))
def test_a_step_changes_one_class_against_background_and_once(index: np.ndarray, name: str) -> None:
    steps = [step(name, "a", ml=0.003 if name == "minimum_volume" else None)]
    done = postprocess(index.copy(), steps, NAMES, 0.001)
    np.testing.assert_array_equal(done == 2, index == 2)
    np.testing.assert_array_equal(postprocess(done.copy(), steps, NAMES, 0.001), done)
    if name == "fill_holes":
        assert (done[index == 1] == 1).all()
    else:
        assert (index[done == 1] == 1).all()


@given(MASKS)
def test_the_largest_component_is_that_of_scikit_image(index: np.ndarray) -> None:
    done = postprocess(index.copy(), [step("largest_component", "a")], NAMES, None)
    components, count = measure.label(index == 1, connectivity=1, return_num=True)
    sizes = np.bincount(components.ravel(), minlength=2)[1:]
    assert (done == 1).sum() == sizes.max()
    assert measure.label(done == 1, connectivity=1).max() == min(count, 1)


def noisy() -> np.ndarray:
    image = loaded_case().image[0].copy()
    image[30:32, 26:28, 2] = 90.0  # a speck of class high
    return image


def with_steps(*steps: PostprocessingStep, how: InferenceSettings | None = None) -> Predictor:
    of: ModelCard = card("segmentation", data_section(), postprocessing=steps)
    return Predictor(Nearest(), of, how or InferenceSettings(batch_size=4, device="cpu"))


def test_every_entry_point_does_what_the_card_lists(tmp_path: Path) -> None:
    grid = loaded_case().grid
    scan = Volume(noisy(), grid.affine, grid.spacing_mm, None, tmp_path / "scan.nii.gz")
    scan.save(tmp_path / "scan.nii.gz")
    steps = (step("largest_component", "high"), step("fill_holes", "low", "high"))
    plain, of = with_steps(), with_steps(*steps)
    speck = np.s_[30:32, 26:28, 2]
    assert (plain.predict(scan).array[speck] == CLASSES["high"]).all()
    mask = of.predict(scan).array
    assert not mask[speck].any()
    (file,) = predict_folder(of, resolve(of.card, tmp_path / "scan.nii.gz"), tmp_path / "p").masks
    np.testing.assert_array_equal(Volume.load(file).array, mask)
    entry = json.loads((tmp_path / "p" / "predictions.json").read_text())["cases"]["scan"]
    assert [each["step"] for each in entry["postprocessing"]] == ["largest_component", "fill_holes"]
    off = with_steps(*steps, how=InferenceSettings(batch_size=4, device="cpu", postprocessing=False))
    np.testing.assert_array_equal(off.predict(scan).array, plain.predict(scan).array)
    largest = off.predict(scan, keep_largest=True).array
    assert not largest[speck].any()
    volumes = {ml: with_steps(step("minimum_volume", "high", ml=ml)).predict(scan).array for ml in (0.07, 0.073)}
    np.testing.assert_array_equal(volumes[0.07], plain.predict(scan).array)  # the speck has 4 voxels of 0.018 ml
    assert not volumes[0.073][speck].any()
    assert (volumes[0.073] == CLASSES["high"]).any()
    assert of.steps(keep_largest=True) == (*steps, step("largest_component", *CLASSES))


def test_steps_that_cannot_be_done_are_refused(tmp_path: Path) -> None:
    for steps, what in (
        ([step("sharpen", "a")], "unknown step"),
        ([step("fill_holes", "c")], "class that the model does not predict"),
        ([step("minimum_volume", "a")], "has no volume"),
    ):
        with pytest.raises(CheckpointError, match=what):
            check_steps(steps, NAMES, tmp_path / "model.json")


def test_a_card_of_before_has_no_steps() -> None:
    stored = card("segmentation", data_section()).model_dump(exclude={"postprocessing"})
    assert ModelCard.model_validate(stored).postprocessing == ()
