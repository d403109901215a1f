"""What the names of scans give: the ids of their masks, and what is noted about them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from segcct.case_runner import values
from segcct.datasets.split_record import Splits
from segcct.predictions.case_tables import CaseTable
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import resolve
from segcct.predictions.split_selection import ids_of_split
from tests.support.toy_pair import predictor
from tests.support.volumes import save_volume


def save(path: Path) -> Path:
    return save_volume(path, np.arange(192, dtype=np.int16).reshape(8, 6, 4), np.eye(4))


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


@pytest.mark.parametrize("anonymize", [False, True])
def test_scans_whose_names_are_spelled_differently_in_unicode_are_not_predicted_again(
    tmp_path: Path, anonymize: bool
) -> None:
    """As those that are copied from macOS."""
    before, after = (unicodedata.normalize(form, "Müller.nii.gz") for form in ("NFD", "NFC"))
    model, scan, output = predictor(), save(tmp_path / before), tmp_path / "out"
    table = CaseTable("sizes.csv", lambda _: [{"size": "1", "mask": ""}])
    calls: Sequence[Literal["refuse", "continue"]] = ("refuse", "continue")
    for existing in calls:
        request = resolve(model.card, scan)
        options = MaskOptions(anonymize=anonymize)
        made = predict_folder(model, request, output, options, tables=[table], existing=existing)
        assert [case.is_new for case in values(made.outcomes)] == [existing == "refuse"]
        scan = scan.rename(tmp_path / after)
    assert len(list(output.glob("*.nii.gz"))) == 1


def test_a_split_names_scans_in_any_spelling_of_unicode(tmp_path: Path) -> None:
    decomposed, composed = (unicodedata.normalize(form, "Müller") for form in ("NFD", "NFC"))
    model, splits = predictor().card, Splits((decomposed,), ("B",))
    assert ids_of_split({tmp_path: splits}, "train", [composed], source=tmp_path, noun="case") == (composed,)
    splits.save(tmp_path / "splits.json")
    scan = save(tmp_path / f"{composed}.nii.gz")
    assert resolve(model, scan, splits_files=[tmp_path / "splits.json"]).seen == {composed: "train"}
