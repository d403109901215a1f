"""Layout `brats`: folders of cases of all years, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segcct.datasets.layouts import find_cases, read_case, scan_cases, scheme_of
from segcct.errors import DataError
from tests.support.small_layouts import SHAPE, labels, read_all, section, volume

OLD = {"t1": "{id}_t1.nii.gz", "t1ce": "{id}_t1ce.nii.gz", "flair": "*_flair.nii.gz"}
NEW = {"t1n": "{id}-t1n.nii.gz", "t2f": "*-t2f.nii.gz"}


def brats(root: Path, *ids: str, separator: str = "_", channels: tuple[str, ...] = ("t1", "t1ce", "flair")) -> None:
    for case_id in ids:
        place = root / case_id
        name = place.name
        for channel in channels:
            volume(place / f"{name}{separator}{channel}.nii.gz")
        volume(place / f"{name}{separator}seg.nii.gz", labels([0, 1, 2]))


def test_brats_2021_names(tmp_path: Path) -> None:
    brats(tmp_path, "HGG/Brats18_TCIA01_131_1", "LGG/Brats18_TCIA01_131_2", "BraTS2021_00005")
    data = section("brats", tmp_path, OLD, "brats2021", label="{id}_seg.nii.gz")
    cases = find_cases(data)
    assert [(case.id, case.patient) for case in cases] == [
        ("BraTS2021_00005", "BraTS2021_00005"),
        ("Brats18_TCIA01_131_1", "Brats18_TCIA01_131"),
        ("Brats18_TCIA01_131_2", "Brats18_TCIA01_131"),
    ]
    assert list(cases[0].channels) == ["t1", "t1ce", "flair"]
    assert cases[0].channels["t1"][0].name == "BraTS2021_00005_t1.nii.gz"  # not _t1ce
    loaded_case = read_case(cases[0], data, scheme_of(data))
    assert loaded_case.image.shape == (3, *SHAPE)
    assert loaded_case.image.dtype == np.float32
    assert np.array_equal(loaded_case.image[1], nib.load(cases[0].channels["t1ce"][0]).get_fdata(dtype=np.float32))
    assert np.array_equal(loaded_case.grid.affine, np.diag([-1.0, -1, 2, 1]))
    assert loaded_case.label is not None
    assert loaded_case.label.dtype == np.uint8
    assert read_case(cases[0], data, scheme_of(data), with_label=False).label is None


def test_brats_2023_names_hold_patient_and_time_point(tmp_path: Path) -> None:
    brats(tmp_path, *(f"BraTS-GLI-{n}" for n in ("00000-000", "00000-001", "00002-000")), "BraTS-MET-00000-000",
          separator="-", channels=("t1n", "t2f"))  # fmt: skip
    cases = find_cases(section("brats", tmp_path, NEW, "brats2023", label="{id}-seg.nii.gz"))
    assert [case.patient for case in cases] == [
        *("BraTS-GLI-00000", "BraTS-GLI-00000", "BraTS-GLI-00002"),
        "BraTS-MET-00000",  # another person than GLI 00000
    ]


def test_the_config_gives_the_order_of_channels(tmp_path: Path) -> None:
    brats(tmp_path, "BraTS2021_00005")
    forth = section("brats", tmp_path, OLD, "brats2021")
    back = section("brats", tmp_path, dict(reversed(OLD.items())), "brats2021")
    a, b = (read_all(data)["BraTS2021_00005"] for data in (forth, back))
    assert np.array_equal(a.image, b.image[::-1])


def test_cases_without_labels_are_found_for_prediction(tmp_path: Path) -> None:
    brats(tmp_path, "BraTS2021_00005", "BraTS2021_00006")
    (tmp_path / "BraTS2021_00006" / "BraTS2021_00006_seg.nii.gz").unlink()
    data = section("brats", tmp_path, OLD, "brats2021", label="{id}_seg.nii.gz")
    cases = find_cases(data)
    assert [case.label is None for case in cases] == [False, True]
    assert read_case(cases[1], data, scheme_of(data)).label is None
    # A case folder itself may be the root.
    assert [case.id for case in find_cases(data.model_copy(update={"root": tmp_path / "BraTS2021_00006"}))] == [
        "BraTS2021_00006"
    ]


def test_a_missing_channel_names_folder_files_and_pattern(tmp_path: Path) -> None:
    brats(tmp_path, "BraTS2021_00005", "BraTS2021_00006", "BraTS2021_00007")
    for case_id in ("BraTS2021_00005", "BraTS2021_00007"):
        (tmp_path / case_id / f"{case_id}_t1ce.nii.gz").unlink()
    data = section("brats", tmp_path, OLD, "brats2021")
    with pytest.raises(DataError, match=r"channel t1ce is missing.*_flair\.nii\.gz.*expected BraTS2021_0000") as caught:
        find_cases(data)
    assert caught.value.file == str(tmp_path / "BraTS2021_00005")
    assert "1 more problem: `segcct check` lists them all" in str(caught.value)
    assert [case.id for case in find_cases(data, strict=False)] == ["BraTS2021_00006"]
    found = scan_cases(data)
    assert [error.file for error in found.errors] == [str(tmp_path / f"BraTS2021_0000{n}") for n in (5, 7)]


def test_a_pattern_with_several_matches_is_refused(tmp_path: Path) -> None:
    brats(tmp_path, "BraTS2021_00005")
    with pytest.raises(DataError, match=r"channel t1 is not one file.*_t1\.nii\.gz, .*_t1ce\.nii\.gz"):
        find_cases(section("brats", tmp_path, {"t1": "*_t1*.nii.gz"}, "brats2021"))


@pytest.mark.parametrize(
    ("layout", "channels", "label", "words"),
    [
        ("brats", OLD, "{id}_seg.nii.gz", ["BraTS2021_00000/", "BraTS2021_00000_t1ce.nii.gz", "_seg"]),
        ("brats", NEW, "{id}-seg.nii.gz", ["BraTS-GLI-00000-000-t1n.nii.gz", "BraTS-GLI-00000-000-seg"]),
        ("acdc", {"cine": "{id}.nii.gz"}, "{id}_gt.nii.gz", ["patient001_frame01_gt.nii.gz", "Info.cfg"]),
        ("synapse", {"ct": "img/img*.nii.gz"}, "label/label*.nii.gz", ["img/img0001.nii.gz", "label/label0001"]),
        ("slices", {"cine": "image"}, "label", ["patient001_frame01_slice_1.h5", "arrays image, label"]),
        ("folder", {"flair": "Flair_*.nii.gz"}, "OT.nii.gz", ["CASE_001/", "OT.nii.gz"]),
        ("paired", {"ct": "images/*.nii.gz"}, "masks/*.nii.gz", ["images/A.nii.gz", "masks/B.nii.gz"]),
        ("pictures", {"red": "images/*.png"}, "masks/*.gif", ["images/1.png", "masks/1.gif"]),
        ("nnunet", {"t1": "{id}_0000.nii.gz"}, "{id}.nii.gz", ["imagesTr/", "CASE_001_0000.nii.gz", "labelsTr/"]),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_an_empty_root_shows_the_expected_folder(
    tmp_path: Path, layout: str, channels: dict[str, str], label: str, words: list[str], there: bool
) -> None:
    root = tmp_path / "data"
    if there:
        (root / "odd").mkdir(parents=True)
        (root / "odd" / "notes.txt").write_text("x")
    with pytest.raises(DataError) as caught:
        find_cases(section(layout, root, channels, label=label))
    message = str(caught.value)
    assert message.startswith(f"{root}: {'no case of layout' if there else 'the dataset folder does not exist'}")
    assert ("odd/notes.txt" in message) == there
    assert all(word in message for word in words), message
    assert (f"segcct phantom {layout} {root}" in message) == (layout in ("brats", "acdc", "synapse"))
