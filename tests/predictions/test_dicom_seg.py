"""Masks as DICOM-SEG: every pixel where its voxel is, whatever the order and tilt of the slices, by other readers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from segcct.datasets.class_codes import code_of
from segcct.datasets.label_schemes import SCHEMES, custom_scheme, get_scheme
from segcct.errors import EvaluationError, LabelError, PackageError, RunError, VolumeError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.images.volume import Volume
from segcct.predictions.dicom_segmentation import _series_number, check_images, write_segmentation
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_files import load_mask
from segcct.predictions.mask_folder import Predictions
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import resolve
from segcct.report.segmentation_page import write_report
from tests.support.dicom_files import enhanced, image, save
from tests.support.toy_pair import predictor

pytest.importorskip("highdicom")
from tests.support.dicom_labels import Points, by_coordinates, in_order

pytestmark = pytest.mark.slow
UIDS = {"FrameOfReferenceUID": "1.2.3.9", "PatientName": "Öz^Ärzte", "SpecificCharacterSet": "ISO_IR 100"}
OBLIQUE = (0.8, 0.6, 0, -0.36, 0.48, 0.8)
TILTED = (1, 0, 0, 0, 0.9659258, -0.2588190)
"""Of a gantry tilted by 15 degrees, whose table moves along z."""


def drawn(depth: int = 6) -> np.ndarray:
    """(depth, rows, columns) without any symmetry: low in the first slices, high in a corner of the last but one."""
    pixels = np.full((depth, 20, 24), 10, np.int16)
    pixels[:3, 3:9, 5:20] = 50
    pixels[depth - 2, 12:15, 2:4] = 90
    pixels[2, 3, 5] = 90
    return pixels


def slices(folder: Path, turn: tuple[float, ...], step: np.ndarray, *, order: int = 1) -> Path:
    """A series whose file names and instance numbers run along (1) or against (-1) the positions."""
    pixels = drawn()
    for k, plane in enumerate(pixels):
        number = k + 1 if order == 1 else len(pixels) - k
        elements = {"ImageOrientationPatient": list(turn), "PixelSpacing": [1.25, 0.75], **UIDS}
        dataset = image(plane, position=np.array([-31.5, 12.25, 7.0]) + k * step, number=number, **elements)
        save(dataset, folder / f"{number:02}.dcm")
    return folder


def along(turn: tuple[float, ...], mm: float) -> np.ndarray:
    return mm * np.cross(turn[:3], turn[3:])


def frames(folder: Path) -> Path:
    """One multi-frame file, its frames in no order."""
    where = np.array([3, 0, 5, 1, 4, 2])
    dataset = enhanced(drawn()[where], [(1.0, 2.0, 3.0 * k) for k in where], **UIDS)
    save(dataset, folder / "a.dcm")
    return folder


SERIES: dict[str, Callable[[Path], Path]] = {
    "axial": lambda folder: slices(folder, (1, 0, 0, 0, 1, 0), np.array([0, 0, 3.0])),
    "reversed": lambda folder: slices(folder, (1, 0, 0, 0, 1, 0), np.array([0, 0, 3.0]), order=-1),
    "feet first": lambda folder: slices(folder, (-1, 0, 0, 0, 1, 0), np.array([0, 0, -2.0])),
    "coronal": lambda folder: slices(folder, (1, 0, 0, 0, 0, -1), np.array([0, 4.0, 0])),
    "sagittal": lambda folder: slices(folder, (0, 1, 0, 0, 0, -1), np.array([-4.0, 0, 0])),
    "oblique": lambda folder: slices(folder, OBLIQUE, along(OBLIQUE, 2.5), order=-1),
    "tilted gantry": lambda folder: slices(folder, TILTED, np.array([0, 0, 3.0])),
    "multi-frame": frames,
}


def predict(scan: Path, output: Path, mask_format: str) -> Predictions:
    model = predictor(channels={"ct": "*.dcm"})
    return predict_folder(model, resolve(model.card, scan), output, MaskOptions(mask_format=mask_format))


def by_nibabel(file: Path) -> Points:
    mask = nib.load(file)
    values = np.asarray(mask.dataobj)
    found = {}
    for name, value in (("low", 3), ("high", 7)):
        points = nib.affines.apply_affine(mask.affine, np.argwhere(values == value)) * [-1, -1, 1]
        found[name] = in_order(points)
    return found


def assert_same_places(one: Points, other: Points) -> None:
    for name in ("low", "high"):
        assert len(one[name]) == len(other[name]) > 0
        assert np.allclose(one[name], other[name], atol=1e-3)


@pytest.mark.parametrize(("images", "expected"), [(7, 701), (None, 1), (0, 1), (-3, 1), (30_000_000, 1)])
def test_the_series_number_is_one_that_dicom_can_hold(images: int | None, expected: int) -> None:
    assert _series_number({"SeriesNumber": images}) == expected


@pytest.mark.parametrize("kind", SERIES)
def test_every_pixel_lies_where_its_voxel_does(tmp_path: Path, kind: str) -> None:
    scan = SERIES[kind](tmp_path / "scan")
    (volume,) = predict(scan, tmp_path / "nifti", "nifti").masks
    (file,) = predict(scan, tmp_path / "seg", "dicom-seg").masks
    assert file.name == "scan.dcm"
    sources = {each.SOPInstanceUID: each for each in map(pydicom.dcmread, scan.iterdir())}
    read = by_coordinates(file, sources if kind != "multi-frame" else None)
    assert_same_places(read, by_nibabel(volume))
    assert sum(len(points) for points in read.values()) == int((drawn() > 10).sum())
    again = load_mask(file)
    assert np.array_equal(again.array, Volume.load(volume).array)
    assert np.array_equal(again.affine, Volume.load(scan).affine)


def test_the_real_series_comes_back_by_coordinates(tmp_path: Path, shared_data: Path) -> None:
    scan = tmp_path / "scan"
    scan.mkdir()
    for file in (shared_data / "ct_dicom").glob("*.dcm"):
        shutil.copy(file, scan)
    (volume,) = predict(scan, tmp_path / "nifti", "nifti").masks
    (mask,) = predict(scan, tmp_path / "seg", "dicom-seg").masks
    sources = {each.SOPInstanceUID: each for each in map(pydicom.dcmread, scan.iterdir())}
    assert_same_places(by_coordinates(mask, sources), by_nibabel(volume))
    assert np.array_equal(load_mask(mask).array, Volume.load(volume).array)


@pytest.mark.parametrize("kind", ["feet first", "oblique", "multi-frame"])
def test_dcmqi_reads_the_same_voxels(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("dcmqi")
    scan = SERIES[kind](tmp_path / "scan")
    (volume,) = predict(scan, tmp_path / "nifti", "nifti").masks
    (mask,) = predict(scan, tmp_path / "seg", "dicom-seg").masks
    (output := tmp_path / "dcmqi").mkdir()
    program = [sys.executable, "-c", "import dcmqi; dcmqi.segimage2itkimage()"]
    arguments = ["--inputDICOM", mask, "--outputDirectory", output, "-t", "nii"]
    subprocess.run([*program, *arguments], check=True, capture_output=True)
    read = {}
    for number, name in ((1, "low"), (2, "high")):
        segment = nib.load(output / f"{number}.nii.gz")
        places = np.argwhere(np.asarray(segment.dataobj))
        read[name] = in_order(nib.affines.apply_affine(segment.affine, places) * [-1, -1, 1])
    assert_same_places(read, by_nibabel(volume))


def test_it_says_whose_it_is_and_what_it_refers_to(tmp_path: Path) -> None:
    scan = SERIES["axial"](tmp_path / "scan")
    (file,) = predict(scan, tmp_path / "seg", "dicom-seg").masks
    dataset, first = pydicom.dcmread(file), pydicom.dcmread(scan / "01.dcm")
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == first[keyword].value
    assert str(dataset.PatientName) == "Öz^Ärzte"
    assert dataset.SeriesInstanceUID != first.SeriesInstanceUID
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert len(series.ReferencedInstanceSequence) == 6
    kinds = [each.SegmentedPropertyTypeCodeSequence[0] for each in dataset.SegmentSequence]
    assert [(each.CodeValue, each.CodingSchemeDesignator) for each in kinds] == [
        ("low", "99SEGCCT"),
        ("high", "99SEGCCT"),
    ]


def test_organs_are_coded_with_their_side(tmp_path: Path) -> None:
    scan = Volume.load(SERIES["axial"](tmp_path / "scan"))
    mask = np.zeros(scan.shape, np.uint8)
    mask[4:9, 3:8, 1:3] = 3
    write_segmentation(scan.with_array(mask), tmp_path / "a.dcm", get_scheme("synapse"))
    segment = pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence[2]
    (kind,) = segment.SegmentedPropertyTypeCodeSequence
    (side,) = kind.SegmentedPropertyTypeModifierCodeSequence
    assert (segment.SegmentLabel, kind.CodeValue, side.CodeMeaning) == ("left kidney", "64033007", "Left")


def test_every_code_is_that_of_the_standard() -> None:
    concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts["SCT"]
    meanings = {value: {name.lower() for name, _ in each.values()} for each in concepts.values() for value in each}
    for scheme in SCHEMES.values():
        for name in scheme.classes:
            if code := code_of(scheme, name):
                assert code.value in meanings
    assert code_of(get_scheme("acdc"), "RV")
    assert code_of(get_scheme("btcv"), "portal and splenic veins") is None
    assert code_of(custom_scheme({"Left_Kidney": 1}), "Left_Kidney").side == "left"
    assert code_of(custom_scheme({"ED": 1}), "ED") is None  # edema in BraTS, end diastole elsewhere


def test_a_mask_without_foreground_is_written(tmp_path: Path) -> None:
    scan = Volume.load(SERIES["axial"](tmp_path / "scan"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_segmentation(scan.with_array(np.zeros(scan.shape, np.uint8)), tmp_path / "a.dcm", get_scheme("acdc"))
    assert not pydicom.dcmread(tmp_path / "a.dcm").pixel_array.any()


def test_names_that_dicom_cannot_hold_are_shortened(tmp_path: Path) -> None:
    scan = Volume.load(SERIES["axial"](tmp_path / "scan"))
    mask = np.ones(scan.shape, np.uint8)
    name = "κύστη\\" + "x" * 90
    write_segmentation(scan.with_array(mask), tmp_path / "a.dcm", custom_scheme({name: 1}))
    (segment,) = pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence
    assert segment.SegmentLabel == "κύστη/" + "x" * 53


def test_classes_whose_names_would_become_one_are_refused_before_they_are_predicted(tmp_path: Path) -> None:
    scheme = custom_scheme({"x" * 64 + "left": 1, "x" * 64 + "right": 2})
    scan = Volume.load(SERIES["axial"](tmp_path / "scan"))
    with pytest.raises(LabelError, match=r"two classes have the same name .*xleft, x+right"):
        check_images(scan, scheme)
    with pytest.raises(LabelError, match="two classes have the same name"):
        write_segmentation(scan.with_array(np.ones(scan.shape, np.uint8)), tmp_path / "a.dcm", scheme)
    assert not (tmp_path / "a.dcm").exists()


def test_no_mask_in_another_format_stays_unlisted(tmp_path: Path) -> None:
    scan, model = SERIES["axial"](tmp_path / "scan"), predictor(channels={"ct": "*.dcm"})
    request, output = resolve(model.card, scan), tmp_path / "p"
    (nifti,) = predict_folder(model, request, output).masks
    (output / "other.nii.gz").write_bytes(b"of another case")
    as_dicom = MaskOptions(mask_format="dicom-seg")
    with pytest.raises(RunError, match=r"exist already \(found scan\.nii\.gz\)"):
        predict_folder(model, request, output, as_dicom)
    (segmentation,) = predict_folder(model, request, output, as_dicom, existing="continue").masks
    assert segmentation.exists()
    assert not nifti.exists()
    (again,) = predict_folder(model, request, output, existing="replace").masks
    assert again.exists()
    assert not segmentation.exists()
    assert (output / "other.nii.gz").exists()


def test_from_prediction_to_report(tmp_path: Path) -> None:
    root = tmp_path / "data"
    slices(root / "a", (1, 0, 0, 0, 1, 0), np.array([0, 0, 3.0]), order=-1)
    predict(root / "a", tmp_path / "p", "dicom-seg")
    (tmp_path / "reference").mkdir()
    predict(root / "a", tmp_path / "nifti", "nifti").masks[0].rename(tmp_path / "reference" / "a.nii.gz")
    summary = evaluate(tmp_path / "p", tmp_path / "reference", output=tmp_path / "e")
    assert summary["overall"]["dice"]["mean"] == 1.0
    assert summary["overall"]["hd95_mm"]["mean"] == 0.0
    assert "data:image/webp" in write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    (tmp_path / "p" / "predictions.json").unlink()
    with pytest.raises(VolumeError, match=r"a\.dcm: it is not known which images"):
        load_mask(tmp_path / "p" / "a.dcm")


def test_anonymized_masks_are_not_written_as_dicom(tmp_path: Path) -> None:
    model = predictor(channels={"ct": "*.dcm"})
    request = resolve(model.card, SERIES["axial"](tmp_path / "scan"))
    with pytest.raises(RunError, match=r"--anonymize does not go with it \(found --format dicom-seg\)"):
        predict_folder(model, request, tmp_path / "p", MaskOptions(mask_format="dicom-seg", anonymize=True))
    assert not (tmp_path / "p").exists()


def test_images_that_cannot_be_referred_to_cost_one_clear_error(tmp_path: Path) -> None:
    scan = SERIES["axial"](tmp_path / "scan")
    dataset = pydicom.dcmread(scan / "03.dcm")
    del dataset.FrameOfReferenceUID
    save(dataset, scan / "03.dcm")
    predictions = predict(scan, tmp_path / "p", "dicom-seg")
    assert "03.dcm: the images lack what a DICOM segmentation refers to them by" in predictions.problem
    assert "found no FrameOfReferenceUID" in predictions.problem
    assert [file.name for file in (tmp_path / "p").iterdir()] == ["predictions.json"]


def test_frames_whose_pixel_size_stands_elsewhere_cost_one_clear_error(tmp_path: Path) -> None:
    (file,) = SERIES["multi-frame"](tmp_path / "scan").iterdir()
    dataset = pydicom.dcmread(file)
    del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    dataset.PixelSpacing = [1.5, 1.5]
    save(dataset, file)
    problem = predict(tmp_path / "scan", tmp_path / "p", "dicom-seg").problem
    assert "a.dcm: the images lack what a DICOM segmentation refers to them by" in problem
    assert "found no PixelMeasuresSequence" in problem


def test_a_nifti_scan_has_no_dicom_segmentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Volume(np.full((20, 24, 3), 50, np.int16), np.eye(4), (1.0, 1.0, 1.0)).save(tmp_path / "a.nii.gz")
    model = predictor()
    monkeypatch.setattr(model, "segment", None)  # found before time is spent on the mask
    request = resolve(model.card, tmp_path / "a.nii.gz")
    problem = predict_folder(model, request, tmp_path / "p", MaskOptions(mask_format="dicom-seg")).problem
    assert "a.nii.gz: a DICOM segmentation refers to DICOM images" in problem
    assert (
        json.loads((tmp_path / "p" / "predictions.json").read_text(encoding="utf-8"))["cases"]["a"]["mask"] == "a.dcm"
    )


@pytest.mark.parametrize("reason", [28, 13])
def test_it_is_written_whole_or_not_at_all(tmp_path: Path, reason: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, file: Path, **_: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(reason, os.strerror(reason))

    scan = Volume.load(SERIES["axial"](tmp_path / "scan"))
    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(OSError, match=os.strerror(reason)):
        write_segmentation(scan.with_array(np.ones(scan.shape, np.uint8)), tmp_path / "p" / "a.dcm", get_scheme("acdc"))
    assert not list((tmp_path / "p").iterdir())


def test_without_highdicom_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(PackageError, match=r"needs the package highdicom.*pip install 'segcct\[dicom\]'"):
        predict(SERIES["axial"](tmp_path / "scan"), tmp_path / "p", "dicom-seg")
    assert not (tmp_path / "p").exists()


def test_a_mask_that_was_cut_short_is_named_by_the_evaluation(tmp_path: Path) -> None:
    scan = SERIES["axial"](tmp_path / "scan")
    predict(scan, tmp_path / "reference", "nifti")
    (file,) = predict(scan, tmp_path / "p", "dicom-seg").masks
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(EvaluationError, match=r"scan\.dcm: cannot be read"):
        evaluate(tmp_path / "p", tmp_path / "reference")
