"""Names: only a format's ending is cut, and links keep their own names."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from segcct.files.atomic_file import atomic_path
from segcct.files.file_names import absolute, case_name, folder_name, spelled_as, split_name, stem_of


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("1.2.840.1.nii.gz", ("1.2.840.1", ".nii.gz")),
        ("vox_2.2mm.nii", ("vox_2.2mm", ".nii")),
        ("A.B.NII.GZ", ("A.B", ".NII.GZ")),
        ("case0001.npy.h5", ("case0001", ".npy.h5")),
        ("1.2.840.113", ("1.2.840.113", "")),  # a DICOM file without a suffix
        ("Dr. Who.png", ("Dr. Who", ".png")),
        (".nii.gz", (".nii.gz", "")),
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


def test_a_name_is_found_in_its_own_spelling_of_unicode_before_another() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))
    assert spelled_as([composed, "a"], [decomposed, "b"]) == {composed: decomposed, "a": "a"}
    assert spelled_as([composed], [composed, decomposed]) == {composed: composed}
    assert spelled_as([composed, decomposed], [composed]) == {composed: composed, decomposed: decomposed}


def test_names_that_are_alike_in_three_spellings_stay_apart() -> None:
    letter, unit, decomposed = "\u00c5", "\u212b", "A\u030a"
    assert spelled_as([letter, unit], [decomposed]) == {letter: letter, unit: unit}
    assert spelled_as([decomposed], [letter, unit]) == {decomposed: decomposed}


def test_temporary_names_keep_the_ending(tmp_path: Path) -> None:
    for name in ("1.2.840.nii.gz", "vox 2.2mm.nii", "last.ckpt", "folder"):
        with atomic_path(tmp_path / name) as temporary:
            assert temporary.suffix == Path(name).suffix
            assert temporary.name.endswith(split_name(name)[1])
            temporary.write_text("x")
        assert (tmp_path / name).read_text() == "x"
