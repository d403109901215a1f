"""Layout `acdc`: folders of patients with frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segcct.datasets.layouts import find_cases
from segcct.errors import DataError
from tests.support.small_layouts import SHAPE, labels, read_all, section, volume


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
