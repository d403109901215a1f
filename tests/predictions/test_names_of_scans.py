"""What the names of scans give: the ids of their masks, and what is noted about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from segcct.images.volume import Volume
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from tests.support.toy_pair import predictor


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Volume(np.arange(192, dtype=np.int16).reshape(8, 6, 4), np.eye(4), (1.0, 1.0, 1.0)).save(path)
    return path


def test_scans_whose_names_differ_behind_a_dot_get_masks_of_their_own(tmp_path: Path) -> None:
    model = predictor().card
    one = resolve(model, save(tmp_path / "1.2.840.1.nii.gz"))
    assert one.cases[0].id == "1.2.840.1"
    series = tmp_path / "1.2.840.2"
    series.mkdir()
    (series / "a").write_bytes(b"\0" * 128 + b"DICM")
    assert resolve(model, series).cases[0].id == "1.2.840.2"


def test_what_a_prediction_notes_of_linked_scans_is_their_own_path(tmp_path: Path) -> None:
    target = save(tmp_path / "DOE_JOHN" / "scan.nii.gz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "case_01.nii.gz").symlink_to(target)
    model = predictor()
    predict_folder(model, resolve(model.card, tmp_path / "in" / "case_01.nii.gz"), tmp_path / "out")
    index = (tmp_path / "out" / "predictions.json").read_text()
    assert "DOE_JOHN" not in index
    assert list(json.loads(index)["cases"]) == ["case_01"]
