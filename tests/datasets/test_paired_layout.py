"""Layout `paired`: volumes in folders of their own or side by side, and new cases that lack a file."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from segcct.datasets.layouts import find_cases, find_new_cases, read_case, scan_cases, scheme_of
from segcct.errors import DataError
from tests.support.small_layouts import SHAPE, labels, section, volume


def test_paired_volumes_in_two_folders_and_side_by_side(tmp_path: Path) -> None:
    for case_id in ("A", "B_2"):
        volume(tmp_path / "two" / "images" / f"{case_id}.nii.gz")
        volume(tmp_path / "two" / "masks" / f"{case_id}.nii.gz", np.ones(SHAPE, np.uint8))
        volume(tmp_path / "one" / f"{case_id}.nii.gz")
        volume(tmp_path / "one" / f"{case_id}_seg.nii.gz", np.ones(SHAPE, np.uint8))
    for root, channel, label in (
        (tmp_path / "two", "images/*.nii.gz", "masks/*.nii.gz"),
        (tmp_path / "one", "{id}.nii.gz", "{id}_seg.nii.gz"),
    ):
        data = section("paired", root, {"ct": channel}, label=label, scheme="binary")
        cases = find_cases(data)
        assert [case.id for case in cases] == ["A", "B_2"]
        assert all(case.label for case in cases)
        loaded_case = read_case(cases[0], data, scheme_of(data))
        assert loaded_case.label is not None
        assert loaded_case.label.all()


def test_what_lies_beside_a_scan_is_no_case_of_its_own(tmp_path: Path) -> None:
    """The pattern of the first channel matches the names of all the others."""
    ends = ("", "_pet", "_seg", "_brain")
    for case_id in ("A", "B"):
        for end in ends:
            volume(tmp_path / f"{case_id}{end}.nii.gz")
    channels = {"ct": "{id}.nii.gz", "pet": "{id}_pet.nii.gz"}
    intensity = {"rule": "zscore_mask", "mask": "{id}_brain.nii.gz"}
    found = scan_cases(section("paired", tmp_path, channels, label="{id}_seg.nii.gz", intensity=intensity))
    assert found.errors == found.notices == []
    assert [[file.name for file in case.files()] for case in found.cases] == [
        [f"{case_id}{end}.nii.gz" for end in ends] for case_id in ("A", "B")
    ]


def test_names_in_other_spellings_of_unicode_are_paired(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "Müller") for form in ("NFD", "NFC")]
    volume(tmp_path / "images" / f"{names[0]}.nii.gz")
    volume(tmp_path / "masks" / f"{names[1]}.nii.gz", labels([0, 1]))
    data = section("paired", tmp_path, {"ct": "images/*.nii.gz"}, label="masks/*.nii.gz")
    (case,) = find_cases(data)
    assert (case.id, case.label is not None) == (names[0], True)
    (case,) = find_cases(data.model_copy(update={"patient": f"({names[1][:2]}).*"}))
    assert case.patient == names[1][:2]
    volume(tmp_path / "images" / f"{names[1]}.nii.gz")
    with pytest.raises(DataError, match=r"several cases have one id .*, spelled differently in Unicode.*Rename them"):
        find_cases(data)
    volume(tmp_path / "masks" / f"{names[0]}.nii.gz", labels([0, 1]))
    assert [error.what for error in scan_cases(data).errors] == ["several cases have one id"]


def test_a_further_channel_does_not_stand_for_the_first(tmp_path: Path) -> None:
    for name in ("A", "t2/A", "t2/B"):
        volume(tmp_path / f"{name}.nii.gz")
    found = scan_cases(section("paired", tmp_path, {"t1": "{id}.nii.gz", "t2": "t2/{id}.nii.gz"}))
    assert [list(case.channels.values()) for case in found.cases] == [
        [(tmp_path / "A.nii.gz",), (tmp_path / "t2" / "A.nii.gz",)]
    ]
    assert [(error.what, error.file) for error in found.errors] == [
        ("channel t1 is missing", str(tmp_path / "t2" / "B.nii.gz"))
    ]


@pytest.mark.parametrize(
    "channels",
    [
        {"t1": "{id}_t1.nii.gz", "t2": "{id}.nii.gz"},
        {"t2": "{id}_t2.nii.gz", "t1": "{id}_t1.nii.gz", "stripped": "{id}_stripped_t1.nii.gz"},
    ],
)
def test_a_file_of_a_case_that_another_pattern_matches_too_is_no_further_case(
    tmp_path: Path, channels: dict[str, str]
) -> None:
    names = {pattern.replace("{id}", "A") for pattern in (*channels.values(), "{id}_seg.nii.gz")}
    for name in names:
        volume(tmp_path / name)
    found = scan_cases(section("paired", tmp_path, channels, label="{id}_seg.nii.gz"))
    assert found.errors == found.notices == []
    assert [{file.name for file in case.files()} for case in found.cases] == [names]


def test_a_label_whose_last_folders_are_those_of_the_scan_is_nearer(tmp_path: Path) -> None:
    for name in ("images/train/A", "masks/A_seg", "masks/train/A_seg"):
        volume(tmp_path / f"{name}.nii.gz")
    (case,) = find_cases(section("paired", tmp_path, {"ct": "train/*.nii.gz"}, label="{id}_seg.nii.gz"))
    assert case.label == (tmp_path / "masks" / "train" / "A_seg.nii.gz",)


def test_of_two_labels_that_are_equally_near_none_is_taken(tmp_path: Path) -> None:
    for name in ("images/A", "first/A_seg", "second/A_seg"):
        volume(tmp_path / f"{name}.nii.gz")
    data = section("paired", tmp_path, {"ct": "images/*.nii.gz"}, label="{id}_seg.nii.gz")
    with pytest.raises(DataError, match=r"label is not one file .found A_seg\.nii\.gz, A_seg\.nii\.gz"):
        find_cases(data)


def test_new_cases_that_lack_a_channel_are_found_with_their_error(tmp_path: Path) -> None:
    for name in ("x/t1/A", "x/t1/B", "x/t2/B", "x/t2/C"):
        volume(tmp_path / f"{name}.nii.gz")
    data = section("paired", tmp_path, {"t1": "t1/*.nii.gz", "t2": "t2/*.nii.gz"}, case_id="path", patient="(.*)_")
    new = find_new_cases(data).cases
    errors = {case.id: case.error and case.error.what for case in new}
    assert errors == {"x_A": "channel t2 is missing", "x_B": None, "x_C": "channel t1 is missing"}
    assert {case.patient for case in new} == {"x"}
    with pytest.raises(DataError, match="channel t2 is missing"):
        find_cases(data)


def test_a_new_case_that_shares_its_id_with_an_incomplete_one_is_refused(tmp_path: Path) -> None:
    for name in ("a/A/t1", "a/A/t2", "b/A/t1"):
        volume(tmp_path / f"{name}.nii.gz")
    data = section("folder", tmp_path, {"t1": "t1.nii.gz", "t2": "t2.nii.gz"})
    with pytest.raises(DataError, match="b/A: channel t2 is missing"):
        find_new_cases(data)
    by_path = data.model_copy(update={"case_id": "path"})
    assert [case.id for case in find_new_cases(by_path).cases] == ["a_A", "b_A"]


def test_a_new_case_without_its_first_channel_has_the_id_that_it_would_have_by_path(tmp_path: Path) -> None:
    for name in ("a/A/x/t1", "a/A/x/t2", "b/A/x/t2"):
        volume(tmp_path / f"{name}.nii.gz")
    data = section("folder", tmp_path, {"t1": "x/t1.nii.gz", "t2": "x/t2.nii.gz"}, case_id="path", patient="(.*)_")
    assert [(case.id, case.patient) for case in find_new_cases(data).cases] == [("a_A", "a"), ("b_A", "b")]
