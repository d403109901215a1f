"""Layout `slices`: slices and volumes in HDF5 and NPZ files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from segcct.check.dataset_check import examine_dataset
from segcct.config import DataSection
from segcct.datasets.layouts import find_cases, read_case, scan_cases, scheme_of
from segcct.errors import DataError, GeometryError, LabelError, VolumeError
from segcct.preparation.cache_key import cache_key
from tests.support.small_layouts import read_all, section


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


def test_another_array_of_a_file_is_prepared_again(tmp_path: Path) -> None:
    h5(tmp_path / "case1.h5", image=np.ones((2, 4, 3)), other=np.zeros((2, 4, 3)), label=np.zeros((2, 4, 3)))
    data = section("slices", tmp_path, {"ct": "image"}, "synapse", label="label")
    other = data.model_copy(update={"channels": {"ct": "other"}})
    keys = {cache_key(find_cases(each)[0], each, scheme_of(each)) for each in (data, other)}
    assert len(keys) == 2


def test_npz_files_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "case1_slice_1.npz", image=np.array([{"a": 1}], dtype=object))
    with pytest.raises(VolumeError, match=r"case1_slice_1\.npz: cannot be read.*pickle"):
        read_all(section("slices", tmp_path, {"ct": "image"}))
