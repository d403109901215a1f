"""Compressed DICOM pixels: stored numbers as they were, frames put together, damage and false claims refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.uid import RLELossless

from segcct.errors import VolumeError
from segcct.images.volume import Volume
from tests.support.dicom_files import dcm2niix, enhanced, image, save, values


def compressed(file: Path, syntax: str = RLELossless) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(file)
        dataset.compress(syntax, generate_instance_uid=False)
    return dataset


def test_compressed_slices_give_stored_numbers_and_their_own_slope(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (3, 16, 20)).astype(np.uint16)
    for k, slope in enumerate(("1", "0.5", "0.125")):
        dataset = image(stored[k], position=(0, 0, k), number=k, bits=12, RescaleSlope=slope, RescaleIntercept=-7)
        file = save(dataset, tmp_path / f"{k}.dcm")
        save(compressed(file), file)
    wanted = stored * np.array([1, 0.5, 0.125])[:, None, None] - 7
    assert np.array_equal(values(Volume.load(tmp_path)), wanted.astype(np.float32))


@pytest.mark.parametrize("table", [True, False])
def test_compressed_frames_are_sorted_too(tmp_path: Path, table: bool) -> None:
    stored = np.random.default_rng(0).integers(-900, 900, (4, 16, 20)).astype(np.int16)
    file = save(enhanced(stored, [(0, 0, -k) for k in range(4)], slopes=[1, 2, 3, 4]), tmp_path / "a.dcm")
    dataset = compressed(file)
    frames = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=4))
    dataset.PixelData = pydicom.encaps.encapsulate(frames, has_bot=table)
    save(dataset, file)
    wanted = (stored * np.array([1, 2, 3, 4])[:, None, None])[::-1]
    assert np.array_equal(values(Volume.load(file)), wanted)


def test_frames_in_several_fragments_are_put_together_by_the_offset_table(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 900, (3, 16, 20)).astype(np.int16)
    file = save(enhanced(stored, [(0, 0, k) for k in range(3)]), tmp_path / "a.dcm")
    dataset = compressed(file)
    frames = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData = pydicom.encaps.encapsulate(frames, fragments_per_frame=2)
    save(dataset, file)
    assert np.array_equal(values(Volume.load(file)), stored)
    dataset.PixelData = pydicom.encaps.encapsulate(frames, fragments_per_frame=2, has_bot=False)
    save(dataset, file)
    with pytest.raises(VolumeError, match=r"a\.dcm.*6 fragments that do not make up 3 frames"):
        Volume.load(file)


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_compressed_pixels_cut_short_are_refused(tmp_path: Path, cut: int) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (16, 20)).astype(np.uint16)
    file = save(image(stored), tmp_path / "a.dcm")
    save(compressed(file), file)
    file.write_bytes(file.read_bytes()[: -8 - cut])  # the delimiter at the end, and more
    with pytest.raises(VolumeError, match=r"a\.dcm: cannot be read as DICOM"):
        Volume.load(file)


def test_compressed_pixels_of_another_size_are_refused(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (16, 20)).astype(np.uint16)
    dataset = compressed(save(image(stored), tmp_path / "a.dcm"))
    dataset.Rows = 17
    with pytest.raises(VolumeError, match=r"a\.dcm: cannot be read as DICOM"):
        Volume.load(save(dataset, tmp_path / "a.dcm"))
    dataset.Rows = dataset.Columns = 65535  # 8 GiB in a few bytes
    with pytest.raises(VolumeError, match=r"a\.dcm: cannot be read as DICOM .*65535 x 65535"):
        Volume.load(save(dataset, tmp_path / "a.dcm"))


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    dataset = compressed(save(image(np.ones((4, 5), np.int16)), tmp_path / "a.dcm"))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    with pytest.raises(VolumeError, match=r"a\.dcm: pixels are compressed in a way.*1\.2\.840\.10008\.1\.2\.4\.100"):
        Volume.load(save(dataset, tmp_path / "a.dcm"))


def killed_while_decoding(file: Path, temporary: Path, *, in_memory: bool) -> list[str]:
    """What a process that is killed while GDCM decodes leaves in its folder of temporary files."""
    program = f"""
import os, signal
import SimpleITK
from segcct.images.volume import Volume
SimpleITK.ReadImage = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
{"" if in_memory else "del os.memfd_create"}
Volume.load({str(file)!r})
"""
    environment = os.environ | {"TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", program], check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    return sorted(entry.name for entry in temporary.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="files in memory are Linux's")
def test_a_kill_leaves_no_pixels_behind(tmp_path: Path) -> None:
    file = save(image(np.ones((16, 20), np.uint16)), tmp_path / "a.dcm")
    save(compressed(file), file)
    (tmp_path / "tmp").mkdir()
    assert killed_while_decoding(file, tmp_path / "tmp", in_memory=True) == []


def test_where_nothing_is_in_memory_what_a_kill_left_is_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = np.arange(320, dtype=np.uint16).reshape(16, 20)
    file = save(image(stored), tmp_path / "a.dcm")
    save(compressed(file), file)
    temporary = tmp_path / "tmp"
    (temporary / "others").mkdir(parents=True)
    old, other = killed_while_decoding(file, temporary, in_memory=False)[::-1]
    assert (old.startswith("segcct-dicom-"), other) == (True, "others")
    (recent := temporary / "segcct-dicom-recent").mkdir()
    for stale in (temporary / old, temporary / other):
        os.utime(stale, times=(0, 0))
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert np.array_equal(values(Volume.load(file))[0], stored)
    assert sorted(temporary.iterdir()) == sorted([temporary / "others", recent])


def by_gdcm(dataset: pydicom.FileDataset, compressor: str, folder: Path) -> None:
    """Compress the pixels of a slice by GDCM, without loss."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(file := folder / "compressed.dcm"))
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(dataset.pixel_array[None]))
    written = pydicom.dcmread(file)
    dataset.PixelData, dataset.file_meta.TransferSyntaxUID = written.PixelData, written.file_meta.TransferSyntaxUID
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True


def by_pydicom(dataset: pydicom.FileDataset, compressor: str, folder: Path) -> None:
    pytest.importorskip("jpeg_ls")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.compress(pydicom.uid.JPEGLSLossless, generate_instance_uid=False)


LOSSLESS = {
    "JPEG": (by_gdcm, pydicom.uid.JPEGLosslessSV1),
    "JPEG2000": (by_gdcm, pydicom.uid.JPEG2000Lossless),
    "JPEG-LS": (by_pydicom, pydicom.uid.JPEGLSLossless),
}


@pytest.mark.parametrize("compressor", LOSSLESS)
def test_a_compressed_series_is_that_of_dcm2niix(tmp_path: Path, compressor: str) -> None:
    compress, syntax = LOSSLESS[compressor]
    stored = np.random.default_rng(1).integers(0, 4096, (4, 16, 20)).astype(np.uint16)
    scan = tmp_path / "scan"
    for k, plane in enumerate(stored):
        turned = {"ImageOrientationPatient": [0.8, 0.6, 0, -0.6, 0.8, 0], "RescaleIntercept": -1024, "RescaleSlope": 1}
        dataset = image(plane, position=(3, 4, -2 * k), number=k + 1, **turned)
        compress(dataset, compressor, tmp_path)
        assert dataset.file_meta.TransferSyntaxUID == syntax
        save(dataset, scan / f"{k}.dcm")
    volume = Volume.load(scan)
    assert np.array_equal(values(volume), stored[::-1].astype(int) - 1024)
    theirs = dcm2niix(scan, tmp_path / "out")
    canonical = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.affine))
    assert np.array_equal(np.asarray(canonical.dataobj), np.asarray(theirs.dataobj))
    assert np.allclose(canonical.affine, theirs.affine, atol=1e-3)
