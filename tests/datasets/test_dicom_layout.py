"""Layout `dicom`: folders as TCIA has them, with labels that are DICOM objects, from `segcct init` to the scores."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from segcct.check.dataset_check import examine_dataset
from segcct.cli import main
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.layouts import find_cases, find_new_cases, read_case, scan_cases, scheme_of
from segcct.datasets.layouts.study_ids import study_ids
from segcct.errors import DataError, LabelError
from segcct.images.dicom import catalog
from segcct.images.volume import Volume
from segcct.init.folder_inspection import inspect_folder
from segcct.preparation.cache_key import cache_key

pytest.importorskip("highdicom")
from tests.support.dicom_files import image, save
from tests.support.dicom_labels import ct_series, rectangle, segmentation, structure_set

DEPTH, ROWS, COLUMNS = 6, 32, 40
NAMES = ("Liver", "Left_Kidney")


def truth(shift: int = 0) -> np.ndarray:
    """(slices, rows, columns): 1 in the lower slices, 2 in a corner of the upper ones."""
    label = np.zeros((DEPTH, ROWS, COLUMNS), np.uint8)
    label[:4, 5:15, 4 + shift : 20 + shift] = 1
    label[3:, 20:28, 3 + shift : 9 + shift] = 2
    return label


def polygons(shift: int = 0) -> dict[str, list[np.ndarray]]:
    """Contours whose voxels are those of `truth`."""
    return {
        "BODY": [rectangle((0, 0), (39, 31), 2)],
        NAMES[0]: [rectangle((3.5 + shift, 4.5), (19.5 + shift, 14.5), z) for z in range(4)],
        NAMES[1]: [rectangle((2.5 + shift, 19.5), (8.5 + shift, 27.5), z) for z in range(3, 6)],
    }


def study(root: Path, place: str, index: int, *, kinds: tuple[str, ...] = ("SEG",), **elements: object) -> Path:
    """A CT with its labels below root/place, each series in a folder of its own."""
    folder, uid = root / place, f"1.2.3.{100 + index}"
    pixels = np.array([-900, 80, 220], np.int16)[truth(index % 4)]
    pixels += np.random.default_rng(index).integers(-9, 9, pixels.shape).astype(np.int16)
    more = {"StudyInstanceUID": f"{uid}.1", "SeriesDescription": "Abdomen 3.0"}
    scan = ct_series(folder / "2.000-CT", pixels, uid=uid, **(more | elements))
    if "SEG" in kinds:
        segmentation(folder / "300.000-Segmentation" / "1-1.dcm", scan, truth(index % 4), NAMES)
    if "RTSTRUCT" in kinds:
        structure_set(folder / "400.000-Contours" / "1-1.dcm", scan, polygons(index % 4))
    return folder


def data_of(root: Path, **more: object) -> DataSection:
    usual = {"channels": {"ct": "CT"}, "label": "SEG", "scheme": "custom", "labels": {"liver": 1, "left kidney": 2}}
    rule = {"intensity": {"rule": "clip", "low": -160, "high": 240}}
    return DataSection.model_validate({"layout": "dicom", "root": root, **rule, **usual, **more})


def label_of(case: Case, data: DataSection) -> np.ndarray:
    """(slices, rows, columns)."""
    label = read_case(case, data, scheme_of(data)).label
    assert label is not None
    return label.transpose(2, 1, 0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients, the last with two studies; the first has contours too."""
    folder = tmp_path_factory.mktemp("tcia")
    study(folder, "P-001/01-01-2000-NA", 0, kinds=("SEG", "RTSTRUCT"))
    study(folder, "P-002/01-01-2001-NA", 1)
    study(folder, "P-003/01-01-2002-NA", 2)
    study(folder, "P-003/01-06-2002-NA", 3)
    return folder


def test_studies_are_cases_of_their_patients(root: Path) -> None:
    data = data_of(root)
    cases = find_cases(data)
    assert [case.id for case in cases] == ["P-001", "P-002", "P-003_01-01-2002-NA", "P-003_01-06-2002-NA"]
    assert [case.patient for case in cases] == ["P-001", "P-002", "P-003", "P-003"]
    for index, case in enumerate(cases):
        assert np.array_equal(label_of(case, data), truth(index))
    (unread,) = examine_dataset(data).problems
    assert unread.severity == "notice"
    assert unread.file.endswith("400.000-Contours")


@pytest.mark.parametrize("above", ["", "manifest-1/COLLECTION", "siteA"])
@pytest.mark.parametrize("known", [True, False])
def test_the_folder_of_a_patient_is_found(tmp_path: Path, above: str, known: bool) -> None:
    places = [f"{above}/{place}".strip("/") for place in ("P1/S1", "P1/S2", "P2/S1", "P3/S1/deep")]
    for index, place in enumerate(places):
        study(tmp_path, place, index, kinds=(), PatientID=f"id {place.split('/S')[0]}" if known else None)
    cases = find_cases(data_of(tmp_path))
    assert [(case.id, case.patient) for case in cases] == [("P1_S1", "P1"), ("P1_S2", "P1"), ("P2", "P2"), ("P3", "P3")]


def test_patients_of_several_sites(tmp_path: Path) -> None:
    for index, place in enumerate(("A/001/S", "A/002/S", "B/003/S", "B/004/S")):
        study(tmp_path, place, index, kinds=(), PatientID=place)
    assert [case.patient for case in find_cases(data_of(tmp_path))] == ["001", "002", "003", "004"]
    study(tmp_path, "B/001/S", 9, kinds=(), PatientID="other")
    cases = find_cases(data_of(tmp_path))
    assert [case.id for case in cases] == ["002", "003", "004", "A_001", "B_001"]
    assert [case.patient for case in cases] == [case.id for case in cases]


def test_splits_by_folder(tmp_path: Path) -> None:
    for index, place in enumerate(("train/P1/S", "train/P2/S", "test/P3/S")):
        study(tmp_path, place, index, kinds=(), PatientID=place)
    cases = find_cases(data_of(tmp_path))
    assert [(case.patient, case.split) for case in cases] == [("P1", "train"), ("P2", "train"), ("P3", "test")]


def test_studies_whose_series_lie_side_by_side_are_told_apart(tmp_path: Path) -> None:
    for index, uid in enumerate(("1.2.3.51", "1.2.3.52")):
        pixels = np.zeros((2, 8, 8), np.int16)
        ct_series(
            tmp_path / "P1" / "all" / f"series{index}", pixels, uid=uid, StudyInstanceUID=f"{uid}.1", PatientID="a"
        )
    assert [case.id for case in find_cases(data_of(tmp_path))] == ["P1_all_series0", "P1_all_series1"]


def test_contours_give_the_same_label(root: Path) -> None:
    data = data_of(root, label="RTSTRUCT")
    (case,) = [case for case in find_cases(data) if case.label]
    assert case.id == "P-001"
    assert np.array_equal(label_of(case, data), truth())
    (notice,) = scan_cases(data).notices
    assert "structures of no class are left out (found BODY (in 1))" in str(notice)


def test_structures_become_classes_by_pattern(root: Path) -> None:
    data = data_of(root, labels={"abdomen": 5}, structures={"abdomen": "liv*|*kidney"})
    assert np.array_equal(label_of(find_cases(data)[0], data), 5 * (truth() > 0))
    alone = data_of(root, labels={"kidney": 3}, structures={"kidney": "left-?idney"})
    assert np.array_equal(label_of(find_cases(alone)[0], alone), 3 * (truth() == 2))
    case = find_cases(alone)[0]
    other = alone.model_copy(update={"structures": {"kidney": "liver"}})
    assert cache_key(case, alone, scheme_of(alone)) != cache_key(case, other, scheme_of(alone))


def test_names_that_do_not_fit_are_errors(root: Path) -> None:
    case = find_cases(data_of(root))[0]
    none = data_of(root, labels={"spleen": 1})
    message = r"no structure of the labels is a class \(found Left_Kidney, Liver; expected spleen"
    with pytest.raises(LabelError, match=message):
        find_cases(none, strict=False)
    assert "no structure of the labels is a class" in [each.what for each in examine_dataset(none).problems]
    assert len(find_new_cases(none).cases) == 4  # new scans may have labels of other structures
    both = data_of(root, structures={"liver": "*", "left kidney": "*kid*"})
    with pytest.raises(
        LabelError, match=r"a structure belongs to several classes \(found Left_Kidney: liver, left kidney\)"
    ):
        label_of(case, both)
    unknown = data_of(root, structures={"lung": "*"})
    with pytest.raises(LabelError, match=r"names classes that the scheme does not have \(found lung"):
        label_of(case, unknown)
    with pytest.raises(ValueError, match=r"data\.structures is for layout dicom"):
        data_of(root, layout="folder", structures={"liver": "*"})


def test_a_patient_without_any_of_the_structures_has_an_empty_label(tmp_path: Path) -> None:
    study(tmp_path, "P1/S", 0)
    scan = study(tmp_path, "P2/S", 1, kinds=()) / "2.000-CT"
    structure_set(scan.parent / "contours.dcm", scan, {"BODY": [rectangle((0, 0), (39, 31), 2)]})
    segmentation(scan.parent / "300.000-Segmentation" / "1-1.dcm", scan, truth(), ("lung", "heart"))
    data = data_of(tmp_path)
    first, second = find_cases(data)
    assert label_of(first, data).any()
    assert second.label
    assert not label_of(second, data).any()
    (notice,) = (each for each in scan_cases(data).notices if "empty" in each.what)
    assert (notice.what, notice.found) == ("1 case without any of the structures: empty labels", "P2")
    contours = data_of(tmp_path / "P2", label="RTSTRUCT", labels={"body": 1, "liver": 2})
    assert label_of(find_cases(contours)[0], contours).max() == 1


def test_a_flat_export_is_read(tmp_path: Path) -> None:
    scan = study(tmp_path, "P1", 0, kinds=()) / "2.000-CT"
    structure_set(tmp_path / "rs.dcm", scan, polygons())
    (tmp_path / "rs.dcm").rename(scan / "RS.without suffix")
    data = data_of(tmp_path, label="RTSTRUCT")
    (case,) = find_cases(data)
    assert case.label == (scan / "RS.without suffix",)
    assert np.array_equal(label_of(case, data), truth())


def test_the_series_that_the_label_refers_to_is_taken(tmp_path: Path) -> None:
    folder = study(tmp_path, "P1/S", 0)
    ct_series(folder / "3-lung", np.zeros((3, 8, 8), np.int16), uid="1.2.3.99", StudyInstanceUID="1.2.3.100.1")
    data = data_of(tmp_path)
    (case,) = find_cases(data)
    assert case.channels["ct"] == (folder / "2.000-CT",)
    with pytest.raises(
        DataError, match=r"channel ct is not one series \(found CT:Abdomen 3\.0 in P1/S/2\.000-CT, CT in P1"
    ):
        find_cases(data_of(tmp_path, label=None))
    described = data_of(tmp_path, label=None, channels={"ct": "ct:abdomen*"})
    assert find_cases(described)[0].channels == case.channels
    with pytest.raises(DataError, match="no case of layout dicom"):
        find_cases(data_of(tmp_path, channels={"t2": "MR"}))


def test_localizers_and_reports_are_no_scans(tmp_path: Path) -> None:
    folder = study(tmp_path, "P1/S", 0, kinds=())
    common = {"StudyInstanceUID": "1.2.3.100.1"}
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], **common}
    ct_series(folder / "1-scout", np.zeros((1, 8, 8), np.int16), uid="1.2.3.98", **scout)
    report = image(np.zeros((8, 8), np.uint8), position=None, sop_class=SecondaryCaptureImageStorage, **common)
    save(report, folder / "999-dose" / "1.dcm")
    (case,) = find_cases(data_of(tmp_path, label=None))
    assert case.channels["ct"] == (folder / "2.000-CT",)


def test_masks_for_intensities_are_refused(tmp_path: Path) -> None:
    study(tmp_path, "P1/S", 0)
    with pytest.raises(DataError, match="layout dicom has no masks for intensity normalization"):
        find_cases(data_of(tmp_path, intensity={"rule": "zscore_mask", "mask": "*.nii.gz"}))


def test_other_masks_next_to_series_are_not_overlooked(tmp_path: Path) -> None:
    folder = study(tmp_path, "P1/S", 0, kinds=("RTSTRUCT",))
    scan = Volume.load(folder / "2.000-CT")
    scan.with_array((scan.array > 0).astype(np.uint8)).save(folder / "mask.nii.gz")
    assert inspect_folder(tmp_path).data.layout == "folder"


def test_channels_are_series_of_one_study(tmp_path: Path) -> None:
    study(tmp_path, "P1/S", 0, SeriesDescription="T2 axial", Modality="MR")
    pixels = np.random.default_rng(1).integers(0, 99, (DEPTH, ROWS, COLUMNS)).astype(np.int16)
    place = tmp_path / "P1/S/5-ADC"
    more = {"StudyInstanceUID": "1.2.3.100.1", "SeriesDescription": "ADC map", "Modality": "MR"}
    ct_series(place, pixels, uid="1.2.3.98", **more)
    data = data_of(tmp_path, channels={"adc": "MR:adc*", "t2": "MR:t2*"})
    (case,) = find_cases(data)
    assert list(case.channels) == ["adc", "t2"]
    assert read_case(case, data, scheme_of(data)).image.shape == (2, COLUMNS, ROWS, DEPTH)
    missing = data_of(tmp_path, channels={"dwi": "MR:dwi*", "t2": "MR:t2*"})
    with pytest.raises(
        DataError, match=r"channel dwi is missing \(found .*MR:T2 axial.*expected one series that is MR:dwi"
    ):
        find_cases(missing)


def test_segmentations_of_different_structures_are_one_label(tmp_path: Path) -> None:
    folder = study(tmp_path, "P1/S", 0, kinds=())
    scan = folder / "2.000-CT"
    for value, name in enumerate(NAMES, start=1):
        mask = (truth() == value).astype(np.uint8)
        segmentation(folder / name / "1.dcm", scan, mask, [name], description=f"by {name}")
    data = data_of(tmp_path)
    (case,) = find_cases(data)
    assert len(case.label or ()) == 2
    assert np.array_equal(label_of(case, data), truth())
    assert [problem.what for problem in examine_dataset(data).problems] == ["the train split is empty"]
    segmentation(folder / "reader2" / "1.dcm", scan, truth(), NAMES, description="reader 2")
    with pytest.raises(DataError, match=r"3 SEGs of one case hold the same structure \(found"):
        find_cases(data)
    data = data_of(tmp_path, label="SEG:reader 2")
    assert find_cases(data)[0].label == (folder / "reader2" / "1.dcm",)


def test_of_overlapping_segmentations_the_later_class_stands(tmp_path: Path) -> None:
    """Whatever the order of their files."""
    folder = study(tmp_path, "P1/S", 0, kinds=())
    for place, (name, mask) in enumerate(((NAMES[1], truth() == 2), (NAMES[0], truth() > 0))):
        segmentation(folder / f"30{place}" / "1.dcm", folder / "2.000-CT", mask.astype(np.uint8), [name])
    data = data_of(tmp_path)
    (case,) = find_cases(data)
    assert np.array_equal(label_of(case, data), truth())


@pytest.mark.parametrize(
    ("ids", "patients"),
    [
        (("X", "Y", "X"), ("A", "B", "A")),
        (("X", "X", "X"), ("A", "B", "C")),  # an anonymization wrote it
        (("", "", ""), ("A", "B", "C")),
    ],
)
def test_folders_with_one_patient_id_are_of_one_patient(ids: tuple[str, ...], patients: tuple[str, ...]) -> None:
    studies = {
        folder: [SimpleNamespace(folder=Path("root", folder, "series"), patient=patient)]
        for folder, patient in zip("ABC", ids, strict=True)
    }
    found = study_ids(studies, Path("root"))
    assert [case_id for case_id, _, _ in found.values()] == ["A", "B", "C"]
    assert tuple(patient for _, patient, _ in found.values()) == patients


def test_a_label_of_absent_images_is_a_notice(tmp_path: Path) -> None:
    study(tmp_path, "P1/S", 0)
    other = study(tmp_path / "other", "P2/S", 1)
    (other / "300.000-Segmentation" / "1-1.dcm").rename(tmp_path / "P1" / "lost.dcm")
    for file in sorted((tmp_path / "other").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    found = scan_cases(data_of(tmp_path))
    assert [case.id for case in found.cases] == ["P1"]
    assert "lost.dcm: the images that a SEG refers to are missing" in str(found.notices[0])


def test_a_damaged_label_is_named_and_a_damaged_slice_too(tmp_path: Path) -> None:
    folder = study(tmp_path, "P1/S", 0)
    study(tmp_path, "P2/S", 1)
    label = folder / "300.000-Segmentation" / "1-1.dcm"
    label.write_bytes(label.read_bytes()[:900])
    data = data_of(tmp_path)
    with pytest.raises(DataError, match=r"1-1\.dcm: cannot be read"):
        find_cases(data)
    assert any("1-1.dcm" in str(problem.file) for problem in examine_dataset(data).problems)
    new = find_new_cases(data)
    assert [case.id for case in new.cases] == ["P1", "P2"]  # images do not need their labels
    assert [Path(str(error.file)).name for error in new.unread] == ["1-1.dcm"]
    slice_file = tmp_path / "P2/S/2.000-CT/1-003.dcm"
    slice_file.write_bytes(slice_file.read_bytes()[:-50])
    assert any("1-003.dcm" in str(problem.file) for problem in examine_dataset(data_of(tmp_path / "P2")).problems)


def test_what_cannot_be_opened_is_named_and_the_rest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(tmp_path, "P1/S", 0)
    study(tmp_path, "P2/S", 1)
    (folder / "2.000-CT" / "0-link.dcm").symlink_to(tmp_path / "nowhere.dcm")
    os.mkfifo(folder / "2.000-CT" / "0-pipe.dcm")
    usual, locked = catalog.sop_class_of, folder / "300.000-Segmentation" / "1-1.dcm"

    def sop_class_of(file: Path) -> str:
        if file == locked:
            raise PermissionError(13, "Permission denied", str(file))
        return usual(file)

    monkeypatch.setattr(catalog, "sop_class_of", sop_class_of)
    found = scan_cases(data_of(tmp_path))
    assert [(Path(error.file or "").name, error.what) for error in found.errors] == [
        ("0-link.dcm", "no such file or folder"),
        ("0-pipe.dcm", "not a file that can be read"),
        ("1-1.dcm", "cannot be read"),
    ]
    assert [(case.id, case.label is not None) for case in found.cases] == [("P1", False), ("P2", True)]
    named = {Path(problem.file or "").name for problem in examine_dataset(data_of(tmp_path)).problems}
    assert named >= {"0-link.dcm", "0-pipe.dcm", "1-1.dcm"}
    assert inspect_folder(tmp_path).data.layout == "dicom"


def test_new_scans_need_no_label(tmp_path: Path) -> None:
    study(tmp_path, "P1/S", 0, kinds=())
    (case,) = find_cases(data_of(tmp_path))
    assert case.label is None
    (case,) = find_cases(data_of(tmp_path / "P1" / "S" / "2.000-CT"))
    assert case.id == "2.000-CT"


def test_init_recognizes_it(root: Path) -> None:
    findings = inspect_folder(root)
    data = findings.data
    assert (data.layout, data.channels, data.label) == ("dicom", {"ct": "CT"}, "SEG")
    assert data.labels == {"Liver": 1, "Left_Kidney": 2}
    assert data.intensity.rule == "clip"
    assert any("SEG and RTSTRUCT" in doubt for doubt in findings.doubts)
    assert {problem.severity for problem in examine_dataset(data).problems} <= {"notice"}


@pytest.mark.slow
def test_a_tcia_folder_trains_directly(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", str(root), "--output", "c.yaml"]) == 0
    keys = ["--data.split.kind", "fractions", "--data.split.val", "0.34", "--data.split.test", "0"]
    keys += ["--data.image_size", "32", "--train.epochs", "1", "--train.batch_size", "4", "--train.precision", "fp32"]
    keys += ["--train.slices_per_epoch", "16"]
    assert main(["train-seg", "--config", "c.yaml", "--run.name", "r", "--model.name", "cct_unet_t", *keys]) == 0
    predict = ["predict", "--model", "runs/r/best", "--input", str(root), "--format", "dicom-seg", "--no-quality"]
    assert main([*predict, "--output", "masks"]) == 0
    assert pydicom.dcmread("masks/P-002.dcm").Modality == "SEG"
    assert main(["evaluate", "--prediction", "masks", "--reference", str(root), "--output", "scores"]) == 0
    assert main(["report", "--evaluation", "scores", "--output", "report"]) == 0
    assert Volume.load(root / "P-002/01-01-2001-NA/2.000-CT").shape == (COLUMNS, ROWS, DEPTH)
