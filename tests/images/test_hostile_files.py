"""Every hostile file ends in one error or in the right array, soon, and nothing outside its folder is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from segcct.errors import VolumeError
from segcct.images.raster import mask_values
from segcct.images.volume import read_header
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


@pytest.mark.parametrize("name", ["scan.jpg", "scan.png"])
@pytest.mark.parametrize("orientation", range(9))
def test_a_photo_that_its_tag_turns_is_refused(orientation: int, name: str, tmp_path: Path) -> None:
    """Its mask, which has no such tag, may have been drawn upright or as stored."""
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.zeros((8, 6), np.uint8)).save(tmp_path / name, exif=exif)
    for read in (read_header, mask_values):
        if orientation < 2:  # 0: not known
            assert read(tmp_path / name).shape == (6, 8, 1)
        else:
            with pytest.raises(VolumeError, match=f"EXIF orientation {orientation}.*upright, without the tag"):
                read(tmp_path / name)


def test_a_damaged_tag_turns_nothing(tmp_path: Path) -> None:
    """As an anonymization leaves it that overwrites what a camera wrote."""
    Image.fromarray(np.zeros((8, 6), np.uint8)).save(tmp_path / "scan.jpg", exif=b"Exif\0\0" + b"\xff" * 20)
    assert mask_values(tmp_path / "scan.jpg").shape == read_header(tmp_path / "scan.jpg").shape == (6, 8, 1)


def test_the_previews_of_a_camera_are_no_slices(tmp_path: Path) -> None:
    photo, preview = (Image.fromarray(np.full(shape, 90, np.uint8)) for shape in ((8, 6), (4, 3)))
    photo.save(tmp_path / "scan.jpg", "MPO", save_all=True, append_images=[preview])
    with Image.open(tmp_path / "scan.jpg") as opened:
        assert opened.n_frames == 2
    assert mask_values(tmp_path / "scan.jpg").shape == read_header(tmp_path / "scan.jpg").shape == (6, 8, 1)


def test_a_gif_whose_later_frames_become_colors_is_refused_with_a_remedy(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.tile(np.uint8([[0, value]]), (4, 3))) for value in (1, 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    frames[0].save(tmp_path / "mask.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(VolumeError, match=r"mask\.gif: pages differ.*Save it as TIFF"):
        mask_values(tmp_path / "mask.gif")
