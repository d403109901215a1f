"""--anonymise: no id and no path in what is shared, from prediction to report; pictures while the sources are there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segcct.errors import RunError
from segcct.evaluation.evaluate import evaluate
from segcct.inference.folder import Request, hashed, predict_folder, resolve
from segcct.inference.predictor import Predictor
from segcct.report.segmentation import write_report

from .toy_pair import card, data_section, examination, predictor

SECRETS = ("JohnDoe", "JaneRoe", "Validated", "hospital")


@pytest.fixture
def of() -> Predictor:
    """A segmenter that was selected on one named case."""
    model = predictor()
    data = data_section(layout="paired", channels={"ct": "{id}_ct.nii.gz"}, label="{id}_seg.nii.gz")
    selected = {"metric": "val_dice", "value": 0.9, "cases": ["Validated"]}
    return Predictor(model.network, card("segmentation", data, selected_on=selected), model.how)


@pytest.fixture
def scans(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "hospital"
    root.mkdir()
    for name in ("JohnDoe", "JaneRoe"):
        one = examination()
        one.grid.save(root / f"{name}_ct.nii.gz")
        one.grid.with_array(one.label).save(root / f"{name}_seg.nii.gz")
    monkeypatch.setattr(sys, "argv", ["segcct", "predict", "--input", str(root)])
    return root


def texts(folder: Path) -> dict[str, str]:
    """Every readable file of a folder."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix != ".gz"}


def assert_nobody_is_named(folder: Path, *, but: str = "") -> None:
    for name, text in texts(folder).items():
        told = [secret for secret in SECRETS if secret in text or secret in name]
        assert not told or name == but, f"{name} names {told}"


def test_nobody_is_named_and_pictures_are_drawn(of, scans, tmp_path):
    predict_folder(of, resolve(of.card, scans), tmp_path / "p", anonymise=True)
    assert_nobody_is_named(tmp_path / "p", but="sources.json")
    assert json.loads(texts(tmp_path / "p")["predictions.json"])["selected_on"]["cases"] == 1
    sources = json.loads(texts(tmp_path / "p")["sources.json"])
    assert sources["cases"][hashed("JohnDoe")]["id"] == "JohnDoe"
    summary = evaluate(tmp_path / "p", scans, output=tmp_path / "e")
    assert set(sources["cases"]) == {hashed("JohnDoe"), hashed("JaneRoe")}
    assert summary["overall"]["dice"]["n"] == 2
    assert_nobody_is_named(tmp_path / "e", but="files.json")
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert "No picture" not in page
    assert "data:image/webp" in page
    assert_nobody_is_named(tmp_path / "r")
    (scans / "JohnDoe_ct.nii.gz").unlink()
    (scans / "JaneRoe_ct.nii.gz").write_bytes(b"")
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert "No picture: a file is missing or cannot be read." in page
    assert_nobody_is_named(tmp_path / "r")
    (tmp_path / "e" / "files.json").unlink()
    assert "No picture: files are missing" in write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")


def test_the_free_text_of_a_scans_header_stays_behind(of, scans, tmp_path):
    for file in scans.glob("*_ct.nii.gz"):
        scan = nib.load(file)
        scan.header["descrip"] = b"JohnDoe 1950"
        nib.save(nib.Nifti1Image(np.asarray(scan.dataobj), scan.affine, scan.header), file)
    request = resolve(of.card, scans)
    for anonymise, told in ((True, b""), (False, b"JohnDoe 1950")):
        for mask in predict_folder(of, request, tmp_path / str(anonymise), anonymise=anonymise):
            assert nib.load(mask).header["descrip"].item() == told


def test_references_without_a_mask_are_not_named_either(of, scans, tmp_path):
    whole = resolve(of.card, scans)
    predict_folder(of, Request(whole.cases[:1], whole.data), tmp_path / "p", anonymise=True)
    evaluate(tmp_path / "p", scans, output=tmp_path / "e", allow_unmatched=True)
    assert_nobody_is_named(tmp_path / "e", but="files.json")
    assert "Left out of every number" in write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert_nobody_is_named(tmp_path / "r")


def test_scans_one_by_one_share_one_file_of_sources(of, scans, tmp_path):
    whole = resolve(of.card, scans)
    for case in whole.cases:
        predict_folder(of, Request((case,), whole.data), tmp_path / "p", anonymise=True)
    sources = json.loads(texts(tmp_path / "p")["sources.json"])
    assert [entry["id"] for entry in sources["cases"].values()] == ["JaneRoe", "JohnDoe"]


@pytest.mark.parametrize("first", [True, False])
def test_hashed_and_plain_names_do_not_mix(of, scans, tmp_path, first):
    whole = resolve(of.card, scans)
    predict_folder(of, Request(whole.cases[:1], whole.data), tmp_path / "p", anonymise=first)
    before = texts(tmp_path / "p")
    with pytest.raises(RunError, match=r"--anonymise, and the two do not mix\. Choose another --output"):
        predict_folder(of, whole, tmp_path / "p", anonymise=not first, overwrite=True)
    assert texts(tmp_path / "p") == before


def test_reports_tell_the_number_of_cases_that_selected_the_model(of, scans, tmp_path):
    predict_folder(of, resolve(of.card, scans), tmp_path / "p")
    evaluate(tmp_path / "p", scans, output=tmp_path / "e")
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert "Validated" not in page
    assert "cases 1" in page
    assert str(scans) in page  # only --anonymise hides where things are
