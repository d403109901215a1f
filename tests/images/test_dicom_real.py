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


READ = """
15820 15970 17106 17136 17166 17196 2062 2392 2693 3023 3353 4467 4528 4558 4588 4618 4648 4678 4919 4950 4981 5011
5641 6154 6247 6273 6278 6293 6605 6924 6935 693_J2KI.dcm CT_small.dcm J2K_pixelrep_mismatch.dcm JPEG-lossy.dcm
JPEG2000.dcm JPEGLSNearLossless_08.dcm JPEGLSNearLossless_16.dcm JPGExtended.dcm MR_small.dcm MR_small_RLE.dcm
MR_small_bigendian.dcm MR_small_expb.dcm MR_small_implicit.dcm MR_small_jp2klossless.dcm MR_small_jpeg_ls_lossless.dcm
MR_small_padded.dcm chrArab.dcm chrFren.dcm chrFrenMulti.dcm chrGerm.dcm chrGreek.dcm chrH31.dcm chrH32.dcm
chrHbrw.dcm chrI2.dcm chrRuss.dcm chrX1.dcm chrX2.dcm examples_overlay.dcm image_dfl.dcm
"""
"""The whole gray images among them."""


@pytest.mark.skipif(not PYDICOM_FILES, reason="this pydicom comes without its test files")
def test_real_gray_images_are_read_as_pydicom_reads_them_and_others_refused() -> None:
    read, wrong = set(), []
    for file in PYDICOM_FILES:
        try:
            volume = Volume.load(file)
        except VolumeError:
            continue
        read.add(file.name)
        wanted = oracle(file)  # None: nothing to compare with
        if wanted is not None and not np.array_equal(values(volume)[0], wanted.astype(volume.array.dtype)):
            wrong.append(file.name)
    assert wrong == []
    assert read == set(READ.split()) & {file.name for file in PYDICOM_FILES}


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
