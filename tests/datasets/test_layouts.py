"""All layouts: their table, their patterns, and real datasets where there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts import LAYOUTS, find_cases, get_layout, read_case, scheme_of
from segcct.datasets.layouts.patterns import compiled, matching
from segcct.errors import ConfigError, DataError


def test_the_table_names_every_layout_of_the_config() -> None:
    assert DataSection.model_json_schema()["properties"]["layout"]["enum"] == list(LAYOUTS)
    assert all(name == layout.name for name, layout in LAYOUTS.items())
    with pytest.raises(DataError, match=r"unknown layout 'bids'.*brats, acdc"):
        get_layout("bids")


def test_patterns_take_special_characters_literally(tmp_path: Path) -> None:
    (tmp_path / "a[1].nii.gz").touch()
    (tmp_path / "a1.nii.gz").touch()
    assert [path.name for path in matching(FolderTree(tmp_path), tmp_path, "{id}.nii.gz", "a[1]")] == ["a[1].nii.gz"]
    assert compiled("{id}/{id}_t1.nii.gz").match("x/x_t1.nii.gz")
    assert not compiled("{id}/{id}_t1.nii.gz").match("x/y_t1.nii.gz")
    for pattern in ("/absolute/*.nii", "{case}_t1.nii.gz"):
        with pytest.raises(ConfigError, match="not a file pattern"):
            compiled(pattern)


def real(shared_data: Path, name: str) -> DataSection:
    settings: dict[str, dict[str, Any]] = {
        "acdc_h5": {"layout": "slices", "channels": {"cine": "image"}, "label": "label", "scheme": "acdc"},
        "brats2015_flair_t1c": {
            "layout": "folder",
            "channels": {"flair": "Flair_*.nii.gz", "t1c": "T1c_*.nii.gz"},
            "label": "OTMultiClass.nii.gz",
            "scheme": "brats2015",
            "intensity": {"rule": "zscore_mask", "mask": "brainmask.nii.gz"},
        },
        "brats2013_slices": {
            "layout": "folder",
            "channels": {name: f"{{id}}_{name}_slice*.nii.gz" for name in ("T1", "T1C", "T2", "FLAIR")},
            "label": "{id}_atropos_truth_slice*.nii.gz",
            "label_map": {1: 0, 2: 0, 3: 0, 4: 1, 5: 2, 6: 3, 7: 4},
            "scheme": "brats2015",
        },
        "brats_4modality_pseudo": {
            "layout": "folder",
            "channels": {name: f"{name}.nii.gz" for name in ("t1n", "t1c", "t2w", "t2f")},
            "label": "model_segmentation.nii.gz",
            "scheme": "brats2023",
        },
        "open_ms": {
            "layout": "folder",
            "channels": {"flair": "FLAIR.nii.gz", "t1": "T1.nii.gz"},
            "label": "GOLD_STANDARD.nii.gz",
            "scheme": "binary",
        },
        "ct_spleen": {
            "layout": "folder",
            "channels": {"ct": "*_ct.nii.gz"},
            "label": "*_seg-manual.nii.gz",
            "scheme": "binary",
        },
        "drive": {
            "layout": "pictures",
            "channels": dict.fromkeys(("red", "green", "blue"), "images/*_training.tif"),
            "label": "masks/*_manual1.gif",
            "label_map": {255: 1},
            "scheme": "binary",
        },
        "isbi2012_em": {
            "layout": "pictures",
            "channels": {"em": "image/*.png"},
            "label": "label/*.png",
            "label_map": {255: 1},
            "scheme": "binary",
        },
    }
    return DataSection(root=shared_data / name, **settings[name])


@pytest.mark.parametrize(
    ("name", "count", "shape", "classes", "foreground"),
    [
        ("acdc_h5", 160, (1, 232, 256, 10), {0, 1, 2, 3}, (0.01, 0.2)),
        ("brats2015_flair_t1c", 4, (2, 240, 240, 155), {0, 1, 2, 3, 4}, (0.002, 0.05)),
        ("brats2013_slices", 3, (4, 176, 216, 1), {0, 1, 2, 3, 4}, (0.01, 0.2)),
        ("brats_4modality_pseudo", 1, (4, 240, 240, 155), {0, 1, 2, 3}, (0.001, 0.05)),
        ("open_ms", 1, (2, 182, 218, 182), {0, 1}, (1e-5, 0.01)),
        ("ct_spleen", 1, (1, 164, 166, 26), {0, 1}, (0.01, 0.5)),
        ("drive", 8, (3, 565, 584, 1), {0, 1}, (0.05, 0.2)),
        ("isbi2012_em", 24, (1, 512, 512, 1), {0, 1}, (0.6, 0.95)),
    ],
)
def test_real_datasets_are_read(
    shared_data: Path, name: str, count: int, shape: tuple[int, ...], classes: set[int], foreground: tuple[float, float]
) -> None:
    data = real(shared_data, name)
    cases = find_cases(data)
    assert len(cases) == count
    loaded_case = read_case(cases[0], data, scheme_of(data))
    assert loaded_case.image.shape == shape
    assert loaded_case.label is not None
    assert set(np.unique(loaded_case.label)) == classes
    assert foreground[0] < (loaded_case.label > 0).mean() < foreground[1]
    assert (loaded_case.grid.spacing_mm is None) == (data.layout in ("slices", "pictures"))
    if loaded_case.mask is not None:
        assert 0.1 < loaded_case.mask.mean() < 0.25
        assert loaded_case.mask[loaded_case.label > 0].mean() > 0.99  # a few tumour voxels lie outside the brain mask


def test_real_acdc_slices_are_complete_and_split_by_patient(shared_data: Path) -> None:
    root = shared_data / "acdc_h5"
    cases = {case.id: case for case in find_cases(real(shared_data, "acdc_h5"))}
    train, val = ((root / name).read_text(encoding="utf-8").split() for name in ("train.list", "val.list"))
    assert set(train) | set(val) == set(cases)
    assert not {cases[name].patient for name in train} & {cases[name].patient for name in val}
    assert sum(len(cases[name].channels["cine"]) for name in train) == 1312
    for case in cases.values():
        check_slice_order(case)


def check_slice_order(case: Case) -> None:
    numbers = [int(path.stem.rpartition("_")[2]) for path in case.channels["cine"] if "_slice_" in path.name]
    assert numbers == list(range(1, len(numbers) + 1)), case.id
