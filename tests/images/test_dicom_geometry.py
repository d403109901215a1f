"""The grid of a DICOM file or folder by its headers alone: as that of the whole volume, without its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import ComputedRadiographyImageStorage, RLELossless

import segcct.images.dicom
from segcct.errors import VolumeError
from segcct.images.volume import Volume, read_header
from tests.support.dicom_files import enhanced, image, save, series

PIXELS = np.arange(20, dtype=np.uint16).reshape(4, 5)


def folder(path: Path) -> Path:
    series(path, ImageOrientationPatient=[0.8, 0.6, 0, -0.6, 0.8, 0])
    return path


def unknown(path: Path) -> Path:
    series(path, PixelSpacing=None)
    return path


def frames(path: Path) -> Path:
    return save(enhanced(np.stack([PIXELS] * 3), [(0, 0, 2 * k) for k in (2, 0, 1)]), path / "a.dcm")


def x_ray(path: Path) -> Path:
    flat = {"ImageOrientationPatient": None, "PixelSpacing": [0.2, 0.1]}
    return save(image(PIXELS, position=None, sop_class=ComputedRadiographyImageStorage, **flat), path / "a.dcm")


def without_suffix(path: Path) -> Path:
    return save(image(PIXELS, position=(1, 2, 3)), path / "IM1")


def packed(path: Path) -> Path:
    dataset = image(np.arange(320, dtype=np.uint16).reshape(16, 20))
    dataset.compress(RLELossless, generate_instance_uid=False)
    return save(dataset, path / "a.dcm")


@pytest.mark.parametrize("make", [folder, unknown, frames, x_ray, without_suffix, packed])
def test_the_grid_is_that_of_the_volume(tmp_path: Path, make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "scan")
    volume = Volume.load(path)
    monkeypatch.delattr(segcct.images.dicom, "read_voxels")
    header = read_header(path)
    assert header.shape == volume.shape
    assert np.array_equal(header.affine, volume.affine)
    assert header.spacing_mm == volume.spacing_mm
    assert header.path == volume.path
    assert header.array.strides == (0, 0, 0)


def test_what_headers_show_to_be_wrong_is_refused(tmp_path: Path) -> None:
    dataset = image(np.arange(320, dtype=np.uint16).reshape(16, 20))
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.Rows = dataset.Columns = 65535
    with pytest.raises(VolumeError, match=r"cannot be read as DICOM .*65535 x 65535"):
        read_header(save(dataset, tmp_path / "a.dcm"))
    series(tmp_path / "scan", 3)
    (tmp_path / "scan" / "1.dcm").unlink()
    assert read_header(tmp_path / "scan").shape == (5, 4, 2)
    save(image(PIXELS[:3], position=(0, 0, 3), number=2), tmp_path / "scan" / "1.dcm")
    with pytest.raises(VolumeError, match=r"1\.dcm: slices of one series differ in size"):
        read_header(tmp_path / "scan")


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(VolumeError, match="not a format segcct reads"):
        read_header(tmp_path / "notes.txt")
    with pytest.raises(VolumeError, match="the folder holds no DICOM image"):
        read_header(tmp_path)
