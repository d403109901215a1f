"""Folder walks that end and stay inside, patterns and expressions from files that cannot hang."""

from __future__ import annotations

import os
import time
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from segcct.check.dataset_check import examine_dataset
from segcct.config import DataSection
from segcct.config.expressions import check_patient_expression, search_patient
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts import scan_cases
from segcct.datasets.layouts.patterns import compiled, matching, with_id
from segcct.errors import ConfigError, DataError, VolumeError
from segcct.images.content_digest import content_digest
from segcct.init.folder_inspection import inspect_folder
from segcct.progress import without_names
from tests.support.hostile_itk import meta, nrrd


def section(root: Path, **keys: object) -> DataSection:
    settings = {"layout": "folder", "root": root, "channels": {"t1": "t1.nii"}, "scheme": "binary"}
    return DataSection.model_validate(settings | keys)


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


# ---------------------------------------------------------------- walks


def test_links_are_followed_out_of_the_root_once_and_never_around_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "home" / "set"
    touch(root / "a" / "1.nii", tmp_path / "store" / "b" / "2.nii", tmp_path / "private" / "3.nii", tmp_path / "4.nii")
    (root / "b").symlink_to(tmp_path / "store" / "b")  # a case kept elsewhere
    (root / "loop").symlink_to(root)
    (root / "a" / "loop").symlink_to(root / "a")
    (root / "everything").symlink_to("/")
    (root / "above").symlink_to(tmp_path / "home")
    (root / "system").symlink_to("/proc")
    (root / "itself").symlink_to("itself")
    (tmp_path / "store" / "b" / "away").symlink_to(tmp_path / "private")
    tree = FolderTree(root)
    assert tree.files() == tree.files() == ["a/1.nii", "b/2.nii", "itself"]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"not read: {root / 'b' / 'away'}, a link to {tmp_path / 'private'}" in line
    with without_names():
        FolderTree(root).files()
    assert str(tmp_path) not in capsys.readouterr().err


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a" / "1.nii", tmp_path / "b" / "2.nii", tmp_path / "lost+found" / "3.nii")
    scandir = os.scandir

    def refused(path: str | Path) -> object:
        if Path(path).name in ("b", "lost+found"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DataError, match=r"b: the folder cannot be read \(found Permission denied\)"):
        FolderTree(tmp_path).files()
    tree = FolderTree(tmp_path, strict=False)
    assert tree.files() == tree.files() == ["a/1.nii"]
    assert [error.file for error in tree.unread] == [str(tmp_path / "b")]
    with pytest.raises(DataError, match="the folder cannot be read"):
        FolderTree(tmp_path / "b", strict=False).files()
    assert FolderTree(tmp_path).names(tmp_path / "missing") == []
    assert FolderTree(tmp_path).names(tmp_path / "a" / "1.nii") == []


def test_a_walk_through_too_many_files_ends(tmp_path: Path) -> None:
    touch(*(tmp_path / "set" / f"{number}.nii" for number in range(9)))
    with pytest.raises(DataError, match="more than 8 files and folders below"):
        scan_cases(section(tmp_path / "set"), FolderTree(tmp_path / "set", most_entries=8))


def test_check_and_init_list_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    from PIL import Image

    root = tmp_path / "set"
    for number in range(4):
        for folder in ("images", "masks", "notes/old"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((32, 32), number + 1, np.uint8) * np.eye(32, dtype=np.uint8)).save(
                root / folder / f"{number}.png"
            )
    listed: Counter[Path] = Counter()
    for name in ("scandir", "listdir"):
        plain = getattr(os, name)
        monkeypatch.setattr(os, name, lambda path=".", plain=plain: (listed.update([Path(path)]), plain(path))[1])

    def times() -> dict[str, int]:
        counts = {str(path.relative_to(root)): count for path, count in listed.items() if path.is_relative_to(root)}
        listed.clear()
        return counts

    once = {".": 1, "images": 1, "masks": 1, "notes": 1, "notes/old": 1}
    data = inspect_folder(root).data
    assert times() == once
    assert [problem.what for problem in examine_dataset(data).problems if problem.severity == "error"] == []
    assert times() == once


def test_slice_numbers_far_apart_make_a_short_notice(tmp_path: Path) -> None:
    import h5py
    import numpy as np

    for number in ("1", "999999999999"):
        with h5py.File(tmp_path / f"case1_slice_{number}.h5", "w") as file:
            file["image"] = np.ones((4, 3))
    found = scan_cases(section(tmp_path, layout="slices", channels={"ct": "image"}))
    assert [notice.found for notice in found.notices] == ["no slice 2 to 999999999998"]


def test_a_digest_follows_a_header_to_the_file_beside_it_and_to_no_other(tmp_path: Path) -> None:
    touch(tmp_path / "secret.raw", tmp_path / "set" / "voxels.raw")
    digests = {}
    for value in (b"a", b"b"):
        (tmp_path / "secret.raw").write_bytes(value)
        (tmp_path / "set" / "voxels.raw").write_bytes(value)
        for name, target in (("beside", "voxels.raw"), ("outside", "../secret.raw"), ("list", "LIST")):
            for suffix, header in (
                (".mhd", meta({"ElementDataFile": target}, b"")),
                (".nhdr", nrrd({"data file": target}, b"")),
            ):
                file = tmp_path / "set" / f"{name}{suffix}"
                file.write_bytes(header)
                digests.setdefault(file.name, set()).add(content_digest([file]))
    assert {name: len(values) for name, values in digests.items()} == {
        "beside.mhd": 2,
        "beside.nhdr": 2,
        "outside.mhd": 1,
        "outside.nhdr": 1,
        "list.mhd": 1,
        "list.nhdr": 1,
    }
    touch(tmp_path / "series" / "1.dcm")
    whole = content_digest([tmp_path / "series"])
    touch(tmp_path / "series" / ".DS_Store")  # as macOS leaves where somebody looks
    assert content_digest([tmp_path / "series"]) == whole
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(VolumeError, match=r"pipe\.nii: not a file that can be read"):
        content_digest([tmp_path / "pipe.nii"])


# ---------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("{id}_t1.nii", "c1_t1.nii", True),
        ("*_{id}_*", "a_c1_b_c1_d", True),
        ("*a*b*c*", "xaybzc", True),
        ("*a*b*c*", "xaybz", False),
        ("*ab?c", "abxabyc", True),
        ("**.nii", "c1.nii", True),
        ("[a].nii", "a.nii", False),
        ("a*a", "a", False),
        ("*.nii", "deep/c1.nii", False),
        ("*/c?.nii", "deep/c1.nii", True),
    ],
)
def test_a_pattern_for_a_known_case_means_what_it_did(pattern: str, name: str, fits: bool) -> None:
    assert bool(compiled(pattern, id_first=True).match(f"c1/{name}")) is fits


def test_a_pattern_matches_names_in_any_spelling_of_unicode() -> None:
    composed, decomposed = (unicodedata.normalize(form, "{id}_Schädel*größe.nii") for form in ("NFC", "NFD"))
    for pattern in (composed, decomposed):
        for one in (composed, decomposed):
            name = one.replace("{id}", "Zoë").replace("*", "_")
            match = compiled(pattern).match(name)
            assert match is not None
            assert match["id"] == "Zoë"
            assert compiled(pattern, id_first=True).match(f"Zoë/{name}")


def test_a_file_is_named_after_its_folder_in_any_spelling_of_unicode(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    touch(tmp_path / f"{decomposed}_t1.nii")
    assert len(matching(FolderTree(tmp_path), tmp_path, "{id}_t1.nii", composed)) == 1


def test_the_id_is_where_it_was() -> None:
    def id_of(pattern: str, name: str) -> str | None:
        match = compiled(pattern, anywhere=True).match(name)
        return match["id"] if match else None

    assert id_of("*_{id}.png", "a_b_c.png") == "c"
    assert id_of("{id}_*.png", "a_b_c.png") == "a"
    assert id_of("{id}/{id}_t1.nii", "x/p1/p1_t1.nii") == "p1"
    assert id_of("{id}/{id}_t1.nii", "x/p1/p2_t1.nii") is None
    assert id_of("images/{id}*.png", "set/images/a1.png") == "a"


def test_patterns_that_would_take_forever_are_refused_or_fast(tmp_path: Path) -> None:
    touch(tmp_path / ("a" * 250))
    began = time.process_time()
    assert matching(FolderTree(tmp_path), tmp_path, "*a" * 120 + "b", "c") == []
    assert time.process_time() - began < 20
    with pytest.raises(ConfigError, match="too many wildcards in one name"):
        compiled("*a*a*{id}a*b")
    with pytest.raises(ConfigError, match="too long"):
        compiled("a" * 2000)
    assert compiled("*_{id}_*/*_*_{id}_*").match("1_c_2/1_2_c_3")
    many = compiled("{id}_acq-*_run-*_desc-*_echo-*_T1w.nii.gz", anywhere=True)
    match = many.match("anat/sub-1_ses-2_acq-a_run-1_run-2_desc-b_echo-1_T1w.nii.gz")
    assert match is not None
    assert match["id"] == "sub-1_ses-2"
    began = time.process_time()
    assert compiled("{id}" + "_a*" * 60 + "b").match("_a" * 120) is None
    assert time.process_time() - began < 20


# ---------------------------------------------------------------- data.patient


@pytest.mark.parametrize(
    "expression",
    [
        r"(.*)_visit\d",
        r"^(p\d+)_",
        r"(sub-[^_]+)_ses",
        r"(?P<who>\w+)-(?:a|b|c)\d?$",
        r"((?:\d{3}-)+)x",
        r"(.+?)_(?=x)",
        r"(\d{1,2}-\d{1,2}-\d{2,4})_.*_v\d{1,3}$",
    ],
)
def test_usual_expressions_are_taken(tmp_path: Path, expression: str) -> None:
    assert section(tmp_path, patient=expression).patient == expression


@pytest.mark.parametrize(
    "expression",
    [
        r"((?:a+)+)$",
        r"((?:a|aa)+)$",
        r"((?:a?){40})b",
        r"(.*)*",
        r"(.*.*.*.*)b",
        r"(a?a?a?a?a?a?a?a?a?a?a?a?aaaaaaaaaaaa)",
        r"(?:(?:x+x+)+)(y)",
        "(" * 5000 + ")" * 5000,
        r"(a{1,99999999999999999999})",
        f"({'a' * 400})",
        r"no group",
        r"(two)(groups)",
        r"(open",
    ],
)
def test_expressions_that_may_not_end_are_refused(tmp_path: Path, expression: str) -> None:
    with pytest.raises(ValueError, match=r"data\.patient"):
        check_patient_expression(expression)
    with pytest.raises(ValidationError, match=r"data\.patient"):
        section(tmp_path, patient=expression)


def test_a_name_too_long_for_its_expression_is_refused() -> None:
    assert search_patient(r"(p\d+)_.*_.*x", "p12_a_b_x")[1] == "p12"
    began = time.process_time()
    with pytest.raises(DataError, match=r"too long for data\.patient"):
        search_patient(r"(.*a.*a.*a)b", "a" * 4000)
    assert search_patient(r"(.*a.*a.*a)b", "a" * 99) is None
    with pytest.raises(DataError, match=r"too long for data\.patient"):
        search_patient(r"((?:a|aa|b)(?:a|aa|b)(?:a|aa|b).*a.*a.*a)b", "a" * 99)
    assert time.process_time() - began < 20


def test_a_pattern_for_any_ending_cuts_only_that() -> None:
    assert with_id("images/*.*") == "images/{id}.*"
    for name, case in (
        ("1.2.840.nii.gz", "1.2.840"),
        ("a.b.png", "a.b"),
        ("c.NII.GZ", "c"),
        ("d.npy.h5", "d"),
        ("e.seg.nrrd", "e"),
    ):
        match = compiled("{id}.*").match(name)
        assert match is not None
        assert match["id"] == case
    assert compiled("img.*", id_first=True).match("1/img.nii.gz")
