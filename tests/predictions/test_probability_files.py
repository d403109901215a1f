"""Probabilities on request: on the scan's grid, exact to the stored precision, whatever the classes are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from segcct.cli import main
from segcct.errors import ModelError
from segcct.images.volume import Volume
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.model_card import SchemeCard, save_model
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import resolve
from tests.support.toy_pair import CLASSES, HOW, Nearest, card, data_section, loaded_case, predictor


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    case = loaded_case(noise=12.0)
    Volume(case.image[0], case.grid.affine, case.grid.spacing_mm).save(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.mark.parametrize("more", [{"fit": "pad"}, {"fit": "resize"}, {"fit": "pad", "crop": "foreground"}])
def test_probabilities_are_those_behind_the_mask(scan: Path, tmp_path: Path, more: dict[str, str]) -> None:
    of = predictor(**more, intensity={"rule": "clip", "low": 0, "high": 100})
    (mask,) = predict_folder(of, resolve(of.card, scan), tmp_path / "p", MaskOptions(probabilities=True)).masks
    files = sorted((tmp_path / "p" / "probabilities" / "scan").iterdir())
    assert [file.name for file in files] == ["3_low.nii.gz", "7_high.nii.gz"]
    images = [nib.load(file) for file in files]
    stored = nib.load(mask)
    for image in images:
        assert image.get_data_dtype() == np.uint16
        np.testing.assert_array_equal(image.affine, stored.affine)
        assert image.shape == stored.shape
    low, high = (image.get_fdata() for image in images)
    background = 1 - low - high
    assert background.min() > -1e-3  # three float16
    winner = np.array([0, CLASSES["low"], CLASSES["high"]])[np.argmax([background, low, high], axis=0)]
    clear = np.sort([background, low, high], axis=0)[-1] - np.sort([background, low, high], axis=0)[-2] > 2e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(winner[clear], stored.get_fdata()[clear])
    kept = of.segment(loaded_case(noise=12.0), keep_probabilities=True)
    if more == {"fit": "pad"}:  # nothing is resampled: the network's own, to float16
        exact = kept.soft.probabilities[:, 2].astype(float)  # (D, h, w) of slices (Z, Y, X)
        np.testing.assert_allclose(high, exact.transpose(2, 1, 0), atol=1e-3)
    assert json.loads((tmp_path / "p" / "predictions.json").read_text())["cases"]["scan"]["probabilities"] is True


def test_a_class_may_have_any_name(scan: Path, tmp_path: Path) -> None:
    names = {"../../up": 3, "left/right kidney" + "x" * 300: 7}
    of = card("segmentation", data_section(labels=names), scheme=SchemeCard(name="custom", classes=names))
    model = Predictor(Nearest(), of, HOW)
    predict_folder(model, resolve(of, scan), tmp_path / "p", MaskOptions(probabilities=True))
    files = sorted(file.name for file in (tmp_path / "p" / "probabilities" / "scan").iterdir())
    assert files[0] == "3_.._.._up.nii.gz"
    assert files[1].startswith("7_left_right_kidneyxxx")


def test_the_slice_protocol_has_none(scan: Path, tmp_path: Path) -> None:
    of = Predictor(
        Nearest(), card("segmentation", data_section()), InferenceSettings(device="cpu", protocol="transunet")
    )
    with pytest.raises(ModelError, match="no probabilities"):
        predict_folder(of, resolve(of.card, scan), tmp_path / "p", MaskOptions(probabilities=True))
    assert not (tmp_path / "p").exists()


def test_by_the_command(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcct.inference.loaded_model.load_network", lambda *_: Nearest())
    save_model(tmp_path / "best", {}, card("segmentation", data_section()))
    command = ["predict", "--model", str(tmp_path / "best"), "--input", str(scan), "--output", str(tmp_path / "p")]
    assert main([*command, "--probabilities"]) == 0
    assert len(list((tmp_path / "p" / "probabilities" / "scan").iterdir())) == 2


def probabilities_in(output: Path) -> list[str]:
    return sorted(file.parent.name for file in (output / "probabilities").rglob("*.nii.gz"))


def stored_cases(output: Path) -> dict[str, dict[str, Any]]:
    return json.loads((output / "predictions.json").read_text())["cases"]


@pytest.fixture
def predicted(tmp_path: Path) -> tuple[Predictor, Path, Path]:
    """A model, two scans, and their masks with probabilities."""
    of, scans = predictor(), tmp_path / "scans"
    for name, noise in (("a", 12.0), ("b", 9.0)):
        case = loaded_case(noise=noise)
        Volume(case.image[0], case.grid.affine, case.grid.spacing_mm).save(scans / name / "ct.nii.gz")
    predict_folder(of, resolve(of.card, scans), tmp_path / "p", MaskOptions(probabilities=True))
    assert probabilities_in(tmp_path / "p") == ["a", "a", "b", "b"]
    return of, scans, tmp_path / "p"


def test_probabilities_that_were_deleted_are_written_again(predicted: tuple[Predictor, Path, Path]) -> None:
    of, scans, output = predicted
    file = output / "probabilities" / "a" / "3_low.nii.gz"
    before = file.read_bytes()
    file.unlink()
    predict_folder(of, resolve(of.card, scans), output, MaskOptions(probabilities=True), existing="continue")
    assert file.read_bytes() == before


def test_probabilities_that_are_not_asked_for_may_be_deleted(predicted: tuple[Predictor, Path, Path]) -> None:
    of, scans, output = predicted
    (output / "probabilities" / "a" / "3_low.nii.gz").unlink()
    (output / "probabilities" / "b" / "kept_by_the_user").mkdir()
    outcomes = predict_folder(of, resolve(of.card, scans), output, existing="continue").outcomes
    assert [outcome.value.is_new for outcome in outcomes] == [False, False]
    assert stored_cases(output)["a"]["files"] == ["probabilities/a/7_high.nii.gz"]


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("damaged", [False, True])
def test_no_probabilities_of_an_earlier_mask_stay(
    predicted: tuple[Predictor, Path, Path], wanted: bool, damaged: bool
) -> None:
    of, scans, output = predicted
    (scans / "a" / "ct.nii.gz").write_bytes(b"damaged" if damaged else (scans / "b" / "ct.nii.gz").read_bytes())
    predict_folder(of, resolve(of.card, scans), output, MaskOptions(probabilities=wanted), existing="continue")
    left = ["a", "a"] if wanted and not damaged else []
    assert probabilities_in(output) == [*left, "b", "b"]
    cases = stored_cases(output)
    assert len(cases["a"]["files"]) == len(left)
    assert cases["b"]["files"] == ["probabilities/b/3_low.nii.gz", "probabilities/b/7_high.nii.gz"]
    assert cases["a"].get("probabilities", False) is bool(left)
    assert cases["b"]["probabilities"] is True
