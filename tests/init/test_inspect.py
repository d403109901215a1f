"""`segcct init`: what a folder is taken for, what is never guessed, and that the config it writes can be used."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image

from segcct.check.dataset_check import examine_dataset
from segcct.cli import main
from segcct.config import SegmentationConfig, settings
from segcct.datasets.layouts import Naming, find_cases
from segcct.errors import DataError
from segcct.images.volume import Volume
from segcct.init.choices import Choice, choose_orientation, choose_size
from segcct.init.config_text import Findings, config_text, names_left_or_right
from segcct.init.folder_inspection import inspect_folder
from segcct.init.recognition import recognize
from segcct.init.voxels import Facts, slice_shape_of
from tests.support.volumes import save_volume

SHAPE = (24, 20, 12)
CUBES = np.diag([1.0, 1.0, 1.0, 1.0])
save = partial(save_volume, affine=CUBES)


def mr(seed: int, background: float = 0.0) -> np.ndarray:
    """A block of tissue on a constant background."""
    voxels = np.full(SHAPE, background, dtype=np.float32)
    voxels[6:18, 5:15, 2:10] = np.random.default_rng(seed).normal(300, 50, (12, 10, 8)).astype(np.float32)
    return voxels


def ct(seed: int) -> np.ndarray:
    voxels = np.random.default_rng(seed).normal(-1000, 20, SHAPE)
    voxels[4:20, 4:16] = np.random.default_rng(seed + 1).normal(40, 20, (16, 12, 12))
    voxels[5:7, 5:7] = 900
    return np.rint(voxels).astype(np.int16)


def label(*values: int) -> np.ndarray:
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    for index, value in enumerate(values):
        voxels[8 + index, 7:12, 4:8] = value
    return voxels


def brats(root: Path, joint: str, parts: tuple[str, ...], *values: int, cases: int = 3) -> Path:
    for number in range(cases):
        case = f"BraTS{joint}{number:05d}"
        for index, part in enumerate(parts):
            save(root / case / f"{case}{joint}{part}.nii.gz", mr(10 * number + index))
        save(root / case / f"{case}{joint}seg.nii.gz", label(*values))
    return root


OLD = ("t1", "t1ce", "t2", "flair")
NEW = ("t1n", "t1c", "t2w", "t2f")


def usable(findings: Findings, tmp_path: Path) -> SegmentationConfig:
    """The written config, loaded as a user's would be; its dataset passes the quick check."""
    path = tmp_path / "written.yaml"
    path.write_text(config_text(findings, "written"), encoding="utf-8")
    config = settings.load(SegmentationConfig, path, {})
    assert config.data.model_dump() == findings.data.model_dump()
    problems = examine_dataset(config.data, deep=False).problems
    assert [
        problem.what for problem in problems if problem.severity == "error" and "split is empty" not in problem.what
    ] == []
    return config


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("names", "layout", "channels", "label"),
    [
        (["HGG/B_1/B_1_t1.nii", "HGG/B_1/B_1_flair.nii", "HGG/B_1/B_1_seg.nii"], "brats",
         {"t1": "{id}_t1.nii", "flair": "{id}_flair.nii"}, "{id}_seg.nii"),
        (["B-1/B-1-t1n.nii.gz", "B-1/B-1-t2f.nii.gz"], "brats",
         {"t1n": "{id}-t1n.nii.gz", "t2f": "{id}-t2f.nii.gz"}, None),
        (["training/patient001/patient001_frame01.nii.gz", "training/patient001/patient001_frame01_gt.nii.gz"], "acdc",
         {"cine": "{id}.nii.gz"}, "{id}_gt.nii.gz"),
        (["img/img0001.nii.gz", "label/label0001.nii.gz"], "synapse", {"ct": "img{id}.nii.gz"}, "label{id}.nii.gz"),
        (["imagesTr/la_1_0000.nii.gz", "imagesTr/la_1_0001.nii.gz", "labelsTr/la_1.nii.gz"], "nnunet",
         {"channel_0": "{id}_0000.nii.gz", "channel_1": "{id}_0001.nii.gz"}, "{id}.nii.gz"),
        (["a/T1.nii.gz", "a/lesion.nii.gz", "a/FLAIR.nii.gz", "b/T1.nii.gz", "b/lesion.nii.gz", "b/FLAIR.nii.gz"],
         "folder", {"flair": "FLAIR.nii.gz", "t1": "T1.nii.gz"}, "lesion.nii.gz"),
        (["p1/p1_T1_s94.nii", "p1/p1_T2_s94.nii", "p1/p1_truth_s94.nii",
          "p2/p2_T1_s95.nii", "p2/p2_T2_s95.nii", "p2/p2_truth_s95.nii"],
         "folder", {"t1": "{id}_T1_s*.nii", "t2": "{id}_T2_s*.nii"}, "{id}_truth_s*.nii"),
        (["x/S77_ct.nii", "x/S77_seg.nii", "y/S9_ct.nii", "y/S9_seg.nii"], "folder", {"ct": "S*_ct.nii"}, "S*_seg.nii"),
        (["x/ann_ct.nii", "x/ann_seg.nii", "y/bob_ct.nii", "y/bob_seg.nii"], "folder", {"ct": "*_ct.nii"}, "*_seg.nii"),
        (["imagesTr/hip_0011.nii.gz", "labelsTr/hip_0011.nii.gz"], "nnunet", {"channel_0": "{id}.nii.gz"},
         "{id}.nii.gz"),
        (["sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_roi.nii.gz",
          "sub-02/anat/sub-02_T1w.nii.gz", "sub-02/anat/sub-02_roi.nii.gz"],
         "folder", {"t1w": "anat/{id}_T1w.nii.gz"}, "anat/{id}_roi.nii.gz"),
        (["a/ct/1.dcm", "a/ct/2.dcm", "a/seg.nrrd", "b/ct/1.dcm", "b/seg.nrrd"], "folder", {"ct": "ct"}, "seg.nrrd"),
        (["A_1_ct.nii.gz", "A_1_seg.nii.gz", "A_2_ct.nii.gz", "A_2_seg.nii.gz"], "paired",
         {"ct": "{id}_ct.nii.gz"}, "{id}_seg.nii.gz"),
        (["a1.nii.gz", "a1_mask.nii.gz", "a2.nii.gz", "a2_mask.nii.gz"], "paired",
         {"image": "{id}.nii.gz"}, "{id}_mask.nii.gz"),
        (["scans/a.nii.gz", "scans/b.nii.gz", "masks/a.seg.nrrd", "masks/b.seg.nrrd"], "paired",
         {"image": "scans/{id}.nii.gz"}, "masks/{id}.seg.nrrd"),
        (["a.nrrd", "a.seg.nrrd", "b.nrrd", "b.seg.nrrd"], "paired", {"image": "{id}.nrrd"}, "{id}.seg.nrrd"),
        (["scans/a.nii.gz", "scans/b.nii.gz", "masks/a.nii.gz", "masks/b.nii.gz"], "paired",
         {"image": "scans/{id}.nii.gz"}, "masks/{id}.nii.gz"),
        (["T1/a.nii", "T1/b.nii", "T2/a.nii", "T2/b.nii", "segmentations/a.nii", "segmentations/b.nii"], "paired",
         {"t1": "T1/{id}.nii", "t2": "T2/{id}.nii"}, "segmentations/{id}.nii"),
        (["images/img001.nii", "images/img002.nii", "labels/lab001.nii", "labels/lab002.nii"], "paired",
         {"image": "images/img{id}.nii"}, "labels/lab{id}.nii"),
        (["images/21_scan.nii", "images/22_scan.nii", "manual/21_expert1.nii", "manual/22_expert1.nii"], "paired",
         {"image": "images/{id}_scan.nii"}, "manual/{id}_expert1.nii"),
    ],
)  # fmt: skip
def test_names(tmp_path: Path, names: list[str], layout: str, channels: dict[str, str], label: str | None) -> None:
    naming = recognize(tmp_path, names)
    assert (naming.layout, dict(naming.channels), naming.label) == (layout, channels, label)


def test_a_mask_of_the_brain_is_no_label(tmp_path: Path) -> None:
    naming = recognize(
        tmp_path, [f"{case}/{part}.nii" for case in "ab" for part in ("brainmask", "OTMultiClass", "T1c")]
    )
    assert (naming.label, naming.mask, dict(naming.channels)) == (
        "OTMultiClass.nii",
        "brainmask.nii",
        {"t1c": "T1c.nii"},
    )


def test_several_labels_are_a_doubt(tmp_path: Path) -> None:
    naming = recognize(tmp_path, [f"{c}/{part}.nii" for c in "ab" for part in ("ct", "liver_seg", "heart_seg")])
    assert naming.label == "heart_seg.nii"
    assert any("liver_seg.nii" in doubt for doubt in naming.doubts)


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["a.png", "b.png"], ["cats/1.jpg", "dogs/2.jpg"]])
def test_names_that_say_nothing(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError, match=r"which files are scans and which are masks|holds no image files") as caught:
        recognize(tmp_path, names)
    assert caught.value.expected
    assert caught.value.remedy


# ---------------------------------------------------------------- meanings


@pytest.mark.parametrize(
    ("joint", "parts", "values", "scheme"),
    [
        ("_", OLD, (1, 2, 4), "brats2021"),
        ("_", OLD, (2,), "brats2021"),
        ("_", OLD, (1, 2, 3), "custom"),
        ("-", NEW, (1, 2, 3), "brats2023"),
        ("-", NEW, (1, 2, 3, 4), "custom"),
        ("-", NEW, (1, 2, 4), "custom"),
    ],
)
def test_four_never_means_a_tumour_by_its_value(
    tmp_path: Path, joint: str, parts: tuple[str, ...], values: tuple[int, ...], scheme: str
) -> None:
    findings = inspect_folder(brats(tmp_path / "data", joint, parts, *values))
    config = usable(findings, tmp_path)
    assert config.data.layout == "brats"
    assert tuple(config.data.channels) == parts
    assert config.data.scheme == scheme
    if scheme == "custom":
        assert config.data.labels == {f"class_{value}": value for value in values}
        assert any("value 4" in doubt or "the labels hold 0, 1, 2, 3 and not" in doubt for doubt in findings.doubts)
        assert "rename the classes" in config_text(findings, "x")
        assert ("brats2024_gli" in config_text(findings, "x")) == (4 in values)


def test_acdc_values_under_other_names_stay_unnamed(tmp_path: Path) -> None:
    for case in "abc":
        save(tmp_path / "data" / case / "cine.nii.gz", mr(ord(case)))
        save(tmp_path / "data" / case / "label.nii.gz", label(1, 2, 3))
    findings = inspect_folder(tmp_path / "data")
    assert findings.data.scheme == "custom"
    assert findings.data.labels == {"class_1": 1, "class_2": 2, "class_3": 3}
    text = config_text(findings, "x")
    assert "brats2023 or acdc, if that is where the data is from" in " ".join(text.replace("#", " ").split())


def test_one_value_is_binary_and_mapped(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "data" / "images" / f"{number}.nii.gz", mr(number))
        save(tmp_path / "data" / "masks" / f"{number}.nii.gz", label(255))
    config = usable(inspect_folder(tmp_path / "data"), tmp_path)
    assert (config.data.layout, config.data.scheme, config.data.label_map) == ("paired", "binary", {255: 1})
    assert examine_dataset(config.data).problems == []


def test_values_that_are_no_classes_are_said(tmp_path: Path) -> None:
    for case in "abc":
        save(tmp_path / "data" / case / "t1.nii.gz", mr(ord(case)))
        save(tmp_path / "data" / case / "seg.nii.gz", label(1).astype(np.float32) * 0.37)
    findings = inspect_folder(tmp_path / "data")
    assert any("0.37: is seg.nii.gz a label?" in doubt for doubt in findings.doubts)


def test_class_names_that_the_dataset_brings(tmp_path: Path) -> None:
    root = tmp_path / "Dataset007"
    for case in ("p1", "p2", "p3"):
        save(root / "imagesTr" / f"{case}_0000.nii.gz", ct(ord(case[1])))
        save(root / "labelsTr" / f"{case}.nii.gz", label(1, 2))
    facts = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "kidney_left": 1, "cyst": 2, "ignore": 3}}
    (root / "dataset.json").write_text(json.dumps(facts))
    findings = inspect_folder(root)
    config = usable(findings, tmp_path)
    assert (config.data.layout, dict(config.data.channels)) == ("nnunet", {"ct": "{id}_0000.nii.gz"})
    assert config.data.labels == {"kidney_left": 1, "cyst": 2}
    assert config.augment.flip == 0.0
    assert config.data.intensity.rule == "clip"
    assert (config.data.intensity.low, config.data.intensity.high) == (-160.0, 240.0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"labels": ' + b'{"a": ' * 100_000, "dataset.json cannot be read (it is nested too deeply)"),
        (b'{"labels": {"\xff": 1}}', "dataset.json cannot be read (byte 13 is not UTF-8)"),
        (b'{"labels": {"one": 1, "two": 10000000000000}}', "dataset.json gives two a value beyond 65535"),
        ('{"labels": {"\u00b2": "two", "1": "one"}}'.encode(), None),
    ],
)
def test_a_damaged_or_odd_dataset_json_is_a_doubt(tmp_path: Path, content: bytes, told: str | None) -> None:
    for case in ("p1", "p2", "p3"):
        save(tmp_path / "imagesTr" / f"{case}_0000.nii.gz", ct(ord(case[1])))
        save(tmp_path / "labelsTr" / f"{case}.nii.gz", label(1, 2))
    (tmp_path / "dataset.json").write_bytes(content)
    doubts = inspect_folder(tmp_path).doubts
    assert told is None or any(doubt.startswith(told) for doubt in doubts)


@pytest.mark.parametrize(("ending", "color"), [(".png", False), (".TIF", False), (".png", True)])
@pytest.mark.parametrize("channels", [1, 2])
def test_nnunet_with_2d_images(tmp_path: Path, ending: str, channels: int, *, color: bool) -> None:
    rng = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for number in range(7):
        part = "Tr" if number < 6 else "Ts"
        for channel in range(channels):
            pixels = rng.integers(0, 255, (40, 40, 3) if color else (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / f"images{part}" / f"a{number}_000{channel}{ending}")
        if part == "Tr":
            mask = np.eye(40, dtype=np.uint8) * (1 + number % 2)
            Image.fromarray(mask).save(tmp_path / "set" / "labelsTr" / f"a{number}{ending}")
    facts = {"channel_names": {"0": "Near Red", "1": "UV"}, "labels": {"background": 0, "cell": 1, "rim": 2}}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(facts | {"file_ending": ending}))
    data = usable(inspect_folder(tmp_path / "set"), tmp_path).data
    first, second = (f"imagesT?/{{id}}_000{channel}{ending}" for channel in (0, 1))
    expected = {"near_red": first, "uv": second} if channels == 2 else {"near_red": first}
    if color and channels == 1:
        expected = dict.fromkeys(("red", "green", "blue"), first)
    assert (data.layout, dict(data.channels), data.label) == ("pictures", expected, f"labelsT?/{{id}}{ending}")
    assert data.labels == {"cell": 1, "rim": 2}
    assert [(case.id, case.split, case.label is not None) for case in find_cases(data)][-2:] == [
        ("a5", "train", True),
        ("a6", "test", False),
    ]


def nnunet(root: Path, channels: Sequence[str], facts: Mapping[str, object]) -> Path:
    for number in range(3):
        for channel in channels:
            save(root / "imagesTr" / f"p{number}_{channel}.nii.gz", mr(number))
        save(root / "labelsTr" / f"p{number}.nii.gz", label(1, 2, 3))
    (root / "dataset.json").write_text(json.dumps(facts))
    return root


def test_regions_that_the_dataset_brings(tmp_path: Path) -> None:
    labels = {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": [3], "odd": [0, "a"], "none": []}
    root = nnunet(tmp_path / "set", ["0000"], {"labels": labels, "regions_class_order": [1, 2, 3]})
    findings = inspect_folder(root)
    data = usable(findings, tmp_path).data
    assert data.labels == {"enhancing": 3, "class_1": 1, "class_2": 2}
    assert data.regions == {"whole tumor": [1, 2, 3], "core": [2, 3]}
    assert "dataset.json defines odd as a region of 0, a; it is left out" in findings.doubts
    assert "dataset.json defines none as a region of nothing; it is left out" in findings.doubts


def test_a_channel_of_nnunet_keeps_its_number(tmp_path: Path) -> None:
    called = {"0": "T1", "1": "T2", "2": "FLAIR"}
    root = nnunet(tmp_path / "set", ["0000", "0002"], {"channel_names": called, "labels": {"a": 1, "b": 2, "c": 3}})
    assert dict(inspect_folder(root).data.channels) == {"t1": "{id}_0000.nii.gz", "flair": "{id}_0002.nii.gz"}
    names = [f"imagesTr/p_{channel}.nii.gz" for channel in ("0000", "0002")]
    assert list(recognize(tmp_path, names).channels) == ["channel_0", "channel_2"]


def test_four_digits_that_a_label_has_too_are_part_of_the_id(tmp_path: Path) -> None:
    names = [f"{folder}/amos_000{number}.nii.gz" for folder in ("imagesTr", "labelsTr") for number in range(4)]
    assert dict(recognize(tmp_path, names).channels) == {"channel_0": "{id}.nii.gz"}


SIDED = ["left kidney", "kidney_left", "left_kidney", "Left-Kidney", "kidney_l", "R Lung", "kidneyRight", "ctx-lh"]


@pytest.mark.parametrize("name", SIDED)
def test_a_class_of_one_side_is_known_by_its_name(name: str) -> None:
    assert names_left_or_right(name)


@pytest.mark.parametrize("name", ["bright_spot", "cleft", "vertebrae_L1", "RV", "LV", "liver", "leftover", "MYO"])
def test_a_class_of_both_sides_may_be_flipped(name: str) -> None:
    assert not names_left_or_right(name)


def test_a_label_known_by_its_voxels_only(tmp_path: Path) -> None:
    for case in "abc":
        save(tmp_path / "data" / case / "flair.nii.gz", mr(ord(case)))
        save(tmp_path / "data" / case / "drawn.nii.gz", label(1, 2))
    findings = inspect_folder(tmp_path / "data")
    assert (findings.data.label, dict(findings.data.channels)) == ("drawn.nii.gz", {"flair": "flair.nii.gz"})
    assert any("drawn.nii.gz is taken for the label because" in doubt for doubt in findings.doubts)


def test_no_label_at_all_is_said(tmp_path: Path) -> None:
    for case in "abc":
        save(tmp_path / "data" / case / "t1.nii.gz", mr(ord(case)))
    findings = inspect_folder(tmp_path / "data")
    assert findings.data.label is None
    assert "no label files were recognized: set data.label and data.scheme before training" in findings.doubts
    assert "none" in findings.describe()


# ---------------------------------------------------------------- intensities and geometry


def _cases(root: Path, image: Callable[[int], np.ndarray], *, mask: bool = False, affine: np.ndarray = CUBES) -> Path:
    for number in range(6):
        save(root / f"case{number}" / "scan.nii.gz", image(number), affine=affine)
        save(root / f"case{number}" / "seg.nii.gz", label(1), affine=affine)
        if mask:
            save(root / f"case{number}" / "brain_mask.nii.gz", (image(number) > 0).astype(np.uint8), affine=affine)
    return root


def test_a_background_of_zero(tmp_path: Path) -> None:
    data = usable(inspect_folder(_cases(tmp_path / "data", mr, mask=True)), tmp_path).data
    assert data.intensity.rule == "zscore_nonzero"
    assert data.crop == "foreground"
    assert data.image_size == 64
    assert examine_dataset(data).problems == []


def test_another_constant_as_background(tmp_path: Path) -> None:
    data = usable(inspect_folder(_cases(tmp_path / "data", lambda n: mr(n, -3.5), mask=True)), tmp_path).data
    assert (data.intensity.rule, data.intensity.mask) == ("zscore_mask", "brain_mask.nii.gz")
    assert examine_dataset(data).problems == []

    findings = inspect_folder(_cases(tmp_path / "bare", lambda n: mr(n, -3.5)))
    assert findings.data.intensity.rule == "clip"
    assert any("-3.5, and no mask of the body was found" in doubt for doubt in findings.doubts)
    assert examine_dataset(findings.data).problems == []


def test_values_in_the_unit_range(tmp_path: Path) -> None:
    data = inspect_folder(_cases(tmp_path / "data", lambda n: np.clip(mr(n) / 500, 0, 1))).data
    assert data.intensity.rule == "none"


def test_the_ct_window_shows_what_is_labelled(tmp_path: Path) -> None:
    def lung(number: int) -> np.ndarray:
        voxels = ct(number)
        voxels[8, 7:12, 4:8] = -800
        return voxels

    soft = inspect_folder(_cases(tmp_path / "soft", ct)).data.intensity
    assert (soft.rule, soft.low, soft.high) == ("clip", -160.0, 240.0)
    air = inspect_folder(_cases(tmp_path / "lung", lung)).data.intensity
    assert air.low is not None
    assert air.high is not None
    assert air.low <= -800 <= air.high < 240


def _rotated(degrees: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """A grid turned about the x axis."""
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing)
    return affine


SAGITTAL_FIRST = np.diag([5.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("affine", "orientation", "words"),
    [
        (CUBES, "canonical", "about as deep as wide"),
        (_rotated(0, (1, 1, 5)), "canonical", "stacks of axial slices"),
        (_rotated(10, (1, 1, 5)), "canonical", "stacks of axial slices"),
        (_rotated(35, (1, 1, 8)), "native", "tilted by 35 degrees"),
        (_rotated(90, (1, 1, 5)), "native", "thick coronal slices"),
        (SAGITTAL_FIRST, "canonical", "thick sagittal slices"),
    ],
)
def test_orientation(tmp_path: Path, affine: np.ndarray, orientation: str, words: str) -> None:
    findings = inspect_folder(_cases(tmp_path / "data", mr, affine=affine))
    assert findings.data.orientation == orientation
    assert words in findings.reasons["orientation"]
    assert any("lie along stored axis 1" in doubt for doubt in findings.doubts) == (affine is SAGITTAL_FIRST)


def test_scans_of_different_pixels_meet_at_the_median(tmp_path: Path) -> None:
    for number, side_mm in enumerate((0.8, 1.0, 1.6)):
        affine = np.diag([side_mm, side_mm, 3.0, 1.0])
        save(tmp_path / f"c{number}" / "t1.nii.gz", mr(number), affine=affine)
        save(tmp_path / f"c{number}" / "seg.nii.gz", label(1), affine=affine)
    assert inspect_folder(tmp_path).data.spacing_mm == 1.0


def test_pixels_of_micrometers_are_not_rounded_to_nothing() -> None:
    sides_mm = (0.002, 0.003, 0.004)
    grids = [Volume(np.zeros(SHAPE, np.uint8), np.diag([mm, mm, mm, 1.0]), (mm, mm, mm)) for mm in sides_mm]
    facts = Facts(grids=grids, slices=[slice_shape_of(grid, "canonical") for grid in grids])
    naming = Naming("folder", {"ct": "ct.nii.gz"}, None, "")
    size = choose_size(naming, facts, "canonical", Choice({"intensity": {"rule": "none"}}, ""))
    assert (size.settings["spacing_mm"], size.settings["image_size"]) == (0.003, 64)


def test_scans_stored_from_the_head_or_from_the_feet_are_of_one_plane() -> None:
    affines = [np.diag([1.0, 1.0, depth_mm, 1.0]) for depth_mm in (5.0, -5.0, -5.0)]
    facts = Facts(grids=[Volume(np.zeros(SHAPE, np.uint8), affine, (1.0, 1.0, 5.0)) for affine in affines])
    choice = choose_orientation(Naming("folder", {"ct": "ct.nii.gz"}, None, ""), facts)
    assert (choice.settings["orientation"], choice.why, choice.doubts) == ("canonical", "stacks of axial slices", ())


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        ([f"p{number // 2}_{number % 2}" for number in range(12)], "6 patients: p0, p1, p2 and 3 more"),
        ([f"P{number // 3}-slice{number}" for number in range(24)], "8 patients: P0, P1, P2 and 5 more"),
        ([f"IMG_{number:04d}" for number in range(12)], None),
        ([f"{2015 + number % 6}_{number:02d}" for number in range(12)], None),  # years
        ([f"p{number}_0" for number in range(12)], None),
        ([f"{number}" for number in range(12)], None),
    ],
)
def test_names_that_end_in_numbers_suggest_patients(tmp_path: Path, names: list[str], patients: str | None) -> None:
    for number, name in enumerate(names):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 30000, (40, 40)).astype(np.uint16)
        Image.fromarray(noise).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(np.eye(40, dtype=np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    findings = inspect_folder(tmp_path)
    high = findings.data.intensity.high
    assert high == float(f"{high:.3g}")  # three figures, as other windows
    (doubt,) = (doubt for doubt in findings.doubts if "data.patient" in doubt)
    assert (patients is None) == ("such as" not in doubt)
    if patients is not None:
        assert patients in doubt
        named = findings.data.model_copy(update={"patient": doubt.split("'")[1]})
        assert len({case.patient for case in find_cases(named)}) == int(patients.split()[0])


def test_a_folder_per_class_is_for_classification(tmp_path: Path) -> None:
    for name in ("benign/1", "benign/2", "malignant/3", "malignant/4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.effect_noise((40, 40), 50).save(tmp_path / f"{name}.png")
    with pytest.raises(DataError, match="A folder of images per class, without masks, is for segcct train-cls"):
        inspect_folder(tmp_path)


def test_large_slices_keep_their_proportions_and_large_pictures_are_cut(tmp_path: Path) -> None:
    for number in range(3):
        wide = np.zeros((400, 300, 2), np.float32)
        wide[150:250, 100:200] = np.random.default_rng(number).normal(100, 9, (100, 100, 2))
        wide[0, :, :] = wide[-1, :, :] = 1 + np.arange(300)[:, None]
        save(tmp_path / "v" / f"{number}" / "t1.nii.gz", wide)
        save(tmp_path / "v" / f"{number}" / "seg.nii.gz", (wide > 110).astype(np.uint8))
        for folder, array in (("images", wide[..., 0]), ("masks", (wide[..., 0] > 110) * 255)):
            (tmp_path / "p" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / "p" / folder / f"{number}.png")
    volumes, pictures = inspect_folder(tmp_path / "v").data, inspect_folder(tmp_path / "p").data
    assert (volumes.fit, volumes.image_size) == ("letterbox", 224)
    assert (pictures.fit, pictures.image_size, pictures.layout) == ("pad", 224, "pictures")
    assert (pictures.scheme, pictures.label_map, pictures.intensity.high) == ("binary", {255: 1}, 255.0)


def test_colour_pictures_have_three_channels(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray((picture[..., 0] > 99).astype(np.uint8)).save(tmp_path / "masks" / f"{number}_mask.png")
    data = inspect_folder(tmp_path).data
    assert tuple(data.channels) == ("red", "green", "blue")
    assert data.label == "masks/{id}_mask.png"
    assert data.scheme == "binary"


# ---------------------------------------------------------------- splits and text


def _h5(root: Path, patients: int) -> Path:
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for patient in range(patients):
        for number in range(2):
            with h5py.File(root / f"patient{patient:03d}_frame01_slice_{number}.h5", "w") as file:
                file["image"] = rng.random((40, 40)).astype(np.float16)
                file["label"] = np.eye(40, dtype=np.uint8) * (1 + number)
    return root


def test_lists_in_the_folder_divide_the_cases(tmp_path: Path) -> None:
    root = _h5(tmp_path / "data", 8)
    (root / "train.list").write_text("\n".join(f"patient{n:03d}_frame01" for n in range(6)))
    (root / "train_slices.list").write_text("patient000_frame01_slice_0\n")
    (root / "val.list").write_text("patient006_frame01\npatient007_frame01\n")
    findings = inspect_folder(root)
    config = usable(findings, tmp_path)
    assert (config.data.layout, config.data.scheme) == ("slices", "acdc")
    assert config.data.split.kind == "lists"
    assert config.data.split.train_list == root / "train.list"
    assert config.data.split.val_list == root / "val.list"
    assert any("rename val_list to test_list" in doubt for doubt in findings.doubts)


def test_few_patients_leave_none_for_testing(tmp_path: Path) -> None:
    findings = inspect_folder(brats(tmp_path / "few", "_", OLD[:2], 1, cases=3))
    assert findings.data.split.test == 0
    assert "3 patients with labels are too few to keep some for testing" in findings.doubts
    assert usable(findings, tmp_path).data.split.val == 0.25
    lone = inspect_folder(brats(tmp_path / "one", "_", OLD[:2], 1, cases=1))
    assert any("cannot be split yet" in doubt for doubt in lone.doubts)


def test_the_config_opens_with_its_commands_and_says_why(tmp_path: Path) -> None:
    findings = inspect_folder(brats(tmp_path / "my data", "_", OLD, 1, 2, 4))
    text = config_text(findings, "mine")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments[0].startswith("# 3 cases of 3 patients, 3 with a label: file names of BraTS 2018-2021")
    assert "#   segcct train-seg --config configs/mine.yaml" in comments
    assert "#   segcct check --config configs/mine.yaml" in comments
    assert f"segcct init '{tmp_path / 'my data'}'" in text
    assert "Expected time" in text
    assert "Expected score" in text
    assert max(map(len, text.splitlines())) <= 120 + len(str(tmp_path))
    assert yaml.safe_load(text)["data"]["intensity"] == {"rule": "zscore_nonzero"}
    for key, reason in findings.reasons.items():
        assert " ".join(reason.split()[:3]) in " ".join(text.replace("#", " ").split()), key


@pytest.mark.parametrize(
    ("image_size", "windows", "batch_size"),
    [(64, {}, 16), (128, {}, 16), (160, {96: 0.5}, 8), (192, {128: 0.5}, 8), (224, {128: 0.5}, 8),
     (256, {160: 0.5}, 8)],
)  # fmt: skip
def test_the_recipe_fits_the_size_of_the_slices(
    tmp_path: Path, image_size: int, windows: dict[int, float], batch_size: int
) -> None:
    findings = inspect_folder(brats(tmp_path / "data", "_", OLD[:1], 1, 2, 4))
    data = findings.data.model_copy(update={"image_size": image_size})
    train = usable(dataclasses.replace(findings, data=data), tmp_path).train
    assert (train.windows, train.batch_size) == (windows, batch_size)
    assert (train.optimizer, train.slices_per_epoch, train.validation_time) == ("muon", 1024, 0.05)


def test_a_setting_in_a_comment_can_be_uncommented(tmp_path: Path) -> None:
    text = config_text(inspect_folder(brats(tmp_path / "data", "_", OLD[:1], 1, 2, 4)), "here")
    config = SegmentationConfig.model_validate(yaml.safe_load(text.replace("# options:", "options:")))
    assert config.model.options == {"encoder_depth": 0}


def test_a_damaged_file_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    root = brats(tmp_path / "data", "_", OLD, 1, 2, 4, cases=4)
    (root / "BraTS_00000" / "BraTS_00000_t1.nii.gz").write_bytes(b"")
    (root / "BraTS_00003" / "BraTS_00003_t2.nii.gz").unlink()
    findings = inspect_folder(root)
    assert findings.data.scheme == "brats2021"
    assert sum("BraTS_00000_t1.nii.gz" in doubt for doubt in findings.doubts) >= 1
    assert sum("channel t2 is missing" in doubt for doubt in findings.doubts) == 1


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        inspect_folder(tmp_path / "nowhere")
    (tmp_path / "01.dcm").write_bytes(b"x")
    with pytest.raises(DataError, match="DICOM slices lie directly"):
        inspect_folder(tmp_path)
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["weights"] = np.zeros((3, 3, 3, 3))
    (tmp_path / "01.dcm").unlink()
    with pytest.raises(DataError, match=r"odd\.h5: holds no image array .found weights"):
        inspect_folder(tmp_path)


def test_init_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = brats(tmp_path / "data", "_", OLD[:2], 1, 2, 4, cases=7)
    config = tmp_path / "configs" / "mine.yaml"
    assert main(["init", str(root), "--output", str(config)]) == 0
    said = capsys.readouterr().out
    assert "7 cases of 7 patients" in said
    assert "scheme       brats2021" in said
    assert main(["check", "--config", str(config)]) == 0
    before = config.read_bytes()
    assert main(["init", str(root), "--output", str(config)]) == 1
    assert config.read_bytes() == before


# ---------------------------------------------------------------- real folders


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("brats2013_slices", {"layout": "folder", "scheme": "custom", "label": "{id}_atropos_truth_slice*.nii.gz",
                              "image_size": 192}),
        ("open_ms", {"layout": "folder", "scheme": "binary", "label": "GOLD_STANDARD.nii.gz", "crop": "foreground"}),
        ("drive", {"layout": "pictures", "scheme": "binary", "label_map": {255: 1},
                   "label": "masks/{id}_manual1.gif"}),
        ("isbi2012_em", {"layout": "pictures", "channels": {"image": "image/{id}.png"}, "label": "label/{id}.png"}),
        ("ct_spleen", {"layout": "folder", "scheme": "binary", "channels": {"ct": "sub-spleen2_ct.nii.gz"}}),
        ("ct_abdomen_3mm", {"layout": "folder", "scheme": "custom", "orientation": "canonical"}),
        ("brats_4modality_pseudo", {"layout": "folder", "scheme": "custom", "label": "model_segmentation.nii.gz"}),
    ],
)  # fmt: skip
def test_real_folders(shared_data: Path, tmp_path: Path, name: str, expected: dict[str, object]) -> None:
    if not (shared_data / name).is_dir():
        pytest.skip(f"no {name} among the real images")
    config = usable(inspect_folder(shared_data / name), tmp_path)
    assert {key: getattr(config.data, key) for key in expected} == expected


@pytest.mark.slow
def test_real_glioma_cases(shared_data: Path, tmp_path: Path) -> None:
    if not (shared_data / "brats2015_flair_t1c").is_dir():
        pytest.skip("no brats2015_flair_t1c among the real images")
    findings = inspect_folder(shared_data / "brats2015_flair_t1c")
    data = usable(findings, tmp_path).data
    assert dict(data.channels) == {"flair": "Flair_subtrMeanDivStd.nii.gz", "t1c": "T1c_subtrMeanDivStd.nii.gz"}
    assert (data.label, data.intensity.mask) == ("OTMultiClass.nii.gz", "brainmask.nii.gz")
    assert (data.intensity.rule, data.crop, data.scheme) == ("zscore_mask", "foreground", "custom")
    assert "brats2015 or brats2024_gli, if that is where the data is from" in findings.reasons["scheme"]


@pytest.mark.slow
def test_real_heart_slices(shared_data: Path, tmp_path: Path) -> None:
    if not (shared_data / "acdc_h5").is_dir():
        pytest.skip("no acdc_h5 among the real images")
    data = usable(inspect_folder(shared_data / "acdc_h5"), tmp_path).data
    assert (data.layout, data.scheme, data.label, data.intensity.rule) == ("slices", "acdc", "label", "none")
    assert (data.split.kind, data.orientation) == ("lists", "native")
    assert len(find_cases(data)) == 160


@pytest.mark.parametrize("name", ["brain_tumor_classes", "ct_dicom", "cifar10"])
def test_real_folders_without_masks_to_pair(shared_data: Path, name: str) -> None:
    if not (shared_data / name).is_dir():
        pytest.skip(f"no {name} among the real images")
    with pytest.raises(DataError):
        inspect_folder(shared_data / name)
