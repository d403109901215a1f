"""Every hostile file ends in one error or in the right array, soon, and nothing outside its folder is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, TiffImagePlugin

from segcct.datasets.image_headers import read_header
from segcct.datasets.layouts.images_2d import mask_values
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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_has_the_shape_that_its_head_tells(orientation: int, tmp_path: Path) -> None:
    """A TIFF can say that it is to be turned, which Pillow does while it decodes."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = orientation
    Image.new("L", (6, 8)).save(tmp_path / "scan.tif", tiffinfo=tags)
    assert read_header(tmp_path / "scan.tif").shape == mask_values(tmp_path / "scan.tif").shape
