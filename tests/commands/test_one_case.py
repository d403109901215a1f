"""An error that nobody foresaw in one case is that case's failure in every command that goes through cases."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from segcct import case_runner
from segcct.check import dataset_check as checking
from segcct.check.dataset_check import examine_dataset
from segcct.cli import main
from segcct.comparison import comparison_run as comparison
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.layouts import find_cases, scheme_of
from segcct.datasets.split_record import Splits
from segcct.errors import DataError
from segcct.inference.cycle import Cycles
from segcct.predictions import folder_prediction as folder
from segcct.predictions.case_tables import CaseTable
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import Request, resolve
from segcct.preparation import cached_cases as prepare
from segcct.quality import calibration_run as calibrate
from segcct.quality.quality_table import written_estimates
from tests.support.hostile_world import SCANS, write_scans
from tests.support.toy_pair import class_filler, loaded_case, predictor

BUG = r"a: unexpected KeyError: 'spacing'\. This is a bug of segcct: please report it with the traceback that --debug"


def failing_at(place: str, usual, error: Exception | None = None):
    """The usual function, but for the case of that id."""

    def function(*arguments, **options):
        for argument in arguments:
            case = getattr(argument, "case", argument)
            if getattr(case, "id", None) == place:
                raise error or KeyError("spacing")
        return usual(*arguments, **options)

    return function


@pytest.fixture
def request_of_two(tmp_path: Path) -> Request:
    scan = loaded_case().grid
    cases = []
    for name in ("a", "b"):
        scan.save(tmp_path / f"{name}.nii.gz")
        cases.append(Case(name, name, {"ct": (tmp_path / f"{name}.nii.gz",)}))
    return Request(tuple(cases), predictor().data, single=True)


@pytest.fixture
def data(tmp_path: Path) -> DataSection:
    write_scans(tmp_path / "scans")
    return DataSection.model_validate(
        {"layout": "folder", "root": tmp_path / "scans", "cache": tmp_path / "cache", **SCANS}
    )


def test_predict(request_of_two, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "load_case", failing_at("a", folder.load_case))
    predictions = predict_folder(predictor(), request_of_two, tmp_path / "out")
    assert predictions.masks == [tmp_path / "out" / "b.nii.gz"]
    assert re.match(f"1 of 2 cases failed and got no new mask:\n  - {BUG}", predictions.problem)
    assert (tmp_path / "out" / "b.nii.gz").is_file()
    assert list(json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"]) == ["a", "b"]


def test_predict_stops_where_the_disk_is_full(request_of_two, tmp_path, monkeypatch):
    full = failing_at("a", folder.load_case, OSError(28, "No space left on device"))
    monkeypatch.setattr(folder, "load_case", full)
    monkeypatch.setattr(case_runner, "is_full", lambda output: True)
    words = r"(?s)2 of 2 cases failed.*a: No space left on device.*the disk of .*out is full: 1 more case skipped"
    assert re.match(words, predict_folder(predictor(), request_of_two, tmp_path / "out").problem)


def test_quality(request_of_two, tmp_path):
    def listener(segmented):
        if segmented.prepared.case_id == "a":
            raise KeyError("spacing")
        return []

    table = CaseTable("quality.csv", listener, needs_probabilities=True)
    predictions = predict_folder(predictor(), request_of_two, tmp_path / "out", tables=[table])
    assert (predictions.problem, len(predictions.masks)) == ("", 2)
    estimated = written_estimates(predictions)
    assert re.match(rf"1 of 2 masks got no row in quality\.csv:\n  - {BUG}", estimated.problem)


def test_compare(request_of_two, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "compare_case", failing_at("a", comparison.compare_case))
    with pytest.raises(DataError, match=f"(?s)1 of 2 cases failed; the others are in .*{BUG}"):
        comparison.write_comparison(Cycles(predictor(), class_filler()), request_of_two, tmp_path / "out", slices=2)
    assert list(json.loads((tmp_path / "out" / "report.json").read_text())["cases"]) == ["b"]


def test_calibrate(monkeypatch):
    cases = [SimpleNamespace(id=name, label=(Path(name),)) for name in ("a", "b")]
    monkeypatch.setattr(calibrate, "measure_case", failing_at("a", lambda *_, **__: ["row"]))
    failed, done = calibrate.measure_cases(SimpleNamespace(cases=cases, predictor=None, data=None))
    assert done.value == ["row"]
    assert failed.reasons[0].startswith("unexpected KeyError: 'spacing'. This is a bug")


def test_check(data, monkeypatch):
    monkeypatch.setattr(checking, "check_case", failing_at("p1", checking.check_case))
    problems = [problem for problem in examine_dataset(data, deep=True).problems if problem.severity == "error"]
    assert len(problems) == 1
    assert "p1" in problems[0].file
    assert "unexpected KeyError: 'spacing'. This is a bug" in problems[0].what


def test_prepare(data, monkeypatch):
    cases, scheme = find_cases(data), scheme_of(data)
    usual = prepare.prepare_case
    monkeypatch.setattr(prepare, "prepare_case", failing_at("p1", usual))
    with pytest.raises(DataError, match="1 of 5 cases cannot be prepared:\n  - p1: unexpected KeyError"):
        prepare.prepare_cases(cases, data, scheme)
    assert len(list(data.cache.glob("*/entry.json"))) == 4  # the others are done
    monkeypatch.setattr(prepare, "prepare_case", failing_at("p1", usual, DataError("no mask", file="p1.nii")))
    with pytest.raises(DataError, match=r"^p1\.nii: no mask$"):
        prepare.prepare_cases(cases, data, scheme)


def test_debug_shows_the_traceback_of_a_case(data, tmp_path, monkeypatch, capsys):
    import yaml

    monkeypatch.setattr(checking, "check_case", failing_at("p1", checking.check_case))
    section = {**data.model_dump(mode="json"), "root": str(data.root)}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"data": section}))
    assert main(["check", "--config", str(tmp_path / "c.yaml")]) == 1
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(DataError):
        main(["check", "--config", str(tmp_path / "c.yaml"), "--debug"])
    assert "KeyError: 'spacing'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_costs_only_the_cases_in_it(tmp_path, monkeypatch, capsys):
    scans, of, scandir = tmp_path / "scans", predictor(), os.scandir
    for name in ("a", "b"):
        loaded_case().grid.save(scans / name / "ct.nii.gz")

    def refused(path: str | Path) -> object:
        if Path(path) == scans / "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    request = resolve(of.card, scans)
    left_out = "1 file or folder could not be read, and what the input holds there is left out"
    assert capsys.readouterr().err == f"{left_out}\n"
    predictions = predict_folder(of, request, tmp_path / "p")
    assert [mask.name for mask in predictions.masks] == ["a.nii.gz"]
    named = f"{scans / 'b'}: the folder cannot be read (found Permission denied)"
    assert predictions.problem.startswith(f"{left_out}:\n  - {named}")
    assert predict_folder(of, request, tmp_path / "q", MaskOptions(anonymize=True)).problem == left_out
    Splits(("a",), ()).save(tmp_path / "splits.json")
    assert resolve(of.card, scans, splits_files=[tmp_path / "splits.json"], split="train").unread == ()
    (scans / "a" / "ct.nii.gz").unlink()
    with pytest.raises(DataError, match=re.escape(named)):
        resolve(of.card, scans)


def test_a_case_that_lacks_a_channel_fails_alone_and_keeps_the_mask_it_has(tmp_path, capsys):
    scans, of = tmp_path / "scans", predictor(channels={"ct": "ct.nii.gz"}, label="seg.nii.gz")
    for name in ("a", "b", "c"):
        loaded_case().grid.save(scans / name / "ct.nii.gz")
        loaded_case().grid.save(scans / name / "seg.nii.gz")
    (scans / "b" / "ct.nii.gz").unlink()
    predictions = predict_folder(of, resolve(of.card, scans), tmp_path / "p")
    assert [mask.name for mask in predictions.masks] == ["a.nii.gz", "c.nii.gz"]
    assert "incomplete: 1 of 3 cases\n" in capsys.readouterr().err
    assert predictions.problem.startswith("1 of 3 cases failed and got no new mask:")
    assert f"{scans / 'b'}: channel ct is missing (found seg.nii.gz; expected ct.nii.gz)" in predictions.problem
    (scans / "c" / "ct.nii.gz").unlink()
    continued = predict_folder(of, resolve(of.card, scans), tmp_path / "p", existing="continue")
    assert continued.problem.startswith("2 of 3 cases failed and got no new mask:")
    entries = json.loads((tmp_path / "p" / "predictions.json").read_text())["cases"]
    assert [entry["status"] for entry in entries.values()] == ["done", "failed", "done"]
    assert (tmp_path / "p" / "c.nii.gz").is_file()
    (scans / "a" / "ct.nii.gz").unlink()
    with pytest.raises(DataError, match="channel ct is missing"):
        resolve(of.card, scans)
