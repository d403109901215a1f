"""Layout `pictures`: 2-D images, masks in their many encodings, and how files are paired by their names."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from segcct.config import DataSection
from segcct.datasets.layouts import find_cases, scan_cases
from segcct.errors import ConfigError, DataError, GeometryError, VolumeError
from segcct.images.raster import mask_values, read_pages
from segcct.images.volume import read_header
from tests.support.small_layouts import read_all, section, volume


def picture(path: Path, array: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


COLOUR = np.random.default_rng(3).integers(0, 256, (4, 6, 3)).astype(np.uint8)  # rows, columns, RGB
MASK = (np.random.default_rng(4).random((4, 6)) > 0.5).astype(np.uint8)


def pictures(root: Path, channels: Mapping[str, str], **more: Any) -> DataSection:
    return section("pictures", root, channels, label="masks/*_m.png", label_map={255: 1}, **more)


def test_pictures_in_colour_and_grey(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "7_x.tif", COLOUR)
    picture(tmp_path / "masks" / "7_m.png", MASK * 255)
    data = pictures(tmp_path, dict.fromkeys(("blue", "red", "all"), "images/*_x.tif"))
    loaded_case = read_all(data)["7"]
    assert loaded_case.image.shape == (3, 6, 4, 1)
    assert np.array_equal(loaded_case.image[0, ..., 0].T, COLOUR[..., 2])
    assert np.array_equal(loaded_case.image[1, ..., 0].T, COLOUR[..., 0])
    grey = np.asarray(Image.fromarray(COLOUR).convert("L"), dtype=np.float32)
    assert np.abs(loaded_case.image[2, ..., 0].T - grey).max() <= 1
    assert loaded_case.label is not None
    assert np.array_equal(loaded_case.label[..., 0].T, MASK)
    assert loaded_case.grid.spacing_mm is None


def test_pictures_of_many_kinds(tmp_path: Path) -> None:
    deep = np.array([[0, 1000], [40000, 65535]], dtype=np.uint16)
    picture(tmp_path / "deep_x.png", deep)
    assert np.array_equal(read_one(tmp_path, "deep")[0, ..., 0].T, deep)
    picture(tmp_path / "float_x.tif", np.array([[0.25, -3.5]], dtype=np.float32))
    assert read_one(tmp_path, "float")[0, :, 0, 0].tolist() == [0.25, -3.5]
    pages = [Image.fromarray(np.full((3, 2), value, np.uint8)) for value in (1, 5)]
    pages[0].save(tmp_path / "pages_x.tif", save_all=True, append_images=pages[1:])
    assert read_one(tmp_path, "pages").shape == (1, 2, 3, 2)
    assert read_one(tmp_path, "pages")[0, 0, 0].tolist() == [1, 5]
    assert read_header(tmp_path / "pages_x.tif").shape == (2, 3, 2)
    Image.fromarray(np.full((3, 2), 9, np.uint8)).save(tmp_path / "grey_x.gif")
    assert np.unique(read_one(tmp_path, "grey")).tolist() == [9]
    Image.fromarray(np.dstack([COLOUR, MASK * 255])).save(tmp_path / "alpha_x.png")
    assert read_one(tmp_path, "alpha").shape == (1, 6, 4, 1)


def read_one(root: Path, case_id: str) -> np.ndarray:
    return read_all(section("pictures", root, {"grey": "*_x.*".replace("*_x", "{id}_x")}))[case_id].image


def test_masks_as_palette_bits_and_equal_bands(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1_x.png", COLOUR)
    data = pictures(tmp_path, {"grey": "images/*_x.png"})
    target = tmp_path / "masks" / "1_m.png"
    target.parent.mkdir()
    palette = Image.fromarray(MASK).convert("P")
    palette.putpalette([0, 0, 0, 200, 30, 40])
    bits = Image.fromarray(MASK * 255).convert("1")
    bands = Image.fromarray(np.dstack([MASK * 255] * 3))
    for mask in (palette, bits, bands):
        mask.save(target)
        label = read_all(data)["1"].label
        assert label is not None
        assert np.array_equal(label[..., 0].T, MASK), mask.mode


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32])
def test_numbers_of_a_tiff_keep_their_sign(tmp_path: Path, dtype: type) -> None:
    limits = np.finfo(dtype) if dtype is np.float32 else np.iinfo(dtype)
    values = np.array([[limits.min, 0, 1], [2, 100, limits.max]], dtype=dtype)
    tifffile.imwrite(file := tmp_path / "a.tif", values, photometric="minisblack", metadata=None)
    assert np.array_equal(read_pages(file)[0], values)
    assert np.array_equal(mask_values(file)[..., 0].T, values)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_mask_is_taken_as_stored_where_0_is_white(tmp_path: Path, compression: str | None) -> None:
    """ImageJ writes the masks of its inverting tables so, with 255 as foreground."""
    file = picture(tmp_path / "m.tif", MASK * 255, compression=compression)
    black, white = (struct.pack("<HHII", 262, 3, 1, meaning) for meaning in (1, 0))  # PhotometricInterpretation
    content = file.read_bytes()
    assert content.count(black) == 1
    file.write_bytes(content.replace(black, white))
    assert np.array_equal(mask_values(file)[..., 0].T, MASK * 255)
    assert np.array_equal(read_pages(file)[0], 255 - MASK * 255), "an image is as it is shown"


@pytest.mark.parametrize("color", [255, 0])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_mask_that_shows_in_its_transparency_is_refused(tmp_path: Path, color: int, bands: int) -> None:
    """Of one color, it would be all foreground, or none."""
    constant = [np.full_like(MASK, color)] * bands
    file = picture(tmp_path / "m.png", np.dstack([*constant, MASK * 255]))
    with pytest.raises(VolumeError, match=r"m\.png: a mask whose region is in its transparency.*alpha"):
        mask_values(file)
    picture(file, np.dstack([*constant, np.full_like(MASK, 255)]))
    assert np.unique(mask_values(file)).tolist() == [color]
    picture(file, np.dstack([*[MASK * 255] * bands, MASK * 255]))
    assert np.array_equal(mask_values(file)[..., 0].T, MASK * 255)


@pytest.mark.parametrize(("color_type", "bands"), [(4, 2), (6, 4)])
def test_a_deep_mask_with_transparency_is_refused(tmp_path: Path, color_type: int, bands: int) -> None:
    """A PNG of 16-bit gray or color with alpha, of which Pillow keeps the high bytes."""
    pixels = np.full((*MASK.shape, bands), 65535, dtype=">u2")
    pixels[..., :-1] = MASK[..., None]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    size = struct.pack(">IIBBBBB", MASK.shape[1], MASK.shape[0], 16, color_type, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    file = tmp_path / "m.png"
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in chunks
        )
    )
    with pytest.raises(VolumeError, match=r"m\.png: an image in colors of more than 8 bits"):
        mask_values(file)


def test_pictures_that_cannot_be_used(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1_x.png", COLOUR)
    data = pictures(tmp_path, {"grey": "images/*_x.png"})
    target = picture(tmp_path / "masks" / "1_m.png", COLOUR)
    with pytest.raises(VolumeError, match=r"1_m\.png: a mask in colors"):
        read_all(data)
    picture(target, MASK[:, :5])
    with pytest.raises(GeometryError, match=r"1_m\.png: mask and image differ in size.*5 x 4.*6 x 4"):
        read_all(data)
    target.write_text("<html>")
    with pytest.raises(VolumeError, match=r"1_m\.png: cannot be read as an image.*no image"):
        read_all(data)
    image = tmp_path / "images" / "1_x.png"
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(VolumeError, match=r"1_x\.png: cannot be read as an image"):
        read_all(data)
    picture(tmp_path / "more" / "images" / "1_x.png", COLOUR)
    with pytest.raises(DataError, match=r"several cases have one id \(found 1 in images/1_x.png, more/images/1_x.png"):
        find_cases(data)
    with pytest.raises(ConfigError, match=r"must show where the case id is.*images/scan\.png"):
        find_cases(pictures(tmp_path, {"grey": "images/scan.png"}))


def test_masks_without_a_picture_are_noticed(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1_x.png", COLOUR)
    for name in ("1", "2", "3"):
        picture(tmp_path / "masks" / f"{name}_m.png", MASK)
    found = scan_cases(pictures(tmp_path, {"grey": "images/*_x.png"}))
    assert [case.id for case in found.cases] == ["1"]
    assert [notice.what for notice in found.notices] == ["2 label files without an image"]
    assert found.notices[0].found == "masks/2_m.png, masks/3_m.png"


def test_further_labels_are_no_cases_but_an_image_whose_name_goes_on_is_one(tmp_path: Path) -> None:
    for name in ("A.png", "A_mask.png", "A_mask_1.png", "A_2.png"):
        picture(tmp_path / "one" / name, MASK)
    found = scan_cases(pictures(tmp_path / "one", {"grey": "{id}.png"}).model_copy(update={"label": "{id}_mask.png"}))
    assert [case.id for case in found.cases] == ["A", "A_2"]
    for name in ("A.bmp", "A.png", "A_2.bmp"):
        picture(tmp_path / "two" / name, MASK)
    found = scan_cases(pictures(tmp_path / "two", {"grey": "{id}.bmp"}).model_copy(update={"label": "{id}.png"}))
    assert [(case.id, case.label is None) for case in found.cases] == [("A", False), ("A_2", True)]


def test_the_folder_above_is_named_where_the_root_is_too_deep(tmp_path: Path) -> None:
    for name in ("images/a.nii.gz", "masks/a.nii.gz"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).touch()
    (tmp_path / "data" / "other").mkdir()
    data = section("paired", tmp_path / "data" / "images", {"ct": "images/*.nii.gz"}, label="masks/*.nii.gz")
    with pytest.raises(DataError, match=rf"Set data\.root to {tmp_path}/data$"):
        find_cases(data)
    with pytest.raises(DataError, match=r"Set data\.root to the folder of the data$"):
        find_cases(data.model_copy(update={"root": tmp_path / "data" / "other"}))


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    picture(elsewhere / "images" / "1_x.png", COLOUR)
    volume(elsewhere / "case1" / "t1.nii.gz")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(root)
    assert [case.id for case in find_cases(pictures(root, {"grey": "images/*_x.png"}))] == ["1"]
    assert [case.id for case in find_cases(section("folder", root, {"t1": "t1.nii.gz"}))] == ["case1"]


def test_the_nearest_mask_is_taken(tmp_path: Path) -> None:
    for side, name in (("train", "1"), ("test", "2")):
        picture(tmp_path / side / "images" / f"{name}_x.png", COLOUR)
        picture(tmp_path / side / "masks" / f"{name}_m.png", MASK)
    picture(tmp_path / "old" / "masks" / "1_m.png", MASK)
    cases = find_cases(pictures(tmp_path, {"grey": "images/*_x.png"}))
    assert [(case.id, case.split, case.label) for case in cases] == [
        ("1", "train", (tmp_path / "train" / "masks" / "1_m.png",)),
        ("2", "test", (tmp_path / "test" / "masks" / "2_m.png",)),
    ]


def test_what_is_nearer_to_another_picture_of_that_name_is_not_taken(tmp_path: Path) -> None:
    for side in ("train", "test"):
        picture(tmp_path / side / "images" / "1_x.png", COLOUR)
    mask = picture(tmp_path / "train" / "masks" / "1_m.png", MASK)
    data = pictures(tmp_path, {"grey": "images/*_x.png"}, case_id="path")
    assert [(case.id, case.label) for case in find_cases(data)] == [("test_1", None), ("train_1", (mask,))]
    picture(tmp_path / "train" / "images" / "1_y.png", COLOUR)
    two = pictures(tmp_path, {"grey": "images/*_x.png", "more": "images/*_y.png"}, case_id="path")
    with pytest.raises(DataError, match=r"test/images/1_x\.png: channel more is missing"):
        find_cases(two)
