"""Layout `folder`: a folder per case; and how channels, labels and masks of volumes are read."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from segcct.config import DataSection
from segcct.datasets.layouts import find_cases, scheme_of
from segcct.errors import DataError, GeometryError, LabelError, VolumeError
from segcct.images.volume import Volume
from tests.support.small_layouts import SHAPE, labels, read_all, section, volume


def test_folders_with_a_mask_and_subfolders(tmp_path: Path) -> None:
    for session in ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"):
        volume(tmp_path / session / "anat" / f"{session}_T1w.nii.gz")
        volume(tmp_path / session / "anat" / f"{session}_T2w.nii.gz")
        volume(tmp_path / session / "lesion.nii.gz", labels([0, 1]))
        volume(tmp_path / session / "brain.nii.gz", labels([0, 1]).astype(np.float32) * np.float32(0.9999999))
        (tmp_path / session / "._lesion.nii.gz").write_bytes(b"junk of a file system")
    intensity = {"rule": "zscore_mask", "mask": "brain.nii.gz"}
    patterns = {"t1": "anat/{id}_T1w.nii.gz", "t2": "anat/*_T2w.nii.gz"}
    data = section("folder", tmp_path, patterns, label="*lesion.nii.gz", intensity=intensity)
    found = read_all(data)
    assert {name: e.case.patient for name, e in found.items()} == {
        "sub-01_ses-1": "sub-01",
        "sub-01_ses-2": "sub-01",
        "sub-02_ses-1": "sub-02",
    }
    loaded_case = found["sub-02_ses-1"]
    assert loaded_case.mask is not None
    assert loaded_case.mask.dtype == bool
    assert np.array_equal(loaded_case.mask, labels([0, 1]) == 1)
    (tmp_path / "sub-02_ses-1" / "brain.nii.gz").unlink()
    with pytest.raises(DataError, match=r"intensity mask is missing.*brain\.nii\.gz"):
        find_cases(data)


def test_sessions_in_the_folder_of_their_subject_are_of_one_patient(tmp_path: Path) -> None:
    for place in ("sub-01/ses-1", "sub-01/ses-2/anat", "sub-02/ses-1", "other"):
        volume(tmp_path / "root" / place / "t1.nii.gz")
    data = section("folder", tmp_path / "root", {"t1": "t1.nii.gz"}, case_id="path")
    assert {case.id: case.patient for case in find_cases(data)} == {
        "sub-01_ses-1": "sub-01",
        "sub-01_ses-2_anat": "sub-01",
        "sub-02_ses-1": "sub-02",
        "other": "other",
    }
    subject = section("folder", tmp_path / "root" / "sub-01", {"t1": "t1.nii.gz"})
    assert [(case.id, case.patient) for case in find_cases(subject)] == [("anat", "sub-01"), ("ses-1", "sub-01")]


def test_the_patient_can_be_named_by_the_config(tmp_path: Path) -> None:
    for case_id in ("p1-visitA", "p1-visitB", "p2-visitA"):
        volume(tmp_path / case_id / "t1.nii.gz")
    data = section("folder", tmp_path, {"t1": "t1.nii.gz"}, patient="(.*)-visit")
    assert [case.patient for case in find_cases(data)] == ["p1", "p1", "p2"]
    volume(tmp_path / "extra" / "t1.nii.gz")
    with pytest.raises(DataError, match=r"data\.patient finds no patient in a case id.*found extra"):
        find_cases(data)
    with pytest.raises(ValueError, match=r"one \(group\)"):
        section("folder", tmp_path, {"t1": "t1.nii.gz"}, patient="p.*")


def test_a_channel_may_be_a_folder_of_dicom(tmp_path: Path) -> None:
    place = tmp_path / "case1" / "CT"
    place.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(3):
        image = sitk.GetImageFromArray(np.full((4, 5), z, np.int16))
        image.SetMetaData("0020|000e", "1.2.3")
        image.SetMetaData("0020|0032", f"0\\0\\{z * 2}")
        image.SetMetaData("0020|0037", "1\\0\\0\\0\\1\\0")
        image.SetMetaData("0028|0030", "1\\1")  # ITK leaves it out where it is 1
        writer.SetFileName(str(place / f"{z}.dcm"))
        writer.Execute(image)
    loaded_case = read_all(section("folder", tmp_path, {"ct": "CT"}))["case1"]
    assert loaded_case.image.shape == (1, 5, 4, 3)
    assert loaded_case.grid.spacing_mm == pytest.approx((1, 1, 2))


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    for site in ("a", "b"):
        volume(tmp_path / site / "case1" / "t1.nii.gz")
    with pytest.raises(DataError, match=r"several cases have one id \(found case1 in a/case1.*b/case1"):
        find_cases(section("folder", tmp_path, {"t1": "t1.nii.gz"}))


def test_grids_and_label_values_are_checked(tmp_path: Path) -> None:
    place = tmp_path / "case1"
    volume(place / "t1.nii.gz")
    volume(place / "seg.nii.gz", labels([0, 1]))
    data = section("folder", tmp_path, {"t1": "t1.nii.gz", "t2": "t2.nii.gz"}, label="seg.nii.gz")
    affine = np.diag([-1.0, -1, 2, 1])
    affine[0, 3] = 0.04  # a twentieth of a voxel is rounding ...
    volume(place / "t2.nii.gz", affine=affine)
    read_all(data)
    affine[0, 3] = 0.06  # ... more is not
    volume(place / "t2.nii.gz", affine=affine)
    with pytest.raises(GeometryError, match=r"t2\.nii\.gz: voxel grids lie up to 0\.06 mm apart.*t1\.nii\.gz"):
        read_all(data)
    volume(place / "t2.nii.gz")
    volume(place / "seg.nii.gz", labels([0, 1], (6, 5, 3)))
    with pytest.raises(GeometryError, match=r"seg\.nii\.gz: shapes differ"):
        read_all(data)
    volume(place / "seg.nii.gz", labels([0, 255]))
    with pytest.raises(LabelError, match=r"seg\.nii\.gz: label values outside.*Set data\.label_map: \{255: 1\}"):
        read_all(data)
    assert np.unique(read_all(data.model_copy(update={"label_map": {255: 1}}))["case1"].label).tolist() == [0, 1]
    volume(place / "seg.nii.gz", np.full(SHAPE, 0.4, np.float32))
    with pytest.raises(LabelError, match=r"seg\.nii\.gz: label values are not whole numbers \(found 120 voxels.*0\.4"):
        read_all(data)


def four_channels(root: Path) -> DataSection:
    """A case whose channels hold 0, 1, 2 and 3."""
    names = [f"{channel}.nii.gz" for channel in "abcd"]
    for value, name in enumerate(names):
        volume(root / "case1" / name, np.full(SHAPE, value, np.int16))
    return section("folder", root, {name[0]: name for name in names})


def test_channels_are_read_two_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, load, both = four_channels(tmp_path), Volume.load, threading.Barrier(2, timeout=20)

    def together(path: Path) -> Volume:
        both.wait()
        return load(path)

    monkeypatch.setattr(Volume, "load", together)
    loaded = read_all(data)["case1"]
    assert loaded.image.dtype == np.float32
    assert loaded.image[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert np.shares_memory(loaded.grid.array, loaded.image), "no channel is held twice"


@pytest.mark.parametrize(("broken", "elsewhere", "named"), [("ab", "", "a"), ("bd", "", "b"), ("d", "c", "c")])
def test_the_first_channel_with_a_fault_is_named(
    tmp_path: Path, broken: str, elsewhere: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, load = four_channels(tmp_path), Volume.load
    for channel in broken:
        file = tmp_path / "case1" / f"{channel}.nii.gz"
        file.write_bytes(file.read_bytes()[:-12])
    for channel in elsewhere:
        volume(tmp_path / "case1" / f"{channel}.nii.gz", affine=np.diag([-1.0, -1, 3, 1]))

    failed = threading.Event()

    def late(path: Path) -> Volume:
        if path.name[0] == named and named in "ac":
            assert failed.wait(20)  # the other one that is read meanwhile
        try:
            return load(path)
        except VolumeError:
            failed.set()
            raise

    monkeypatch.setattr(Volume, "load", late)
    with pytest.raises(GeometryError if elsewhere else VolumeError, match=rf"case1/{named}\.nii\.gz: "):
        read_all(data)


def test_a_custom_scheme_comes_from_the_config(tmp_path: Path) -> None:
    data = section("folder", tmp_path, {"t1": "t1.nii.gz"}, "custom", labels={"a": 3, "b": 5}, regions={"all": [3, 5]})
    assert scheme_of(data).classes == {"a": 3, "b": 5}
    assert scheme_of(data).regions == {"all": (3, 5)}
