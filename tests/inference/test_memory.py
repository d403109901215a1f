"""What a prediction holds at once, per voxel of the scan: no second float volume, and no mask of 8-byte numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from segcct import runtime
from segcct.datasets import label_schemes as labels
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.label_schemes import Scheme
from segcct.errors import DataError
from segcct.images.volume import Volume
from segcct.inference import folder_prediction, memory_estimate
from segcct.inference.batched_inference import Inference
from segcct.inference.folder_prediction import predict_folder
from segcct.inference.prediction_request import Request, resolve
from segcct.inference.predictor import Predictor
from segcct.model_card import Architecture
from segcct.preparation import slice_grid as grid
from segcct.preparation.intensity import unit_scale
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import plan_grid, prepare_case
from tests.support import predicted_peak, toy_pair
from tests.support.documents import ROOT

SHAPE = (96, 80, 64)
AFFINE = np.diag([1.5, 2.0, 6.0, 1.0])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small beside this volume as the real ones are beside a large one."""
    monkeypatch.setattr(grid, "_CHUNK_BYTES", 2**16)
    monkeypatch.setattr(labels, "_LOOKED_UP", 2**12)
    monkeypatch.setattr(runtime, "_MOMENT_VOXELS", 2**12)
    monkeypatch.setattr(runtime, "_PERCENTILE_VOXELS", 2**12)
    monkeypatch.setattr("segcct.images.nifti._SCALED_VOXELS", 2**12)


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
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ([256, 256, 300], {"channels": 1, "size": 32, "batch": 16, "fit": "resize"}),  # the scan and its mask
        ([256, 256, 100], {"channels": 4, "size": 32, "batch": 16, "fit": "resize", "intensity": {}}),
        ([256, 256, 16], {"channels": 1, "size": 64, "batch": 16, "classes": 14}),  # slices larger than trained
        ([200, 200, 16], {"channels": 1, "size": 224, "batch": 8, "network": "cct_unet_s"}),
    ],
    ids=["mask", "channels", "classes", "network"],
)
def test_the_estimate_is_near_what_a_prediction_takes(tmp_path: Path, shape: list[int], settings: Any) -> None:
    predicted_peak.write_case(tmp_path / "small", [16, 16, 3], settings["channels"])
    predicted_peak.write_case(tmp_path / "large", shape, settings["channels"])
    settings = {"classes": 4, "network": "cct_unet_t", **settings}
    command = [sys.executable, "-m", "tests.support.predicted_peak", json.dumps(settings), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0.75 < found["estimated"] / found["measured"] < 1.3, found


def test_a_case_that_does_not_fit_is_refused_before_the_network_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_estimate, "_WORTH_ASKING_GB", 0.0)
    monkeypatch.setattr(memory_estimate, "free_memory_gb", lambda: 1e-9)
    predictor = toy_pair.predictor()
    predictor.network = None  # would fail
    with pytest.raises(
        DataError, match=r"does not fit into the free memory .* Use --no-quality, and no --probabilities"
    ):
        predictor.segment(toy_pair.loaded_case(), keep_probabilities=True)


def test_a_case_too_large_for_the_memory_fails_alone_before_it_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    for name, depth in (("large", 60), ("small", 2)):
        (tmp_path / "scans" / name).mkdir(parents=True)
        file = tmp_path / "scans" / name / "ct.nii.gz"
        nib.save(nib.Nifti1Image(np.ones((64, 64, depth), np.int16), AFFINE), file)
    built = Architecture(name="cct_unet_t", in_channels=1, num_classes=3, image_size=32)
    card = toy_pair.card("segmentation", toy_pair.data_section(), architecture=built)
    predictor = Predictor(toy_pair.Nearest(), card, Inference(batch_size=16, device="cpu"))
    memory = predictor.case_memory(plan_grid(Volume.load(file), predictor.preparation), keep_probabilities=False)
    per_slice = memory.prediction(2) - memory.prediction(1)
    free = memory.from_files(1, held=4, stored=2) + 8 * per_slice
    monkeypatch.setattr(memory_estimate, "_WORTH_ASKING_GB", 0.0)
    monkeypatch.setattr(memory_estimate, "free_memory_gb", lambda: free / 1e9)
    monkeypatch.setattr(folder_prediction, "load_case", partial(refuse_large, folder_prediction.load_case))
    predictions = predict_folder(predictor, resolve(predictor.card, tmp_path / "scans"), tmp_path / "masks")
    rows = json.loads((tmp_path / "masks" / "predictions.json").read_text(encoding="utf-8"))["cases"]
    assert {name: row["status"] for name, row in rows.items()} == {"large": "failed", "small": "done"}
    assert re.search(
        r"large/ct\.nii\.gz: its prediction does not fit into the free memory \(found 60 slices of 64 x 64 pixels and "
        r"3 classes, in batches of 16: 0\.\d GB; expected at most 0\.\d GB\)\. Use --batch-size 8, or a machine with",
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
