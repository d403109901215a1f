"""DICOM images that have no position by their nature: X-rays, ultrasound, captures. They are 2-D images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.layouts import images_2d as pictures
from segcct.errors import VolumeError
from segcct.images.affines import IMAGE_AFFINE
from segcct.images.dicom import remarks
from segcct.images.volume import Volume, check_same_grid
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from segcct.progress import without_names
from tests.support.dicom_files import enhanced, image, save, values
from tests.support.toy_pair import CLASSES, predictor

PIXELS = np.arange(20, dtype=np.uint16).reshape(4, 5)
FLAT = {
    "CR": "ComputedRadiographyImageStorage",
    "DX": "DigitalXRayImageStorageForPresentation",
    "MG": "DigitalMammographyXRayImageStorageForProcessing",
    "US": "UltrasoundImageStorage",
    "OT": "SecondaryCaptureImageStorage",
    "XA": "XRayAngiographicImageStorage",
    "RF": "XRayRadiofluoroscopicImageStorage",
    "NM": "NuclearMedicineImageStorage",
    "RTIMAGE": "RTImageStorage",
}
DEEP = [
    *("CTImageStorage", "EnhancedCTImageStorage", "LegacyConvertedEnhancedCTImageStorage"),
    *("MRImageStorage", "EnhancedMRImageStorage", "EnhancedMRColorImageStorage"),
    *("LegacyConvertedEnhancedMRImageStorage", "PositronEmissionTomographyImageStorage", "EnhancedPETImageStorage"),
    *("LegacyConvertedEnhancedPETImageStorage", "BreastTomosynthesisImageStorage", "XRay3DAngiographicImageStorage"),
]
PRIVATE = "1.3.46.670589.11.0.0.12.1"


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remarks, "_said", type(remarks._said)(set))


def flat(pixels: np.ndarray = PIXELS, modality: str = "CR", **elements: object) -> pydicom.FileDataset:
    """A projection as scanners write it: nothing of a place, and no thickness."""
    uid = getattr(pydicom.uid, FLAT[modality])
    usual = {"ImageOrientationPatient": None, "SliceThickness": None, "Modality": modality, "sop_class": uid}
    return image(pixels, **({"position": None} | usual | elements))


@pytest.mark.parametrize("modality", FLAT)
@pytest.mark.parametrize("empty", [False, True])
def test_a_projection_is_a_2d_image(
    tmp_path: Path, modality: str, empty: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"ImageOrientationPatient": "", "ImagePositionPatient": ""} if empty else {}
    volume = Volume.load(save(flat(modality=modality, PixelSpacing=[0.2, 0.1], **places), tmp_path / "a.dcm"))
    assert np.array_equal(values(volume)[0], PIXELS)
    assert volume.spacing_mm is None
    assert np.array_equal(volume.affine, IMAGE_AFFINE @ np.diag([0.1, 0.2, 1, 1]))
    said = "a 2-D image without a position in the patient, so distances and volumes in mm stay empty"
    assert capsys.readouterr().err == f"{tmp_path / 'a.dcm'}: {said}\n"


@pytest.mark.parametrize("elements", [{"PixelSpacing": [0.2, 0.1]}, {"PixelSpacing": None}])
def test_its_mask_comes_back_on_the_same_grid(tmp_path: Path, elements: dict[str, object]) -> None:
    volume = Volume.load(save(flat(**elements), tmp_path / "a.dcm"))
    mask = volume.with_array((volume.array > 7).astype(np.uint8))
    mask.save(tmp_path / "mask.nii.gz")
    again = Volume.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(again.array, mask.array)
    assert again.spacing_mm is None
    assert np.allclose(again.affine, volume.affine, rtol=0, atol=1e-7)
    check_same_grid(volume, again)


@pytest.mark.parametrize(
    ("elements", "pixel_mm", "detector"),
    [
        ({"PixelSpacing": None}, (1, 1), False),
        ({"PixelSpacing": ""}, (1, 1), False),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.1]}, (0.1, 0.2), True),
        ({"PixelSpacing": [0.4, 0.3], "ImagerPixelSpacing": [0.2, 0.1]}, (0.3, 0.4), False),
        ({"PixelSpacing": [0.4, 0.3], "SliceThickness": 5}, (0.3, 0.4), False),  # of no meaning without a place
    ],
)
def test_the_pixel_size_is_kept(
    tmp_path: Path,
    elements: dict[str, object],
    pixel_mm: tuple[float, float],
    detector: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    volume = Volume.load(save(flat(**elements), tmp_path / "a.dcm"))
    assert np.array_equal(volume.affine, IMAGE_AFFINE @ np.diag([*pixel_mm, 1, 1]))
    assert not np.signbit(volume.affine[volume.affine == 0]).any()
    assert volume.spacing_mm is None
    assert ("ImagerPixelSpacing" in capsys.readouterr().err) == detector


def test_a_model_sees_an_x_ray_as_it_sees_its_png(tmp_path: Path) -> None:
    pixels = PIXELS.astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    data = DataSection(layout="pictures", root=tmp_path, channels={"gray": "*.png"}, scheme="binary", label=None)
    image_, grid = pictures.read_image(Case("a", "a", {"gray": (tmp_path / "a.png",)}), data)
    volume = Volume.load(save(flat(pixels, PixelSpacing=None), tmp_path / "a.dcm"))
    assert np.array_equal(volume.array, image_[0])
    assert np.array_equal(volume.affine, grid.affine)
    assert volume.spacing_mm == grid.spacing_mm


def test_an_x_ray_is_segmented(tmp_path: Path) -> None:
    """A model of pictures is given a DICOM file; the mask lies on its grid."""
    file = save(flat(np.full((32, 40), 90, np.uint16), PixelSpacing=[0.2, 0.1]), tmp_path / "chest.dcm")
    model = predictor(layout="pictures", channels={"gray": "images/*.png"}, label="masks/*.png")
    request = resolve(model.card, file)
    (mask,) = predict_folder(model, request, tmp_path / "masks").masks
    assert mask.name == "chest.nii.gz"
    written = Volume.load(mask)
    assert (written.array == CLASSES["high"]).all()
    assert np.allclose(written.affine, Volume.load(file).affine)
    check_same_grid(Volume.load(file), written)


def test_one_projection_in_a_folder_is_read(tmp_path: Path) -> None:
    save(flat(), tmp_path / "a.dcm")
    save(image(PIXELS, sop_class=pydicom.uid.GrayscaleSoftcopyPresentationStateStorage), tmp_path / "view.dcm")
    assert np.array_equal(values(Volume.load(tmp_path))[0], PIXELS)


# ---------------------------------------------------------------- what is no 2-D image


@pytest.mark.parametrize("keyword", DEEP)
@pytest.mark.parametrize("value", [None, ""])
def test_cross_sections_without_a_place_are_refused(tmp_path: Path, keyword: str, value: str | None) -> None:
    uid = getattr(pydicom.uid, keyword)
    dataset = flat(sop_class=uid, ImagePositionPatient=value, ImageOrientationPatient=value)
    with pytest.raises(VolumeError, match=r"a\.dcm: ImagePositionPatient \(0020,0032\) is missing or empty"):
        Volume.load(save(dataset, tmp_path / "a.dcm"))


def test_an_unknown_class_is_judged_by_its_modality(tmp_path: Path) -> None:
    for modality in ("CT", "MR", "PT"):
        with pytest.raises(VolumeError, match="ImagePositionPatient"):
            Volume.load(save(flat(sop_class=PRIVATE, Modality=modality), tmp_path / "a.dcm"))
    assert Volume.load(save(flat(sop_class=PRIVATE, Modality="DX"), tmp_path / "b.dcm")).shape == (5, 4, 1)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"ImagePositionPatient": [0, 0, 0]}, "ImageOrientationPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "ImagePositionPatient"),
    ],
)
def test_half_a_place_is_refused(tmp_path: Path, given: dict[str, object], missing: str) -> None:
    with pytest.raises(VolumeError, match=rf"{missing} \([0-9,]+\) is missing or empty"):
        Volume.load(save(flat(**given), tmp_path / "a.dcm"))


SENTENCE = "the frames have no positions, so they do not form a volume"


@pytest.mark.parametrize("modality", ["US", "XA", "NM"])
def test_films_are_no_volumes(tmp_path: Path, modality: str) -> None:
    file = save(flat(np.stack([PIXELS] * 3), modality=modality, NumberOfFrames=3), tmp_path / "a.dcm")
    with pytest.raises(VolumeError, match=rf"a\.dcm: {SENTENCE} .*for 3 frames"):
        Volume.load(file)
    single = save(flat(modality=modality, NumberOfFrames=1), tmp_path / "b.dcm")
    assert Volume.load(single).shape == (5, 4, 1)


def test_an_enhanced_film_is_no_volume(tmp_path: Path) -> None:
    dataset = enhanced(np.stack([PIXELS] * 3), [(0, 0, k) for k in range(3)], Modality="XA")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedXAImageStorage
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
        group.FrameContentSequence = [Dataset()]
    with pytest.raises(VolumeError, match=rf"{SENTENCE} .*for 3 of 3, as frame 1 of a\.dcm"):
        Volume.load(save(dataset, tmp_path / "a.dcm"))


def test_several_projections_are_no_volume(tmp_path: Path) -> None:
    for number in range(2):
        save(flat(number=number), tmp_path / f"{number}.dcm")
    with pytest.raises(VolumeError, match=rf"{SENTENCE} .*for 2 of 2, as 0\.dcm.*Give one image at a time"):
        Volume.load(tmp_path)


def test_x_rays_of_several_series_are_given_one_by_one(tmp_path: Path) -> None:
    for number in range(2):
        save(flat(series=f"1.2.{number}"), tmp_path / f"{number}.dcm")
    with pytest.raises(VolumeError, match=r"holds 2 DICOM series \(found 1 file from 0\.dcm.*Give one file at a time"):
        Volume.load(tmp_path)


def test_a_capture_among_slices_is_named(tmp_path: Path) -> None:
    for number in range(2):
        save(image(PIXELS, position=(0, 0, number), number=number), tmp_path / f"{number}.dcm")
    save(flat(modality="OT", number=2), tmp_path / "capture.dcm")
    with pytest.raises(VolumeError, match=rf"{SENTENCE} .*for 1 of 3, as capture\.dcm"):
        Volume.load(tmp_path)


@pytest.mark.parametrize(("meaning", "said"), [("MONOCHROME1", True), ("MONOCHROME2", False)])
def test_low_values_that_are_bright_are_remarked_upon(
    tmp_path: Path, meaning: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = Volume.load(save(flat(PhotometricInterpretation=meaning), tmp_path / "a.dcm"))
    assert np.array_equal(values(volume)[0], PIXELS)
    assert ("a.dcm: low values are bright (MONOCHROME1)" in capsys.readouterr().err) == said


def test_a_remark_on_scans_that_are_anonymized_names_none(capsys: pytest.CaptureFixture[str]) -> None:
    with without_names():
        for name in ("JohnDoe", "JaneRoe"):
            remarks.remark(Path(name), "left out because they are not images", [f"{name}.dcm"])
    assert capsys.readouterr().err == "a scan: left out because they are not images\n"


def test_a_cohort_is_not_remarked_upon_file_by_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        file = save(flat(number=number), tmp_path / f"{number}.dcm")
        Volume.load(file)
        Volume.load(file)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[3].startswith(f"{tmp_path / '3.dcm'} and maybe others: a 2-D image")
