"""`segcct check`: every fault planted in a small dataset is found, named, and does not hide the others."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from segcct.check.dataset_check import examine_dataset
from segcct.check.problem import Problem, format_problems
from segcct.config import DataSection
from segcct.errors import VolumeError
from segcct.images.volume import Volume, read_header
from tests.support.volumes import save_volume

SHAPE = (12, 10, 6)
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])
save = partial(save_volume, affine=AFFINE)


def image(seed: int) -> np.ndarray:
    voxels = np.random.default_rng(seed).normal(100, 20, SHAPE).astype(np.float32)
    voxels[:2] = 0
    return voxels


def label(*values: int) -> np.ndarray:
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    for index, value in enumerate(values):
        voxels[3 + index, 3:6, 2:5] = value
    return voxels


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight sound cases with two channels, a mask and a label of scheme acdc."""
    for number in range(8):
        folder = tmp_path / "data" / f"case{number}"
        save(folder / "t1.nii.gz", image(2 * number))
        save(folder / "t2.nii.gz", image(2 * number + 1))
        save(folder / "seg.nii.gz", label(1, 2, 3))
        save(folder / "brain.nii.gz", (image(2 * number) > 0).astype(np.uint8))
    return tmp_path / "data"


def section(root: Path, **more: object) -> DataSection:
    return DataSection.model_validate(
        {"layout": "folder", "root": root, "channels": {"t1": "t1.nii.gz", "t2": "t2.nii.gz"},
         "label": "seg.nii.gz", "scheme": "acdc"} | more
    )  # fmt: skip


def masked(root: Path) -> DataSection:
    return section(root, intensity={"rule": "zscore_mask", "mask": "brain.nii.gz"})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_sound_dataset_has_no_problems(root: Path) -> None:
    calls: list[tuple[int, int]] = []
    assert examine_dataset(section(root), progress=lambda done, total: calls.append((done, total))).problems == []
    assert calls == [(done, 8) for done in range(9)]
    assert examine_dataset(masked(root)).problems == []
    assert examine_dataset(section(root), deep=False).problems == []
    assert format_problems([]) == "no problems"


def _missing_channel(case: Path) -> None:
    (case / "t2.nii.gz").unlink()


def _stray_value(case: Path) -> None:
    save(case / "seg.nii.gz", label(1, 7))


def _moved_label(case: Path) -> None:
    save(case / "seg.nii.gz", label(1), affine=AFFINE + np.outer([0, 1, 0, 0], [0, 0, 0, 9]))


def _moved_channel(case: Path) -> None:
    save(case / "t2.nii.gz", image(7), affine=AFFINE + np.outer([1, 0, 0, 0], [0, 0, 0, 5]))


def _smaller_channel(case: Path) -> None:
    save(case / "t2.nii.gz", image(0)[:, :, :4])


def _moved_mask(case: Path) -> None:
    save(case / "brain.nii.gz", np.ones(SHAPE, np.uint8), affine=np.diag([2.0, 1.0, 3.0, 1.0]))


def _empty_file(case: Path) -> None:
    (case / "t1.nii.gz").write_bytes(b"")


def _not_an_image(case: Path) -> None:
    (case / "t1.nii.gz").write_bytes(gzip.compress(b"no image" * 100))


def _not_finite(case: Path) -> None:
    voxels = image(3)
    voxels[5, 5, 3] = np.nan
    save(case / "t1.nii.gz", voxels)


def _half_values(case: Path) -> None:
    save(case / "seg.nii.gz", label(1).astype(np.float32) * 0.5)


def _blank(case: Path) -> None:
    save(case / "t2.nii.gz", np.full(SHAPE, 5, np.uint8))


def _other_background(case: Path) -> None:
    voxels = image(3)
    voxels[:2] = voxels[-1:] = voxels[:, :2] = voxels[:, -1:] = voxels[:, :, 0] = voxels[:, :, -1] = -3.0
    save(case / "t2.nii.gz", voxels)


@pytest.mark.parametrize(
    ("spoil", "file", "what", "found"),
    [
        (_missing_channel, "case3", "channel t2 is missing", "brain.nii.gz, seg.nii.gz, t1.nii.gz"),
        (_stray_value, "case3/seg.nii.gz", "label values outside scheme acdc", "7 (9 voxels)"),
        (_moved_label, "case3/seg.nii.gz", "voxel grids lie up to 9 mm apart", "at (0, 9, 0)"),
        (_moved_channel, "case3/t2.nii.gz", "voxel grids lie up to 5 mm apart", "at (5, 0, 0)"),
        (_smaller_channel, "case3/t2.nii.gz", "shapes differ", "(12, 10, 4)"),
        (_empty_file, "case3/t1.nii.gz", "the file is empty", None),
        (_not_an_image, "case3/t1.nii.gz", "cannot be read as NIfTI", None),
        (_not_finite, "case3/t1.nii.gz", "1 of 720 voxels are NaN or infinite", None),
        (_half_values, "case3/seg.nii.gz", "label values are not whole numbers", "9 voxels with values such as 0.5"),
        (_blank, "case3/t2.nii.gz", "the image is blank", "every voxel is 5"),
        (_other_background, "case3/t2.nii.gz", "the background is not 0", "-3"),
    ],
)
def test_one_fault_is_found_with_its_file(
    root: Path, spoil: Callable[[Path], None], file: str, what: str, found: str | None
) -> None:
    spoil(root / "case3")
    errors = [problem for problem in examine_dataset(section(root)).problems if problem.severity == "error"]
    hits = [problem for problem in errors if what in problem.what]
    assert len(hits) == 1, format_problems(errors)
    assert hits[0].file == str(root / file)
    assert found is None or found in (hits[0].found or "")
    assert {problem.file for problem in errors} == {hits[0].file}


def test_a_moved_mask_is_found(root: Path) -> None:
    _moved_mask(root / "case5")
    problems = examine_dataset(masked(root)).problems
    assert [problem.file for problem in problems] == [str(root / "case5" / "brain.nii.gz")]
    assert "mm apart" in problems[0].what


def test_one_unreadable_file_hides_nothing(root: Path) -> None:
    truncate(root / "case0" / "t1.nii.gz")
    _stray_value(root / "case0")
    _blank(root / "case0")
    _not_finite(root / "case4")
    (root / "case6" / "seg.nii.gz").write_bytes(b"")
    found = examine_dataset(section(root)).problems
    problems = {(Path(p.file or "").parent.name, Path(p.file or "").name): p for p in found}
    assert set(problems) == {
        ("case0", "t1.nii.gz"), ("case0", "seg.nii.gz"), ("case0", "t2.nii.gz"),
        ("case4", "t1.nii.gz"), ("case6", "seg.nii.gz"),
    }  # fmt: skip
    assert problems["case0", "seg.nii.gz"].remedy


def test_threads_change_nothing(root: Path) -> None:
    truncate(root / "case0" / "t1.nii.gz")
    _stray_value(root / "case3")
    shutil.copy(root / "case1" / "t1.nii.gz", root / "case6" / "t1.nii.gz")
    assert examine_dataset(section(root, workers=4)).problems == examine_dataset(section(root)).problems


def test_the_quick_part_sees_headers_and_split_only(root: Path) -> None:
    _stray_value(root / "case0")
    _smaller_channel(root / "case1")
    _empty_file(root / "case2")
    problems = examine_dataset(section(root, split={"kind": "kfold", "folds": 9, "test": 0.0}), deep=False).problems
    assert {(Path(p.file or "").name, p.what) for p in problems} == {
        ("data", "too few patients for 9 folds"),
        ("t2.nii.gz", "shapes differ"),
        ("t1.nii.gz", "the file is empty (0 bytes)"),
    }


def test_copies_on_two_sides_are_worse_than_on_one(root: Path) -> None:
    for name in ("t1", "t2"):
        shutil.copy(root / "case1" / f"{name}.nii.gz", root / "case6" / f"{name}.nii.gz")
    train = [f"case{n}" for n in range(6)]

    def split(train: list[str], val: list[str]) -> dict[str, object]:
        (root.parent / "train.list").write_text("\n".join(train))
        (root.parent / "val.list").write_text("\n".join(val))
        return {"kind": "lists", "train_list": root.parent / "train.list", "val_list": root.parent / "val.list"}

    apart = examine_dataset(section(root, split=split(train, ["case6", "case7"]))).problems
    assert [(p.what, p.severity) for p in apart] == [("one image is in two splits", "error")]
    assert "case1 in train, case6 in val" in (apart[0].found or "")
    assert apart[0].file == str(root / "case1" / "t1.nii.gz")
    together = examine_dataset(section(root, split=split([*train, "case6"], ["case7"]))).problems
    assert [(p.what, p.severity) for p in together] == [("one image belongs to several patients", "error")]
    together = section(root, patient="(case)", split=split([*train, "case6"], ["case7"]))
    one_patient = examine_dataset(together, deep=False).problems
    assert "in two splits" in one_patient[0].what


def test_the_same_image_packed_differently_is_a_copy(root: Path) -> None:
    voxels = Volume.load(root / "case1" / "t1.nii.gz").array
    save(root / "case6" / "t1.nii.gz", voxels.astype(np.float32))
    packed = (root / "case6" / "t1.nii.gz").read_bytes()
    (root / "case6" / "t1.nii.gz").write_bytes(gzip.compress(gzip.decompress(packed), compresslevel=1))
    problems = examine_dataset(section(root)).problems
    assert len(problems) == 1
    assert "case6" in (problems[0].found or "")


def test_a_channel_copied_within_a_case_is_a_notice(root: Path) -> None:
    shutil.copy(root / "case1" / "t1.nii.gz", root / "case1" / "t2.nii.gz")
    problems = examine_dataset(section(root)).problems
    assert [(p.what, p.severity) for p in problems] == [("two channels hold the same image", "notice")]


def test_notices_are_no_errors(root: Path) -> None:
    (root / "case0" / "seg.nii.gz").unlink()
    for number in range(1, 8):
        save(root / f"case{number}" / "seg.nii.gz", label(1, 2))
    problems = examine_dataset(section(root)).problems
    assert {p.severity for p in problems} == {"notice"}
    assert {p.what for p in problems} == {
        "a case without a label is not used for training",
        "classes of the scheme are not in any label",
    }
    assert next(p.found for p in problems if "classes" in p.what) == "LV"


def test_an_empty_label_is_an_error_only_if_all_are_empty(root: Path) -> None:
    save(root / "case1" / "seg.nii.gz", label())
    problems = examine_dataset(section(root)).problems
    assert [(p.what, p.severity) for p in problems] == [("the label is empty", "notice")]
    assert examine_dataset(section(root), deep=False).problems == []
    for number in range(8):
        save(root / f"case{number}" / "seg.nii.gz", label())
    errors = [p.what for p in examine_dataset(section(root)).problems if p.severity == "error"]
    assert errors == ["no label holds a structure"]


def test_empty_labels_next_to_unreadable_ones_are_no_error(root: Path) -> None:
    for number in range(8):
        save(root / f"case{number}" / "seg.nii.gz", label())
    (root / "case1" / "seg.nii.gz").write_bytes(b"broken")
    errors = [p for p in examine_dataset(section(root)).problems if p.severity == "error"]
    assert [Path(str(p.file)).parent.name for p in errors] == ["case1"]


def test_labels_outside_the_mask_are_noticed(root: Path) -> None:
    voxels = label(1, 2, 3)
    voxels[0, 0, :] = 1
    save(root / "case2" / "seg.nii.gz", voxels)
    problems = examine_dataset(masked(root)).problems
    assert [(p.what, p.severity) for p in problems] == [("labeled voxels lie outside the intensity mask", "notice")]
    assert problems[0].found == f"{6 / 33:.1%} of them"


def test_the_root_is_missing(tmp_path: Path) -> None:
    problems = examine_dataset(section(tmp_path / "nowhere")).problems
    assert [p.severity for p in problems] == ["error"]
    assert problems[0].file == str(tmp_path / "nowhere")
    assert "does not exist" in problems[0].what


def test_no_label_pattern(root: Path) -> None:
    problems = examine_dataset(section(root, label=None), deep=False).problems
    assert "data.label names no label files" in [p.what for p in problems]


def _slices(root: Path) -> DataSection:
    rng = np.random.default_rng(0)
    root.mkdir()
    for patient in range(6):
        for number in range(3):
            with h5py.File(root / f"patient{patient:03d}_frame01_slice_{number}.h5", "w") as file:
                file["image"] = rng.random((8, 8)).astype(np.float16)
                file["label"] = np.eye(8, dtype=np.uint8) * (number if number < 2 else 3)
    return DataSection(
        layout="slices", root=root, channels={"mr": "image"}, label="label", scheme="acdc",
        intensity={"rule": "none"},
    )  # fmt: skip


def test_slice_files(tmp_path: Path) -> None:
    data = _slices(tmp_path / "h5")
    problems = examine_dataset(data).problems
    assert sum(p.what == "a slice without foreground" and p.severity == "notice" for p in problems) == 6
    assert {p.what for p in problems} == {"a slice without foreground", "classes of the scheme are not in any label"}

    with h5py.File(data.root / "patient001_frame01_slice_1.h5", "a") as file:
        del file["label"]
        file["label"] = np.zeros((8, 7), np.uint8)
    shutil.copy(data.root / "patient002_frame01_slice_2.h5", data.root / "patient004_frame01_slice_1.h5")
    with h5py.File(data.root / "patient003_frame01_slice_2.h5", "a") as file:
        file["image"][0, 0] = 3.0
    truncate(data.root / "patient005_frame01_slice_2.h5")
    errors = [p for p in examine_dataset(data).problems if p.severity == "error"]
    assert {Path(p.file or "").name for p in errors} == {
        "patient001_frame01_slice_1.h5", "patient002_frame01_slice_2.h5", "patient005_frame01_slice_2.h5",
        "patient003_frame01_slice_0.h5",
    }, format_problems(errors)  # fmt: skip


def test_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (20, 20), dtype=np.uint8)).save(tmp_path / "images" / f"{number}.png")
        mask = np.zeros((20, 20), np.uint8)
        mask[5:9, 5:9] = 255
        Image.fromarray(mask if number != 4 else mask[:10]).save(tmp_path / "masks" / f"{number}.png")
    data = DataSection(
        layout="pictures", root=tmp_path, channels={"image": "images/*.png"}, label="masks/*.png", scheme="binary",
        intensity={"rule": "clip", "low": 0, "high": 255},
    )  # fmt: skip
    problems = examine_dataset(data).problems
    stray = [p for p in problems if "outside scheme binary" in p.what]
    assert len(stray) == 5
    assert "{255: 1}" in (stray[0].remedy or "")
    assert [Path(p.file or "").name for p in problems if p not in stray] == ["4.png"]
    assert examine_dataset(data.model_copy(update={"label_map": {255: 1}})).problems[0].what == "shapes differ"


def test_masks_without_a_picture_are_noticed(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "images" / f"{number}.nii.gz", image(number))
        save(tmp_path / "masks" / f"{number + 1}.nii.gz", label(1))
    channels = {"mr": "images/*.nii.gz"}
    data = section(tmp_path, layout="paired", channels=channels, label="masks/*.nii.gz")
    problems = examine_dataset(data, deep=False).problems
    assert {(p.what, p.severity) for p in problems} == {
        ("1 label file without an image", "notice"),
        ("a case without a label is not used for training", "notice"),
    }


def test_text_is_grouped_counted_and_cut() -> None:
    problems = [Problem(f"case{n}.nii.gz", "values", f"{n} stray", "0, 1", "Map them") for n in range(10, 25)]
    problems.append(Problem("a.nii.gz", "empty", severity="notice"))
    assert format_problems(problems, lines=2).splitlines() == [
        "15 errors; 1 notice",
        "",
        "error: values (15 times)",
        "  case10.nii.gz  found 10 stray",
        "  case11.nii.gz  found 11 stray",
        "  ... and 13 more",
        "  expected: 0, 1",
        "  remedy:   Map them",
        "",
        "notice: empty",
        "  a.nii.gz",
    ]


def test_headers_hold_the_grid_of_the_volume(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", image(0))
    header, volume = read_header(path), Volume.load(path)
    assert header.shape == volume.shape
    assert header.spacing_mm == volume.spacing_mm
    np.testing.assert_array_equal(header.affine, volume.affine)
    np.savez(tmp_path / "b.npz", image=np.zeros((5, 7)), label=np.zeros((5, 6)))
    assert read_header(tmp_path / "b.npz", "label").shape == (5, 6, 1)
    with pytest.raises(VolumeError, match=r"no array 'mask'.*found image, label"):
        read_header(tmp_path / "b.npz", "mask")
    with pytest.raises(VolumeError, match="no such file"):
        read_header(tmp_path / "c.npz")


@pytest.mark.parametrize("name", ["ct_dicom/liver_seg.nrrd", "ct_spleen/sub-spleen2_ct.nii.gz", "ct_dicom"])
def test_headers_of_real_files(shared_data: Path, name: str) -> None:
    if not (shared_data / name).exists():
        pytest.skip(f"no {name} among the real images")
    header, volume = read_header(shared_data / name), Volume.load(shared_data / name)
    assert header.shape == volume.shape
    np.testing.assert_allclose(header.affine, volume.affine, atol=1e-9)


@pytest.mark.slow
def test_real_slices(shared_data: Path) -> None:
    root = shared_data / "acdc_h5"
    if not root.is_dir():
        pytest.skip("no acdc_h5 among the real images")
    split = {"kind": "lists", "train_list": root / "train.list", "test_list": root / "val.list"}
    data = DataSection.model_validate(
        {"layout": "slices", "root": root, "channels": {"cine": "image"}, "label": "label", "scheme": "acdc",
         "intensity": {"rule": "none"}, "split": split}
    )  # fmt: skip
    assert examine_dataset(data, deep=False).problems == []
    problems = examine_dataset(data).problems
    assert sum(p.what == "a slice without foreground" for p in problems) == 43
    # Patients 074 and 076 are the same scans, annotated twice.
    others = [p for p in problems if p.what != "a slice without foreground"]
    assert [Path(p.file or "").name for p in others] == [
        "patient074_frame01_slice_1.h5",
        "patient074_frame02_slice_1.h5",
    ]
    assert "7 more such images of patient074_frame01 and patient076_frame01" in (others[0].found or "")


@pytest.mark.slow
def test_real_volumes(shared_data: Path) -> None:
    root = shared_data / "brats2015_flair_t1c"
    if not root.is_dir():
        pytest.skip("no brats2015_flair_t1c among the real images")
    data = DataSection.model_validate(
        {"layout": "folder", "root": root, "channels": {"flair": "Flair*", "t1c": "T1c*"}, "label": "OT*",
         "scheme": "brats2015", "intensity": {"rule": "zscore_mask", "mask": "brainmask*"},
         "split": {"val": 0.25, "test": 0.0}}
    )  # fmt: skip
    assert examine_dataset(data, deep=False).problems == []
    wrong = examine_dataset(data.model_copy(update={"scheme": "brats2021"})).problems
    assert {p.what for p in wrong} == {"label values outside scheme brats2021"}
    assert [Path(p.file or "").parent.name for p in wrong] == [f"brats_2013_pat000{n}_1" for n in (3, 4, 5, 6)]


def test_a_slice_that_is_stored_twice_is_no_channel(tmp_path: Path) -> None:
    data = _slices(tmp_path / "h5")
    shutil.copy(data.root / "patient001_frame01_slice_2.h5", data.root / "patient001_frame01_slice_1.h5")
    whats = {problem.what for problem in examine_dataset(data).problems}
    assert "two slices hold the same image" in whats
