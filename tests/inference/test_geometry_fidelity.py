"""Two hundred random geometries through prediction: masks have the voxels and the affine of their scans, in any format.

What a scan's affine is, is known here from how it was written, not from how the package reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.transform import Rotation

from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_files import load_mask
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import resolve
from tests.support.dicom_files import enhanced, image, save
from tests.support.toy_pair import INTENSITIES, predictor

pytestmark = pytest.mark.slow
PER_FORM = 20
TOLERANCE_MM = 1e-5
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
Written = tuple[Path, np.ndarray, np.ndarray]
"""The scan, its voxels (X, Y, Z) and its affine to RAS."""


def classes(rng: np.random.Generator) -> np.ndarray:
    """(X, Y, Z) class indices of a scan of random size, without symmetry."""
    shape = rng.integers(4, 15, 3)
    return rng.choice(3, size=shape, p=[0.5, 0.3, 0.2]).astype(np.uint8)


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A small tilt, axes in any order and direction, or anything."""
    tilt = Rotation.from_rotvec(rng.normal(0, rng.choice([0, 0.1, 1.5]), 3)).as_matrix()
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    return tilt @ axes


def affine_of(rng: np.random.Generator, turn: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.3, 6, 3)
    affine[:3, 3] = rng.uniform(-250, 250, 3)
    return affine


def nifti(kind: type, ending: str) -> Callable[[Path, np.ndarray, np.random.Generator], Written]:
    def write(folder: Path, voxels: np.ndarray, rng: np.random.Generator) -> Written:
        affine = affine_of(rng, rotation(rng))
        if rng.random() < 0.3:  # sheared: only the sform can say so
            affine[:3, :3] @= np.eye(3) + rng.uniform(0, 0.3) * np.eye(3, k=1)
        affine = affine if kind is nib.Nifti2Image else affine.astype(np.float32).astype(float)
        scan = kind(voxels.astype(np.int16), affine)
        if rng.random() < 0.3:
            scan.header.set_xyzt_units("mm")
        nib.save(scan, file := folder / f"scan{ending}")
        return file, voxels, affine

    return write


def itk(ending: str) -> Callable[[Path, np.ndarray, np.random.Generator], Written]:
    def write(folder: Path, voxels: np.ndarray, rng: np.random.Generator) -> Written:
        turn = rotation(rng)
        affine = affine_of(rng, turn)  # of LPS
        scan = sitk.GetImageFromArray(voxels.transpose(2, 1, 0).astype(np.int16))
        scan.SetSpacing(np.linalg.norm(affine[:3, :3], axis=0))
        scan.SetDirection(turn.ravel())
        scan.SetOrigin(affine[:3, 3])
        sitk.WriteImage(scan, file := folder / f"scan{ending}", useCompression=bool(rng.random() < 0.5))
        return file, voxels, TO_RAS @ affine

    return write


def series(*, tilted: bool, multi_frame: bool = False) -> Callable[[Path, np.ndarray, np.random.Generator], Written]:
    def write(folder: Path, voxels: np.ndarray, rng: np.random.Generator) -> Written:
        """Files in random order; each slice at its own position, which is that of the affine returned."""
        turn = rotation(rng)
        turn[:, 2] *= np.sign(np.linalg.det(turn))  # slices are read along their normal
        affine = affine_of(rng, turn)
        if tilted:
            affine[:3, 2] += np.tan(np.radians(rng.uniform(-25, 25))) * np.linalg.norm(affine[:3, 2]) * turn[:, 1]
        affine[:3] = np.round(affine[:3], 8)  # what 16 characters hold
        down, across = np.linalg.norm(affine[:3, 1]), np.linalg.norm(affine[:3, 0])
        elements = {"FrameOfReferenceUID": "1.2.3.9", "PixelSpacing": [f"{down:.10f}", f"{across:.10f}"]}
        directions = [f"{value:.12f}" for value in np.concatenate([affine[:3, 0] / across, affine[:3, 1] / down])]
        order = rng.permutation(voxels.shape[2])
        planes = voxels.transpose(2, 1, 0)[order].astype(np.int16)
        positions = [[f"{value:.9f}" for value in affine[:3] @ [0, 0, k, 1]] for k in order]
        if multi_frame:
            place = {"FrameOfReferenceUID": elements.pop("FrameOfReferenceUID")}
            dataset = enhanced(planes, positions, orientations=[directions] * len(order), **place)
            dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = elements["PixelSpacing"]
            save(dataset, folder / "scan" / "a.dcm")
        else:
            for number, (plane, position) in enumerate(zip(planes, positions, strict=True)):
                dataset = image(plane, position=position, number=number, ImageOrientationPatient=directions, **elements)
                save(dataset, folder / "scan" / f"{number}.dcm")
        return folder / "scan", voxels, TO_RAS @ affine

    return write


FORMS = {
    "nifti": nifti(nib.Nifti1Image, ".nii"),
    "nifti gz": nifti(nib.Nifti1Image, ".nii.gz"),
    "nifti 2": nifti(nib.Nifti2Image, ".nii"),
    "nifti 2 gz": nifti(nib.Nifti2Image, ".nii.gz"),
    "nrrd": itk(".nrrd"),
    "mha": itk(".mha"),
    "mhd": itk(".mhd"),
    "dicom": series(tilted=False),
    "dicom tilted": series(tilted=True),
    "dicom multi-frame": series(tilted=False, multi_frame=True),
}


@pytest.mark.parametrize("orientation", ["native", "canonical"])
@pytest.mark.parametrize("form", FORMS)
def test_the_mask_lies_exactly_on_its_scan(tmp_path: Path, form: str, orientation: str) -> None:
    model = predictor(orientation=orientation, channels={"ct": "scan*"})
    for seed in range(PER_FORM // 2):
        rng = np.random.default_rng([seed, list(FORMS).index(form), len(orientation)])
        index = classes(rng)
        folder = tmp_path / str(seed)
        folder.mkdir()
        scan, _, affine = FORMS[form](folder, np.array(INTENSITIES, np.int16)[index], rng)
        (file,) = predict_folder(model, resolve(model.card, scan), folder / "masks").masks
        mask = nib.load(file)
        assert np.array_equal(np.asarray(mask.dataobj), np.array([0, 3, 7])[index])
        assert np.abs(mask.affine - affine).max() <= TOLERANCE_MM


@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith("dicom")])
def test_segments_lie_exactly_on_their_scan(tmp_path: Path, form: str) -> None:
    pytest.importorskip("highdicom")
    from tests.support.dicom_labels import by_coordinates, in_order

    model = predictor(channels={"ct": "scan*"})
    for seed in range(PER_FORM // 2):
        rng = np.random.default_rng([seed, list(FORMS).index(form), 3])
        index = classes(rng)
        folder = tmp_path / str(seed)
        folder.mkdir()
        scan, _, affine = FORMS[form](folder, np.array(INTENSITIES, np.int16)[index], rng)
        options = MaskOptions(mask_format="dicom-seg")
        (file,) = predict_folder(model, resolve(model.card, scan), folder / "masks", options).masks
        assert np.array_equal(load_mask(file).array, np.array([0, 3, 7])[index])
        read = by_coordinates(file)
        for number, name in ((1, "low"), (2, "high")):
            places = nib.affines.apply_affine(TO_RAS @ affine, np.argwhere(index == number))
            assert read[name].shape == places.shape
            assert np.abs(read[name] - in_order(places)).max() <= TOLERANCE_MM
