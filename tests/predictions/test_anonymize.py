"""--anonymize: no id and no path in what is shared, from prediction to report; pictures while the sources are there."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segcct.commands import build_parser
from segcct.errors import EvaluationError, RunError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.files.pseudonyms import pseudonym
from segcct.files.table_file import read_rows_of
from segcct.images.volume import Volume
from segcct.inference.predictor import Predictor
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.folder_status import folder_status
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.prediction_request import Request, resolve
from segcct.predictions.sources_file import read_key
from segcct.report.segmentation_page import write_report
from segcct.report.slice_image import write_picture
from segcct.runtime import NO_SPACING
from tests.support.paired_scans import paired_predictor, write_paired

SECRETS = ("JohnDoe", "JaneRoe", "hospital")


@pytest.fixture
def of() -> Predictor:
    """A segmenter that was selected on one case."""
    return paired_predictor(selected_on={"metric": "val_dice", "value": 0.9, "cases": 1})


@pytest.fixture
def scans(tmp_path, monkeypatch) -> Path:
    root = write_paired(tmp_path / "hospital", ("JohnDoe", "JaneRoe"))
    monkeypatch.setattr(sys, "argv", ["segcct", "predict", "--input", str(root)])
    return root


def texts(folder: Path) -> dict[str, str]:
    """Every readable file of a folder."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix != ".gz"}


def hashed(name: str, folder: Path) -> str:
    """What a case is called in a folder of predictions."""
    key = read_key(folder)
    assert key is not None
    return pseudonym(name, key)


def assert_nobody_is_named(folder: Path, *, but: str = "") -> None:
    for name, text in texts(folder).items():
        told = [secret for secret in SECRETS if secret in text or secret in name]
        assert not told or name == but, f"{name} names {told}"


def test_nobody_is_named_and_pictures_are_drawn(of, scans, tmp_path):
    predict_folder(of, resolve(of.card, scans), tmp_path / "p", MaskOptions(anonymize=True))
    assert_nobody_is_named(tmp_path / "p", but="sources.json")
    assert json.loads(texts(tmp_path / "p")["predictions.json"])["selected_on"]["cases"] == 1
    sources = json.loads(texts(tmp_path / "p")["sources.json"])
    john, jane = (hashed(name, tmp_path / "p") for name in ("JohnDoe", "JaneRoe"))
    assert sources["cases"][john]["id"] == "JohnDoe"
    summary = evaluate(tmp_path / "p", scans, output=tmp_path / "e")
    assert set(sources["cases"]) == {john, jane}
    assert summary["overall"]["dice"]["n"] == 2
    assert_nobody_is_named(tmp_path / "e", but="files.json")
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert "No picture" not in page
    assert "data:image/webp" in page
    assert_nobody_is_named(tmp_path / "r")
    (scans / "JohnDoe_ct.nii.gz").unlink()
    (scans / "JaneRoe_ct.nii.gz").write_bytes(b"")
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert "No image: a file is missing or cannot be read." in page
    assert_nobody_is_named(tmp_path / "r")
    (tmp_path / "e" / "files.json").unlink()
    assert "No image: files.json, which names the images, is not" in write_report(
        tmp_path / "e", tmp_path / "r"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b"JohnDoe 1950", b""),
        (b"JohnDoe, SyntheticMR T2", b""),
        (b"synthetic, segcct phantom of JohnDoe", b"synthetic, segcct phantom"),
        (f"{NO_SPACING}, JohnDoe".encode(), NO_SPACING.encode()),
    ],
)
def test_the_free_text_of_a_scans_header_stays_behind(of, scans, tmp_path, text, kept):
    for file in scans.glob("*_ct.nii.gz"):
        scan = nib.load(file)
        scan.header["descrip"] = text
        nib.save(nib.Nifti1Image(np.asarray(scan.dataobj), scan.affine, scan.header), file)
    request = resolve(of.card, scans)
    for anonymize, told in ((True, kept), (False, text)):
        for mask in predict_folder(of, request, tmp_path / str(anonymize), MaskOptions(anonymize=anonymize)).masks:
            assert nib.load(mask).header["descrip"].item() == told


def test_references_without_a_mask_are_not_named_either(of, scans, tmp_path):
    whole = resolve(of.card, scans)
    predict_folder(of, Request(whole.cases[:1], whole.data), tmp_path / "p", MaskOptions(anonymize=True))
    evaluate(tmp_path / "p", scans, output=tmp_path / "e", allow_unmatched=True)
    assert_nobody_is_named(tmp_path / "e", but="files.json")
    assert "Not scored: " in write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert_nobody_is_named(tmp_path / "r")


def test_scans_one_by_one_share_one_file_of_sources(of, scans, tmp_path):
    whole = resolve(of.card, scans)
    for case in whole.cases:
        predict_folder(of, Request((case,), whole.data), tmp_path / "p", MaskOptions(anonymize=True))
    sources = json.loads(texts(tmp_path / "p")["sources.json"])
    assert {entry["id"] for entry in sources["cases"].values()} == {"JaneRoe", "JohnDoe"}
    evaluate(tmp_path / "p", scans)  # under the same key, so each finds its reference


def test_the_same_patient_has_another_name_in_every_folder(of, scans, tmp_path):
    for folder in ("p", "q"):
        predict_folder(of, resolve(of.card, scans), tmp_path / folder, MaskOptions(anonymize=True))
    names = [{file.name for file in (tmp_path / folder).glob("*.gz")} for folder in ("p", "q")]
    assert not names[0] & names[1]


def test_the_order_of_cases_tells_nothing(of, scans, tmp_path, monkeypatch):
    """Neither the tables nor the times of the files follow the order of the ids."""
    write_paired(scans, [f"P{place}" for place in range(6)])
    made = []
    save = Volume.save
    monkeypatch.setattr(Volume, "save", lambda mask, path: (made.append(Path(path).name), save(mask, path)))
    predict_folder(of, resolve(of.card, scans), tmp_path / "p", MaskOptions(anonymize=True))
    evaluate(tmp_path / "p", scans, output=tmp_path / "e")
    names = sorted(file.name.removesuffix(".nii.gz") for file in (tmp_path / "p").glob("*.gz"))
    assert [name.removesuffix(".nii.gz") for name in made] == names
    for file in (tmp_path / "p" / "predictions.json", tmp_path / "p" / "sources.json"):
        assert list(json.loads(file.read_text())["cases"]) == names
    rows = read_rows_of(tmp_path / "e" / "metrics.csv")
    assert list(dict.fromkeys(row["case"] for row in rows)) == names


def test_failures_are_told_by_hashed_names(of, scans, tmp_path, capsys):
    request = resolve(of.card, scans)
    (scans / "JohnDoe_ct.nii.gz").write_bytes(b"JohnDoe")
    failed = predict_folder(of, request, tmp_path / "p", MaskOptions(anonymize=True)).problem
    name = hashed("JohnDoe", tmp_path / "p")
    assert f"{name}: a file is missing or cannot be read; sources.json says which case it is" in failed
    assert not [secret for secret in SECRETS if secret in failed]
    status = folder_status(MaskSource.of(of.card), replace(request, anonymize=True), tmp_path / "p", how={})
    assert f"failed:\n  - {name}: a file is missing" in str(status)
    (scans / "JaneRoe_seg.nii.gz").write_bytes(b"")
    with pytest.raises(EvaluationError) as failed:
        evaluate(tmp_path / "p", scans, allow_unmatched=True)
    assert hashed("JaneRoe", tmp_path / "p") in str(failed.value)
    assert not [secret for secret in SECRETS if secret in str(failed.value)]


def test_without_the_key_nothing_is_matched_by_guessing(of, scans, tmp_path):
    predict_folder(of, resolve(of.card, scans), tmp_path / "p", MaskOptions(anonymize=True))
    names = {name: hashed(name, tmp_path / "p") for name in ("JohnDoe", "JaneRoe")}
    (tmp_path / "p" / "sources.json").unlink()
    with pytest.raises(EvaluationError, match="the key that finds their references is missing") as refused:
        evaluate(tmp_path / "p", scans)
    assert not [secret for secret in SECRETS[:2] if secret in str(refused.value)]
    with pytest.raises(RunError, match="without the key of their names"):
        predict_folder(of, resolve(of.card, scans), tmp_path / "p", MaskOptions(anonymize=True))
    (tmp_path / "flat").mkdir()  # as whoever got the masks was given the references
    for name, other in names.items():
        shutil.copy(scans / f"{name}_seg.nii.gz", tmp_path / "flat" / f"{other}.nii.gz")
    assert evaluate(tmp_path / "p", tmp_path / "flat")["cases"] == 2
    shutil.copy(scans / "JaneRoe_seg.nii.gz", tmp_path / "flat" / "MaryMajor.nii.gz")
    with pytest.raises(EvaluationError, match="has a reference but no prediction") as refused:
        evaluate(tmp_path / "p", tmp_path / "flat")
    assert "MaryMajor" not in str(refused.value)


def test_what_names_patients_is_its_owners_alone(of, scans, tmp_path):
    for hidden in (True, False):
        folder = tmp_path / str(hidden)
        predict_folder(of, resolve(of.card, scans), folder / "p", MaskOptions(anonymize=hidden))
        evaluate(folder / "p", scans, output=folder / "e")
        write_report(folder / "e", folder / "r")
        write_picture(folder / "e", folder / "r" / "panel.png")
        umask = 0o666 & ~os.umask(0)
        os.umask(0o666 & ~umask)
        named = {"sources.json", "files.json"}
        for file in (*(folder / "p").glob("*.json"), *(folder / "e").iterdir(), *(folder / "r").iterdir()):
            private = not hidden or file.name in named
            assert stat.S_IMODE(file.stat().st_mode) == (0o600 if private else umask), file


@pytest.mark.parametrize("first", [True, False])
def test_hashed_and_plain_names_do_not_mix(of, scans, tmp_path, first):
    whole = resolve(of.card, scans)
    predict_folder(of, Request(whole.cases[:1], whole.data), tmp_path / "p", MaskOptions(anonymize=first))
    before = texts(tmp_path / "p")
    with pytest.raises(RunError, match=r"--anonymize, and the two do not mix\. Choose another --output"):
        predict_folder(of, whole, tmp_path / "p", MaskOptions(anonymize=not first), existing="replace")
    assert texts(tmp_path / "p") == before


def test_reports_tell_the_number_of_cases_that_selected_the_model(of, scans, tmp_path):
    predict_folder(of, resolve(of.card, scans), tmp_path / "p")
    evaluate(tmp_path / "p", scans, output=tmp_path / "e")
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert "cases 1" in page
    assert str(scans) in page  # only --anonymize hides where things are


@pytest.mark.parametrize("command", ["predict", "compare"])
def test_the_old_spelling_is_understood_and_not_shown(command, capsys):
    folders = {"predict": ["--model", "m"], "compare": ["--i2m", "m", "--m2i", "m"]}[command]
    words = [command, *folders, "--input", "x", "--output", "o"]
    assert build_parser().parse_args([*words, "--anonymise"]).anonymize
    assert build_parser().parse_args([*words, "--anonymize"]).anonymize
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--help"])
    assert "--anonymise" not in capsys.readouterr().out


@pytest.mark.parametrize("anonymize", [True, False])
def test_anonymized_predictions_are_compared_with_others_under_other_names(of, scans, tmp_path, anonymize):
    whole = resolve(of.card, scans)
    predict_folder(of, whole, tmp_path / "p", MaskOptions(anonymize=True))
    predict_folder(of, whole, tmp_path / "q", MaskOptions(anonymize=anonymize, keep_largest=True))
    summary = evaluate(tmp_path / "p", scans, output=tmp_path / "e", against=tmp_path / "q")
    assert summary["paired"]["cases"] == 2
    assert summary["paired"]["overall"]["dice"]["difference"] == pytest.approx(0, abs=0.5)
    assert_nobody_is_named(tmp_path / "e", but="files.json")
