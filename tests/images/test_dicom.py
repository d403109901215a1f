"""DICOM: values and places as the files say, against pydicom, dcm2niix and hand-made numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from segcct.errors import VolumeError
from segcct.images.volume import Volume, read_header
from tests.support.dicom_files import dcm2niix, enhanced, image, save, series, values

TINY_SLOPE = "0.99999999975"


def ramp(count: int = 4, rows: int = 4, columns: int = 5, dtype: object = np.uint16) -> np.ndarray:
    return np.arange(count * rows * columns).reshape(count, rows, columns).astype(dtype)


# ---------------------------------------------------------------- what stored numbers mean


@pytest.mark.parametrize("slopes", [["1", "0.5", "0.5", "0.5"], ["1"] + [TINY_SLOPE] * 3, ["0.5", "1", "2", "3"]])
def test_each_slice_is_scaled_by_its_own_slope(tmp_path: Path, slopes: list[str]) -> None:
    """As SimpleITK#1636: PET and masks; the type of the first slice must not cut the others' fractions off."""
    stored = ramp()
    for k, slope in enumerate(slopes):
        dataset = image(stored[k], position=(0, 0, 3 * k), number=k, RescaleSlope=slope, RescaleIntercept="-1.25")
        save(dataset, tmp_path / f"{k}.dcm")
    volume = Volume.load(tmp_path)
    wanted = stored * np.array([float(slope) for slope in slopes])[:, None, None] - 1.25
    assert volume.array.dtype == np.float32
    assert np.array_equal(values(volume), wanted.astype(np.float32))


@pytest.mark.parametrize(
    ("stored", "bits", "slope", "intercept", "dtype"),
    [
        (np.uint16, 12, 1, -1024, np.int16),
        (np.uint16, 16, 1, 0, np.uint16),
        (np.int16, 16, 1, 0, np.int16),
        (np.int16, 12, 2, 5, np.int16),
        (np.uint16, 16, 1, -1024, np.int32),
        (np.uint8, 8, 1, 0, np.uint8),
        (np.int8, 8, 3, 0, np.int16),
        (np.uint16, 16, -1, 65535, np.int32),
        (np.uint32, 32, 1, -1, np.int64),
        (np.uint16, 16, 1 << 40, 0, np.float32),
    ],
)
def test_whole_numbers_stay_whole(
    tmp_path: Path, stored: type, bits: int, slope: int, intercept: int, dtype: type
) -> None:
    info = np.iinfo(stored)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if info.min < 0 else (0, (1 << bits) - 1)
    pixels = np.array([[low, high, 0], [1, high // 2, high - 1]]).astype(stored)
    file = save(image(pixels, bits=bits, RescaleSlope=slope, RescaleIntercept=intercept), tmp_path / "a.dcm")
    volume = Volume.load(file)
    wanted = pixels.astype(object) * slope + intercept
    assert volume.array.dtype == dtype
    assert np.array_equal(values(volume)[0], wanted.astype(dtype))


def test_slices_of_several_types_make_one_volume(tmp_path: Path) -> None:
    first = np.array([[-5, 7]], np.int16)
    second = np.array([[65535, 3]], np.uint16)
    save(image(first, position=(0, 0, 0)), tmp_path / "a.dcm")
    save(image(second, position=(0, 0, 1), number=2), tmp_path / "b.dcm")
    assert values(Volume.load(tmp_path)).tolist() == [[[-5, 7]], [[65535, 3]]]


def test_bits_above_those_stored_are_not_part_of_the_value(tmp_path: Path) -> None:
    pixels = np.array([[0xF123, 0x0FFF]], np.uint16)  # an overlay in the upper four bits
    assert values(Volume.load(save(image(pixels, bits=12), tmp_path / "a.dcm"))).tolist() == [[[0x123, 0xFFF]]]
    signed = pixels.view(np.int16)
    assert values(Volume.load(save(image(signed, bits=12), tmp_path / "b.dcm"))).tolist() == [[[0x123, -1]]]
    upper = image(np.array([[0x1234]], np.uint16), bits=12, HighBit=15)
    assert values(Volume.load(save(upper, tmp_path / "c.dcm"))).tolist() == [[[0x123]]]


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_slice_without_the_rescale_of_the_others_is_named(tmp_path: Path, keyword: str) -> None:
    series(tmp_path, 3, RescaleSlope=2, RescaleIntercept=-1024)
    usual = {"RescaleSlope": 2, "RescaleIntercept": -1024} | {keyword: None}
    save(image(np.zeros((4, 5), np.int16), position=(0, 0, 3), number=2, **usual), tmp_path / "1.dcm")
    with pytest.raises(VolumeError, match=rf"1\.dcm: {keyword} \(0028,105[23]\) is missing"):
        Volume.load(tmp_path)


def test_float_pixels_are_read(tmp_path: Path) -> None:
    dataset = image(np.zeros((2, 3), np.uint32), PixelData=None)
    dataset.FloatPixelData = np.arange(6, dtype="<f4").tobytes()
    volume = Volume.load(save(dataset, tmp_path / "a.dcm"))
    assert volume.array.dtype == np.float32
    assert values(volume)[0].tolist() == [[0, 1, 2], [3, 4, 5]]


WRITTEN = {
    ImplicitVRLittleEndian: {"implicit_vr": True, "little_endian": True},
    ExplicitVRBigEndian: {"implicit_vr": False, "little_endian": False},
    DeflatedExplicitVRLittleEndian: {"implicit_vr": False, "little_endian": True},
}


@pytest.mark.parametrize("syntax", WRITTEN)
def test_every_way_to_write_a_header_gives_the_same_volume(tmp_path: Path, syntax: str) -> None:
    pixels = ramp()[1].astype(np.int16)
    plain = Volume.load(save(image(pixels, RescaleSlope=1, RescaleIntercept=-3), tmp_path / "plain.dcm"))
    dataset = image(pixels, RescaleSlope=1, RescaleIntercept=-3)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = pixels.astype(">i2").tobytes()
    pydicom.dcmwrite(tmp_path / "other.dcm", dataset, enforce_file_format=True, **WRITTEN[syntax])
    other = Volume.load(tmp_path / "other.dcm")
    assert np.array_equal(plain.array, other.array)
    assert np.array_equal(plain.affine, other.affine)


def test_old_files_without_preamble_are_read(tmp_path: Path) -> None:
    file = save(image(ramp()[0]), tmp_path / "a.dcm")
    file.write_bytes(file.read_bytes()[132:])
    assert np.array_equal(values(Volume.load(file))[0], ramp()[0])
    file.rename(tmp_path / "IM1")
    assert Volume.load(tmp_path / "IM1").shape == (5, 4, 1)
    assert Volume.load(tmp_path).shape == (5, 4, 1)


# ---------------------------------------------------------------- where slices lie


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.3, -0.2, 0.5), (1.5, 0, 0.1), (0, 1.5, 0)])
@pytest.mark.parametrize("multi_frame", [False, True])
def test_voxels_and_affine_are_those_of_dcm2niix(tmp_path: Path, turn: tuple[float, ...], multi_frame: bool) -> None:
    rotation = nib.eulerangles.euler2mat(*turn)
    pixels = np.random.default_rng(1).integers(0, 900, (5, 6, 7)).astype(np.int16)
    order = range(5) if multi_frame else [3, 0, 4, 1, 2]  # dcm2niix does not sort the frames of unknown makers
    positions = [(np.array([-40.0, 25, 7]) + 2.5 * k * rotation[:, 2]).round(6).tolist() for k in range(5)]
    orientation = rotation[:, :2].T.ravel().round(8).tolist()
    scan = tmp_path / "scan"
    if multi_frame:
        save(enhanced(pixels.astype(np.uint16), positions, orientations=[orientation] * 5), scan / "a.dcm")
    else:
        for number, k in enumerate(order):
            common = {"ImageOrientationPatient": orientation, "PixelSpacing": [0.5, 0.75], "number": number + 1}
            save(image(pixels[k], position=positions[k], **common), scan / f"{number}.dcm")
    ours = Volume.load(scan)
    assert np.array_equal(values(ours), pixels)
    theirs = dcm2niix(scan, tmp_path / "out")
    canonical = nib.as_closest_canonical(nib.Nifti1Image(ours.array, ours.affine))
    assert np.array_equal(np.asarray(canonical.dataobj), np.asarray(theirs.dataobj))
    assert np.allclose(canonical.affine, theirs.affine, atol=2e-3)


def test_monochrome1_keeps_its_values_as_dcm2niix_does(tmp_path: Path) -> None:
    """It says how to show an image, not what its numbers mean."""
    pixels = np.random.default_rng(1).integers(0, 900, (3, 6, 7)).astype(np.int16)
    for k, plane in enumerate(pixels):
        meaning = {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": 1, "RescaleIntercept": -100}
        save(image(plane, position=(0, 0, 2 * k), number=k + 1, **meaning), tmp_path / "scan" / f"{k}.dcm")
    ours = Volume.load(tmp_path / "scan")
    assert np.array_equal(values(ours), pixels - 100)
    theirs = dcm2niix(tmp_path / "scan", tmp_path / "out")
    canonical = nib.as_closest_canonical(nib.Nifti1Image(ours.array, ours.affine))
    assert np.array_equal(np.asarray(canonical.dataobj), np.asarray(theirs.dataobj))


def test_frames_are_sorted_by_position(tmp_path: Path) -> None:
    frames = np.arange(6, dtype=np.uint16)[:, None, None] * np.ones((1, 4, 5), np.uint16)
    order = [0, 2, 4, 1, 3, 5]
    volume = Volume.load(save(enhanced(frames[order], [(0, 0, 3 * k) for k in order]), tmp_path / "a.dcm"))
    assert volume.array[0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert volume.spacing_mm == pytest.approx((1.5, 1.5, 3))
    assert volume.affine[:3, 3].tolist() == [0, 0, 0]


def test_frames_have_slopes_of_their_own(tmp_path: Path) -> None:
    slopes = [1, 0.5, 0.25, 2]
    file = save(enhanced(ramp(), [(0, 0, -k) for k in range(4)], slopes=slopes), tmp_path / "a.dcm")
    wanted = (ramp() * np.array(slopes)[:, None, None])[::-1]
    assert np.array_equal(values(Volume.load(file)), wanted.astype(np.float32))


def test_a_series_of_multi_frame_files_is_one_volume(tmp_path: Path) -> None:
    for part in range(2):
        places = [(0, 0, 2 * k) for k in (2 * part, 2 * part + 1)]
        save(enhanced(ramp()[2 * part : 2 * part + 2], places, number=part), tmp_path / f"{part}.dcm")
    assert np.array_equal(values(Volume.load(tmp_path)), ramp())


@pytest.mark.parametrize(
    ("heights", "orientations", "words"),
    [
        ((0, 3, 6, 15), None, r"unevenly spaced.*9 mm between frame 3 of a\.dcm and frame 4 of a\.dcm"),
        ((0, 3, 0, 3), None, r"two slices at one position.*frame 1 of a\.dcm and frame 3 of a\.dcm"),
        ((0, 3, 6, 9), [(1, 0, 0, 0, 1, 0)] * 3 + [(0, 1, 0, 0, 0, 1)], "differ in size, pixel spacing or orientation"),
    ],
)
def test_several_volumes_in_one_file_are_refused(
    tmp_path: Path, heights: tuple[int, ...], orientations: list[tuple[int, ...]] | None, words: str
) -> None:
    places = [(0, 0, height) for height in heights]
    save(enhanced(ramp(), places, orientations=orientations), tmp_path / "a.dcm")
    with pytest.raises(VolumeError, match=words):
        Volume.load(tmp_path / "a.dcm")


def test_frames_without_positions_are_refused(tmp_path: Path) -> None:
    dataset = enhanced(ramp(), [(0, 0, k) for k in range(4)])
    del dataset.PerFrameFunctionalGroupsSequence[3]
    with pytest.raises(VolumeError, match=r"a\.dcm: PerFrameFunctionalGroupsSequence \(5200,9230\).*3 items for 4"):
        Volume.load(save(dataset, tmp_path / "a.dcm"))
    save(image(ramp(), NumberOfFrames=4), tmp_path / "b.dcm")
    words = r"b\.dcm: the frames have no positions, so they do not form .*no PerFrameFunctionalGroupsSequence \(5200"
    with pytest.raises(VolumeError, match=words):
        Volume.load(tmp_path / "b.dcm")


def test_positions_that_are_rounded_to_tenths_are_evenly_spaced(tmp_path: Path) -> None:
    for k in range(9):
        save(image(ramp()[0], position=(0, 0, round(0.625 * k, 1)), number=k), tmp_path / f"{k}.dcm")
    assert Volume.load(tmp_path).spacing_mm == pytest.approx((1.5, 1.5, 0.625))
    (tmp_path / "4.dcm").unlink()
    with pytest.raises(VolumeError, match=r"missing or unevenly spaced \(found 1\.2 mm between 3\.dcm and 5\.dcm"):
        Volume.load(tmp_path)


def test_small_differences_in_spacing_that_add_up_are_refused(tmp_path: Path) -> None:
    heights = [2.5 * k if k < 20 else 50 + 2.54 * (k - 20) for k in range(40)]
    save(enhanced(ramp(40), [(0, 0, height) for height in heights]), tmp_path / "a.dcm")
    with pytest.raises(VolumeError, match="unevenly spaced"):
        Volume.load(tmp_path / "a.dcm")


def test_slices_of_one_place_are_found_across_the_plane(tmp_path: Path) -> None:
    """Slices that are only shifted within their plane are no volume."""
    for k in range(3):
        save(image(np.zeros((4, 5), np.int16), position=(10 * k, 0, 0), number=k), tmp_path / f"{k}.dcm")
    with pytest.raises(VolumeError, match="two slices at one position"):
        Volume.load(tmp_path)


def test_values_by_a_table_are_refused(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
    with pytest.raises(VolumeError, match=r"by a table, ModalityLUTSequence \(0028,3000\)"):
        Volume.load(save(image(ramp()[0], ModalityLUTSequence=[table]), tmp_path / "a.dcm"))


def test_native_slices_are_read_without_simpleitk(tmp_path: Path) -> None:
    save(image(ramp()[0]), tmp_path / "a.dcm")
    code = (
        f"import sys, segcct.images.volume as v; v.Volume.load({str(tmp_path)!r}); sys.exit('SimpleITK' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_mosaic_is_refused(tmp_path: Path) -> None:
    file = save(image(ramp()[0], ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), tmp_path / "a.dcm")
    with pytest.raises(VolumeError, match="a mosaic of slices"):
        Volume.load(file)


# ---------------------------------------------------------------- sizes that are not given


def test_an_unknown_pixel_size_stays_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, spacing in (("absent", None), ("empty", "")):
        series(tmp_path / name, PixelSpacing=spacing, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
        for k, file in enumerate(sorted((tmp_path / name).iterdir())):
            dataset = pydicom.dcmread(file)
            dataset.ImagePositionPatient = [2 * k, 0, 0]
            save(dataset, file)
        volume = Volume.load(tmp_path / name)
        assert volume.spacing_mm is None
        assert nib.aff2axcodes(volume.affine) == ("P", "I", "R")  # directions are known all the same
        assert "do not give the voxel size" in capsys.readouterr().err
        mask = volume.with_array(np.zeros(volume.shape, np.uint8))
        mask.save(tmp_path / "mask.nii.gz")
        again = Volume.load(tmp_path / "mask.nii.gz")
        assert again.spacing_mm is None
        assert np.allclose(again.affine, volume.affine)


def test_the_spacing_at_the_detector_is_used_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series(tmp_path, PixelSpacing=None, ImagerPixelSpacing=[0.5, 0.25])
    assert Volume.load(tmp_path).spacing_mm == pytest.approx((0.25, 0.5, 3))
    assert "ImagerPixelSpacing" in capsys.readouterr().err
    Volume.load(tmp_path)
    assert capsys.readouterr().err == ""  # once per command
    other = tmp_path / "both"
    series(other, ImagerPixelSpacing=[0.5, 0.25])
    assert Volume.load(other).spacing_mm == pytest.approx((1.5, 1.5, 3))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("elements", [{"PixelSpacing": ["1e-12", "1e-12"]}, {"SliceThickness": "1e-15"}])
def test_a_voxel_too_small_to_be_one_is_refused(tmp_path: Path, elements: dict[str, object]) -> None:
    file = save(image(ramp()[0], **elements), tmp_path / "a.dcm")
    for read in (Volume.load, read_header):
        with pytest.raises(VolumeError, match=r"a\.dcm: the affine cannot be inverted"):
            read(file)


@pytest.mark.parametrize(
    ("elements", "step"),
    [
        ({"SliceThickness": "2.5"}, 2.5),
        ({"SliceThickness": None, "SpacingBetweenSlices": "4"}, 4),
        ({"SliceThickness": ""}, None),
        ({"SliceThickness": "0"}, None),
        ({"SliceThickness": None}, None),
    ],
)
def test_one_slice_is_as_thick_as_it_says(tmp_path: Path, elements: dict[str, object], step: float | None) -> None:
    volume = Volume.load(save(image(ramp()[0], **elements), tmp_path / "a.dcm"))
    assert volume.spacing_mm == (None if step is None else pytest.approx((1.5, 1.5, step)))


# ---------------------------------------------------------------- what is malformed is named

BAD = [
    ("ImagePositionPatient", "", "missing or empty"),
    ("ImagePositionPatient", None, "missing or empty"),
    ("ImagePositionPatient", b"1\\2", "malformed"),
    ("ImagePositionPatient", b"1\\2\\x", "malformed"),
    ("ImagePositionPatient", b"1\\2\\nan", "malformed"),
    ("ImagePositionPatient", b"1\\2\\1e300", "malformed"),
    ("ImagePositionPatient", b"1\\2\\1_0", "malformed"),
    ("ImageOrientationPatient", "", "missing or empty"),
    ("ImageOrientationPatient", None, "missing or empty"),
    ("ImageOrientationPatient", b"1\\0\\0", "malformed"),
    ("ImageOrientationPatient", b"0\\0\\0\\0\\0\\0", "malformed"),
    ("ImageOrientationPatient", b"1\\0\\0\\1\\0\\0", "malformed"),
    ("PixelSpacing", b"1.5", "malformed"),
    ("PixelSpacing", b"1,5\\1,5", "malformed"),
    ("PixelSpacing", b"0\\1.5", "malformed"),
    ("PixelSpacing", b"-1.5\\1.5", "malformed"),
    ("SliceThickness", b"thin", "malformed"),
    ("SliceThickness", b"-3", "malformed"),
    ("RescaleSlope", b"0", "malformed"),
    ("RescaleSlope", b"one", "malformed"),
    ("RescaleIntercept", b"1\\2", "malformed"),
    ("NumberOfFrames", b"0", "malformed"),
    ("NumberOfFrames", b"-1", "malformed"),
    ("NumberOfFrames", b"1A", "malformed"),
    ("BitsAllocated", 12, "malformed"),
    ("BitsStored", 17, "malformed"),
    ("HighBit", 3, "malformed"),
    ("Rows", None, "missing or empty"),
    ("Columns", 0, "malformed"),
]


@pytest.mark.parametrize(("keyword", "value", "words"), BAD)
def test_a_bad_element_is_named_with_its_file(tmp_path: Path, keyword: str, value: object, words: str) -> None:
    dataset = image(ramp()[0])
    tag = pydicom.datadict.tag_for_keyword(keyword)
    if isinstance(value, bytes):
        raw = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(tag), pydicom.datadict.dictionary_VR(tag), len(value), value, 0, False, True
        )
        dataset._dict[pydicom.tag.Tag(tag)] = raw
    elif value is None:
        del dataset[tag]
    else:
        setattr(dataset, keyword, value)
    file = save(dataset, tmp_path / "a.dcm")
    shown = "BitsAllocated" if keyword in ("BitsStored", "HighBit") else keyword
    with pytest.raises(VolumeError, match=rf"{shown} \([0-9A-F]{{4}},[0-9A-F]{{4}}\) is {words}") as caught:
        Volume.load(file)
    assert caught.value.file == str(file)


def test_colors_are_refused(tmp_path: Path) -> None:
    dataset = image(np.zeros((4, 15), np.uint8), Columns=5, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    with pytest.raises(VolumeError, match=r"voxels are colors.*3 samples per pixel, RGB"):
        Volume.load(save(dataset, tmp_path / "a.dcm"))
    palette = image(np.zeros((4, 5), np.uint8), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(VolumeError, match="PALETTE COLOR"):
        Volume.load(save(palette, tmp_path / "b.dcm"))


def test_secondary_captures_at_a_place_are_images(tmp_path: Path) -> None:
    assert Volume.load(save(image(ramp()[0], sop_class=SecondaryCaptureImageStorage), tmp_path / "a.dcm")).shape
