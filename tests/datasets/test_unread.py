"""Every file and folder of a dataset is accounted for: read, named by an error, or said not to be read."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from segcct.check.dataset_check import examine_dataset
from segcct.check.problem import format_problems
from segcct.check.split_classes import unshared_classes
from segcct.config import DataSection
from segcct.datasets.layouts import find_cases, scan_cases
from segcct.datasets.split_record import Splits
from segcct.datasets.unread_files import find_unread
from segcct.images.volume import Volume


def save(path: Path, *values: int) -> Path:
    voxels = (
        np.random.default_rng(zlib.crc32("/".join(path.parts[-3:]).encode()))
        .integers(0, 900, (16, 16, 4))
        .astype(np.int16)
    )
    if values:
        voxels[:] = 0
        for place, value in enumerate(values):
            voxels[2 + 2 * place : 4 + 2 * place, 2:5] = value
    Volume(voxels, np.eye(4), (1.0, 1.0, 1.0)).save(path)
    return path


def section(root: Path, **settings: object) -> DataSection:
    usual = {"layout": "folder", "channels": {"image": "img.nii.gz"}, "label": "seg.nii.gz", "scheme": "acdc"}
    return DataSection.model_validate(usual | {"root": root} | settings)


def dataset(root: Path, cases: int = 3) -> DataSection:
    for number in range(cases):
        save(root / f"case{number}" / "img.nii.gz")
        save(root / f"case{number}" / "seg.nii.gz", 1, 2, 3)
    return section(root)


def problems(data: DataSection) -> list[tuple[str, str, str]]:
    return [(p.severity, Path(p.file or "").name, p.what) for p in examine_dataset(data, deep=False).problems]


def test_a_case_folder_that_lost_its_only_channel_is_an_error(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    (tmp_path / "case1" / "img.nii.gz").rename(tmp_path / "case1" / "img.nii")
    assert ("error", "case1", "channel image is missing") in problems(data)
    assert [case.id for case in find_cases(data, strict=False)] == ["case0", "case2"]


def test_without_a_label_it_is_a_notice(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    (tmp_path / "case1" / "img.nii.gz").rename(tmp_path / "case1" / "img.nii")
    (tmp_path / "case1" / "seg.nii.gz").unlink()
    (tmp_path / "empty").mkdir()
    assert [p for p in problems(data) if p[2] == "the folder holds no case"] == [
        ("notice", "case1", "the folder holds no case"),
        ("notice", "empty", "the folder holds no case"),
    ]


def test_a_label_above_the_case_folders_makes_no_case(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    save(tmp_path / "seg.nii.gz", 1)
    assert len(find_cases(data)) == 3
    assert examine_dataset(data, deep=False).unread == ["1 image file: seg.nii.gz"]


def test_a_frame_of_acdc_without_its_image_is_an_error(tmp_path: Path) -> None:
    for frame in ("01", "12"):
        save(tmp_path / "patient001" / f"patient001_frame{frame}.nii.gz")
        save(tmp_path / "patient001" / f"patient001_frame{frame}_gt.nii.gz", 1)
    save(tmp_path / "patient001" / "patient001_4d.nii.gz")
    data = section(tmp_path, layout="acdc", channels={"cine": "{id}.nii.gz"}, label="{id}_gt.nii.gz")
    assert examine_dataset(data, deep=False).unread == []
    (tmp_path / "patient001" / "patient001_frame12.nii.gz").unlink()
    (error,) = scan_cases(data).errors
    assert (error.what, error.expected) == ("channel cine is missing", "patient001_frame12.nii.gz")


def test_a_case_of_flat_files_without_its_first_channel_is_an_error(tmp_path: Path) -> None:
    settings = {"layout": "paired", "channels": {"t1": "{id}_t1.nii.gz", "t2": "{id}_t2.nii.gz"}}
    data = section(tmp_path, **settings, label="{id}_seg.nii.gz")
    for case in "ab":
        for part in ("t1", "t2", "seg"):
            save(tmp_path / f"{case}_{part}.nii.gz", 1)
    assert scan_cases(data).errors == []
    (tmp_path / "a_t1.nii.gz").unlink()
    save(tmp_path / "c_t1.nii.gz")
    found = [(Path(str(error.file)).name, error.what) for error in scan_cases(data).errors]
    assert found == [("c_t1.nii.gz", "channel t2 is missing"), ("a_t2.nii.gz", "channel t1 is missing")]


def test_what_is_not_read_is_counted_and_named(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    for number in range(3):
        save(tmp_path / f"case{number}" / f"t2_{number}.nii.gz")
        (tmp_path / f"case{number}" / "img.json").write_text("{}")  # goes with the image
        (tmp_path / f"case{number}" / "._img.nii.gz").write_text("x")
        (tmp_path / f"case{number}" / "Thumbs.db").write_text("x")
    (tmp_path / "README.md").write_text("x")
    save(tmp_path / "old" / "deep" / "img.nii")
    unread = find_unread(data, scan_cases(data))
    assert unread.folders == (("old", 1),)
    assert unread.describe() == [
        "1 folder: old/ (1 file)",
        "3 image files: 3 like case0/t2_0.nii.gz",
        "1 other file: README.md",
    ]
    assert unread.describe(folders=False) == unread.describe()[1:]


def test_the_list_of_what_is_not_read_is_bounded(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    for name in (f"{letter}{other}" for letter in "abcdefgh" for other in "uvwxyz"):
        save(tmp_path / f"{name}.nii.gz")
        (tmp_path / name).mkdir()
    lines = find_unread(data, scan_cases(data)).describe()
    assert lines[0].startswith("48 folders: au/ (0 files), ")
    assert lines[1].endswith(" and 42 more")
    assert max(map(len, lines)) < 200
    assert len(format_problems(examine_dataset(data, deep=False).problems).splitlines()) < 40


def test_lists_of_cases_and_files_of_a_broken_case_are_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(tmp_path)
    (tmp_path / "train.txt").write_text("case0\ncase1\n")
    (tmp_path / "val.txt").write_text("case2\n")
    lists = {"kind": "lists", "train_list": tmp_path / "train.txt", "val_list": tmp_path / "val.txt"}
    data = data.model_copy(update={"split": type(data.split).model_validate(lists)})
    (tmp_path / "case1" / "img.nii.gz").rename(tmp_path / "case1" / "img.nii")
    assert examine_dataset(data, deep=False).unread == []
    monkeypatch.chdir(tmp_path)
    assert examine_dataset(data.model_copy(update={"root": Path()}), deep=False).unread == []


def test_cases_with_one_id_are_not_called_unread(tmp_path: Path) -> None:
    for site in "ab":
        save(tmp_path / site / "case1" / "img.nii.gz")
    data = section(tmp_path)
    assert find_unread(data, scan_cases(data)).describe() == []


def test_what_macos_adds_to_archives_is_not_data(tmp_path: Path) -> None:
    save(tmp_path / "case1" / "img.nii.gz")
    for name in ("__MACOSX/case1/._img.nii.gz", "__MACOSX/case1/img.nii.gz", "case1/._img.nii.gz", ".DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    data = section(tmp_path)
    found = scan_cases(data)
    assert ([case.id for case in found.cases], found.errors) == (["case1"], [])
    assert find_unread(data, found).describe() == []


def test_clashing_ids_are_one_kind_of_problem(tmp_path: Path) -> None:
    for site in "ab":
        for number in range(30):
            save(tmp_path / site / f"case{number}" / "img.nii.gz")
    text = format_problems(examine_dataset(section(tmp_path), deep=False).problems)
    assert "error: several cases have one id (30 times)" in text
    assert "... and 20 more" in text


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ({"a": "xy", "b": "xy"}, None),
        ({"a": "x", "b": "xy"}, "in no training case: y"),
        ({"a": "xy", "b": "x"}, "in training cases only: y"),
        ({"a": "x", "b": "y"}, "in no training case: y; in training cases only: x"),
        ({"a": "xy"}, None),  # nothing is known of validation
    ],
)
def test_classes_that_one_part_of_the_split_lacks(classes: dict[str, str], told: str | None) -> None:
    held = {case: frozenset(names) for case, names in classes.items()}
    assert unshared_classes(held, Splits(train=("a",), val=("b",))) == told


def test_check_names_and_training_warns_of_a_class_that_only_validation_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from segcct.tasks.training_dataset import load_dataset

    for number, values in enumerate([(1, 2), (1, 2), (1, 2, 3)]):
        save(tmp_path / f"case{number}" / "img.nii.gz")
        save(tmp_path / f"case{number}" / "seg.nii.gz", *values)
    (tmp_path / "train.txt").write_text("case0\ncase1\n")
    (tmp_path / "val.txt").write_text("case2\n")
    lists = {"kind": "lists", "train_list": tmp_path / "train.txt", "val_list": tmp_path / "val.txt"}
    data = section(tmp_path, split=lists, image_size=16, cache=tmp_path / "cache")
    (notice,) = [problem for problem in examine_dataset(data).problems if "part of the split" in problem.what]
    assert (notice.severity, notice.found) == ("notice", "in no training case: LV")
    load_dataset(data)
    assert "warning: training and validation cases do not have the same classes (in no training case: LV)" in (
        capsys.readouterr().err
    )
