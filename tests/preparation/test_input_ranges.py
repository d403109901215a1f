"""What training cases were like, and what is said of one that is unlike them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from segcct.images.volume import Volume
from segcct.inference.predictor import Predictor
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from segcct.preparation.input_ranges import measures_of, ranges_of, unlike
from segcct.preparation.intensity_quantiles import mean_quantiles
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from tests.support.toy_pair import HOW, card, data_section, loaded_case, predictor


def prepared(**changes: object) -> PreparedCase:
    of = predictor()
    return replace(prepare_case(loaded_case(), Preparation.of(data_section()), of.scheme), **changes)


def test_measures_by_hand():
    image = np.tile(np.linspace(0, 1, 101), (2, 1, 101, 1))[..., :101]  # (D, C, h, w), every second column counts
    case = prepared(arrays={"image": image.astype(np.float16)}, spacing_mm=(2.0, 0.5, 4.0))
    measures = measures_of(case)
    assert measures["spacing_mm"] == [0.5, 2.0, 4.0]
    x, y, z = case.grid.shape_xyz
    assert measures["field_of_view_mm"] == sorted([2.0 * x, 0.5 * y, 4.0 * z])
    assert measures["dark"] == pytest.approx([0.1], abs=1e-3)
    assert measures["bright"] == pytest.approx([0.9], abs=1e-3)


def test_a_case_within_the_ranges_is_nothing_to_speak_of():
    cases = [prepared(spacing_mm=(1.0, 1.0, 5.0)), prepared(spacing_mm=(1.2, 1.2, 6.0))]
    ranges = ranges_of(cases)
    assert ranges is not None
    assert ranges["spacing_mm"] == [[1.0, 1.2], [1.0, 1.2], [5.0, 6.0]]
    for spacing in ((1.0, 1.0, 5.0), (1.4, 1.1, 7.0), (5.0, 1.0, 1.0)):
        assert [each for each in unlike(prepared(spacing_mm=spacing), ranges, ["ct"]) if "voxels" in each] == []
    (said,) = [each for each in unlike(prepared(spacing_mm=(1.0, 1.0, 9.0)), ranges, ["ct"]) if "voxels" in each]
    assert said == "the voxels measure 1 x 1 x 9 mm, in training 1-1.2 x 1-1.2 x 5-6 mm"


def test_models_and_files_without_them_are_not_compared():
    case = prepared()
    assert unlike(case, None, ["ct"]) == []
    ranges = ranges_of([case])
    assert unlike(prepared(spacing_mm=None), ranges, ["ct"]) == []
    assert "spacing_mm" not in (ranges_of([case, prepared(spacing_mm=None)]) or {})
    assert ranges_of([]) is None


def test_a_file_in_other_units_is_named_in_the_row_and_at_the_end(tmp_path):
    plain, scan = predictor(), loaded_case().grid
    of = Predictor(plain.network, card("segmentation", data_section(), input_ranges=ranges_of([prepared()])), HOW)
    scan.save(tmp_path / "a.nii.gz")
    Volume(scan.array / 1000, scan.affine, scan.spacing_mm, None, None).save(tmp_path / "b.nii.gz")
    for name in ("a", "b"):
        predictions = predict_folder(of, resolve(of.card, tmp_path / f"{name}.nii.gz"), tmp_path / "p")
    assert predictions.unlike_training.startswith("1 of 1 case unlike the training cases:\n  - b: bright (90th")
    rows = json.loads((tmp_path / "p" / "predictions.json").read_text(encoding="utf-8"))["cases"]
    assert rows["a"]["unlike_training"] == []
    assert "is the file in other units?" in rows["b"]["unlike_training"][0]


def test_an_adapted_case_is_compared_as_it_came(tmp_path):
    plain, scan, training = predictor(), loaded_case().grid, prepared()
    facts = {"input_ranges": ranges_of([training]), "intensity_quantiles": mean_quantiles([training])}
    adapting = Predictor(plain.network, card("segmentation", data_section(), **facts), replace(HOW, adapt="image"))
    Volume(scan.array / 2, scan.affine, scan.spacing_mm, None, None).save(tmp_path / "b.nii.gz")
    predictions = predict_folder(adapting, resolve(adapting.card, tmp_path / "b.nii.gz"), tmp_path / "p")
    assert "bright (90th" in predictions.unlike_training
