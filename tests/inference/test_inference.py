"""Prediction below the commands: the published slice protocol, what a scan must bring along."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from segcct.config import AugmentSection, DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.layouts import find_cases, read_case, scheme_of
from segcct.errors import DataError, GeometryError
from segcct.figures import best_slice, plane_of
from segcct.images.volume import Volume
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.inferers import SliceInferer
from segcct.inference.predictor import Predictor
from segcct.model_card import Architecture, ModelCard, SchemeCard, reading
from segcct.phantom import phantom_files as phantom
from segcct.predictions import folder_prediction as folder
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import Request, resolve
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from segcct.preparation.slice_sampling import SliceDataset
from segcct.tasks.segmentation import training_overlays


class Threshold(nn.Module):
    """Class 1 where the first channel is above its mean, class 2 where it is half a deviation above."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = image[:, :1]
        return torch.cat([0.0 * first, 4.0 * first, 8.0 * first - 2.0], dim=1)


def predictor(
    protocol: str = "soft", fit: str = "resize", channels: tuple[str, ...] = ("ct",), **more: object
) -> Predictor:
    data = DataSection.model_validate({
        "layout": "folder",
        "root": "nowhere",
        "channels": dict.fromkeys(channels, "*.nii.gz"),
        "scheme": "custom",
        "labels": {"low": 3, "high": 7},
        "orientation": "native",
        "fit": fit,
        "image_size": 32,
        "intensity": {"rule": "clip", "low": 0, "high": 100},
        **more,
    })  # fmt: skip
    card = ModelCard(
        task="segmentation",
        architecture=Architecture(name="threshold", in_channels=len(channels), num_classes=3, image_size=32),
        data=reading(data),
        scheme=SchemeCard(name="custom", classes={"low": 3, "high": 7}),
        selected_on={},
        data_fingerprint="",
        provenance={},
    )
    return Predictor(Threshold(), card, InferenceSettings(protocol=protocol))


@pytest.fixture
def scan() -> Volume:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(40, 24, 5)), (4, 4, 1))
    array = (50 + 40 * smooth / np.abs(smooth).max()).astype(np.float32)
    return Volume(array, np.diag([1.5, 2.0, 6.0, 1.0]), (1.5, 2.0, 6.0), None, None)


def prepared_scan(of: Predictor, scan: Volume, label: np.ndarray | None = None) -> PreparedCase:
    case = Case("a", "a", {"ct": (scan.path,)})
    return prepare_case(LoadedCase(case, scan.array[None], scan, label), of.preparation, of.scheme)


class Recorder(nn.Module):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.shown.append(image)
        return image.expand(-1, 3, -1, -1)


@pytest.mark.parametrize("fit", ["pad", "letterbox"])
def test_a_small_slice_looks_in_prediction_as_it_does_in_training(scan, fit):
    of = predictor(fit=fit)
    case = prepared_scan(of, Volume(scan.array[:20], scan.affine, scan.spacing_mm, None, None), scan.array[:20] * 0 + 3)
    recorder = Recorder()
    index = SliceInferer()(recorder, case, InferenceSettings(device="cpu"), 32)
    dataset = SliceDataset([case], augment=AugmentSection(strength=0), image_size=32, seed=0, foreground_fraction=0.0)
    trained = {sample["slice"]: sample["image"] for sample in (dataset[(0, place)] for place in range(5))}
    assert index.shape == (20, 24, 5)
    for number, image in trained.items():
        assert torch.equal(recorder.shown[0][number], image)


@pytest.mark.parametrize("protocol", ["soft", "transunet"])
def test_masks_hold_the_schemes_values_on_the_scans_grid(scan, protocol):
    mask = predictor(protocol).predict(scan)
    assert mask.array.shape == scan.array.shape
    assert mask.array.dtype == np.uint8
    assert set(np.unique(mask.array)) == {0, 3, 7}
    np.testing.assert_array_equal(mask.affine, scan.affine)


def test_the_slice_protocol_is_the_published_one(scan):
    """Cubic zoom to 32 x 32, argmax, nearest zoom back, worked here slice by slice."""
    ours = predictor("transunet").predict(scan).array
    unit = (np.clip(scan.array, 0, 100) / 100).astype(np.float16).astype(np.float32)
    case = prepared_scan(predictor(), scan)
    for z in range(5):
        plane = (unit[:, :, z].T - case.mean[0]) / case.std[0]  # rows = Y, columns = X
        large = ndimage.zoom(plane, (32 / 24, 32 / 40), order=3)
        index = np.argmax([0 * large, 4 * large, 8 * large - 2], axis=0).astype(np.uint8)
        back = ndimage.zoom(index, (24 / 32, 40 / 32), order=0)
        np.testing.assert_array_equal(np.asarray([0, 3, 7])[back].T, ours[:, :, z])


def test_the_slice_protocol_takes_the_slices_as_they_are_stored(scan):
    """Also of a model that resamples them otherwise: the protocol resizes by itself."""
    expected = predictor("transunet").predict(scan).array
    np.testing.assert_array_equal(predictor("transunet", "pad", spacing_mm=1.0).predict(scan).array, expected)


def test_the_two_ways_agree_but_for_borders(scan):
    soft, published = predictor("soft").predict(scan).array, predictor("transunet").predict(scan).array
    assert 0.0 < (soft != published).mean() < 0.1


def test_channels_must_be_those_of_the_model(scan):
    with pytest.raises(DataError, match=r"found t1; expected ct"):
        predictor().predict({"t1": scan})
    with pytest.raises(DataError, match=r"found ct, t1; expected ct"):
        predictor().predict({"ct": scan, "t1": scan})


def test_channels_are_told_apart_by_their_names_in_any_order(scan):
    of, other = predictor(channels=("a", "b")), scan.with_array(100 - scan.array)
    mask = of.predict({"b": other, "a": scan})
    assert np.array_equal(mask.array, of.predict({"a": scan, "b": other}).array)
    assert not np.array_equal(mask.array, of.predict({"a": other, "b": scan}).array)


def test_a_model_that_needs_a_mask_says_so(scan):
    of = predictor(intensity={"rule": "zscore_mask", "mask": "mask.nii.gz"})
    with pytest.raises(DataError, match=r"needs a mask for intensity normalization .expected mask\.nii\.gz"):
        of.predict(scan)


def test_files_and_arrays_are_refused_with_the_way_to_a_volume(scan):
    for given in ("scan.nii.gz", scan.array, {"ct": scan.array}):
        with pytest.raises(TypeError, match=r"Volume\.load\(file\).* in Volume\(array, affine, spacing_mm\)"):
            predictor().predict(given)
    with pytest.raises(TypeError, match="not ndarray"):
        predictor().predict(scan, mask=scan.array > 0)


def test_channels_must_share_a_grid(scan):
    other = Volume(scan.array, scan.affine + np.diag([0, 0, 0.1, 0]), (1.5, 2.0, 6.1), None, None)
    with pytest.raises(GeometryError, match="voxel grids lie up to"):
        predictor(channels=("a", "b")).predict({"a": scan, "b": other})


@pytest.mark.parametrize("spacing_mm", [(6.0, 2.0, 1.5), (0.0, 0.0, 0.0)])
def test_a_voxel_size_must_be_that_of_the_affine(scan, spacing_mm):
    """An array in another order than its voxel size would be resampled wrongly."""
    with pytest.raises(GeometryError, match=r"found \(.*; expected \(1.5, 2.0, 6.0\)"):
        predictor().predict(Volume(scan.array, scan.affine, spacing_mm))


def test_a_mask_is_where_it_is_above_one_half(scan, tmp_path, monkeypatch):
    """Resampling leaves values between 0 and 1: a mask given in Python is read as one from a file."""
    mask = scan.with_array(np.linspace(0, 1, scan.array.size, dtype=np.float32).reshape(scan.array.shape))
    monkeypatch.setattr(Predictor, "predict_case", lambda _, loaded, **__: loaded)
    given = predictor().predict(scan, mask=mask).mask
    assert np.array_equal(given, mask.array > 0.5)
    (tmp_path / "case").mkdir()
    scan.save(tmp_path / "case" / "ct.nii.gz")
    mask.save(tmp_path / "case" / "mask.nii.gz")
    data = DataSection(
        layout="folder",
        root=tmp_path,
        channels={"ct": "ct.nii.gz"},
        scheme="acdc",
        intensity={"rule": "zscore_mask", "mask": "mask.nii.gz"},
    )
    (case,) = find_cases(data)
    assert np.array_equal(read_case(case, data, scheme_of(data)).mask, given)


def test_channels_may_differ_by_rounding_as_in_a_dataset(scan):
    of = predictor(channels=("a", "b"))
    affine = scan.affine.copy()
    affine[0, 3] += 0.04 * min(scan.spacing_mm)
    rounded = Volume(scan.array, affine, scan.spacing_mm, None, None)
    mask = of.predict({"a": scan, "b": rounded})
    assert np.array_equal(mask.array, of.predict({"a": scan, "b": scan}).array)
    assert np.array_equal(mask.affine, scan.affine)


def test_a_dicom_folder_becomes_a_nifti_mask(shared_data, tmp_path):
    scans = tmp_path / "series"
    scans.mkdir()
    for file in (shared_data / "ct_dicom").glob("*.dcm"):
        (scans / file.stem).write_bytes(file.read_bytes())  # DICOM files often have no suffix
    of = predictor()
    request = resolve(of.card, scans)
    (mask,) = predict_folder(of, request, tmp_path / "out").masks
    assert mask.name == "series.nii.gz"
    written, source = Volume.load(mask), Volume.load(scans)
    assert written.array.shape == source.array.shape
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-4)


def test_scans_may_come_one_by_one_into_one_folder(scan, tmp_path):
    of = predictor()
    for name in ("a", "b"):
        scan.save(tmp_path / f"{name}.nii.gz")
        predict_folder(of, resolve(of.card, tmp_path / f"{name}.nii.gz"), tmp_path / "out")
    index = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert list(index["cases"]) == ["a", "b"]


def test_every_mask_says_how_it_was_made(scan, tmp_path):
    for name in ("a", "b"):
        scan.save(tmp_path / f"{name}.nii.gz")
    soft, published = predictor("soft"), predictor("transunet")
    predict_folder(soft, resolve(soft.card, tmp_path / "a.nii.gz"), tmp_path / "out", MaskOptions(keep_largest=True))
    predict_folder(published, resolve(soft.card, tmp_path / "b.nii.gz"), tmp_path / "out")
    cases = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))["cases"]
    made = {name: (entry["protocol"], entry["precision"], entry["keep_largest"]) for name, entry in cases.items()}
    assert made == {"a": ("soft", "fp32", True), "b": ("transunet", "fp32", False)}


FAILURES = {
    "full disk": (OSError(28, "No space left on device"), "a: No space left on device"),
    "no memory": (torch.OutOfMemoryError("CUDA out of memory"), "a: too little memory. Lower --batch"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_of_the_machine_costs_one_case(scan, tmp_path, monkeypatch, name):
    error, words = FAILURES[name]
    cases = []
    for case in ("a", "b"):
        file = tmp_path / f"{case}.nii.gz"
        scan.save(file)
        cases.append(Case(case, case, {"ct": (file,)}))
    save = folder.save_mask

    def failing(mask, output, case, *rest, **options):
        assert (output / "predictions.json").is_file()  # also where the process is killed
        if case == "a":
            raise error
        return save(mask, output, case, *rest, **options)

    monkeypatch.setattr(folder, "save_mask", failing)
    of = predictor()
    request = Request(tuple(cases), of.data, single=True)
    predictions = predict_folder(of, request, tmp_path / "out")
    assert predictions.problem.startswith(f"1 of 2 cases failed and got no new mask:\n  - {words}")
    colors = {"labels_itksnap.txt", "labels_slicer.ctbl"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"b.nii.gz", "predictions.json", *colors}
    assert list(json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))["cases"]) == ["a", "b"]


def test_masks_of_phantoms_are_marked(scan, tmp_path):
    phantom.save((10 * scan.array).astype(np.int16), scan.affine, tmp_path / "made.nii.gz")
    scan.save(tmp_path / "real.nii.gz")
    of = predictor()
    for name in ("made", "real"):
        predict_folder(of, resolve(of.card, tmp_path / f"{name}.nii.gz"), tmp_path / "out")
    cases = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))["cases"]
    assert {name: entry["synthetic"] for name, entry in cases.items()} == {"made": True, "real": False}


def test_training_pictures_of_phantoms_are_marked(scan, tmp_path, monkeypatch):
    data = DataSection.model_validate({**predictor().data.model_dump(), "root": tmp_path, "label": "seg.nii.gz"})
    phantom.save(scan.array.astype(np.int16), scan.affine, tmp_path / "ct.nii.gz")
    phantom.save(np.full(scan.shape, 3, np.uint8), scan.affine, tmp_path / "seg.nii.gz")
    case = Case("patient001", "patient001", {"ct": (tmp_path / "ct.nii.gz",)}, (tmp_path / "seg.nii.gz",))
    drawn = {}

    def panel(*shown, title, **_):
        drawn.update(title=title, shown=shown)
        return b""

    monkeypatch.setattr(training_overlays, "case_panel", panel)
    of = predictor()
    read = read_case(case, data, of.scheme)
    prepared = prepare_case(read, of.preparation, of.scheme)
    prediction = np.arange(scan.array.size, dtype=np.uint8).reshape(scan.shape) % 4
    training_overlays.overlay(prepared, prediction, list(of.scheme.classes), {}, synthetic=True)
    assert drawn["title"].startswith("patient001, synthetic data, axial slice")
    plane = plane_of(scan.shape, scan.affine, scan.spacing_mm)
    of_all = (plane.slices(volume) for volume in (read.image[0], of.scheme.to_index(read.label), prediction))
    index = best_slice(plane.slices(read.label), None)
    for one, slices in zip(drawn["shown"], of_all, strict=False):
        np.testing.assert_array_equal(one, slices[index])
