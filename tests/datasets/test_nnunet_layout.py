"""Layout `nnunet`: raw datasets of nnU-Net."""

from __future__ import annotations

from pathlib import Path

import pytest

from segcct.datasets.layouts import find_cases
from segcct.errors import DataError
from tests.support.small_layouts import labels, read_all, section, volume


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
