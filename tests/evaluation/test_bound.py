"""What is said of masks is bound to these masks: others in their place are noticed by evaluation and by reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from segcct.errors import EvaluationError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.images.content_digest import content_digest
from segcct.images.volume import Volume
from segcct.inference.predictor import Predictor
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import resolve
from segcct.report.segmentation_page import write_report
from segcct.report.slice_image import write_picture
from tests.support.paired_scans import paired_predictor, write_paired


@pytest.fixture
def model() -> Predictor:
    return paired_predictor(weights_sha256="a")


@pytest.fixture
def other() -> Predictor:
    return paired_predictor(weights_sha256="b")


@pytest.fixture
def scans(tmp_path) -> Path:
    return write_paired(tmp_path / "scans", ("one", "two"))


@pytest.fixture
def scored(model, scans, tmp_path) -> Path:
    """A folder with p/ of masks and e/ of their evaluation."""
    predict_folder(model, resolve(model.card, scans), tmp_path / "p")
    evaluate(tmp_path / "p", scans, output=tmp_path / "e")
    return tmp_path


def edit(mask: Path) -> None:
    """Another mask of the same name."""
    volume = Volume.load(mask)
    volume.with_array(np.roll(volume.array, 2, axis=0)).save(mask)


def page(scored: Path) -> str:
    return write_report(scored / "e", scored / "r").read_text(encoding="utf-8")


def test_every_mask_and_every_score_names_what_it_is_of(scored, scans):
    index = json.loads((scored / "p" / "predictions.json").read_text())
    summary = json.loads((scored / "e" / "summary.json").read_text())
    for name in ("one", "two"):
        mask, reference = (
            content_digest([scored / "p" / f"{name}.nii.gz"]),
            content_digest([scans / f"{name}_seg.nii.gz"]),
        )
        assert index["cases"][name]["digest"] == mask
        assert summary["digests"][name] == {"prediction": mask, "reference": reference}
    assert summary["weights_sha256"] == "a"
    assert summary["edited"] == []


def test_a_report_of_what_was_scored_says_nothing_of_it(scored, capsys):
    assert "Not what was scored" not in page(scored)
    assert capsys.readouterr().err == ""


def test_edited_masks_are_scored_and_said_not_to_be_the_models(scored, scans, capsys):
    edit(scored / "p" / "one.nii.gz")
    summary = evaluate(scored / "p", scans, output=scored / "e")
    said = "1 of 2 masks was edited or replaced after the prediction (one)"
    assert summary["edited"] == ["one"]
    assert said in capsys.readouterr().err
    assert said in (scored / "e" / "table.md").read_text()
    assert said in page(scored)


def test_a_report_notices_another_mask_in_the_place_of_the_scored_one(scored, capsys):
    edit(scored / "p" / "one.nii.gz")
    text = page(scored)
    warning = "The mask of 1 case has changed (one)"
    assert "Not what was scored" in text
    assert warning in text
    assert warning in capsys.readouterr().err
    assert "No image: the mask has changed since it was scored." in text
    with pytest.raises(EvaluationError, match="the mask of case 'one' has changed"):
        write_picture(scored / "e", scored / "one.png", case="one")


def test_a_report_notices_another_reference(scored, scans):
    edit(scans / "two_seg.nii.gz")
    assert "The reference of 1 case has changed (two)" in page(scored)


def test_the_scores_of_a_do_not_appear_under_the_name_of_b(scored, scans, other):
    """B predicts into A's folder after A was scored; its architecture was shown beside A's scores."""
    changed = other.card.model_copy(
        update={"architecture": other.card.architecture.model_copy(update={"name": "net_b"})}
    )
    renamed = Predictor(other.network, changed, other.how)
    predict_folder(renamed, resolve(changed, scans), scored / "p", existing="replace")
    text = page(scored)
    assert "now holds those of another model" in text
    assert "net_b" not in text
    assert "m2i_s" in text


def test_a_report_of_files_that_are_gone_says_no_more_than_that(scored):
    shutil.rmtree(scored / "p")
    text = page(scored)
    assert "Not what was scored" not in text
    assert "No image" in text


def test_anonymized_evaluations_notice_it_too(model, scans, tmp_path):
    masks = predict_folder(model, resolve(model.card, scans), tmp_path / "p", MaskOptions(anonymize=True)).masks
    evaluate(tmp_path / "p", scans, output=tmp_path / "e")
    references = json.loads((tmp_path / "e" / "files.json").read_text())["digests"]
    assert {content_digest([scans / f"{name}_seg.nii.gz"]) for name in ("one", "two")} == {
        each["reference"] for each in references.values()
    }
    assert "reference" not in json.dumps(json.loads((tmp_path / "e" / "summary.json").read_text())["digests"])
    edit(masks[0])
    assert "The mask of 1 case" in page(tmp_path)


def test_the_other_predictions_of_a_comparison_are_bound_too(scored, scans, other, capsys):
    predict_folder(other, resolve(other.card, scans), scored / "q")
    edit(scored / "q" / "one.nii.gz")
    index = json.loads((scored / "q" / "predictions.json").read_text())
    index["cases"]["two"]["seen"] = "train"
    (scored / "q" / "predictions.json").write_text(json.dumps(index))
    evaluate(scored / "p", scans, output=scored / "e", against=scored / "q")
    edited = "1 of 2 other masks was edited or replaced after the prediction (one)"
    assert edited in capsys.readouterr().err
    paired = json.loads((scored / "e" / "paired.json").read_text())
    assert paired["weights_sha256"] == "b"
    assert (paired["seen"], paired["edited"]) == ({"train": ["two"], "val": []}, ["one"])
    for text in ((scored / "e" / "table.md").read_text(), page(scored)):
        assert edited in text
        assert "Of the 2 cases, the other model was trained on 1" in text


def test_edited_masks_are_found_among_anonymized_other_predictions(scored, scans, other):
    masks = predict_folder(other, resolve(other.card, scans), scored / "q", MaskOptions(anonymize=True)).masks
    edit(masks[0])
    edited = evaluate(scored / "p", scans, against=scored / "q")["paired"]["edited"]
    assert edited in (["one"], ["two"])


def test_a_table_of_another_evaluation_is_refused(scored):
    table = scored / "e" / "metrics.csv"
    table.write_text(table.read_text().replace("0.", "0.1", 1))
    with pytest.raises(EvaluationError, match=r"metrics.csv: does not belong to summary.json"):
        page(scored)
