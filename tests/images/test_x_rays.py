"""Datasets of X-rays: single DICOM images without a position, with masks as pictures or NIfTI."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcct.check.dataset_check import examine_dataset
from segcct.config import DataSection
from segcct.datasets.label_schemes import get_scheme
from segcct.datasets.layouts import find_cases, read_case
from segcct.errors import DataError, GeometryError
from segcct.evaluation.reference_folder import ReferenceCase
from segcct.evaluation.scoring import read_reference
from segcct.images.volume import Volume, check_same_grid
from segcct.init.folder_inspection import inspect_folder
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from tests.images.test_dicom_projections import flat
from tests.support.dicom_files import image, save
from tests.support.toy_pair import predictor

ROWS, COLUMNS = 12, 20


def mask_of(number: int) -> np.ndarray:
    """(rows, columns): a block that lies nowhere near its own mirror image or transpose."""
    mask = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
    mask[1:4, 2 + number : 9 + number] = 1
    return mask


def x_rays(root: Path, *, masks: str = ".png", folders: bool = True, cases: int = 4) -> Path:
    """images/0.dcm and masks/0.png; bright where the mask is. Without folders 0.dcm alone."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        mask = mask_of(number)
        pixels = 300 * mask.astype(np.uint16)
        if not folders:
            save(flat(pixels, "DX", series=f"1.2.{number}"), root / f"{number}.dcm")
            continue
        for folder in ("images", "masks"):
            (root / folder).mkdir(exist_ok=True)
        image = save(flat(pixels, "DX", series=f"1.2.{number}"), root / "images" / f"{number}.dcm")
        target = root / "masks" / f"{number}{masks}"
        if masks == ".png":
            Image.fromarray(mask).save(target)
        else:
            Volume.load(image).with_array(mask.T[..., None]).save(target)
    return root


def paired(root: Path, masks: str = ".png", image: str = ".dcm") -> DataSection:
    return DataSection(
        layout="paired", root=root, channels={"xray": f"images/*{image}"}, label=f"masks/*{masks}", scheme="binary"
    )


@pytest.mark.parametrize("masks", [".png", ".nii.gz"])
def test_a_mask_lies_on_its_x_ray(tmp_path: Path, masks: str) -> None:
    data = paired(x_rays(tmp_path, masks=masks), masks)
    assert [problem for problem in examine_dataset(data, deep=True).problems if problem.severity == "error"] == []
    for case in find_cases(data):
        loaded_case = read_case(case, data, get_scheme("binary"))
        assert loaded_case.image.shape == (1, COLUMNS, ROWS, 1)
        assert np.array_equal(loaded_case.label == 1, loaded_case.image[0] > 200)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    data = paired(x_rays(tmp_path))
    Image.fromarray(np.ascontiguousarray(mask_of(0).T)).save(tmp_path / "masks" / "0.png")
    problems = [problem for problem in examine_dataset(data, deep=True).problems if problem.severity == "error"]
    assert any("shapes differ" in problem.what for problem in problems)
    with pytest.raises(GeometryError, match=r"0\.png: shapes differ \(found \(12, 20, 1\); expected \(20, 12, 1\)"):
        read_case(find_cases(data)[0], data, get_scheme("binary"))


@pytest.mark.parametrize(
    ("affine", "depth"), [(np.eye(4), 1), (np.diag([-1.0, -1.0, 1.0, 1.0]), 2), (np.diag([-1.0, 1.0, 1.0, 1.0]), 1)]
)
def test_a_picture_is_no_mask_of_an_image_that_may_lie_otherwise(
    tmp_path: Path, affine: np.ndarray, depth: int
) -> None:
    """A NIfTI file of equal sides could be meant either way up, and no size would tell."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Volume(np.zeros((8, 8, depth), np.float32), affine, (1, 1, 1)).save(tmp_path / "images" / "0.nii.gz")
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "masks" / "0.png")
    data = paired(tmp_path, image=".nii.gz")
    with pytest.raises(GeometryError, match=r"0\.png: an image file without geometry cannot be the mask of this image"):
        read_case(find_cases(data)[0], data, get_scheme("binary"))


def test_a_predicted_mask_is_scored_against_its_picture(tmp_path: Path) -> None:
    data = paired(x_rays(tmp_path / "data", cases=1))
    (case,) = find_cases(data)
    image = Volume.load(case.channels["xray"][0])
    image.with_array(mask_of(0).T[..., None]).save(tmp_path / "0.nii.gz")
    reference = ReferenceCase("0", "0", case=case, data=data)
    volume = read_reference(reference, get_scheme("binary"), Volume.load(tmp_path / "0.nii.gz"))
    assert np.array_equal(volume.array, mask_of(0).T[..., None])
    assert volume.spacing_mm is None


@pytest.mark.parametrize("masks", [".png", ".nii.gz"])
def test_init_pairs_x_rays_and_masks(tmp_path: Path, masks: str) -> None:
    findings = inspect_folder(x_rays(tmp_path, masks=masks, cases=8))
    assert findings.data.layout == "paired"
    assert dict(findings.data.channels) == {"image": "images/{id}.dcm"}
    assert findings.data.label == f"masks/{{id}}{masks}"
    assert findings.data.scheme == "binary"
    assert [doubt for doubt in findings.doubts if "/masks/" in doubt] == []
    assert [case.id for case in find_cases(findings.data)] == list("01234567")


def test_init_pairs_x_rays_in_folders_of_their_own(tmp_path: Path) -> None:
    x_rays(tmp_path)
    for number in range(4):
        (tmp_path / f"p{number}").mkdir()
        (tmp_path / "images" / f"{number}.dcm").rename(tmp_path / f"p{number}" / "chest.dcm")
        (tmp_path / "masks" / f"{number}.png").rename(tmp_path / f"p{number}" / "mask.png")
    for folder in ("images", "masks"):
        shutil.rmtree(tmp_path / folder)
    findings = inspect_folder(tmp_path)
    assert (findings.data.layout, findings.data.label) == ("folder", "mask.png")
    assert list(findings.data.channels.values()) == ["chest.dcm"]


def test_init_says_what_it_found_of_x_rays_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"which files are scans and which are masks \(found 4 \.dcm; expected"):
        inspect_folder(x_rays(tmp_path, folders=False))
    x_rays(tmp_path / "below" / "images", folders=False)
    with pytest.raises(DataError, match=r"found 4 \.dcm; expected"):
        inspect_folder(tmp_path / "below")


def test_init_names_folders_of_slices_in_words(tmp_path: Path) -> None:
    """A folder has no ending to be counted by."""
    for number in range(3):
        (tmp_path / "scan").mkdir(exist_ok=True)
        save(image(mask_of(0), position=(0, 0, number), number=number), tmp_path / "scan" / f"{number}.dcm")
        Image.fromarray(mask_of(0)).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"found 3 \.png, 1 folder of DICOM slices;"):
        inspect_folder(tmp_path)


PATTERNS = {
    "paired": ({"xray": "images/{id}.dcm"}, "masks/{id}.png"),
    "pictures": ({"gray": "images/{id}.png"}, "masks/{id}.png"),
}


@pytest.mark.parametrize("layout", PATTERNS)
def test_a_folder_of_x_rays_is_predicted_one_by_one(tmp_path: Path, layout: str) -> None:
    channels, label = PATTERNS[layout]
    model = predictor(layout=layout, channels=channels, label=label)
    source = x_rays(tmp_path / "new", folders=False)
    (source / "notes.txt").write_text("of last week")
    masks = predict_folder(model, resolve(model.card, source), tmp_path / "masks").masks
    assert [mask.name for mask in masks] == [f"{number}.nii.gz" for number in range(4)]
    for number, mask in enumerate(masks):
        check_same_grid(Volume.load(source / f"{number}.dcm"), Volume.load(mask))


def test_a_damaged_x_ray_costs_its_own_mask_alone(tmp_path: Path) -> None:
    channels, label = PATTERNS["paired"]
    model = predictor(layout="paired", channels=channels, label=label)
    source = x_rays(tmp_path / "new", folders=False)
    (source / "1.dcm").write_bytes((source / "1.dcm").read_bytes()[:300])
    problem = predict_folder(model, resolve(model.card, source), tmp_path / "masks").problem
    assert re.match(r"1 of 4 cases failed and got no new mask:\n.*1\.dcm", problem)
    assert sorted(mask.name for mask in (tmp_path / "masks").glob("*.nii.gz")) == ["0.nii.gz", "2.nii.gz", "3.nii.gz"]


def test_x_rays_of_one_name_are_refused(tmp_path: Path) -> None:
    channels, label = PATTERNS["pictures"]
    card = predictor(layout="pictures", channels=channels, label=label).card
    source = x_rays(tmp_path, folders=False)
    shutil.copy(source / "0.dcm", source / "0.ima")
    with pytest.raises(DataError, match=r"would share the name of one mask \(found 0\.dcm, 0\.ima\)"):
        resolve(card, source)


def test_slices_of_a_series_stay_one_case(tmp_path: Path) -> None:
    channels, label = PATTERNS["paired"]
    card = predictor(layout="paired", channels=channels, label=label).card
    for number in range(3):
        save(image(mask_of(0), position=(0, 0, number), number=number), tmp_path / f"{number}.dcm")
    assert [case.id for case in resolve(card, tmp_path).cases] == [tmp_path.name]
