"""Volumes: what is read, what is refused, and that a written mask lies exactly on its scan."""

from __future__ import annotations

import errno
import gzip
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from segcct.errors import GeometryError, VolumeError
from segcct.files.atomic_file import atomic_path
from segcct.files.file_names import ARRAY_SUFFIXES, DICOM_SUFFIXES, IMAGE_SUFFIXES, VOLUME_SUFFIXES
from segcct.images.affines import IMAGE_AFFINE
from segcct.images.arrays import array_names
from segcct.images.formats import FORMATS
from segcct.images.raster import mask_values
from segcct.images.volume import Volume, check_same_grid, holds_dicom, read_header
from tests.support.hostile_itk import nrrd

GEOMETRY_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "sform_code", "qform_code"),
    *("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)


def ramp(shape: tuple[int, ...] = (5, 4, 3), dtype: object = np.int16) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def same_geometry(a: Path, b: Path) -> list[str]:
    first, second = nib.load(a).header, nib.load(b).header
    return [name for name in GEOMETRY_FIELDS if not np.array_equal(first[name], second[name])]


def mask_of(volume: Volume) -> Volume:
    return volume.with_array((volume.array > volume.array.mean()).astype(np.uint8))


# ---------------------------------------------------------------- reading NIfTI


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_integers_stay_integers_and_keep_their_place(tmp_path: Path, name: str) -> None:
    affine = np.array([[-2.0, 0, 0, 10], [0, 3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])
    volume = Volume.load(write(tmp_path / name, ramp(), affine))
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, ramp())
    assert np.array_equal(volume.affine, affine)
    assert volume.affine.dtype == np.float64
    assert volume.spacing_mm == (2.0, 3.0, 4.0)
    assert volume.path == tmp_path / name


def test_scaled_and_float64_data_become_float32(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), np.eye(4))
    image.header.set_slope_inter(0.5, -1024)
    path = tmp_path / "scaled.nii.gz"
    nib.save(image, path)
    raw = Volume.load(path)
    assert raw.array.dtype == np.float32
    assert np.array_equal(raw.array, ramp() * 0.5 - 1024)
    assert Volume.load(write(tmp_path / "f8.nii", ramp(dtype=np.float64))).array.dtype == np.float32


def test_two_dimensions_become_one_slice_and_are_written_back_as_two(tmp_path: Path) -> None:
    source = write(tmp_path / "flat.nii.gz", ramp((6, 5)))
    volume = Volume.load(source)
    assert volume.shape == (6, 5, 1)
    mask_of(volume).save(tmp_path / "mask.nii.gz")
    assert nib.load(tmp_path / "mask.nii.gz").shape == (6, 5)
    assert same_geometry(source, tmp_path / "mask.nii.gz") == []


def test_a_fourth_axis_of_one_is_dropped_and_of_two_refused(tmp_path: Path) -> None:
    assert Volume.load(write(tmp_path / "one.nii.gz", ramp((5, 4, 3, 1)))).shape == (5, 4, 3)
    with pytest.raises(VolumeError, match=r"two\.nii\.gz: holds more than one volume.*\(5, 4, 3, 2\)"):
        Volume.load(write(tmp_path / "two.nii.gz", ramp((5, 4, 3, 2))))


def test_big_endian_and_nifti2_are_read_and_kept(tmp_path: Path) -> None:
    big = nib.Nifti1Image(ramp(), np.diag([1, 2, 3, 1.0]), nib.Nifti1Header(endianness=">"))
    big.header.set_data_dtype(">i2")
    nib.save(big, tmp_path / "big.nii")
    volume = Volume.load(tmp_path / "big.nii")
    assert np.array_equal(volume.array, ramp())
    assert volume.array.dtype.isnative
    affine = np.eye(4) + np.pi * 1e-3  # more digits than a float32 holds
    affine[3] = [0, 0, 0, 1]
    nib.save(nib.Nifti2Image(ramp(), affine), tmp_path / "two.nii.gz")
    mask_of(Volume.load(tmp_path / "two.nii.gz")).save(tmp_path / "mask.nii.gz")
    assert np.array_equal(nib.load(tmp_path / "mask.nii.gz").affine, affine)


def test_units_of_the_header_are_converted_to_mm_and_written_as_they_were(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), np.diag([250.0, 250, 500, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "mouse.nii.gz")
    volume = Volume.load(tmp_path / "mouse.nii.gz")
    assert volume.spacing_mm == pytest.approx((0.25, 0.25, 0.5))
    mask_of(volume).save(tmp_path / "mask.nii.gz")
    assert same_geometry(tmp_path / "mouse.nii.gz", tmp_path / "mask.nii.gz") == []
    itk = sitk.ReadImage(str(tmp_path / "mouse.nii.gz"))
    assert itk.GetSpacing() == pytest.approx(volume.spacing_mm)


# ---------------------------------------------------------------- refusing


def damaged(tmp_path: Path, kind: str) -> Path:
    whole = gzip.compress(write(tmp_path / "whole.nii", ramp((20, 20, 20))).read_bytes(), mtime=0)
    contents = {
        "empty": b"",
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "truncated": whole[: len(whole) // 2],
        "flipped": whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
        "not_zipped": (tmp_path / "whole.nii").read_bytes(),
        "noise": bytes(range(256)) * 8,
        "zipped_noise": gzip.compress(bytes(range(256)) * 8),
    }
    path = tmp_path / f"{kind}.nii.gz"
    path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "the file is empty"),
        ("html", "HTML"),
        ("lfs", "Git LFS pointer"),
        ("truncated", "truncated data"),
        ("flipped", "CRC"),
        ("not_zipped", r"its name should end in \.nii"),
        ("noise", "[Nn]ot a gzipped file"),
        ("zipped_noise", "cannot be read as NIfTI"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path: Path, kind: str, words: str) -> None:
    path = damaged(tmp_path, kind)
    with pytest.raises(VolumeError, match=words) as caught:
        Volume.load(path)
    assert caught.value.file == str(path)


def test_an_uncompressed_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.nii", ramp((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VolumeError, match=r"cut\.nii: cannot be read as NIfTI"):
        Volume.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_counted_and_refused(tmp_path: Path, value: float) -> None:
    array = ramp(dtype=np.float32)
    array[0, 0, :2] = value
    with pytest.raises(VolumeError, match="2 of 60 voxels are NaN or infinite"):
        Volume.load(write(tmp_path / "nan.nii.gz", array))


def test_missing_unknown_colour_and_singular_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="no such file"):
        Volume.load(tmp_path / "absent.nii.gz")
    (tmp_path / "scan.doc").write_text("x")
    with pytest.raises(VolumeError, match=r"not a format segcct reads.*\.nii\.gz"):
        Volume.load(tmp_path / "scan.doc")
    colour = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(VolumeError, match="colors"):
        Volume.load(write(tmp_path / "rgb.nii", colour))
    image = nib.Nifti1Image(ramp(), np.eye(4))
    image.header["srow_z"] = 0
    image.header["vox_offset"] = 352
    path = tmp_path / "flat.nii"
    path.write_bytes(image.header.binaryblock + b"\0" * 4 + ramp().tobytes(order="F"))
    with pytest.raises(VolumeError, match="affine cannot be inverted"):
        Volume.load(path)


def test_a_folder_without_dicom_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(VolumeError, match=r"no DICOM image.*notes\.txt"):
        Volume.load(tmp_path)


# ---------------------------------------------------------------- geometry round trip

directions = st.sampled_from([(1, 1, 1), (-1, -1, 1), (-1, 1, 1), (1, -1, -1)])
angles = st.floats(-0.9, 0.9)
shears = st.sampled_from([0.0, 0.0, 0.05, 0.3])


@settings(max_examples=40)
@given(
    flip=directions,
    steps=st.tuples(*[st.floats(0.3, 7.0)] * 3),
    turn=st.tuples(angles, angles, angles),
    shear=shears,
    origin=st.tuples(*[st.floats(-900, 900)] * 3),
    codes=st.sampled_from([(1, 1), (1, 2), (2, 1), (0, 2), (4, 0), (1, 0), (0, 1), (0, 0)]),
    order=st.permutations([0, 1, 2]),
)
def test_masks_keep_affine_and_codes(
    tmp_path_factory: pytest.TempPathFactory,
    flip: tuple[int, ...],
    steps: tuple[float, ...],
    turn: tuple[float, ...],
    shear: float,
    origin: tuple[float, ...],
    codes: tuple[int, int],
    order: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("grid")
    affine = np.eye(4)
    rotation = nib.eulerangles.euler2mat(*turn)
    skew = np.eye(3)
    skew[0, 1] = shear
    affine[:3, :3] = (rotation @ skew @ np.diag(np.array(flip) * steps))[:, order]
    affine[:3, 3] = origin
    qcode, scode = codes
    image = nib.Nifti1Image(ramp(), affine)
    image.header.set_qform(affine, code=qcode, strip_shears=True)
    image.header.set_sform(affine, code=scode)
    image._affine = None  # the header alone decides, as for a file met in the wild
    nib.save(image, folder / "scan.nii.gz")

    mask_of(Volume.load(folder / "scan.nii.gz")).save(folder / "mask.nii.gz")
    mask_of(Volume.load(folder / "mask.nii.gz")).save(folder / "again.nii.gz")

    assert same_geometry(folder / "scan.nii.gz", folder / "mask.nii.gz") == []
    assert same_geometry(folder / "scan.nii.gz", folder / "again.nii.gz") == []
    scan = nib.load(folder / "scan.nii.gz")
    assert np.array_equal(scan.affine, nib.load(folder / "mask.nii.gz").affine)
    check_same_grid(Volume.load(folder / "scan.nii.gz"), Volume.load(folder / "again.nii.gz"), tolerance_mm=0)


def test_what_speaks_of_the_source_voxels_is_left_behind(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), np.eye(4))
    header = image.header
    header["cal_max"], header["descrip"], header["db_name"], header["aux_file"] = 900, b"FSL", b"DOE^JANE", b"hot"
    header["data_type"] = b"DOE JOHN"  # unused since Analyze 7.5
    header.set_intent("z score")
    header.set_slope_inter(2.0, 1.0)
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"patient"))
    nib.save(image, tmp_path / "scan.nii.gz")
    mask_of(Volume.load(tmp_path / "scan.nii.gz")).save(tmp_path / "mask.nii.gz")
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    assert (mask.dataobj.slope, mask.dataobj.inter) == (1.0, 0.0)
    assert (mask.header["cal_min"], mask.header["cal_max"]) == (0, 0)
    assert mask.header.get_intent()[0] == "none"
    assert mask.header["descrip"] == b"FSL"
    assert b"DOE" not in gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())
    assert len(mask.header.extensions) == 0
    assert np.array_equal(np.asarray(mask.dataobj), mask_of(Volume.load(tmp_path / "scan.nii.gz")).array)


def test_the_unused_text_of_nifti_2_is_left_behind(tmp_path: Path) -> None:
    image = nib.Nifti2Image(ramp(), np.eye(4))
    image.header["unused_str"] = b"DOE JOHN"
    nib.save(image, tmp_path / "scan.nii.gz")
    assert b"DOE" in gzip.decompress((tmp_path / "scan.nii.gz").read_bytes())
    mask_of(Volume.load(tmp_path / "scan.nii.gz")).save(tmp_path / "mask.nii.gz")
    assert b"DOE" not in gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (ramp(dtype=bool), np.uint8),
        (ramp(dtype=np.int64), np.uint8),
        (ramp(dtype=np.int64) + 300, np.uint16),
        (ramp(dtype=np.int64) - 1, np.int16),
        (ramp(dtype=np.uint16), np.uint16),
        (ramp(dtype=np.float64), np.float32),
    ],
)
def test_stored_types(tmp_path: Path, array: np.ndarray, dtype: type) -> None:
    Volume(array, np.eye(4), (1, 1, 1)).save(tmp_path / "a.nii.gz")
    stored = nib.load(tmp_path / "a.nii.gz")
    assert stored.get_data_dtype() == dtype
    assert np.array_equal(np.asarray(stored.dataobj), array)


def test_an_unknown_voxel_size_stays_unknown(tmp_path: Path) -> None:
    Volume(ramp(), IMAGE_AFFINE, None).save(tmp_path / "mask.nii.gz")
    volume = Volume.load(tmp_path / "mask.nii.gz")
    assert volume.spacing_mm is None
    assert np.array_equal(volume.affine, IMAGE_AFFINE)
    mask_of(volume).save(tmp_path / "again.nii.gz")
    assert Volume.load(tmp_path / "again.nii.gz").spacing_mm is None
    assert read_header(tmp_path / "again.nii.gz").spacing_mm is None


def test_a_sheared_voxel_has_the_volume_of_its_slice_distance(tmp_path: Path) -> None:
    """CT with a tilted gantry: a step from slice to slice is longer than their distance."""
    affine = np.array([[1.0, 0, 0, 0], [0, 1, 3, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
    volume = Volume.load(write(tmp_path / "tilted.nii.gz", ramp(), affine))
    assert volume.spacing_mm == pytest.approx((1, 1, 5))
    assert volume.voxel_ml == pytest.approx(0.004)
    assert Volume(ramp(), affine, None).voxel_ml is None


def test_a_grid_moved_by_the_program_is_written_as_moved(tmp_path: Path) -> None:
    volume = Volume.load(write(tmp_path / "a.nii.gz", ramp()))
    assert volume.header is not None
    volume.header.set_slope_inter(3.0, 1.0)  # a header by hand may still hold a scale
    moved = volume.affine.copy()
    moved[:3, 3] += 5
    Volume(volume.array, moved, volume.spacing_mm, volume.header).save(tmp_path / "b.nii.gz")
    written = nib.load(tmp_path / "b.nii.gz")
    assert np.allclose(written.affine, moved)
    assert np.array_equal(np.asarray(written.dataobj), ramp())


# ---------------------------------------------------------------- NRRD, MHA, DICOM


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
def test_itk_formats_agree_with_nifti_of_the_same_image(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray(ramp((3, 4, 5)))  # Z, Y, X
    image.SetSpacing((0.7, 0.8, 3.0))
    image.SetOrigin((10, -20, 30))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    ours, reference = Volume.load(tmp_path / f"a{suffix}"), nib.load(tmp_path / "a.nii.gz")
    assert np.allclose(ours.affine, reference.affine, atol=1e-5)
    assert np.array_equal(ours.array, np.asarray(reference.dataobj))
    header = read_header(tmp_path / f"a{suffix}")
    assert header.shape == ours.shape
    assert np.array_equal(header.affine, ours.affine)
    ours.save(tmp_path / "written.nii.gz")
    header = nib.load(tmp_path / "written.nii.gz").header
    assert (header["qform_code"], header["sform_code"], header.get_xyzt_units()[0]) == (1, 1, "mm")
    assert np.allclose(header.get_qform(), reference.affine, atol=1e-5)
    check_same_grid(ours, Volume.load(tmp_path / "written.nii.gz"))
    back = sitk.ReadImage(str(tmp_path / "written.nii.gz"))
    assert np.allclose(back.GetDirection(), image.GetDirection(), atol=1e-5)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_header_may_name_its_voxels_in_utf8(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(ramp((3, 4, 5))), str(tmp_path / f"Größe{suffix}"))
    header, voxels = sorted(tmp_path.iterdir(), key=lambda file: file.suffix != suffix)
    assert np.array_equal(Volume.load(header).array.T, ramp((3, 4, 5)))
    if suffix == ".mhd":  # ITK itself looks for the voxels of .nhdr
        voxels.rename(tmp_path / unicodedata.normalize("NFD", voxels.name))  # as macOS may store it
        assert np.array_equal(Volume.load(header).array.T, ramp((3, 4, 5)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("name", [b"caf\xe9.nrrd", b"caf\xe9.mha", b"caf\xe9/a.mha"])
def test_a_path_that_is_not_utf8_is_refused(tmp_path: Path, name: bytes) -> None:
    """SimpleITK would abort the process."""
    file = tmp_path / os.fsdecode(name)
    file.parent.mkdir(exist_ok=True)
    sitk.WriteImage(sitk.Image([3, 3, 3], sitk.sitkUInt8), str(tmp_path / f"plain{file.suffix}"))
    (tmp_path / f"plain{file.suffix}").rename(file)
    for read in (Volume.load, read_header):
        with pytest.raises(VolumeError, match="its path is not UTF-8"):
            read(file)


def test_a_sheared_nrrd_keeps_its_shear(tmp_path: Path) -> None:
    header = (
        b"NRRD0004\ntype: unsigned char\ndimension: 3\nspace: right-anterior-superior\nsizes: 2 3 4\n"
        b"space directions: (1,0,0) (0.3,1,0) (0,0.2,2)\nkinds: domain domain domain\nencoding: raw\n"
        b"space origin: (1,2,3)\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header + bytes(range(24)))
    volume = Volume.load(tmp_path / "a.nrrd")
    expected = np.array([[1, 0.3, 0, 1], [0, 1, 0.2, 2], [0, 0, 2, 3], [0, 0, 0, 1]])
    assert np.allclose(volume.affine, expected)
    assert volume.array[1, 0, 0] == 1
    assert volume.array[0, 1, 0] == 2
    volume.save(tmp_path / "a.nii.gz")
    written = nib.load(tmp_path / "a.nii.gz")
    assert np.allclose(written.affine, expected)
    assert written.header["qform_code"] == 0  # a qform cannot hold a shear


@pytest.mark.parametrize(
    ("fields", "steps_mm"),
    [
        (b'space: LPS\nspace units: "um" "um" "mm"\nspace directions: (-500,0,0) (0,-250,0) (0,0,2)',
         (0.5, 0.25, 2.0)),
        (b'spacings: 500 250 2\nunits: "\xc2\xb5m" "\xb5m" ""', (0.5, 0.25, 2.0)),
        (b'space dimension: 3\nspace units: "m" "cm" "pixel"\nspace directions: (0.001,0,0) (0,0.3,0) (0,0,2)',
         (1.0, 3.0, 2.0)),
    ],
)  # fmt: skip
def test_units_of_a_nrrd_are_converted_to_mm(tmp_path: Path, fields: bytes, steps_mm: tuple[float, ...]) -> None:
    header = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n" + fields + b"\n"
    (tmp_path / "a.nrrd").write_bytes(header + b"\n" + bytes(24))
    assert Volume.load(tmp_path / "a.nrrd").spacing_mm == pytest.approx(steps_mm)
    assert read_header(tmp_path / "a.nrrd").spacing_mm == pytest.approx(steps_mm)


def test_the_origin_of_a_nrrd_is_in_its_unit(tmp_path: Path) -> None:
    header = (
        b'NRRD0005\ntype: uchar\ndimension: 3\nspace: RAS\nsizes: 2 3 4\nspace units: "um" "um" "um"\n'
        b"space directions: (500,0,0) (0,500,0) (0,0,500)\nspace origin: (1000,2000,-3000)\nencoding: raw\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header + bytes(24))
    assert np.allclose(Volume.load(tmp_path / "a.nrrd").affine[:3, 3], (1, 2, -3))


@pytest.mark.parametrize(
    ("space", "with_time"),
    [
        ("right-anterior-superior", "right-anterior-superior-time"),
        ("RAS", "RAST"),
        ("left-anterior-superior", "left-anterior-superior-time"),
        ("LAS", "LAST"),
        ("left-posterior-superior", "left-posterior-superior-time"),
    ],
)
def test_the_space_of_a_nrrd_means_the_same_with_time(tmp_path: Path, space: str, with_time: str) -> None:
    header = (
        "NRRD0005\ntype: uchar\nencoding: raw\nspace: {}\ndimension: {}\nsizes: 2 3 4{}\n"
        "space directions: (0.5,0,0{z}) (0,0.2,2{z}) (0,1,0.1{z}){}\nspace origin: (1,2,3{z})\n\n"
    )
    plain, timed = header.format(space, 3, "", "", z=""), header.format(with_time, 4, " 1", " (0,0,0,1)", z=",0")
    for name, text in (("plain", plain), ("timed", timed)):
        (tmp_path / f"{name}.nrrd").write_bytes(text.encode() + bytes(range(24)))
    expected, found = (Volume.load(tmp_path / f"{name}.nrrd") for name in ("plain", "timed"))
    assert np.array_equal(found.affine, expected.affine)
    assert np.array_equal(found.array, expected.array)


def test_colour_several_volumes_and_cut_short_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([3, 3, 3], sitk.sitkVectorUInt8, 3), str(tmp_path / "rgb.mha"))
    with pytest.raises(VolumeError, match=r"rgb\.mha: voxels are colors"):
        Volume.load(tmp_path / "rgb.mha")
    sitk.WriteImage(sitk.Image([3, 3, 3, 2], sitk.sitkUInt8), str(tmp_path / "time.nrrd"))
    with pytest.raises(VolumeError, match=r"time\.nrrd: holds more than one volume"):
        Volume.load(tmp_path / "time.nrrd")
    with pytest.raises(VolumeError, match=r"time\.nrrd: holds more than one volume"):
        read_header(tmp_path / "time.nrrd")
    (tmp_path / "cut.nrrd").write_bytes((tmp_path / "time.nrrd").read_bytes()[:-20])
    with pytest.raises(VolumeError, match=r"cut\.nrrd: cannot be read as an image"):
        Volume.load(tmp_path / "cut.nrrd")


SLICER = "Segment0_ID:=Segment_1\nSegment0_LabelValue:=3\nSegment0_Layer:=0\nSegment0_Name:=liver\n"
"""Keys by which 3D Slicer tells what is a segment."""


def test_a_segmentation_of_3d_slicer_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.seg.nrrd").write_bytes(nrrd({"type": "uint8", "sizes": "4 3 2"}, bytes([0, 3] * 12), more=SLICER))
    volume = Volume.load(tmp_path / "a.seg.nrrd")
    assert volume.shape == read_header(tmp_path / "a.seg.nrrd").shape == (4, 3, 2)
    assert np.unique(volume.array).tolist() == [0, 3]


def test_overlapping_segments_are_refused_with_a_remedy(tmp_path: Path) -> None:
    layers = {
        "type": "uint8",
        "dimension": "4",
        "sizes": "2 4 3 2",
        "space directions": "none (1,0,0) (0,1,0) (0,0,1)",
        "kinds": "list domain domain domain",
    }
    (tmp_path / "a.seg.nrrd").write_bytes(nrrd(layers, bytes(48), more=SLICER))
    for read in (Volume.load, read_header):
        with pytest.raises(VolumeError, match=r"segments overlap.*2 layers.*3D Slicer as a label map"):
            read(tmp_path / "a.seg.nrrd")


def test_a_folder_that_is_called_like_a_file_is_read_as_dicom(tmp_path: Path) -> None:
    (tmp_path / "scan.nii").mkdir()
    for read in (Volume.load, read_header):
        with pytest.raises(VolumeError, match="the folder holds no DICOM image"):
            read(tmp_path / "scan.nii")


def test_every_ending_is_of_one_format() -> None:
    endings = [suffix for each in FORMATS for suffix in each.suffixes]
    assert len(endings) == len(set(endings))
    assert set(endings) == {*VOLUME_SUFFIXES, *DICOM_SUFFIXES, *ARRAY_SUFFIXES, *IMAGE_SUFFIXES} - {".npy.h5"}


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a"])
def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    for read in (Volume.load, read_header):
        with pytest.raises(VolumeError, match=rf"{name}: cannot be read.*Permission denied"):
            read(tmp_path / name)


def write_dicom(folder: Path, positions: list[tuple[float, ...]]) -> None:
    """Slices of value 0, 1, ... at the given positions, 0.5 mm between rows and 0.75 mm between columns."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, position in enumerate(positions):
        image = sitk.GetImageFromArray(np.full((4, 5), number, np.int16))
        image.SetSpacing((0.75, 0.5))
        tags = {
            "0008|0060": "CT",
            "0008|0018": f"1.2.3.1.{number}",
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.3.1",
            "0020|0013": str(number),
            "0020|0032": "\\".join(str(value) for value in position),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": "9",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{len(positions) - number}.dcm"))
        writer.Execute(image)


def test_dicom_geometry_comes_from_the_positions(tmp_path: Path) -> None:
    write_dicom(tmp_path / "s", [(10, 20, 30 + 2.5 * k) for k in (0, 2, 1, 3)])
    volume = Volume.load(tmp_path / "s")
    assert volume.shape == (5, 4, 4)
    assert volume.array[0, 0].tolist() == [0, 2, 1, 3]
    assert volume.spacing_mm == pytest.approx((0.75, 0.5, 2.5))
    assert np.allclose(volume.affine, [[-0.75, 0, 0, -10], [0, -0.5, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])


def test_a_tilted_gantry_gives_a_sheared_affine(tmp_path: Path) -> None:
    write_dicom(tmp_path / "s", [(0, 0.5 * k, 2.0 * k) for k in range(4)])
    assert np.allclose(Volume.load(tmp_path / "s").affine[:3, 2], [0, -0.5, 2])


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        ([(0, 0, 0), (0, 0, 1), (0, 0, 3), (0, 0, 4)], r"missing or unevenly spaced.*2 mm between 3\.dcm and 2\.dcm"),
        ([(0, 0, 0), (0, 0, 1), (0, 0, 1)], "two slices at one position"),
    ],
)
def test_dicom_series_that_are_no_volume(tmp_path: Path, positions: list[tuple[float, ...]], words: str) -> None:
    write_dicom(tmp_path / "s", positions)
    with pytest.raises(VolumeError, match=words):
        Volume.load(tmp_path / "s")


def test_dicom_is_known_by_content(tmp_path: Path) -> None:
    write_dicom(tmp_path / "s", [(0, 0, 0), (0, 0, 1)])
    for number in (1, 2):
        (tmp_path / "s" / f"{number}.dcm").rename(tmp_path / "s" / f"IM{number}")
    (tmp_path / "s" / "DICOMDIR.txt").write_text("x")
    assert holds_dicom(tmp_path / "s")
    assert holds_dicom(tmp_path / "s" / "IM1")
    assert not holds_dicom(tmp_path)
    assert not holds_dicom(tmp_path / "s" / "DICOMDIR.txt")
    assert Volume.load(tmp_path / "s").shape == (5, 4, 2)
    assert Volume.load(tmp_path / "s" / "IM1").shape == (5, 4, 1)


# ---------------------------------------------------------------- comparing grids, writing whole


def test_grids_are_compared_at_their_corners(tmp_path: Path) -> None:
    a = Volume.load(write(tmp_path / "a.nii", ramp((101, 4, 3))))
    affine = np.eye(4)
    affine[0, 0] = 1 + 5e-5  # 5 micrometres at the far corner
    b = Volume.load(write(tmp_path / "b.nii", ramp((101, 4, 3)), affine))
    with pytest.raises(GeometryError, match=r"b\.nii: voxel grids lie up to 0\.004995 mm apart.*a\.nii"):
        check_same_grid(a, b)
    check_same_grid(a, b, tolerance_mm=0.01)
    c = Volume.load(write(tmp_path / "c.nii", ramp((100, 4, 3))))
    with pytest.raises(GeometryError, match=r"c\.nii: shapes differ.*\(100, 4, 3\).*\(101, 4, 3\).*a\.nii"):
        check_same_grid(a, c)
    check_same_grid(a, Volume(a.array, IMAGE_AFFINE, None))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "mask.nii.gz"
    target.write_bytes(b"old")

    def fail_half_way() -> None:
        with atomic_path(target) as temporary:
            assert temporary.name.endswith(".nii.gz")
            temporary.write_bytes(b"half")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk is full"):
        fail_half_way()
    assert [path.name for path in tmp_path.iterdir()] == ["mask.nii.gz"]
    assert target.read_bytes() == b"old"
    with pytest.raises(VolumeError, match="written as NIfTI"):
        Volume(ramp(), np.eye(4), (1, 1, 1)).save(tmp_path / "mask.png")


# ---------------------------------------------------------------- real scans


def test_masks_of_every_real_scan_keep_its_geometry(shared_data: Path, tmp_path: Path) -> None:
    scans = sorted(shared_data.rglob("*.nii.gz"))
    assert scans
    for scan in scans:
        volume = Volume.load(scan)
        volume.with_array(np.zeros(volume.shape, np.uint8)).save(tmp_path / "mask.nii.gz")
        assert same_geometry(scan, tmp_path / "mask.nii.gz") == [], scan
        assert np.array_equal(nib.load(scan).affine, nib.load(tmp_path / "mask.nii.gz").affine), scan


def test_real_dicom_slices_lie_on_the_grid_of_their_masks(shared_data: Path, tmp_path: Path) -> None:
    scan = Volume.load(shared_data / "ct_dicom")
    assert scan.shape == (512, 512, 3)
    assert scan.spacing_mm == pytest.approx((0.810547, 0.810547, 1.0))
    for name, values in (("liver_seg", {0, 1}), ("spine_seg", {0, 2}), ("heart_seg", {0, 3})):
        mask = Volume.load(shared_data / "ct_dicom" / f"{name}.nrrd")
        check_same_grid(scan, mask)
        assert set(np.unique(mask.array)) == values
        mask.save(tmp_path / "mask.nii.gz")
        check_same_grid(scan, Volume.load(tmp_path / "mask.nii.gz"))
    inside = Volume.load(shared_data / "ct_dicom" / "liver_seg.nrrd").array > 0
    own = scan.array[..., 2][inside[..., 2]].std()
    mirrored = scan.array[..., 2][inside[..., 0]].std()
    assert own < 0.8 * mirrored  # tissue is even under its own mask: slices and masks are in one order


def test_the_scaled_real_mask_is_read_as_nearly_one(shared_data: Path) -> None:
    mask = Volume.load(shared_data / "brats2015_flair_t1c" / "brats_2013_pat0003_1" / "brainmask.nii.gz")
    values = np.unique(mask.array)
    assert mask.array.dtype == np.float32
    assert values == pytest.approx([0, 1], abs=1e-6)


def test_a_file_that_is_a_link_to_nothing_is_named_with_its_target(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to(".git/annex/objects/xx")
    with pytest.raises(VolumeError, match=r"a\.nii\.gz: no such file.*a link to \.git/annex/objects/xx"):
        Volume.load(tmp_path / "a.nii.gz")
    for read, name in ((mask_values, "a.png"), (array_names, "a.npz"), (array_names, "a.h5")):
        (tmp_path / name).symlink_to(".git/annex/objects/xx")
        with pytest.raises(VolumeError, match=rf"{name}: no such file.*Fetch the data \(datalad get"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "affine", "spacing_mm", "words"),
    [
        (np.zeros((4, 5)), np.eye(4), (1, 1, 1), r"array .*found float64 .* \(4, 5\); .*array\[:, :, None\]"),
        ([[[0.0]]], np.eye(4), (1, 1, 1), "array .*found list of shape .*NumPy array of 3 axes"),
        (np.zeros((4, 5, 2)), np.eye(3), (1, 1, 1), "affine .*expected a 4x4 matrix"),
        (np.zeros((4, 5, 2)), None, None, "affine .*expected a 4x4 matrix"),
        (np.zeros((4, 5, 2)), np.eye(4), (1, 1), "spacing_mm .*expected 3 lengths"),
        (np.zeros((4, 5, 2)), np.eye(4), 1.5, "spacing_mm .*expected 3 lengths"),
        ([[1], [1, 2]], np.eye(4), None, "array .*found list; expected a NumPy array of 3 axes"),
        (np.zeros((4, 5, 2), object), np.eye(4), None, "array .*found object array .*expected .*integers, floats"),
        (np.zeros((4, 5, 2), complex), np.eye(4), None, "array .*found complex128 array .*expected .*integers, floats"),
        (np.zeros((4, 0, 2)), np.eye(4), None, r"array .*found float64 .* \(4, 0, 2\); .*at least one voxel"),
        (np.zeros((4, 5, 2)), [[1], [1, 2]], None, "affine .*found list; expected a 4x4 matrix"),
        (np.zeros((4, 5, 2)), "abcd", None, "affine .*found str .*expected a 4x4 matrix"),
        (np.zeros((4, 5, 2)), np.eye(4), "abc", "spacing_mm .*found str .*expected 3 lengths"),
        (np.zeros((4, 5, 2)), np.eye(4), (np.nan, 1, 1), "spacing_mm .*expected 3 lengths"),
        (np.zeros((4, 5, 2)), np.full((4, 4), np.inf), None, "affine .*expected a 4x4 matrix of finite numbers"),
    ],
)
def test_parts_that_make_no_volume_are_refused(array: Any, affine: Any, spacing_mm: Any, words: str) -> None:
    with pytest.raises(VolumeError, match=words):
        Volume(array, affine, spacing_mm)


def test_affine_and_spacing_may_be_lists_and_arrays() -> None:
    made = Volume(ramp(), np.eye(4).tolist(), np.ones(3))  # type: ignore[arg-type]
    check_same_grid(made, Volume(ramp(), np.eye(4), (1, 1, 1)))
    assert made.spacing_mm == (1.0, 1.0, 1.0)
