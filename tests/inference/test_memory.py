"""What a prediction holds at once, per voxel of the scan: no second float volume, and no mask of 8-byte numbers."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from segcct import runtime
from segcct.datasets import label_schemes as labels
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts.volumes import read_image
from segcct.errors import DataError
from segcct.images import nifti
from segcct.images.volume import Volume, read_header
from segcct.inference import memory_estimate
from segcct.inference.ensemble import common_card
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.memory_estimate import CaseMemory, check_memory, voxel_bytes
from segcct.inference.predictor import Predictor
from segcct.model_card import Architecture
from segcct.predictions import folder_prediction
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import Request, resolve
from segcct.preparation import slice_grid as grid
from segcct.preparation.intensity import unit_scale
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import plan_grid, prepare_case
from tests.support import predicted_peak, toy_pair

SHAPE = (96, 80, 64)
AFFINE = np.diag([1.5, 2.0, 6.0, 1.0])
SLICES = (20, 48, 64)
VOXELS = 20 * 48 * 64


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small beside this volume as the real ones are beside a large one."""
    monkeypatch.setattr(grid, "_CHUNK_BYTES", 2**16)
    monkeypatch.setattr(labels, "_LOOKED_UP", 2**12)
    monkeypatch.setattr(runtime, "_MOMENT_VOXELS", 2**12)
    monkeypatch.setattr(runtime, "_PERCENTILE_VOXELS", 2**12)
    monkeypatch.setattr("segcct.images.nifti._SCALED_VOXELS", 2**12)
    monkeypatch.setattr(memory_estimate, "_PARTS", 0)


def bytes_per_voxel(action: Callable[[], object]) -> float:
    """The most that arrays of numpy take while this runs, beside what was there before."""
    action()  # imports and tables
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1] / np.prod(SHAPE)
    finally:
        tracemalloc.stop()


def scan() -> Volume:
    voxels = np.random.default_rng(0).integers(0, 100, SHAPE, dtype=np.int16)
    return Volume(np.asfortranarray(voxels), AFFINE, (1.5, 2.0, 6.0), None, None)


@pytest.mark.parametrize(
    ("rule", "most"),
    [
        ({"rule": "clip", "low": 0, "high": 100}, 5),
        ({"rule": "zscore_nonzero"}, 8),
        ({"rule": "clip", "low": 0, "high": 1e4}, 5),
    ],
)
@pytest.mark.parametrize("orientation", ["native", "canonical"])
def test_a_prediction_holds_few_bytes_per_voxel(rule, most, orientation):
    predictor = toy_pair.predictor(intensity=rule, orientation=orientation)
    volume = scan()
    # float16 slices and two masks; zscore first takes out the foreground in float32
    assert bytes_per_voxel(lambda: predictor.predict(volume)) < most


def test_a_scaled_file_is_read_into_one_array(tmp_path: Path):
    file = tmp_path / "scaled.nii"
    image = nib.Nifti1Image(scan().array, AFFINE)
    image.header.set_slope_inter(2.0, -1000.0)
    nib.save(image, file)
    assert bytes_per_voxel(lambda: Volume.load(file)) < 8  # int16, float32, and where it is finite
    stored = np.asarray(nib.load(file).dataobj.get_unscaled())
    np.testing.assert_array_equal(Volume.load(file).array, (stored * np.float64(2) - 1000).astype(np.float32))


def test_a_background_of_zero_is_seen_on_the_faces_alone():
    voxels = np.zeros(SHAPE, np.int16)
    voxels[8:-8, 8:-8, 8:-8] = 5
    assert runtime.other_background(voxels) is None
    assert bytes_per_voxel(lambda: runtime.other_background(voxels)) < 1  # of a comparison of every voxel, one bool
    assert runtime.other_background(voxels - 1) == (-1, np.mean(voxels == 0))


@pytest.mark.parametrize("layout", ["C", "F", "reversed", "strided"])
def test_a_lookup_does_not_depend_on_the_order_in_memory(layout):
    scheme = Scheme("custom", {"low": 3, "high": 7})
    index = np.random.default_rng(0).integers(0, 3, SHAPE, dtype=np.uint8)
    index = {"C": index, "F": np.asfortranarray(index), "reversed": index[::-1, :, ::-1], "strided": index[::2]}[layout]
    values = scheme.to_values(index)
    np.testing.assert_array_equal(values, np.asarray([0, 3, 7], dtype=np.uint8)[index])
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(scheme.to_index(values), index)


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "clip", "low": 20, "high": 60},
        {"rule": "zscore_nonzero"},
        {"rule": "zscore_mask", "mask": "m"},
        {"rule": "none"},
    ],
)
@pytest.mark.parametrize("crop", ["none", "foreground"])
def test_slices_prepared_in_parts_are_those_of_the_whole_channel(rule, crop):
    """By the formulas of the rules, over the whole volume at once."""
    section = toy_pair.data_section(intensity=rule, crop=crop, fit="resize", image_size=24)
    made = toy_pair.loaded_case()
    image = np.clip(made.image, 0, 100)
    if rule["rule"] == "none":
        image = image / 100
    mask = np.asarray(made.label) > 0 if rule["rule"] == "zscore_mask" else None
    made = type(made)(made.case, image, made.grid, made.label, mask)
    prepared = prepare_case(made, Preparation.of(section), Scheme("custom", toy_pair.CLASSES))
    scale = unit_scale(image[0], section.intensity, mask=mask)
    whole, foreground = scale.unit(image[0], mask), scale.foreground(image[0], mask)
    slices = prepared.grid.shrink(prepared.grid.to_slices(whole)[:, None])
    np.testing.assert_array_equal(prepared.image, slices.astype(np.float16))
    inside = whole[foreground] if rule["rule"].startswith("zscore") else whole
    expected = (0.5, 0.25) if rule["rule"] == "clip" else (inside.mean(dtype=np.float64), inside.std(dtype=np.float64))
    np.testing.assert_allclose((prepared.mean[0], prepared.std[0]), expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is measured by /proc")
@pytest.mark.parametrize("name", ["channels", "network"])
def test_the_estimate_is_near_what_a_prediction_takes(tmp_path: Path, name: str) -> None:
    """Of the other cases: benchmarks/memory_estimates.py."""
    peaks = []
    for _ in range(3):  # the peak of the same work differs by a tenth, by how its threads ask for memory
        found = predicted_peak.peaks_of(name, tmp_path / name)
        peaks.append(found["measured"])
        if 0.75 < found["estimated"] / max(peaks) < 1.3:
            return
    pytest.fail(f"{peaks} measured, {found['estimated']} estimated")


def free_in_gb(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    """So much memory is free, which is asked for however little a case needs."""
    monkeypatch.setattr(memory_estimate, "_WORTH_ASKING_GB", 0.0)
    monkeypatch.setattr(memory_estimate, "free_memory_gb", lambda: free)


def memory_of(
    how: InferenceSettings | None = None, *, networks: Sequence[str] = ("cct_unet_t",), **more: Any
) -> CaseMemory:
    """Of 20 slices of 48 x 64 pixels; several networks are an ensemble."""
    built = [Architecture(name=name, in_channels=1, num_classes=3, image_size=32) for name in networks]
    section = toy_pair.data_section()
    cards = {
        Path(each.name): toy_pair.card("segmentation", section, architecture=each, weights_sha256="0", **more)
        for each in built
    }
    how = how or InferenceSettings(8, "fp32", "cpu")
    return CaseMemory(common_card(cards, Predictor.interface), Preparation.of(section), how, VOXELS, SLICES, False)


def test_only_what_a_case_needs_at_least_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = memory_of()
    free_in_gb(monkeypatch, memory.prediction(8) / 1.29e9)
    check_memory(memory, memory.prediction, None)
    free_in_gb(monkeypatch, memory.prediction(8) / 1.31e9)
    with pytest.raises(DataError, match="or fewer Spark tasks or shards on this one at a time"):
        check_memory(memory, memory.prediction, None)


@pytest.mark.parametrize(
    "how", [InferenceSettings(8, "fp32", "cuda"), InferenceSettings(8, "fp32", "cpu", backend="onnx")]
)
def test_a_network_elsewhere_is_not_built_to_be_counted(
    how: InferenceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_estimate, "_bytes_per_pixel", None)  # would fail
    assert memory_of(how).prediction(8) > VOXELS
    over_volumes = memory_of(how, spatial_dims=3).prediction(8) - VOXELS
    once = 4 * (1 + 3) * VOXELS  # input and probabilities
    assert over_volumes == once if how.device == "cuda" else over_volumes > 2 * once


def test_bf16_takes_half_inside_the_network() -> None:
    fp32, bf16, onnx = (
        memory_of(how).prediction(8)
        for how in (
            InferenceSettings(8, "fp32", "cpu"),
            InferenceSettings(8, "bf16", "cpu"),
            InferenceSettings(8, "fp32", backend="onnx"),
        )
    )
    assert bf16 - onnx == pytest.approx((fp32 - onnx) / 2, rel=0.01)


@pytest.mark.parametrize("networks", [["cct_unet_t", "cct_unet_s"], ["cct_unet_s", "cct_unet_t"]])
def test_an_ensemble_takes_what_its_largest_member_takes(networks: list[str]) -> None:
    alone = [memory_of(networks=[name]).prediction(8) for name in networks]
    assert min(alone) < max(alone) == memory_of(networks=networks).prediction(8)


def test_orientations_hold_their_mean_beside_kept_probabilities() -> None:
    how = InferenceSettings(8, "fp32", "cpu", "orientations")
    soft, orientations, both = (
        replace(memory_of(of), keep_probabilities=kept).prediction(8)
        for of, kept in ((None, False), (how, False), (how, True))
    )
    assert orientations - soft == 2 * (3 + 1) * VOXELS  # float16, of the classes and of the slices
    assert both - orientations == (2 * 3 + 1) * VOXELS  # float16, and the most probable class


def test_a_scan_is_not_refused_for_what_a_crop_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.zeros((64, 64, 60), np.float32)
    voxels[30:34, 30:34, 30:34] = 50
    grid = Volume(voxels, AFFINE, (1.5, 2.0, 6.0))
    case = LoadedCase(Case("small", "small", {"ct": (Path("small.nii"),)}), voxels[None], grid)
    for crop, slices in (("none", 60), ("foreground", 4)):
        predictor = toy_pair.predictor(crop=crop)
        free_in_gb(monkeypatch, 11 * voxels.size / 1.3e9)  # of a crop, 4 and 6 bytes are counted
        if crop == "foreground":
            predictor.check_header(grid, as_stored=True, keep_probabilities=True)
            assert predictor.segment(case, keep_probabilities=True).prepared.grid.slice_shape[0] < 2 * slices
        else:
            with pytest.raises(DataError, match=f"found {slices} slices"):
                predictor.check_header(grid, as_stored=True, keep_probabilities=True)


@pytest.mark.parametrize("dtype", ["<u1", "<i2", ">i2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("scale", [(None, None), (1.0, 0.0), (1.0, -1024.0), (0.5, 0.0)])
def test_the_bytes_of_a_voxel_are_those_of_its_reading(dtype: str, scale: Any, tmp_path: Path) -> None:
    file = tmp_path / "scan.nii"
    write_scan(file, dtype, scale)
    held, stored = voxel_bytes(read_header(file), 1, as_stored=True)
    assert Volume.load(file).array.itemsize == held
    assert held + stored <= bytes_per_voxel(lambda: Volume.load(file)) < held + stored + 1.5  # and where it is finite


def write_scan(file: Path, dtype: str, scale: Any) -> None:
    header = nib.Nifti1Header(endianness=dtype[0])
    header.set_data_shape(SHAPE)
    header.set_data_dtype(dtype)
    header.set_sform(AFFINE, code=1)
    header.set_slope_inter(*scale)
    header["vox_offset"] = 352
    file.write_bytes(header.binaryblock + bytes(4) + scan().array.astype(dtype).tobytes("F"))


@pytest.mark.parametrize(
    ("dtype", "scale", "stored"),
    [
        ("<i2", (None, None), 2),  # one of them while it is copied into its channel
        ("<f4", (None, None), 4),
        ("<i2", (0.5, 0.0), 4),
        (">f4", (None, None), 8),
        ("<f8", (None, None), 16),  # two, beside their float32
        ("<f8", (0.5, 0.0), 16),
    ],
)
def test_files_of_several_channels_are_counted_by_twos(dtype: str, scale: Any, stored: int, tmp_path: Path) -> None:
    write_scan(tmp_path / "scan.nii", dtype, scale)
    header = read_header(tmp_path / "scan.nii")
    for channels in (2, 4):
        assert voxel_bytes(header, channels, as_stored=True) == (4, stored)
    assert voxel_bytes(replace(header, header=None), 2, as_stored=True) == (4, 2)  # other formats: one at a time


def test_two_files_are_converted_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: tmp_path / f"{name}.nii" for name in ("t1", "t2")}
    for file in files.values():
        write_scan(file, "<f8", (0.5, 0.0))
    both, scaled = Barrier(len(files)), nifti._scaled

    def together(*args: Any) -> np.ndarray:
        array = scaled(*args)
        both.wait(timeout=30)
        return array

    monkeypatch.setattr(nifti, "_scaled", together)
    held, stored = voxel_bytes(read_header(files["t1"]), len(files), as_stored=True)
    case = Case("a", "a", {name: (file,) for name, file in files.items()})
    data = toy_pair.data_section(channels={name: file.name for name, file in files.items()})
    peak = bytes_per_voxel(lambda: read_image(case, data))
    assert peak == pytest.approx(len(files) * held + stored, abs=1)


def test_a_case_that_does_not_fit_is_refused_before_the_network_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    free_in_gb(monkeypatch, 1e-9)
    predictor = toy_pair.predictor()
    predictor.network = None  # would fail
    with pytest.raises(
        DataError, match=r"does not fit into the free memory .* Use --no-quality, and no --probabilities"
    ):
        predictor.segment(toy_pair.loaded_case(), keep_probabilities=True)


def test_a_case_too_large_for_the_memory_fails_alone_before_it_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    for name, depth in (("small", 2), ("large", 60)):
        (tmp_path / "scans" / name).mkdir(parents=True)
        file = tmp_path / "scans" / name / "ct.nii.gz"
        nib.save(nib.Nifti1Image(np.ones((64, 64, depth), np.int16), AFFINE), file)
    built = Architecture(name="cct_unet_t", in_channels=1, num_classes=3, image_size=32)
    card = toy_pair.card("segmentation", toy_pair.data_section(), architecture=built)
    predictor = Predictor(toy_pair.Nearest(), card, InferenceSettings(batch_size=16, device="cpu"))
    memory = predictor.case_memory(plan_grid(Volume.load(file), predictor.preparation), keep_probabilities=False)
    free_in_gb(monkeypatch, memory.from_files(16, held=4, stored=2) / 1.31e9)
    monkeypatch.setattr(folder_prediction, "load_case", partial(refuse_large, folder_prediction.load_case))
    predictions = predict_folder(predictor, resolve(predictor.card, tmp_path / "scans"), tmp_path / "masks")
    rows = json.loads((tmp_path / "masks" / "predictions.json").read_text(encoding="utf-8"))["cases"]
    assert {name: row["status"] for name, row in rows.items()} == {"large": "failed", "small": "done"}
    assert re.search(
        r"large/ct\.nii\.gz: its prediction does not fit into the free memory \(found 60 slices of 64 x 64 pixels "
        r"and 3 classes, in batches of 16: at least 0\.\d GB; expected at most 0\.\d GB\)\. Use --batch-size 8, or a "
        r"machine with",
        predictions.problem,
    )


def refuse_large(load: Callable[..., LoadedCase], request: Request, case: Case, *args: Any, **named: Any) -> LoadedCase:
    assert case.id != "large"
    return load(request, case, *args, **named)


def test_kept_probabilities_are_held_once() -> None:
    predictor = toy_pair.predictor()
    case = toy_pair.loaded_case()
    kept = predictor.segment(case, keep_probabilities=True).soft
    expected = np.concatenate(list(predictor.probabilities(predictor.segment(case).prepared)))
    np.testing.assert_array_equal(kept.probabilities, expected.astype(np.float16))
    np.testing.assert_array_equal(kept.index, expected.argmax(axis=1))
