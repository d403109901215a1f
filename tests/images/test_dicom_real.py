"""Real DICOM files, those that pydicom brings along and a CT series: read as pydicom reads them, or refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from segcct.errors import VolumeError
from segcct.images.volume import Volume
from tests.support.dicom_files import dcm2niix, values

PYDICOM_FILES = sorted(
    file
    for file in (Path(pydicom.__file__).parent / "data").rglob("*")
    if file.is_file() and file.suffix in (".dcm", "")
)


def oracle(file: Path) -> np.ndarray | None:
    """Values by pydicom; None where pydicom cannot decode it here, or it is no image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(file, force=True)
            stored = dataset.pixel_array
        except Exception:
            return None
        slope, intercept = dataset.get("RescaleSlope", 1) or 1, dataset.get("RescaleIntercept", 0) or 0
    meant: np.ndarray = stored * float(slope) + float(intercept)
    return meant


@pytest.mark.skipif(not PYDICOM_FILES, reason="this pydicom comes without its test files")
@pytest.mark.parametrize("file", PYDICOM_FILES, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_real_files_are_read_as_pydicom_reads_them_or_refused(file: Path) -> None:
    wanted = oracle(file)
    try:
        volume = Volume.load(file)
    except VolumeError:
        return
    if wanted is None:
        return  # pydicom has no decoder for this file here: nothing to compare with
    assert np.array_equal(values(volume)[0], wanted.astype(volume.array.dtype))


def test_most_real_gray_images_are_read() -> None:
    read = 0
    for file in PYDICOM_FILES:
        try:
            Volume.load(file)
            read += 1
        except VolumeError:
            continue
    assert not PYDICOM_FILES or read >= 61


def test_the_real_series_is_read_as_pydicom_reads_it(shared_data: Path) -> None:
    volume = Volume.load(shared_data / "ct_dicom")
    datasets = [pydicom.dcmread(file) for file in (shared_data / "ct_dicom").glob("*.dcm")]
    datasets.sort(key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    wanted = [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in datasets]
    assert np.array_equal(values(volume), wanted)


def test_the_real_series_lies_where_dcm2niix_puts_it(shared_data: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    scan.mkdir()
    for file in (shared_data / "ct_dicom").glob("*.dcm"):
        (scan / file.name).write_bytes(file.read_bytes())
    ours, theirs = Volume.load(scan), dcm2niix(scan, tmp_path / "out")
    canonical = nib.as_closest_canonical(nib.Nifti1Image(ours.array, ours.affine))
    assert np.array_equal(np.asarray(canonical.dataobj), np.asarray(theirs.dataobj))
    assert np.allclose(canonical.affine, theirs.affine, atol=1e-3)
