"""Postprocessing chosen on validation cases: Dice from components is that of the mask, and what helps is chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segcct.cli import main
from segcct.datasets.split_record import Splits
from segcct.images.volume import Volume
from segcct.inference.postprocessing import postprocess
from segcct.metrics import dice
from segcct.model_card import PostprocessingStep, load_card, save_model
from segcct.quality.quality_model import identity_of_masks
from segcct.tasks.segmentation.postprocessing_choice import Choice, Components, MeasuredClass, steps_of, try_all
from tests.support.toy_pair import Nearest, card, data_section, loaded_case

SHAPE = (5, 4, 3)
INDEX = arrays(np.uint8, SHAPE, elements=st.integers(0, 1))


@given(INDEX, INDEX, st.sampled_from([Choice(), Choice(largest=True), Choice(ml=0.003)]))
def test_the_dice_of_a_choice_is_that_of_the_mask_after_its_steps(
    index: np.ndarray, reference: np.ndarray, choice: Choice
) -> None:
    steps = []
    if choice.largest:
        steps = [PostprocessingStep(step="largest_component", classes=("a",))]
    if choice.ml is not None:
        steps = [PostprocessingStep(step="minimum_volume", classes=("a",), ml=choice.ml)]
    found = Components.of(index == 1, reference == 1, 0.001).dice(choice)
    done = postprocess(index.copy(), steps, ("a",), 0.001)
    expected = dice(done == 1, reference == 1) if done.any() or reference.any() else 1.0
    assert found == pytest.approx(float(expected))


def measured(patient: str, sizes: list[int], overlaps: list[int]) -> MeasuredClass:
    components = Components(np.array(sizes), np.array(overlaps), 100, 0.001)
    return MeasuredClass("a", patient, components, components)


def test_what_helps_is_chosen_and_what_hurts_is_not() -> None:
    specks = [measured(str(number), [100, 5], [90, 0]) for number in range(6)]
    (tried,) = try_all(specks, ["a"])
    assert tried.helps
    assert tried.choice == Choice(largest=True)
    assert tried.after - tried.before == pytest.approx(180 / 200 - 180 / 205)
    assert steps_of([tried]) == (PostprocessingStep(step="largest_component", classes=("a",)),)
    halves = [measured(str(number), [50, 50], [45, 45]) for number in range(6)]
    (tried,) = try_all(halves, ["a"])
    assert (tried.choice, tried.helps, steps_of([tried])) == (Choice(), False, ())
    mixed = [measured(str(number), [50, 40], [45, 40 * (number % 2)]) for number in range(6)]
    assert not try_all(mixed, ["a"])[0].helps


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose model draws specks of `high`, with five validation cases."""
    for number in range(5):
        case = loaded_case(noise=1.0)
        image = case.image[0].copy()
        image[30 : 31 + number % 2, 26, 2] = 90.0
        folder = tmp_path / "data" / f"case{number}"
        Volume(image, case.grid.affine, case.grid.spacing_mm).save(folder / "ct.nii.gz")
        assert case.label is not None
        Volume(case.label, case.grid.affine, case.grid.spacing_mm).save(folder / "seg.nii.gz")
    data = data_section(root=tmp_path / "data", channels={"ct": "ct.nii.gz"}, label="seg.nii.gz")
    monkeypatch.setattr("segcct.inference.loaded_model.load_network", lambda *_: Nearest())
    save_model(tmp_path / "run" / "best", {}, card("segmentation", data))
    Splits((), tuple(f"case{number}" for number in range(5))).save(tmp_path / "run" / "splits.json")
    return tmp_path / "run"


def test_the_command_writes_what_it_chose_into_the_card(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["tune-postprocessing", "--model", str(run / "best"), "--input", str(run.parent / "data")]
    before = load_card(run / "best")
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "| high | largest_component |" in shown
    assert "| 5, 0 | chosen |" in shown
    after = load_card(run / "best")
    assert [each.step for each in after.postprocessing] == ["largest_component"]
    assert "high" in after.postprocessing[0].classes
    assert after.model_copy(update={"postprocessing": ()}) == before
    assert identity_of_masks(after) != identity_of_masks(before)  # a quality estimate of before is not used
    assert main(command) == 0  # finds the same again: measured without what model.json lists
    assert load_card(run / "best") == after
    monkeypatch.undo()
    (run / "splits.json").unlink()
    assert main(command) == 1


def test_labels_are_needed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tune-postprocessing", "--model", str(run / "best"), "--input", str(run.parent / "data")]
    (run.parent / "data" / "case1" / "seg.nii.gz").unlink()
    assert main(command) == 1
    assert "nothing is chosen" in capsys.readouterr().err
    assert load_card(run / "best").postprocessing == ()
