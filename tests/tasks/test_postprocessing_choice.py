"""Postprocessing chosen on validation cases: Dice from components is that of the mask, and what helps is chosen."""

from __future__ import annotations

import re
import zlib
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
from segcct.run_folder import FoldsFolder
from segcct.tasks.segmentation import postprocessing_choice
from segcct.tasks.segmentation.postprocessing_choice import (
    Choice,
    Components,
    Effect,
    MeasuredCase,
    MeasuredClass,
    steps_for,
    try_all,
    try_together,
)
from segcct.tasks.segmentation.postprocessing_table import table_of
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
    assert tried.effect.after - tried.effect.before == pytest.approx(180 / 200 - 180 / 205)
    assert steps_for([tried]) == (PostprocessingStep(step="largest_component", classes=("a",)),)
    halves = [measured(str(number), [50, 50], [45, 45]) for number in range(6)]
    (tried,) = try_all(halves, ["a"])
    assert (tried.choice, tried.helps, steps_for([tried])) == (Choice(), False, ())
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


def test_the_command_writes_what_it_chose_into_the_card(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tune-postprocessing", "--model", str(run / "best"), "--input", str(run.parent / "data")]
    before = load_card(run / "best")
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "| high | largest_component |" in shown
    assert "| 5, 0 | chosen |" in shown
    assert re.search(r"\| mean of classes \| what was chosen, together \| .* \| 5, 0 \| \|", shown)
    after = load_card(run / "best")
    assert [each.step for each in after.postprocessing] == ["largest_component"]
    assert "high" in after.postprocessing[0].classes
    assert after.model_copy(update={"postprocessing": ()}) == before
    assert identity_of_masks(after) != identity_of_masks(before)  # a quality estimate of before is not used
    assert main(command) == 0  # finds the same again: measured without what model.json lists
    assert load_card(run / "best") == after
    (run / "splits.json").unlink()
    capsys.readouterr()
    assert main(command) == 1
    errors = capsys.readouterr().err
    assert "without the run's splits.json it is not known" in errors
    assert "calibration" not in errors  # which is another command


def nested() -> MeasuredCase:
    """A slice: rings of a and of b within it, the gap and the middle not predicted; the reference fills both."""
    predicted, reference = np.zeros((2, 9, 9, 1), dtype=np.uint8)
    predicted[:9, :9], predicted[1:8, 1:8], predicted[2:7, 2:7], predicted[3:6, 3:6] = 1, 0, 2, 0
    reference[:9, :9], reference[2:7, 2:7] = 1, 2
    found = tuple(
        MeasuredClass(name, "p", *(Components.of(mask == value, reference == value, 0.001) for mask in masks))
        for value, name in enumerate(("a", "b"), start=1)
        for masks in [(predicted, postprocess(predicted.copy(), [FILL[value - 1]], ("a", "b"), 0.001))]
    )
    return MeasuredCase("p", found, zlib.compress(np.stack([predicted, reference]).tobytes()), (9, 9, 1), 0.001)


FILL = [PostprocessingStep(step="fill_holes", classes=(name,)) for name in ("a", "b")]


def test_steps_are_compared_together_too() -> None:
    """Each alone fills the middle; together, b finds it taken by a."""
    case = nested()
    a, b = (each.filled.dice(Choice()) for each in case.classes)
    assert (a, b) == (pytest.approx(2 * 56 / (65 + 56)), 1.0)
    before = [each.plain.dice(Choice()) for each in case.classes]
    assert case.dice(()) == pytest.approx(np.mean(before))
    assert case.dice(FILL[:1]) == pytest.approx((a + before[1]) / 2)
    effect = try_together([case, case], FILL)
    assert (effect.before, effect.after) == pytest.approx((np.mean(before), (a + before[1]) / 2))
    assert (effect.difference["wins"], effect.difference["losses"]) == (2, 0)
    assert "| what was chosen, together | 0.7539 | 0.8531 |" in table_of(try_all(case.classes, ("a", "b")), effect)


def test_what_does_not_help_together_is_not_kept(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(cases: list[MeasuredCase], steps: tuple[PostprocessingStep, ...]) -> Effect:
        assert steps
        return Effect.of([0.9] * len(cases), [0.8] * len(cases), [case.patient for case in cases])

    monkeypatch.setattr(postprocessing_choice, "try_together", worse)
    assert main(["tune-postprocessing", "--model", str(run / "best"), "--input", str(run.parent / "data")]) == 0
    assert "so none of it is kept" in capsys.readouterr().out
    assert load_card(run / "best").postprocessing == ()


@pytest.mark.parametrize("listed", [False, True])
def test_estimates_of_other_masks_are_named(run: Path, capsys: pytest.CaptureFixture[str], listed: bool) -> None:
    """That of the run, those of ensembles that lie with it, and that of the cross-validation which it is a fold of."""
    folds = FoldsFolder(run.parent / "cv", (0,))
    run.parent.joinpath("cv").mkdir()
    run.rename(folds.fold(0).path)
    folds.write()
    best = folds.fold(0).best
    for file in (folds.path / "quality.json", best / "quality.json", best / "quality_0123456789ab.json"):
        file.write_text("{}")
    model = best if listed else folds.path
    command = ["tune-postprocessing", "--model", str(model), "--input", str(run.parent / "data")]
    for expected in (3, 0):  # the second time nothing changes
        assert main(command) == 0
        assert capsys.readouterr().err.count("was fitted on other masks") == expected


def test_labels_are_needed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tune-postprocessing", "--model", str(run / "best"), "--input", str(run.parent / "data")]
    (run.parent / "data" / "case1" / "seg.nii.gz").unlink()
    assert main(command) == 1
    assert "nothing is chosen" in capsys.readouterr().err
    assert load_card(run / "best").postprocessing == ()
