"""Names: only a format's ending is cut, links keep their own names, and ids that clash have a way out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segcct.config import DataSection
from segcct.datasets.layouts import find_cases
from segcct.datasets.layouts.patterns import compiled, with_id
from segcct.datasets.split_lists import read_list
from segcct.errors import DataError, EvaluationError, VolumeError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.files.atomic_file import atomic_path
from segcct.files.file_names import absolute, case_name, folder_name, split_name, stem_of
from segcct.images.volume import Volume
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from tests.support.toy_pair import predictor

SHAPE = (8, 6, 4)


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Volume(np.arange(192, dtype=np.int16).reshape(SHAPE), np.eye(4), (1.0, 1.0, 1.0)).save(path)
    return path


def section(root: Path, **settings: object) -> DataSection:
    usual = {"layout": "folder", "channels": {"image": "img.nii.gz"}, "label": "seg.nii.gz", "scheme": "acdc"}
    return DataSection.model_validate(usual | {"root": root} | settings)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("1.2.840.1.nii.gz", ("1.2.840.1", ".nii.gz")),
        ("vox_2.2mm.nii", ("vox_2.2mm", ".nii")),
        ("A.B.NII.GZ", ("A.B", ".NII.GZ")),
        ("case0001.npy.h5", ("case0001", ".npy.h5")),
        ("1.2.840.113", ("1.2.840.113", "")),  # a DICOM file without a suffix
        ("Dr. Who.png", ("Dr. Who", ".png")),
        (".gz", (".gz", "")),
        ("notes.txt", ("notes.txt", "")),
    ],
)
def test_only_the_ending_of_a_format_is_cut(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts
    assert stem_of(f"a.b/{name}") == parts[0]


def test_a_folder_is_called_by_its_whole_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = tmp_path / "1.2.840.nii"
    series.mkdir()
    assert case_name(series) == "1.2.840.nii"
    link = tmp_path / "case_01"
    link.symlink_to(series)
    assert case_name(link) == folder_name(link) == "case_01"
    monkeypatch.chdir(series)
    assert folder_name(Path()) == folder_name(Path("../1.2.840.nii/.")) == "1.2.840.nii"
    assert folder_name(Path("..")) == tmp_path.name


def test_an_absolute_path_keeps_the_names_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "DOE_JOHN").mkdir()
    (tmp_path / "case_01").symlink_to(tmp_path / "DOE_JOHN")
    assert absolute(tmp_path / "case_01" / "a.nii.gz") == str(tmp_path / "case_01" / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    assert absolute(Path("case_01")) == str(tmp_path.resolve() / "case_01")
    assert absolute(Path("case_01/../case_01/x")) == str(tmp_path.resolve() / "case_01" / "x")


def test_temporary_names_keep_the_ending(tmp_path: Path) -> None:
    for name in ("1.2.840.nii.gz", "vox 2.2mm.nii", "last.ckpt", "folder"):
        with atomic_path(tmp_path / name) as temporary:
            assert temporary.suffix == Path(name).suffix
            assert temporary.name.endswith(split_name(name)[1])
            temporary.write_text("x")
        assert (tmp_path / name).read_text() == "x"


def test_a_pattern_for_any_ending_cuts_only_that() -> None:
    assert with_id("images/*.*") == "images/{id}.*"
    for name, case in (("1.2.840.nii.gz", "1.2.840"), ("a.b.png", "a.b"), ("c.NII.GZ", "c"), ("d.npy.h5", "d")):
        match = compiled("{id}.*").match(name)
        assert match is not None
        assert match["id"] == case
    assert compiled("img.*", id_first=True).match("1/img.nii.gz")


def test_lists_of_cases_name_files_with_dots(tmp_path: Path) -> None:
    for case in ("1.2.840.1", "1.2.840.2"):
        save(tmp_path / case / "img.nii.gz")
    cases = find_cases(section(tmp_path))
    listing = tmp_path / "train.txt"
    listing.write_text("1.2.840.1\nfolder/1.2.840.2.nii.gz\n")
    assert read_list(listing, "data.split.train_list", cases) == ["1.2.840.1", "1.2.840.2"]


def test_scans_whose_names_differ_behind_a_dot_get_masks_of_their_own(tmp_path: Path) -> None:
    model = predictor().card
    one = resolve(model, save(tmp_path / "1.2.840.1.nii.gz"))
    assert one.cases[0].id == "1.2.840.1"
    series = tmp_path / "1.2.840.2"
    series.mkdir()
    (series / "a").write_bytes(b"\0" * 128 + b"DICM")
    assert resolve(model, series).cases[0].id == "1.2.840.2"


@pytest.mark.parametrize("deep", [False, True])
def test_a_linked_case_folder_keeps_its_own_name(tmp_path: Path, deep: bool) -> None:
    for number, patient in enumerate(("DOE_JOHN", "ROE_JANE"), start=1):
        place = tmp_path / "raw" / patient / ("anat" if deep else "")
        save(place / "img.nii.gz")
        (tmp_path / "links").mkdir(exist_ok=True)
        (tmp_path / "links" / f"case_{number:02d}").symlink_to(place)
    assert [case.id for case in find_cases(section(tmp_path / "links"))] == ["case_01", "case_02"]


def test_a_linked_patient_folder_of_acdc_is_found(tmp_path: Path) -> None:
    save(tmp_path / "store" / "study_1" / "patient001_frame01.nii.gz")
    (tmp_path / "acdc").mkdir()
    (tmp_path / "acdc" / "patient001").symlink_to(tmp_path / "store" / "study_1")
    data = section(tmp_path / "acdc", layout="acdc", channels={"cine": "{id}.nii.gz"}, label="{id}_gt.nii.gz")
    assert [case.id for case in find_cases(data)] == ["patient001_frame01"]


def test_a_file_that_is_a_link_to_nothing_is_named_with_its_target(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to(".git/annex/objects/xx")
    with pytest.raises(VolumeError, match=r"a\.nii\.gz: no such file.*a link to \.git/annex/objects/xx"):
        Volume.load(tmp_path / "a.nii.gz")


def test_the_message_about_one_id_twice_holds_a_setting_that_helps(tmp_path: Path) -> None:
    for site in ("siteA", "siteB"):
        for case in ("001", "002"):
            save(tmp_path / site / case / "img.nii.gz")
    with pytest.raises(DataError, match=r"several cases have one id.*siteA/001/img.*data\.case_id: path.*siteA_001"):
        find_cases(section(tmp_path))
    cases = find_cases(section(tmp_path, case_id="path"))
    assert [case.id for case in cases] == ["siteA_001", "siteA_002", "siteB_001", "siteB_002"]
    assert len({case.patient for case in cases}) == 4
    by_patient = find_cases(section(tmp_path, case_id="path", patient=r"_(\d+)$"))
    assert [case.patient for case in by_patient] == ["001", "002", "001", "002"]
    save(tmp_path / "siteA_001" / "img.nii.gz")  # what the path gives clashes too
    with pytest.raises(DataError, match=r"several cases have one id.*siteA_001 in.*Rename them"):
        find_cases(section(tmp_path, case_id="path"))


def test_flat_files_of_one_id_get_their_folder_by_path(tmp_path: Path) -> None:
    for site in ("siteA", "siteB"):
        save(tmp_path / site / "images" / "1.nii.gz")
        save(tmp_path / site / "masks" / "1.nii.gz")
    settings = {"layout": "paired", "channels": {"ct": "images/{id}.nii.gz"}, "label": "masks/{id}.nii.gz"}
    with pytest.raises(DataError, match=r"several cases have one id.*data\.case_id: path.*siteA_1"):
        find_cases(section(tmp_path, **settings))
    cases = find_cases(section(tmp_path, **settings, case_id="path"))
    assert [case.id for case in cases] == ["siteA_1", "siteB_1"]
    assert [case.label for case in cases] == [(tmp_path / f"{case.id[:5]}/masks/1.nii.gz",) for case in cases]


def test_what_a_prediction_notes_of_linked_scans_is_their_own_path(tmp_path: Path) -> None:
    target = save(tmp_path / "DOE_JOHN" / "scan.nii.gz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "case_01.nii.gz").symlink_to(target)
    model = predictor()
    predict_folder(model, resolve(model.card, tmp_path / "in" / "case_01.nii.gz"), tmp_path / "out")
    index = (tmp_path / "out" / "predictions.json").read_text()
    assert "DOE_JOHN" not in index
    assert list(json.loads(index)["cases"]) == ["case_01"]


@pytest.mark.parametrize("side", ["p", "r"])
def test_evaluate_names_a_mask_that_is_a_link_to_nothing(tmp_path: Path, side: str) -> None:
    for place in "pr":
        for name in "ab":
            mask = Volume(np.ones(SHAPE, np.uint8), np.eye(4), (1.0, 1.0, 1.0))
            mask.save(tmp_path / place / f"{name}.nii.gz")
    (tmp_path / side / "a.nii.gz").unlink()
    (tmp_path / side / "a.nii.gz").symlink_to(".git/annex/objects/xx")
    with pytest.raises(EvaluationError, match=rf"(?s)1 problem.*/{side}/a\.nii\.gz: no such.*\.git/annex") as e:
        evaluate(tmp_path / "p", tmp_path / "r", scheme="binary")
    assert "missing" not in str(e.value)


def test_evaluate_pairs_names_with_dots(tmp_path: Path) -> None:
    for name in ("1.2.840.1", "1.2.840.2"):
        mask = Volume(np.ones(SHAPE, np.uint8), np.eye(4), (1.0, 1.0, 1.0))
        mask.save(tmp_path / "p" / f"{name}.nii.gz")
        mask.save(tmp_path / "r" / f"{name}_seg.nii")
    assert list(evaluate(tmp_path / "p", tmp_path / "r", scheme="binary")["files"]) == ["1.2.840.1", "1.2.840.2"]
