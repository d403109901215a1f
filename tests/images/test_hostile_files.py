"""Every hostile file ends in one error or in the right array, soon, and nothing outside its folder is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from segcct.datasets.image_headers import read_header
from segcct.datasets.layouts.images_2d import mask_values
from segcct.errors import VolumeError
from tests.support.hostile_files import Hostile, all_hostile, fault_of
from tests.support.mutations import SEEDS, fault_of_mutant

HOSTILE = all_hostile()


def test_there_are_many_of_each_kind() -> None:
    kinds = [one.kind for one in HOSTILE]
    assert {kind for kind in kinds if kinds.count(kind) >= 20} == set(kinds)
    assert len(kinds) >= 300


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda one: f"{one.kind}: {one.name}".replace("\0", ""))
def test_a_hostile_file_is_refused_or_read_right(hostile: Hostile, tmp_path: Path) -> None:
    assert fault_of(hostile, tmp_path / "case") is None


@pytest.mark.parametrize("kind", SEEDS)
def test_changed_at_random_a_file_is_refused_or_read(kind: str, tmp_path: Path) -> None:
    faults = [fault_of_mutant(kind, number, tmp_path / str(number)) for number in range(150)]
    assert [fault for fault in faults if fault] == []


TURNED = {1: lambda a: a, 2: np.fliplr, 3: lambda a: a[::-1, ::-1], 4: np.flipud}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_read_upright_or_refused(orientation: int, tmp_path: Path) -> None:
    """Pillow turns a TIFF while it decodes; where rows and columns are exchanged, some versions do it wrongly."""
    stored = np.arange(48, dtype=np.uint8).reshape(8, 6)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = orientation
    Image.fromarray(stored).save(tmp_path / "scan.tif", tiffinfo=tags)
    if orientation > 4:
        for read in (read_header, mask_values):
            with pytest.raises(VolumeError, match=f"orientation {orientation}"):
                read(tmp_path / "scan.tif")
    else:
        assert np.array_equal(mask_values(tmp_path / "scan.tif")[..., 0].T, TURNED[orientation](stored))
        assert read_header(tmp_path / "scan.tif").shape == (6, 8, 1)
