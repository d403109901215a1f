"""Ids of cases: links give their own names, dots stay, and ids that clash have a way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segcct.config import DataSection
from segcct.datasets.layouts import find_cases
from segcct.datasets.split_lists import read_list
from segcct.errors import DataError
from tests.support.volumes import save_volume


def save(path: Path) -> Path:
    return save_volume(path, np.zeros((8, 6, 4), dtype=np.int16), np.eye(4))


def section(root: Path, **settings: object) -> DataSection:
    usual = {"layout": "folder", "channels": {"image": "img.nii.gz"}, "label": "seg.nii.gz", "scheme": "acdc"}
    return DataSection.model_validate(usual | {"root": root} | settings)


def test_lists_of_cases_name_files_with_dots(tmp_path: Path) -> None:
    for case in ("1.2.840.1", "1.2.840.2"):
        save(tmp_path / case / "img.nii.gz")
    cases = find_cases(section(tmp_path))
    listing = tmp_path / "train.txt"
    listing.write_text("1.2.840.1\nfolder/1.2.840.2.nii.gz\n")
    assert read_list(listing, "data.split.train_list", cases) == ["1.2.840.1", "1.2.840.2"]


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


def test_a_number_that_goes_on_does_not_repeat_the_folder(tmp_path: Path) -> None:
    for patient in ("1", "10"):
        for number in ("1", "10"):
            save(tmp_path / "images" / patient / f"{number}.nii.gz")
    data = section(tmp_path, layout="paired", channels={"ct": "images/*/{id}.nii.gz"}, label=None, case_id="path")
    assert {case.id for case in find_cases(data)} == {"1", "1_10", "10_1", "10"}
