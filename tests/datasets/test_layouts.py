"""Layouts: each finds the cases of a small dataset in its real naming, reads them, and says what is wrong."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from segcct.check.dataset_check import examine_dataset
from segcct.config import DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.label_schemes import BTCV_TO_SYNAPSE, remap
from segcct.datasets.layouts import LAYOUTS, find_cases, get_layout, read_case, scan_cases, scheme_of
from segcct.datasets.layouts.patterns import compiled, matching
from segcct.errors import ConfigError, DataError, GeometryError, LabelError, VolumeError
from segcct.images.formats import read_header
from segcct.images.raster import mask_values, read_pages
from segcct.images.volume import Volume
from segcct.preparation.cache_key import cache_key

SHAPE = (6, 5, 4)
OLD = {"t1": "{id}_t1.nii.gz", "t1ce": "{id}_t1ce.nii.gz", "flair": "*_flair.nii.gz"}
NEW = {"t1n": "{id}-t1n.nii.gz", "t2f": "*-t2f.nii.gz"}


def volume(path: Path, array: np.ndarray | None = None, affine: np.ndarray | None = None) -> Path:
    """A NIfTI file; without an array, noise that depends on the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if array is None:
        array = np.random.default_rng(len(path.name)).random(SHAPE, dtype=np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1, 2, 1]) if affine is None else affine), path)
    return path


def labels(values: list[int], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.resize(np.array(values, dtype=np.uint8), shape)


def section(layout: str, root: Path, channels: Mapping[str, str], scheme: str = "binary", **more: Any) -> DataSection:
    return DataSection(layout=layout, root=root, channels=dict(channels), scheme=scheme, **more)


def read_all(data: DataSection) -> dict[str, LoadedCase]:
    return {case.id: read_case(case, data, scheme_of(data)) for case in find_cases(data)}


def brats(root: Path, *ids: str, separator: str = "_", channels: tuple[str, ...] = ("t1", "t1ce", "flair")) -> None:
    for case_id in ids:
        place = root / case_id
        name = place.name
        for channel in channels:
            volume(place / f"{name}{separator}{channel}.nii.gz")
        volume(place / f"{name}{separator}seg.nii.gz", labels([0, 1, 2]))


# ---------------------------------------------------------------- brats


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


# ---------------------------------------------------------------- acdc


def acdc(root: Path, patient: str, frames: tuple[int, int], info: str | None = None) -> None:
    place = root / patient
    for frame in {*frames, 7}:
        volume(place / f"{patient}_frame{frame:02d}.nii.gz")
        volume(place / f"{patient}_frame{frame:02d}_gt.nii.gz", labels([0, 1, 2, 3]))
    volume(place / f"{patient}_4d.nii.gz", np.zeros((*SHAPE, 3), np.int16))
    text = f"ED: {frames[0]}\nES: {frames[1]}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
    (place / "Info.cfg").write_text(text if info is None else info)


def test_acdc_folders(tmp_path: Path) -> None:
    acdc(tmp_path / "training", "patient001", (1, 12))
    acdc(tmp_path / "training", "patient002", (1, 9))
    acdc(tmp_path / "testing", "patient101", (1, 14))
    data = section("acdc", tmp_path, {"cine": "{id}.nii.gz"}, "acdc", label="{id}_gt.nii.gz")
    cases = find_cases(data)
    assert [(case.id, case.patient, case.split) for case in cases] == [
        ("patient001_frame01", "patient001", "train"),
        ("patient001_frame12", "patient001", "train"),
        ("patient002_frame01", "patient002", "train"),
        ("patient002_frame09", "patient002", "train"),
        ("patient101_frame01", "patient101", "test"),
        ("patient101_frame14", "patient101", "test"),
    ]
    assert all(case.label is not None for case in cases)
    assert set(np.unique(read_all(data)["patient101_frame14"].label)) == {0, 1, 2, 3}
    one = data.model_copy(update={"root": tmp_path / "training" / "patient001"})
    assert [case.id for case in find_cases(one)] == ["patient001_frame01", "patient001_frame12"]


def test_acdc_without_or_with_a_wrong_info(tmp_path: Path) -> None:
    acdc(tmp_path, "patient001", (1, 12))
    (tmp_path / "patient001" / "Info.cfg").unlink()
    data = section("acdc", tmp_path, {"cine": "{id}.nii.gz"}, "acdc")
    assert [case.id for case in find_cases(data)] == [f"patient001_frame{n}" for n in ("01", "07", "12")]
    acdc(tmp_path, "patient002", (1, 9), info="ED: 1\nES: 20\n")
    with pytest.raises(DataError, match=r"channel cine is missing.*expected patient002_frame20\.nii\.gz"):
        find_cases(data)
    acdc(tmp_path, "patient002", (1, 9), info="<html>")
    with pytest.raises(DataError, match=r"Info\.cfg: names no frames"):
        find_cases(data)


# ---------------------------------------------------------------- synapse


def synapse(root: Path) -> DataSection:
    for number in ("0001", "0010"):
        volume(root / "Training" / "img" / f"img{number}.nii.gz")
        volume(root / "Training" / "label" / f"label{number}.nii.gz", labels(list(range(14))))
    volume(root / "Testing" / "img" / "img0061.nii.gz")
    return section("synapse", root, {"ct": "img/img*.nii.gz"}, "synapse", label="label/label*.nii.gz")


def test_synapse_names_cases_and_maps_btcv(tmp_path: Path) -> None:
    data = synapse(tmp_path)
    cases = find_cases(data)
    assert [(case.id, case.split, case.label is None) for case in cases] == [
        ("case0001", "train", False),
        ("case0010", "train", False),
        ("case0061", "test", True),
    ]
    label = read_all(data)["case0001"].label
    assert label is not None
    assert np.array_equal(label, remap(labels(list(range(14))), BTCV_TO_SYNAPSE))
    #                     0  spleen  r.k.  l.k. gall.  -  liver stomach aorta -  -  pancreas -  -
    assert label.ravel()[:14].tolist() == [0, 7, 4, 3, 2, 0, 5, 8, 1, 0, 0, 6, 0, 0]


def test_synapse_map_can_be_replaced(tmp_path: Path) -> None:
    data = synapse(tmp_path)
    btcv = data.model_copy(update={"scheme": "btcv"})
    assert np.array_equal(read_all(btcv)["case0001"].label, labels(list(range(14))))
    own = data.model_copy(update={"label_map": {}})
    with pytest.raises(LabelError, match=r"label0001\.nii\.gz.*outside scheme synapse.*13"):
        read_all(own)


def test_synapse_also_in_averaged_folders(tmp_path: Path) -> None:
    volume(tmp_path / "averaged-training-images" / "DET0000101_avg.nii.gz")
    volume(tmp_path / "averaged-training-labels" / "DET0000101_avg_seg.nii.gz", labels([0, 6]))
    data = section("synapse", tmp_path, {"ct": "{id}_avg.nii.gz"}, "synapse", label="{id}_avg_seg.nii.gz")
    assert np.unique(read_all(data)["DET0000101"].label).tolist() == [0, 5]


# ---------------------------------------------------------------- slices


def h5(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def slices(root: Path, **more: Any) -> DataSection:
    return section("slices", root, {"cine": "image"}, "acdc", label="label", **more)


def test_slices_are_restacked_by_number(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).random((12, 4, 3)).astype(np.float16)  # z, y, x
    truth = np.random.default_rng(1).integers(0, 4, (12, 4, 3)).astype(np.uint8)
    for z in range(12):
        h5(tmp_path / "data" / f"patient003_frame02_slice_{z + 1}.h5", image=stack[z], label=truth[z])
    h5(tmp_path / "data" / "patient002_frame01.h5", image=stack, label=truth)
    (tmp_path / "train.list").write_text("patient003_frame02\n")
    found = read_all(slices(tmp_path))
    assert list(found) == ["patient002_frame01", "patient003_frame02"]
    for loaded_case in found.values():
        assert loaded_case.image.shape == (1, 3, 4, 12)
        assert loaded_case.image.dtype == np.float32
        assert np.array_equal(loaded_case.image[0], stack.transpose(2, 1, 0))  # slice_10 comes after slice_9
        assert np.array_equal(loaded_case.label, truth.transpose(2, 1, 0))
        assert loaded_case.grid.spacing_mm is None
    assert found["patient003_frame02"].case.patient == "patient003"
    assert len(found["patient003_frame02"].case.files()) == 12


def test_transunet_files(tmp_path: Path) -> None:
    (tmp_path / "train_npz").mkdir()
    image, label = np.ones((4, 3), np.float32), np.ones((4, 3), np.float32)
    for z in (0, 1, 2):
        np.savez(tmp_path / "train_npz" / f"case0005_slice00{z}.npz", image=image * z, label=label)
    h5(tmp_path / "test_vol_h5" / "case0001.npy.h5", image=np.ones((7, 4, 3)), label=np.zeros((7, 4, 3)))
    data = section("slices", tmp_path, {"ct": "image"}, "synapse", label="label")
    found = read_all(data)
    assert {name: (e.case.patient, e.case.split, e.image.shape) for name, e in found.items()} == {
        "case0001": ("case0001", "test", (1, 3, 4, 7)),
        "case0005": ("case0005", "train", (1, 3, 4, 3)),
    }
    assert found["case0005"].image[0, 0, 0].tolist() == [0, 1, 2]
    assert found["case0005"].label is not None
    assert found["case0005"].label.dtype == np.uint8


def test_a_volume_is_preferred_to_its_slices(tmp_path: Path) -> None:
    h5(tmp_path / "case1.h5", image=np.ones((2, 4, 3)))
    h5(tmp_path / "slices" / "case1_slice_0.h5", image=np.zeros((4, 3)))
    data = section("slices", tmp_path, {"ct": "image"}, label="label")
    loaded_case = read_all(data)["case1"]
    assert loaded_case.image.shape == (1, 3, 4, 2)
    assert loaded_case.label is None


def test_gaps_between_slices_are_noticed(tmp_path: Path) -> None:
    for number in (3, 4, 6, 9):
        h5(tmp_path / f"case1_slice_{number}.h5", image=np.ones((4, 3)))
    data = section("slices", tmp_path, {"ct": "image"})
    found = scan_cases(data)
    assert len(found.cases[0].channels["ct"]) == 4
    assert [notice.found for notice in found.notices] == ["no slice 5, 7, 8"]
    told = [problem for problem in examine_dataset(data, deep=False).problems if problem.found == "no slice 5, 7, 8"]
    assert [problem.severity for problem in told] == ["notice"]


def test_slices_that_cannot_be_used(tmp_path: Path) -> None:
    one = h5(tmp_path / "case1_slice_1.h5", image=np.ones((4, 3)), label=np.zeros((4, 3)))
    data = slices(tmp_path)
    with pytest.raises(VolumeError, match=r"case1_slice_1\.h5: holds no array named pixels.*image, label"):
        find_cases(section("slices", tmp_path, {"ct": "pixels"}))
    h5(tmp_path / "case1_slice_2.h5", image=np.ones((4, 5)), label=np.zeros((4, 3)))
    with pytest.raises(GeometryError, match=r"case1_slice_2\.h5: array image does not fit.*\(4, 5\)"):
        read_all(data)
    h5(tmp_path / "case1_slice_2.h5", image=np.full((4, 3), np.nan), label=np.zeros((4, 3)))
    with pytest.raises(VolumeError, match=r"case1_slice_2\.h5: voxels are NaN"):
        read_all(data)
    h5(tmp_path / "case1_slice_2.h5", image=np.full((4, 3), 1e300), label=np.zeros((4, 3)))
    with pytest.raises(VolumeError, match=r"case1_slice_2\.h5: voxels are NaN or infinite"):
        read_all(data)
    h5(tmp_path / "case1_slice_2.h5", image=np.ones((4, 3)))
    with pytest.raises(VolumeError, match=r"case1_slice_2\.h5: cannot be read: no array 'label'"):
        read_all(data)
    h5(tmp_path / "case1_slice_2.h5", image=np.ones((4, 3)), label=np.full((4, 3), 9))
    with pytest.raises(LabelError, match=r"\(case1\): label values outside scheme acdc.*9 \(12 voxels\)"):
        read_all(data)
    one.write_bytes(one.read_bytes()[:100])
    with pytest.raises(VolumeError, match=r"case1_slice_1\.h5: cannot be read"):
        read_all(data)
    one.unlink()
    h5(tmp_path / "copy" / "case1_slice_2.h5", image=np.ones((4, 3)))
    with pytest.raises(DataError, match="case1 is stored more than once"):
        find_cases(data)


def test_a_damaged_file_of_slices_costs_its_case_alone(tmp_path: Path) -> None:
    h5(tmp_path / "case1.h5", image=np.ones((2, 4, 3)), label=np.zeros((2, 4, 3)))
    (tmp_path / "case2.h5").write_bytes(b"no HDF5")
    data = slices(tmp_path)
    sound, damaged = find_cases(data)
    assert read_case(sound, data, scheme_of(data)).image.shape == (1, 3, 4, 2)
    with pytest.raises(VolumeError, match=r"case2\.h5: cannot be read"):
        read_case(damaged, data, scheme_of(data))
    told = [problem for problem in examine_dataset(data).problems if problem.file == str(tmp_path / "case2.h5")]
    assert {(problem.severity, problem.what) for problem in told} == {("error", "cannot be read")}


def test_another_array_of_a_file_or_another_label_map_is_prepared_anew(tmp_path: Path) -> None:
    h5(tmp_path / "case1.h5", image=np.ones((2, 4, 3)), other=np.zeros((2, 4, 3)), label=np.zeros((2, 4, 3)))
    data = section("slices", tmp_path, {"ct": "image"}, "synapse", label="label")
    other = data.model_copy(update={"channels": {"ct": "other"}})
    keys = {cache_key(find_cases(each)[0], each, scheme_of(each)) for each in (data, other)}
    assert len(keys) == 2
    btcv = synapse(tmp_path / "btcv")
    own = btcv.model_copy(update={"label_map": {}})
    assert len({cache_key(find_cases(each)[0], each, scheme_of(each)) for each in (btcv, own)}) == 2


def test_npz_files_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "case1_slice_1.npz", image=np.array([{"a": 1}], dtype=object))
    with pytest.raises(VolumeError, match=r"case1_slice_1\.npz: cannot be read.*pickle"):
        read_all(section("slices", tmp_path, {"ct": "image"}))


# ---------------------------------------------------------------- folder


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


# ---------------------------------------------------------------- pictures


def picture(path: Path, array: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


COLOUR = np.random.default_rng(3).integers(0, 256, (4, 6, 3)).astype(np.uint8)  # rows, columns, RGB
MASK = (np.random.default_rng(4).random((4, 6)) > 0.5).astype(np.uint8)


def pictures(root: Path, channels: Mapping[str, str], **more: Any) -> DataSection:
    return section("pictures", root, channels, label="masks/*_m.png", label_map={255: 1}, **more)


def test_pictures_in_colour_and_grey(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "7_x.tif", COLOUR)
    picture(tmp_path / "masks" / "7_m.png", MASK * 255)
    data = pictures(tmp_path, dict.fromkeys(("blue", "red", "all"), "images/*_x.tif"))
    loaded_case = read_all(data)["7"]
    assert loaded_case.image.shape == (3, 6, 4, 1)
    assert np.array_equal(loaded_case.image[0, ..., 0].T, COLOUR[..., 2])
    assert np.array_equal(loaded_case.image[1, ..., 0].T, COLOUR[..., 0])
    grey = np.asarray(Image.fromarray(COLOUR).convert("L"), dtype=np.float32)
    assert np.abs(loaded_case.image[2, ..., 0].T - grey).max() <= 1
    assert loaded_case.label is not None
    assert np.array_equal(loaded_case.label[..., 0].T, MASK)
    assert loaded_case.grid.spacing_mm is None


def test_pictures_of_many_kinds(tmp_path: Path) -> None:
    deep = np.array([[0, 1000], [40000, 65535]], dtype=np.uint16)
    picture(tmp_path / "deep_x.png", deep)
    assert np.array_equal(read_one(tmp_path, "deep")[0, ..., 0].T, deep)
    picture(tmp_path / "float_x.tif", np.array([[0.25, -3.5]], dtype=np.float32))
    assert read_one(tmp_path, "float")[0, :, 0, 0].tolist() == [0.25, -3.5]
    pages = [Image.fromarray(np.full((3, 2), value, np.uint8)) for value in (1, 5)]
    pages[0].save(tmp_path / "pages_x.tif", save_all=True, append_images=pages[1:])
    assert read_one(tmp_path, "pages").shape == (1, 2, 3, 2)
    assert read_one(tmp_path, "pages")[0, 0, 0].tolist() == [1, 5]
    assert read_header(tmp_path / "pages_x.tif").shape == (2, 3, 2)
    Image.fromarray(np.full((3, 2), 9, np.uint8)).save(tmp_path / "grey_x.gif")
    assert np.unique(read_one(tmp_path, "grey")).tolist() == [9]
    Image.fromarray(np.dstack([COLOUR, MASK * 255])).save(tmp_path / "alpha_x.png")
    assert read_one(tmp_path, "alpha").shape == (1, 6, 4, 1)


def read_one(root: Path, case_id: str) -> np.ndarray:
    return read_all(section("pictures", root, {"grey": "*_x.*".replace("*_x", "{id}_x")}))[case_id].image


def test_masks_as_palette_bits_and_equal_bands(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1_x.png", COLOUR)
    data = pictures(tmp_path, {"grey": "images/*_x.png"})
    target = tmp_path / "masks" / "1_m.png"
    target.parent.mkdir()
    palette = Image.fromarray(MASK).convert("P")
    palette.putpalette([0, 0, 0, 200, 30, 40])
    bits = Image.fromarray(MASK * 255).convert("1")
    bands = Image.fromarray(np.dstack([MASK * 255] * 3))
    for mask in (palette, bits, bands):
        mask.save(target)
        label = read_all(data)["1"].label
        assert label is not None
        assert np.array_equal(label[..., 0].T, MASK), mask.mode


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_mask_is_taken_as_stored_where_0_is_white(tmp_path: Path, compression: str | None) -> None:
    """ImageJ writes the masks of its inverting tables so, with 255 as foreground."""
    file = picture(tmp_path / "m.tif", MASK * 255, compression=compression)
    black, white = (struct.pack("<HHII", 262, 3, 1, meaning) for meaning in (1, 0))  # PhotometricInterpretation
    content = file.read_bytes()
    assert content.count(black) == 1
    file.write_bytes(content.replace(black, white))
    assert np.array_equal(mask_values(file)[..., 0].T, MASK * 255)
    assert np.array_equal(read_pages(file)[0], 255 - MASK * 255), "an image is as it is shown"


@pytest.mark.parametrize("color", [255, 0])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_mask_that_shows_in_its_transparency_is_refused(tmp_path: Path, color: int, bands: int) -> None:
    """Of one color, it would be all foreground, or none."""
    constant = [np.full_like(MASK, color)] * bands
    file = picture(tmp_path / "m.png", np.dstack([*constant, MASK * 255]))
    with pytest.raises(VolumeError, match=r"m\.png: a mask whose region is in its transparency.*alpha"):
        mask_values(file)
    picture(file, np.dstack([*constant, np.full_like(MASK, 255)]))
    assert np.unique(mask_values(file)).tolist() == [color]
    picture(file, np.dstack([*[MASK * 255] * bands, MASK * 255]))
    assert np.array_equal(mask_values(file)[..., 0].T, MASK * 255)


@pytest.mark.parametrize(("color_type", "bands"), [(4, 2), (6, 4)])
def test_a_deep_mask_with_transparency_is_refused(tmp_path: Path, color_type: int, bands: int) -> None:
    """A PNG of 16-bit gray or color with alpha, of which Pillow keeps the high bytes."""
    pixels = np.full((*MASK.shape, bands), 65535, dtype=">u2")
    pixels[..., :-1] = MASK[..., None]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    size = struct.pack(">IIBBBBB", MASK.shape[1], MASK.shape[0], 16, color_type, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    file = tmp_path / "m.png"
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in chunks
        )
    )
    with pytest.raises(VolumeError, match=r"m\.png: an image in colors of more than 8 bits"):
        mask_values(file)


def test_pictures_that_cannot_be_used(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1_x.png", COLOUR)
    data = pictures(tmp_path, {"grey": "images/*_x.png"})
    target = picture(tmp_path / "masks" / "1_m.png", COLOUR)
    with pytest.raises(VolumeError, match=r"1_m\.png: a mask in colors"):
        read_all(data)
    picture(target, MASK[:, :5])
    with pytest.raises(GeometryError, match=r"1_m\.png: mask and image differ in size.*5 x 4.*6 x 4"):
        read_all(data)
    target.write_text("<html>")
    with pytest.raises(VolumeError, match=r"1_m\.png: cannot be read as an image.*no image"):
        read_all(data)
    image = tmp_path / "images" / "1_x.png"
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(VolumeError, match=r"1_x\.png: cannot be read as an image"):
        read_all(data)
    picture(tmp_path / "more" / "images" / "1_x.png", COLOUR)
    with pytest.raises(DataError, match=r"several cases have one id \(found 1 in images/1_x.png, more/images/1_x.png"):
        find_cases(data)
    with pytest.raises(ConfigError, match=r"must show where the case id is.*images/scan\.png"):
        find_cases(pictures(tmp_path, {"grey": "images/scan.png"}))


def test_masks_without_a_picture_are_noticed(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1_x.png", COLOUR)
    for name in ("1", "2", "3"):
        picture(tmp_path / "masks" / f"{name}_m.png", MASK)
    found = scan_cases(pictures(tmp_path, {"grey": "images/*_x.png"}))
    assert [case.id for case in found.cases] == ["1"]
    assert [notice.what for notice in found.notices] == ["2 label files without an image"]
    assert found.notices[0].found == "masks/2_m.png, masks/3_m.png"


def test_further_labels_are_no_cases_but_an_image_whose_name_goes_on_is_one(tmp_path: Path) -> None:
    for name in ("A.png", "A_mask.png", "A_mask_1.png", "A_2.png"):
        picture(tmp_path / "one" / name, MASK)
    found = scan_cases(pictures(tmp_path / "one", {"grey": "{id}.png"}).model_copy(update={"label": "{id}_mask.png"}))
    assert [case.id for case in found.cases] == ["A", "A_2"]
    for name in ("A.bmp", "A.png", "A_2.bmp"):
        picture(tmp_path / "two" / name, MASK)
    found = scan_cases(pictures(tmp_path / "two", {"grey": "{id}.bmp"}).model_copy(update={"label": "{id}.png"}))
    assert [(case.id, case.label is None) for case in found.cases] == [("A", False), ("A_2", True)]


def test_the_folder_above_is_named_where_the_root_is_too_deep(tmp_path: Path) -> None:
    for name in ("images/a.nii.gz", "masks/a.nii.gz"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).touch()
    (tmp_path / "data" / "other").mkdir()
    data = section("paired", tmp_path / "data" / "images", {"ct": "images/*.nii.gz"}, label="masks/*.nii.gz")
    with pytest.raises(DataError, match=rf"Set data\.root to {tmp_path}/data$"):
        find_cases(data)
    with pytest.raises(DataError, match=r"Set data\.root to the folder of the data$"):
        find_cases(data.model_copy(update={"root": tmp_path / "data" / "other"}))


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    picture(elsewhere / "images" / "1_x.png", COLOUR)
    volume(elsewhere / "case1" / "t1.nii.gz")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(root)
    assert [case.id for case in find_cases(pictures(root, {"grey": "images/*_x.png"}))] == ["1"]
    assert [case.id for case in find_cases(section("folder", root, {"t1": "t1.nii.gz"}))] == ["case1"]


def test_the_nearest_mask_is_taken(tmp_path: Path) -> None:
    for side, name in (("train", "1"), ("test", "2")):
        picture(tmp_path / side / "images" / f"{name}_x.png", COLOUR)
        picture(tmp_path / side / "masks" / f"{name}_m.png", MASK)
    picture(tmp_path / "old" / "masks" / "1_m.png", MASK)
    cases = find_cases(pictures(tmp_path, {"grey": "images/*_x.png"}))
    assert [(case.id, case.split, case.label) for case in cases] == [
        ("1", "train", (tmp_path / "train" / "masks" / "1_m.png",)),
        ("2", "test", (tmp_path / "test" / "masks" / "2_m.png",)),
    ]


def test_what_is_nearer_to_another_picture_of_that_name_is_not_taken(tmp_path: Path) -> None:
    for side in ("train", "test"):
        picture(tmp_path / side / "images" / "1_x.png", COLOUR)
    mask = picture(tmp_path / "train" / "masks" / "1_m.png", MASK)
    data = pictures(tmp_path, {"grey": "images/*_x.png"}, case_id="path")
    assert [(case.id, case.label) for case in find_cases(data)] == [("test_1", None), ("train_1", (mask,))]
    picture(tmp_path / "train" / "images" / "1_y.png", COLOUR)
    two = pictures(tmp_path, {"grey": "images/*_x.png", "more": "images/*_y.png"}, case_id="path")
    with pytest.raises(DataError, match=r"test/images/1_x\.png: channel more is missing"):
        find_cases(two)


# ---------------------------------------------------------------- paired


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


# ---------------------------------------------------------------- nnunet


def test_nnunet_raw(tmp_path: Path) -> None:
    for case_id in ("la_003", "la_0000"):
        for channel in ("0000", "0001"):
            volume(tmp_path / "imagesTr" / f"{case_id}_{channel}.nii.gz")
        volume(tmp_path / "labelsTr" / f"{case_id}.nii.gz", labels([0, 1]))
    volume(tmp_path / "imagesTs" / "la_009_0000.nii.gz")
    volume(tmp_path / "imagesTs" / "la_009_0001.nii.gz")
    channels = {"t1": "{id}_0000.nii.gz", "t2": "{id}_0001.nii.gz"}
    data = section("nnunet", tmp_path, channels, label="{id}.nii.gz")
    found = read_all(data)
    assert {name: (e.case.split, e.image.shape[0], e.label is None) for name, e in found.items()} == {
        "la_0000": ("train", 2, False),
        "la_003": ("train", 2, False),
        "la_009": ("test", 2, True),
    }
    (tmp_path / "imagesTr" / "la_003_0001.nii.gz").unlink()
    with pytest.raises(DataError, match=r"channel t2 is missing \(found no such file of case la_003"):
        find_cases(data)


# ---------------------------------------------------------------- names and patterns


def test_the_table_names_every_layout_of_the_config() -> None:
    assert DataSection.model_json_schema()["properties"]["layout"]["enum"] == list(LAYOUTS)
    assert all(name == layout.name for name, layout in LAYOUTS.items())
    with pytest.raises(DataError, match=r"unknown layout 'bids'.*brats, acdc"):
        get_layout("bids")


def test_patterns_take_special_characters_literally(tmp_path: Path) -> None:
    (tmp_path / "a[1].nii.gz").touch()
    (tmp_path / "a1.nii.gz").touch()
    assert [path.name for path in matching(FolderTree(tmp_path), tmp_path, "{id}.nii.gz", "a[1]")] == ["a[1].nii.gz"]
    assert compiled("{id}/{id}_t1.nii.gz").match("x/x_t1.nii.gz")
    assert not compiled("{id}/{id}_t1.nii.gz").match("x/y_t1.nii.gz")
    for pattern in ("/absolute/*.nii", "{case}_t1.nii.gz"):
        with pytest.raises(ConfigError, match="not a file pattern"):
            compiled(pattern)


# ---------------------------------------------------------------- real data


def real(shared_data: Path, name: str) -> DataSection:
    settings: dict[str, dict[str, Any]] = {
        "acdc_h5": {"layout": "slices", "channels": {"cine": "image"}, "label": "label", "scheme": "acdc"},
        "brats2015_flair_t1c": {
            "layout": "folder",
            "channels": {"flair": "Flair_*.nii.gz", "t1c": "T1c_*.nii.gz"},
            "label": "OTMultiClass.nii.gz",
            "scheme": "brats2015",
            "intensity": {"rule": "zscore_mask", "mask": "brainmask.nii.gz"},
        },
        "brats2013_slices": {
            "layout": "folder",
            "channels": {name: f"{{id}}_{name}_slice*.nii.gz" for name in ("T1", "T1C", "T2", "FLAIR")},
            "label": "{id}_atropos_truth_slice*.nii.gz",
            "label_map": {1: 0, 2: 0, 3: 0, 4: 1, 5: 2, 6: 3, 7: 4},
            "scheme": "brats2015",
        },
        "brats_4modality_pseudo": {
            "layout": "folder",
            "channels": {name: f"{name}.nii.gz" for name in ("t1n", "t1c", "t2w", "t2f")},
            "label": "model_segmentation.nii.gz",
            "scheme": "brats2023",
        },
        "open_ms": {
            "layout": "folder",
            "channels": {"flair": "FLAIR.nii.gz", "t1": "T1.nii.gz"},
            "label": "GOLD_STANDARD.nii.gz",
            "scheme": "binary",
        },
        "ct_spleen": {
            "layout": "folder",
            "channels": {"ct": "*_ct.nii.gz"},
            "label": "*_seg-manual.nii.gz",
            "scheme": "binary",
        },
        "drive": {
            "layout": "pictures",
            "channels": dict.fromkeys(("red", "green", "blue"), "images/*_training.tif"),
            "label": "masks/*_manual1.gif",
            "label_map": {255: 1},
            "scheme": "binary",
        },
        "isbi2012_em": {
            "layout": "pictures",
            "channels": {"em": "image/*.png"},
            "label": "label/*.png",
            "label_map": {255: 1},
            "scheme": "binary",
        },
    }
    return DataSection(root=shared_data / name, **settings[name])


@pytest.mark.parametrize(
    ("name", "count", "shape", "classes", "foreground"),
    [
        ("acdc_h5", 160, (1, 232, 256, 10), {0, 1, 2, 3}, (0.01, 0.2)),
        ("brats2015_flair_t1c", 4, (2, 240, 240, 155), {0, 1, 2, 3, 4}, (0.002, 0.05)),
        ("brats2013_slices", 3, (4, 176, 216, 1), {0, 1, 2, 3, 4}, (0.01, 0.2)),
        ("brats_4modality_pseudo", 1, (4, 240, 240, 155), {0, 1, 2, 3}, (0.001, 0.05)),
        ("open_ms", 1, (2, 182, 218, 182), {0, 1}, (1e-5, 0.01)),
        ("ct_spleen", 1, (1, 164, 166, 26), {0, 1}, (0.01, 0.5)),
        ("drive", 8, (3, 565, 584, 1), {0, 1}, (0.05, 0.2)),
        ("isbi2012_em", 24, (1, 512, 512, 1), {0, 1}, (0.6, 0.95)),
    ],
)
def test_real_datasets_are_read(
    shared_data: Path, name: str, count: int, shape: tuple[int, ...], classes: set[int], foreground: tuple[float, float]
) -> None:
    data = real(shared_data, name)
    cases = find_cases(data)
    assert len(cases) == count
    loaded_case = read_case(cases[0], data, scheme_of(data))
    assert loaded_case.image.shape == shape
    assert loaded_case.label is not None
    assert set(np.unique(loaded_case.label)) == classes
    assert foreground[0] < (loaded_case.label > 0).mean() < foreground[1]
    assert (loaded_case.grid.spacing_mm is None) == (data.layout in ("slices", "pictures"))
    if loaded_case.mask is not None:
        assert 0.1 < loaded_case.mask.mean() < 0.25
        assert loaded_case.mask[loaded_case.label > 0].mean() > 0.99  # a few tumour voxels lie outside the brain mask


def test_real_acdc_slices_are_complete_and_split_by_patient(shared_data: Path) -> None:
    root = shared_data / "acdc_h5"
    cases = {case.id: case for case in find_cases(real(shared_data, "acdc_h5"))}
    train, val = ((root / name).read_text(encoding="utf-8").split() for name in ("train.list", "val.list"))
    assert set(train) | set(val) == set(cases)
    assert not {cases[name].patient for name in train} & {cases[name].patient for name in val}
    assert sum(len(cases[name].channels["cine"]) for name in train) == 1312
    for case in cases.values():
        check_slice_order(case)


def check_slice_order(case: Case) -> None:
    numbers = [int(path.stem.rpartition("_")[2]) for path in case.channels["cine"] if "_slice_" in path.name]
    assert numbers == list(range(1, len(numbers) + 1)), case.id
