"""Layout `synapse`: scans of BTCV and the label values of Synapse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segcct.config import DataSection
from segcct.datasets.label_schemes import BTCV_TO_SYNAPSE, remap
from segcct.datasets.layouts import find_cases, scheme_of
from segcct.errors import LabelError
from segcct.preparation.cache_key import cache_key
from tests.support.small_layouts import labels, read_all, section, volume


def synapse(root: Path) -> DataSection:
    for number in ("0001", "0010"):
        volume(root / "Training" / "img" / f"img{number}.nii.gz")
        volume(root / "Training" / "label" / f"label{number}.nii.gz", labels(list(range(14))))
    volume(root / "Testing" / "img" / "img0061.nii.gz")
    return section("synapse", root, {"ct": "img/img*.nii.gz"}, "synapse", label="label/label*.nii.gz")


def test_synapse_names_cases_and_maps_btcv(tmp_path: Path) -> None:
    data = synapse(tmp_path)
    cases = find_cases(data)
    assert [(case.id, case.split, case.label is None) for case in cases] == [
        ("case0001", "train", False),
        ("case0010", "train", False),
        ("case0061", "test", True),
    ]
    label = read_all(data)["case0001"].label
    assert label is not None
    assert np.array_equal(label, remap(labels(list(range(14))), BTCV_TO_SYNAPSE))
    #                     0  spleen  r.k.  l.k. gall.  -  liver stomach aorta -  -  pancreas -  -
    assert label.ravel()[:14].tolist() == [0, 7, 4, 3, 2, 0, 5, 8, 1, 0, 0, 6, 0, 0]


def test_synapse_map_can_be_replaced(tmp_path: Path) -> None:
    data = synapse(tmp_path)
    btcv = data.model_copy(update={"scheme": "btcv"})
    assert np.array_equal(read_all(btcv)["case0001"].label, labels(list(range(14))))
    own = data.model_copy(update={"label_map": {}})
    with pytest.raises(LabelError, match=r"label0001\.nii\.gz.*outside scheme synapse.*13"):
        read_all(own)


def test_synapse_also_in_averaged_folders(tmp_path: Path) -> None:
    volume(tmp_path / "averaged-training-images" / "DET0000101_avg.nii.gz")
    volume(tmp_path / "averaged-training-labels" / "DET0000101_avg_seg.nii.gz", labels([0, 6]))
    data = section("synapse", tmp_path, {"ct": "{id}_avg.nii.gz"}, "synapse", label="{id}_avg_seg.nii.gz")
    assert np.unique(read_all(data)["DET0000101"].label).tolist() == [0, 5]


def test_another_label_map_is_prepared_again(tmp_path: Path) -> None:
    data = synapse(tmp_path)
    own = data.model_copy(update={"label_map": {}})
    assert len({cache_key(find_cases(each)[0], each, scheme_of(each)) for each in (data, own)}) == 2
