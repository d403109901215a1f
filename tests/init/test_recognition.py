"""`segcct init` on the names that people's folders have: what is paired, what is quoted, what is said."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image
from pydicom import dcmread
from pydicom.uid import EncapsulatedPDFStorage

from segcct.check.dataset_check import examine_dataset
from segcct.cli import main
from segcct.config import SegmentationConfig
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts import find_cases
from segcct.datasets.split_drawing import make_splits
from segcct.errors import DataError
from segcct.images.volume import Volume
from segcct.init.config_text import _scalar, config_text
from segcct.init.dicom_names import dicom_in
from segcct.init.folder_inspection import inspect_folder
from segcct.init.recognition import recognize
from tests.datasets.test_unread import save
from tests.support.dicom_files import image, series
from tests.support.dicom_files import save as save_dicom


def cases(root: Path, image: str, label: str, many: int = 6) -> Path:
    """`{k}` is the case; `{p}` is `.gz` in every other case."""
    for number in range(many):
        packed = {"k": number, "p": ".gz" if number % 2 else ""}
        save(root / image.format(**packed))
        save(root / label.format(**packed), 1, 2)
    return root


def picture(path: Path, *values: int) -> None:
    """An image of 40 x 40 pixels: noise, or a mask with a block of each value."""
    seed = zlib.crc32("/".join(path.parts[-3:]).encode())
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40), dtype=np.uint8)
    if values:
        pixels[:] = 0
        for place, value in enumerate(values):
            pixels[5 + 6 * place : 10 + 6 * place, 5:20] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def understood(root: Path) -> SegmentationConfig:
    """The config that init writes, once check has nothing against it and the cases can be split."""
    config = SegmentationConfig.model_validate(yaml.safe_load(config_text(inspect_folder(root), "x")))
    assert [problem for problem in examine_dataset(config.data).problems if problem.severity == "error"] == []
    make_splits(find_cases(config.data), config.data)
    return config


@pytest.mark.parametrize(
    ("image", "label", "patterns"),
    [
        ("volume-{k}.nii", "segmentation-{k}.nii", ("volume-{id}.nii", "segmentation-{id}.nii")),
        ("image_{k}.nii.gz", "label_{k}.nii.gz", ("image_{id}.nii.gz", "label_{id}.nii.gz")),
        ("img{k}.nii.gz", "seg{k}.nii.gz", ("img{id}.nii.gz", "seg{id}.nii.gz")),
        ("ct {k} a.nii.gz", "mask {k} a.nii.gz", ("ct {id}.nii.gz", "mask {id}.nii.gz")),
        ("b{k}/volume-{k}.nii", "b{k}/segmentation-{k}.nii", ("volume-*.nii", "segmentation-*.nii")),
        ("1.2.{k}_ct.nii.gz", "1.2.{k}_seg.nii.gz", ("{id}_ct.nii.gz", "{id}_seg.nii.gz")),
        ("images/1.2.{k}.nii{p}", "labels/1.2.{k}.nii.gz", ("images/{id}.nii*", "labels/{id}.nii.gz")),
        ("p{k}/img.nii{p}", "p{k}/seg.nii.gz", ("img.nii*", "seg.nii.gz")),
        ("p{k}/img.nii", "p{k}/seg.nii.gz", ("img.nii", "seg.nii.gz")),
        ("p{k}/img.nii.gz", "p{k}/masks/liver.nii.gz", ("img.nii.gz", "masks/liver.nii.gz")),
        ("M\u00fcller {k}/T1 post.nii.gz", "M\u00fcller {k}/my label.nii.gz", ("T1 post.nii.gz", "my label.nii.gz")),
        ("p[{k}]/img{{x}}.nii.gz", "p[{k}]/seg.nii.gz", ("img?x?.nii.gz", "seg.nii.gz")),
        ("2020-01-0{k}/1e5.nii.gz", "2020-01-0{k}/seg.nii.gz", ("1e5.nii.gz", "seg.nii.gz")),
        ("p{k}/im'g\" #1: x.nii.gz", "p{k}/seg.nii.gz", ("im'g\" #1: x.nii.gz", "seg.nii.gz")),
        ("p{k}/im\x85g\u2028.nii.gz", "p{k}/seg.nii.gz", ("im\x85g\u2028.nii.gz", "seg.nii.gz")),
        ("sub-{k}/anat/sub-{k}_T1w.nii.gz", "derivatives/sub-{k}/sub-{k}_dseg.nii.gz",
         ("{id}_T1w.nii.gz", "{id}_dseg.nii.gz")),
    ],
)  # fmt: skip
def test_names_of_scans_and_masks(tmp_path: Path, image: str, label: str, patterns: tuple[str, str]) -> None:
    data = understood(cases(tmp_path / "set", image, label)).data
    assert (next(iter(data.channels.values())), data.label) == patterns
    assert len(find_cases(data)) == 6


def test_channels_called_by_numbers_are_text(tmp_path: Path) -> None:
    for number in range(3):
        for part in ("0", "1", "no", "2020-01-01"):
            save(tmp_path / f"case{number}" / f"{part}.nii.gz")
        save(tmp_path / f"case{number}" / "label.nii.gz", 1)
    assert main(["init", str(tmp_path), "--output", str(tmp_path / "x.yaml")]) == 0
    channels = yaml.safe_load((tmp_path / "x.yaml").read_text())["data"]["channels"]
    assert list(channels) == ["0", "1", "2020_01_01", "no"]


@pytest.mark.parametrize(
    "text",
    ["0", "007", "1e5", "1_000", "1:30", "2020-01-01", "yes", "No", "null", "~", "true", ".inf", "a: b", "a #b", "- a",
     "'x'", '"', "\x85", "\u2028", "\U0001f600", "\x00", "", " x", "{id}.nii", "*.nii", "&a", "y", "=", "plain_name"],
)  # fmt: skip
def test_text_is_read_back_as_text(text: str) -> None:
    assert yaml.safe_load(f"{_scalar(text)}: {_scalar(text)}") == {text: text}


def test_label_values_stay_numbers(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"case{number}" / "img.nii.gz")
        save(tmp_path / f"case{number}" / "seg.nii.gz", 255)
    text = config_text(inspect_folder(tmp_path), "x")
    assert yaml.safe_load(text)["data"]["label_map"] == {255: 1}


def test_sessions_of_bids_are_cases_of_one_patient(tmp_path: Path) -> None:
    for subject in range(3):
        for session in (1, 2):
            place = tmp_path / f"sub-{subject}" / f"ses-{session}" / "anat" / f"sub-{subject}_ses-{session}"
            save(place.with_name(f"{place.name}_T1w.nii.gz"))
            save(place.with_name(f"{place.name}_dseg.nii.gz"), 1, 2)
    found = find_cases(understood(tmp_path).data)
    assert [(case.id, case.patient) for case in found][:2] == [("sub-0_ses-1", "sub-0"), ("sub-0_ses-2", "sub-0")]


def test_a_further_run_of_bids_is_of_the_same_patient(tmp_path: Path) -> None:
    for name in ("sub-0", "sub-1", "sub-2", "sub-2_run-2"):
        save(tmp_path / name[:5] / "anat" / f"{name}_T1w.nii.gz")
        save(tmp_path / "derivatives" / name[:5] / f"{name}_dseg.nii.gz", 1, 2)
    found = find_cases(understood(tmp_path).data)
    assert [(case.id, case.patient) for case in found][2:] == [("sub-2", "sub-2"), ("sub-2_run-2", "sub-2")]


def test_several_datasets_of_nnunet_are_refused(tmp_path: Path) -> None:
    names = listing(*(f"Dataset00{n}/{part}/{{k}}.nii.gz" for n in "12" for part in ("imagesTr", "labelsTr")))
    for folder in ("Dataset001", "Dataset002"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "dataset.json").write_text("{}")
    with pytest.raises(DataError, match=r"holds several datasets of nnU-Net \(found Dataset001/, Dataset002/\)"):
        recognize(tmp_path, sorted(names))


def test_ids_that_clash_get_their_folders(tmp_path: Path) -> None:
    for site in "AB":
        cases(tmp_path / f"site{site}", "{k}/img.nii.gz", "{k}/seg.nii.gz", 3)
    findings = inspect_folder(tmp_path)
    assert findings.data.case_id == "path"
    assert any("data.case_id: path" in doubt and "data.patient" in doubt for doubt in findings.doubts)
    assert [case.id for case in find_cases(understood(tmp_path).data)][:2] == ["siteA_0", "siteA_1"]


def test_endings_in_capitals_are_the_same_format(tmp_path: Path) -> None:
    cases(tmp_path, "p{k}/img.nii.gz", "p{k}/seg.nii.gz")
    (tmp_path / "p1" / "img.nii.gz").rename(tmp_path / "p1" / "img.NII.GZ")
    assert len(find_cases(understood(tmp_path).data)) == 6


@pytest.mark.parametrize("folder", ["", "scans/"])
def test_scans_in_one_folder_are_cases_and_not_channels_of_one(tmp_path: Path, folder: str) -> None:
    names = [f"{folder}patient{number}_ct.nii.gz" for number in range(300)]  # more than a case may have channels
    naming = recognize(tmp_path, names)
    assert (naming.layout, dict(naming.channels), naming.label) == ("paired", {"image": "{id}.nii.gz"}, None)
    contrasts = [f"{folder}{name}.nii.gz" for name in ("flair", "t1", "t2")]
    assert list(recognize(tmp_path, contrasts).channels) == ["flair", "t1", "t2"]


def test_a_config_is_written_for_scans_in_one_folder(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"scan_{number}.nii.gz")
    findings = inspect_folder(tmp_path)
    assert findings.facts[0].startswith("3 cases of 3 patients, 0 with a label")
    assert SegmentationConfig.model_validate(yaml.safe_load(config_text(findings, "x"))).data.layout == "paired"


def test_visits_in_folders_named_alike_are_cases(tmp_path: Path) -> None:
    for visit in (1, 2):
        cases(tmp_path, f"p{{k}}/v{visit}/flair.nii.gz", f"p{{k}}/v{visit}/mask.nii.gz", 3)
    findings = inspect_folder(tmp_path)
    assert (dict(findings.data.channels), findings.data.label) == ({"flair": "flair.nii.gz"}, "mask.nii.gz")
    found = find_cases(findings.data)
    assert [case.id for case in found] == [f"p{number}_v{visit}" for number in range(3) for visit in (1, 2)]
    assert all(case.label for case in found)
    assert any("data.patient" in doubt for doubt in findings.doubts)


def test_time_points_in_names_are_cases_and_not_channels(tmp_path: Path) -> None:
    names = [f"P{k}_T{time}_{part}.nii.gz" for k in range(3) for time in (0, 1) for part in ("ct", "seg")]
    naming = recognize(tmp_path, names)
    assert (dict(naming.channels), naming.label) == ({"ct": "{id}_ct.nii.gz"}, "{id}_seg.nii.gz")
    assert any("data.patient" in doubt for doubt in naming.doubts)
    several = recognize(tmp_path, [f"{k}_{part}.nii.gz" for k in "ab" for part in ("ct", "heart_seg", "liver_seg")])
    assert several.label == "{id}_heart_seg.nii.gz"
    names = [f"P{k}_{channel}{part}.nii.gz" for k in range(3) for channel in ("t1", "t2") for part in ("", "_seg")]
    assert list(recognize(tmp_path, names).channels) == ["t1", "t2"]  # a mask of each sequence


def test_dicom_slices_without_an_ending_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    for case in ("p1", "p2", "p3"):
        for file in series(tmp_path / case / "ct", 3):
            file.rename(file.with_name(f"IM{file.stem}"))
        (tmp_path / case / "README").write_text("CT of the chest")
        scan = Volume.load(tmp_path / case / "ct")
        scan.with_array((scan.array > 1).astype(np.uint8)).save(tmp_path / case / "seg.nii.gz")
    findings = inspect_folder(tmp_path)
    data = findings.data
    assert (data.layout, dict(data.channels), data.label) == ("folder", {"ct": "ct"}, "seg.nii.gz")
    assert len(find_cases(data)) == 3
    assert not any("IM0" in fact for fact in findings.facts)
    with pytest.raises(DataError, match=r"DICOM slices lie directly in the dataset folder .found 3 such as IM0;"):
        inspect_folder(tmp_path / "p1" / "ct")


def test_labels_in_two_sites_are_found_though_most_cases_lie_alone(tmp_path: Path) -> None:
    """Two case folders that share a label's pattern only are no better than pairs of scan and mask."""
    names = ["siteA/0_ct.nii", "siteA/0_gt.nii", "siteA/2_ct.nii", "siteB/1_ct.nii", "siteB/1_gt.nii"]
    naming = recognize(tmp_path, names)
    assert (naming.layout, dict(naming.channels), naming.label) == ("paired", {"ct": "{id}_ct.nii"}, "{id}_gt.nii")


def test_a_folder_of_predictions_is_no_channel(tmp_path: Path) -> None:
    cases(tmp_path, "images/{k}.nii.gz", "labels/{k}.nii.gz")
    cases(tmp_path, "predictions/{k}.nii.gz", "predictions/{k}.nii.gz", 2)
    findings = inspect_folder(tmp_path)
    assert dict(findings.data.channels) == {"image": "images/{id}.nii.gz"}
    assert "not read: 1 folder: predictions/ (2 files)" in findings.facts


def test_labels_of_single_structures_below_a_case_are_its_files(tmp_path: Path) -> None:
    """Those of KiTS; a visit below another one is a case."""
    parts = ("imaging", "segmentation", *(f"instances/kidney_instance-{k}_annotation-1" for k in (1, 2)))
    naming = recognize(tmp_path, [f"case_{k}/{part}.nii.gz" for k in range(3) for part in parts])
    assert (dict(naming.channels), naming.label) == ({"image": "imaging.nii.gz"}, "segmentation.nii.gz")
    assert any("instances/kidney_instance-1_annotation-1.nii.gz" in doubt for doubt in naming.doubts)
    visits = [f"p{k}/{visit}{part}.nii.gz" for k in range(3) for visit in ("", "later/") for part in ("ct", "seg")]
    naming = recognize(tmp_path, visits)
    assert (dict(naming.channels), naming.label) == ({"ct": "ct.nii.gz"}, "seg.nii.gz")


def test_scans_of_which_none_can_be_read_get_no_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As tasks of the Medical Segmentation Decathlon have them, all channels in one file."""
    cases(tmp_path / "set", "imagesTr/brain_{k}.nii.gz", "labelsTr/brain_{k}.nii.gz", 5)
    for file in (tmp_path / "set" / "imagesTr").iterdir():
        nib.save(nib.Nifti1Image(np.zeros((8, 8, 4, 2), dtype=np.float32), np.eye(4)), file)
    assert main(["init", str(tmp_path / "set"), "--output", str(tmp_path / "x.yaml")]) == 1
    told = capsys.readouterr().err
    assert "none of the 5 scans that were looked at can be read" in told
    assert told.count("holds more than one volume") == 3
    assert "and 2 more" in told
    assert not (tmp_path / "x.yaml").exists()


def test_one_image_in_two_formats_is_a_doubt(tmp_path: Path) -> None:
    naming = recognize(tmp_path, [f"p{k}/{name}" for k in range(3) for name in ("i.nii", "i.nii.gz", "seg.nii.gz")])
    assert any("two formats" in doubt for doubt in naming.doubts)


def test_a_folder_of_reports_is_no_series(tmp_path: Path) -> None:
    report = image(np.zeros((4, 4), np.uint8), sop_class=EncapsulatedPDFStorage)
    for case in "12":
        series(tmp_path / case / "ct")
        save_dicom(report, tmp_path / case / "doc" / "1.dcm")
    assert dict(recognize(tmp_path, FolderTree(tmp_path).files()).channels) == {"ct": "ct"}


def test_series_folders_called_by_dotted_numbers_are_scans(tmp_path: Path) -> None:
    names = [f"case{k}/{part}" for k in range(3) for part in ("1.2.840/1.dcm", "1.2.840/2.dcm", "seg.nrrd")]
    assert dict(recognize(tmp_path, names).channels) == {"image": "1.2.840"}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "holds no image files.*an empty folder"),
        (["a.txt", "b.zip"], r"holds no image files.*a\.txt, b\.zip.*Unpack archives"),
        (["p0/seg.nii.gz", "p1/seg.nii.gz"], "only masks were found, no scans"),
        (["notes/dataset.json"], r"holds no image files.*found dataset\.json"),
        (["train/1.jpg", "train/2.jpg", "notes/instances.json"], r"found 2 \.jpg;.*Outlines in JSON files"),
    ],
)
def test_a_folder_without_scans_says_what_it_holds(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=f"(?s){said}"):
        inspect_folder(tmp_path)


def test_the_name_of_the_run_is_that_of_a_linked_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases(tmp_path / "DOE_JOHN", "p{k}/img.nii.gz", "p{k}/seg.nii.gz")
    (tmp_path / "study").symlink_to(tmp_path / "DOE_JOHN")
    monkeypatch.chdir(tmp_path)
    assert main(["init", "study"]) == 0
    text = (tmp_path / "configs" / "study.yaml").read_text()
    assert "DOE_JOHN" not in text
    assert np.isfinite(Volume.load("study/p0/img.nii.gz").array).all()


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
@pytest.mark.parametrize(
    ("image", "label", "ids"),
    [
        ("p{k}/scan", "p{k}/masks/scan", ("p0", "p0_scan")),
        ("p{k}/p{k}", "p{k}/masks/p{k}", ("p0", "p0")),
        ("{k}", "masks/{k}", ("0", "0")),
        ("images/{k}", "images/masks/{k}", ("0", "0")),
        ("p{k}/images/scan", "p{k}/masks/scan", ("p0_scan", "p0_scan")),
        ("images/p{k}/scan", "masks/p{k}/scan", ("p0", "p0")),
        ("images/p{k}/p{k}_ct", "masks/p{k}/p{k}_seg", ("p0", "p0")),
    ],
)  # fmt: skip
def test_scans_and_masks_of_one_name(tmp_path: Path, image: str, label: str, ids: tuple[str, str], ending: str) -> None:
    """A volume in its own folder has the id of the folder."""
    for number in range(6):
        for name, values in ((image, ()), (label, (1, 2))):
            write = save if ending == ".nii.gz" else picture
            write(tmp_path / (name.format(k=number) + ending), *values)
    found = find_cases(understood(tmp_path).data)
    assert (len(found), found[0].id) == (6, ids[ending == ".png"])
    for number, case in enumerate(found):
        assert [*case.channels.values()] == [(tmp_path / (image.format(k=number) + ending),)]
        assert case.label == (tmp_path / (label.format(k=number) + ending),)


def test_a_file_beside_the_folders_changes_nothing(tmp_path: Path) -> None:
    names = [f"{folder}/{number}.nii.gz" for folder in ("images", "masks") for number in range(3)]
    naming = recognize(tmp_path, [*names, "template.nii.gz"])
    assert (dict(naming.channels), naming.label) == ({"image": "images/{id}.nii.gz"}, "masks/{id}.nii.gz")


def test_masks_of_2d_images_are_known_by_their_values(tmp_path: Path) -> None:
    """As CHASE_DB1 has them, two of each image; the second is no channel."""
    for number in range(6):
        place = tmp_path / f"Image_0{number}L"
        colors = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(colors).save(f"{place}.jpg")
        picture(place.with_name(f"{place.name}_1stHO.png"), 255)
        picture(place.with_name(f"{place.name}_2ndHO.png"), 255)
    data = understood(tmp_path).data
    assert dict(data.channels) == dict.fromkeys(("red", "green", "blue"), "{id}.jpg")
    assert (data.label, data.scheme, data.label_map) == ("{id}_1stHO.png", "binary", {255: 1})
    doubts = inspect_folder(tmp_path).doubts
    assert any("{id}_1stHO.png is taken for the label because it holds 2 whole values" in doubt for doubt in doubts)
    assert any("several files may be labels: {id}_1stHO.png, {id}_2ndHO.png;" in doubt for doubt in doubts)


def test_structures_in_files_of_their_own_are_a_short_doubt(tmp_path: Path) -> None:
    """As TotalSegmentator has them."""
    structures = [f"s{k}/segmentations/structure_{number:03d}.nii.gz" for k in range(3) for number in range(117)]
    naming = recognize(tmp_path, [*structures, *(f"s{k}/ct.nii.gz" for k in range(3))])
    assert (dict(naming.channels), naming.label) == ({"ct": "ct.nii.gz"}, "segmentations/structure_000.nii.gz")
    (doubt,) = naming.doubts
    assert "and 112 more; segmentations/structure_000.nii.gz is taken: a case has one label file" in doubt
    assert "structure_005" not in doubt


def listing(*patterns: str, many: int = 6) -> list[str]:
    """File names, of which `{k}` is the case."""
    return [pattern.format(k=number) for pattern in patterns for number in range(many)]


@pytest.mark.parametrize(
    ("names", "layout", "channels", "label"),
    [
        (listing("Patient_{k}/image.nii.gz", "Patient_{k}/label_0{k}.nii.gz"), "folder",
         ["image.nii.gz"], "label_*.nii.gz"),
        (listing("p{k}/t1.nii.gz") + listing("p{k}/seg.nii.gz", many=2), "folder", ["t1.nii.gz"], "seg.nii.gz"),
        (listing("P{k}_ct.nii.gz") + listing("P{k}_seg.nii.gz", many=3), "paired",
         ["{id}_ct.nii.gz"], "{id}_seg.nii.gz"),
        (listing("P{k}_t1.nii.gz", "P{k}_t2.nii.gz") + listing("P{k}_seg.nii.gz", many=2), "paired",
         ["{id}_t1.nii.gz", "{id}_t2.nii.gz"], "{id}_seg.nii.gz"),
        (listing("volume-{k}.nii") + listing("segmentation-{k}.nii", many=3), "paired",
         ["volume-{id}.nii"], "segmentation-{id}.nii"),
        (listing("train/{k}_ct.nii.gz", "train/{k}_seg.nii.gz", "test/{k}_ct.nii.gz", "test/{k}_seg.nii.gz"), "paired",
         ["{id}_ct.nii.gz"], "{id}_seg.nii.gz"),
        (listing(*(f"{kind}_{{k}}/{part}.nii.gz" for kind in ("tumor", "normal") for part in ("ct", "seg"))), "folder",
         ["ct.nii.gz"], "seg.nii.gz"),
        (listing("p{k}/ct.nii.gz", "p{k}/seg.nii.gz", "p{k}/1.png", "p{k}/2.png", "p{k}/3.png"), "folder",
         ["ct.nii.gz"], "seg.nii.gz"),
        (listing("p{k}/ct.nii.gz", "p{k}/seg.nii.gz", "p{k}/ct_pred.nii.gz"), "folder", ["ct.nii.gz"], "seg.nii.gz"),
        (listing("images/{k}.nii.gz", "masks/{k}.nii.gz", "overlay/{k}.nii.gz"), "paired",
         ["images/{id}.nii.gz"], "masks/{id}.nii.gz"),
        (listing(*(f"{name}/{{k}}.nii.gz" for name in ("images", "masks", "predicted_images", "predicted_labels"))),
         "paired", ["images/{id}.nii.gz"], "masks/{id}.nii.gz"),
        (listing(*(f"{kind}/p{{k}}/{part}.nii.gz" for kind in ("tumor", "normal") for part in ("ct", "seg"))), "folder",
         ["ct.nii.gz"], "seg.nii.gz"),
        (listing(*(f"{kind}/{role}/{{k}}.nii.gz" for kind in ("annotated", "raw") for role in ("frames", "masks"))),
         "paired", ["frames/{id}.nii.gz"], "masks/{id}.nii.gz"),
        (listing(*(f"{role}/{kind}/{{k}}.nii.gz" for kind in ("tumor", "normal") for role in ("volumes", "masks"))),
         "paired", ["volumes/*/{id}.nii.gz"], "masks/*/{id}.nii.gz"),
        (listing(*(f"bids/sub-{{k}}_{part}.nii.gz" for part in ("FLAIR", "mask", "run-1_T1w", "run-2_T1w"))), "paired",
         ["{id}_FLAIR.nii.gz", "{id}_run-1_T1w.nii.gz", "{id}_run-2_T1w.nii.gz"], "{id}_mask.nii.gz"),
        (listing(*(f"bids/sub-{{k}}_run-{part}.nii.gz" for part in ("1_T1w", "2_T1w", "1_T2w", "1_mask"))), "paired",
         ["{id}_run-1_T1w.nii.gz", "{id}_run-1_T2w.nii.gz", "{id}_run-2_T1w.nii.gz"], "{id}_run-1_mask.nii.gz"),
    ],
)  # fmt: skip
def test_names_that_are_less_regular(
    tmp_path: Path, names: list[str], layout: str, channels: list[str], label: str
) -> None:
    """Labels numbered for themselves, of few cases, per split; previews and predictions in between."""
    naming = recognize(tmp_path, sorted(names))
    assert (naming.layout, [*naming.channels.values()], naming.label) == (layout, channels, label)


@pytest.mark.parametrize("split", ["{split}_{role}", "{role}_{split}"])
def test_folders_of_other_splits_are_no_channels(tmp_path: Path, split: str) -> None:
    folders = [split.format(split=name, role=role) for name in ("train", "test") for role in ("images", "masks")]
    naming = recognize(tmp_path, sorted(listing(*(f"{folder}/{{k}}.nii.gz" for folder in folders))))
    assert dict(naming.channels) == {"image": f"{folders[0]}/{{id}}.nii.gz"}
    assert (naming.label, naming.mask) == (f"{folders[1]}/{{id}}.nii.gz", None)
    (doubt,) = naming.doubts
    assert folders[2] in doubt
    assert "test/images/" in doubt


def test_folders_of_equal_masks_are_a_doubt_and_none_is_a_mask_of_the_body(tmp_path: Path) -> None:
    names = listing("CXR/{k}.nii.gz", "ManualMask/left_mask/{k}.nii.gz", "ManualMask/right_mask/{k}.nii.gz")
    naming = recognize(tmp_path, sorted(names))
    assert (naming.label, naming.mask) == ("left_mask/{id}.nii.gz", None)
    assert any("several folders may hold labels: left_mask, right_mask" in doubt for doubt in naming.doubts)


def test_a_folder_of_masks_for_each_structure_is_a_doubt(tmp_path: Path) -> None:
    names = listing("segmentation/images/{k}.nii.gz", "segmentation/masks/{k}.nii.gz")
    assert recognize(tmp_path, sorted(names)).doubts == ()
    naming = recognize(tmp_path, sorted([*names, "notes/workflow.nii.gz"]))
    assert (dict(naming.channels), naming.label) == ({"image": "images/{id}.nii.gz"}, "masks/{id}.nii.gz")
    names = listing("images/{k}.nii.gz", "labels/liver/{k}.nii.gz", "labels/tumor/{k}.nii.gz")
    naming = recognize(tmp_path, sorted(names))
    assert (dict(naming.channels), naming.label) == ({"image": "images/{id}.nii.gz"}, "tumor/{id}.nii.gz")
    assert naming.mask is None
    (doubt,) = naming.doubts
    assert "several folders may hold labels: tumor, liver; tumor is taken: a case has one label file" in doubt


def test_no_folder_of_scans_or_of_a_case_is_a_structure(tmp_path: Path) -> None:
    names = listing("segmentation/images/{k}.nii.gz", "segmentation/masks/{k}.nii.gz", "resized/{k}.nii.gz")
    assert set(recognize(tmp_path, sorted(names)).channels) == {"images", "resized"}
    names = listing("images/c{k}.png", *(f"masks/c{{k}}/cell{cell}.png" for cell in range(3)))
    with pytest.raises(DataError, match="the names do not show"):
        recognize(tmp_path, sorted(names))
    names = listing("p{k}/ct.nii.gz", "p{k}/masks/heart/ct.nii.gz")
    assert dict(recognize(tmp_path, sorted(names)).channels) == {"ct": "ct.nii.gz"}


def test_a_copy_in_a_dataset_of_nnunet_is_no_second_one(tmp_path: Path) -> None:
    names = listing("imagesTr/{k}_0000.nii.gz", "labelsTr/{k}.nii.gz", "old/imagesTr/{k}_0000.nii.gz")
    assert recognize(tmp_path, sorted(names)).layout == "nnunet"


@pytest.mark.parametrize("slices", [1, 5])
def test_masks_of_single_slices_next_to_a_series_are_a_doubt(tmp_path: Path, slices: int) -> None:
    """As in CHAOS."""
    for case in "12":
        series(tmp_path / case / "DICOM_anon")
        for number in range(slices):
            picture(tmp_path / case / "Ground" / f"liver_GT_{number:03d}.png", 1)
    naming = recognize(tmp_path, FolderTree(tmp_path).files())
    assert (dict(naming.channels), naming.label) == ({"image": "DICOM_anon"}, None)
    assert any("such as 1/Ground/liver_GT_000.png are not read as labels" in doubt for doubt in naming.doubts)


@pytest.mark.parametrize(
    ("images", "masks", "patterns"),
    [
        (["01_x.png", "02_y.png"], ["01_a.gif", "02_b.gif"], ("images/{id}_*.png", "masks/{id}_*.gif")),
        (["01.JPG", "02.jpg"], ["01_a.gif", "02_b.gif"], ("images/{id}.*", "masks/{id}_*.gif")),
        (["01.png", "02.png", "_.png"], ["01.png", "02.png"], ("images/{id}.png", "masks/{id}.png")),
    ],
)
def test_names_that_only_begin_alike_are_pairs(
    tmp_path: Path, images: list[str], masks: list[str], patterns: tuple[str, str]
) -> None:
    for folder, names in (("images", images), ("masks", masks)):
        for name in names:
            picture(tmp_path / folder / name, 1)
    naming = recognize(tmp_path, sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")))
    assert (naming.channels["image"], naming.label) == patterns


def test_more_files_than_a_case_has_channels_say_nothing(tmp_path: Path) -> None:
    names = [f"{number * 7919:x}.nii.gz" for number in range(300)] + ["seg_a.nii.gz", "seg_b.nii.gz"]
    with pytest.raises(DataError, match="which files are scans and which are masks"):
        recognize(tmp_path, sorted(names))


@pytest.mark.parametrize("between", ["{split}", "{split}/p1"])
@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_splits_below_the_folders_of_scans_and_masks(tmp_path: Path, between: str, ending: str) -> None:
    """Names that recur in each split are paired within it, also where a split has no mask of that name."""
    write = save if ending == ".nii.gz" else picture
    for split, role in ((split, role) for split in ("train", "val") for role in ("Images", "GroundTruth")):
        for number in range(4):
            if (split, role, number) != ("val", "GroundTruth", 3):
                values = (1, 2) if role == "GroundTruth" else ()
                write(tmp_path / role / between.format(split=split) / f"{number}{ending}", *values)
    data = understood(tmp_path).data
    stars = "/*" * (1 + between.count("/"))
    assert (set(data.channels.values()), data.label) == (
        {f"Images{stars}/{{id}}{ending}"},
        f"GroundTruth{stars}/{{id}}{ending}",
    )
    found = {case.id: case for case in find_cases(data)}
    prefixes = [between.format(split=split).replace("/", "_") for split in ("train", "val")]
    assert list(found) == [f"{prefix}_{number}" for prefix in prefixes for number in range(4)]
    assert {case.split for case in found.values()} == {"train", "val"}
    assert found.pop(f"{prefixes[1]}_3").label is None
    for case in found.values():
        (image,), label = next(iter(case.channels.values())), case.label
        assert label == (tmp_path / "GroundTruth" / image.relative_to(tmp_path / "Images"),)


def test_folders_named_alike_below_scans_and_masks_are_no_roles(tmp_path: Path) -> None:
    names = listing(*(f"{role}/{kind}/{kind}{{k}}.png" for role in ("images", "masks") for kind in ("site1", "site2")))
    for name in names:
        picture(tmp_path / name, 1)
    naming = recognize(tmp_path, sorted(names))
    assert (naming.channels["image"], naming.label) == ("images/*/{id}.png", "masks/*/{id}.png")


@pytest.mark.parametrize("derivatives", ["", "derivatives/manual/"])
@pytest.mark.parametrize(("labeled", "sessions"), [((1, 2), ("",)), ((1,), ("",)), ((1, 2), ("_ses-1", "_ses-2"))])
def test_runs_of_bids_are_cases_of_one_patient(
    tmp_path: Path, labeled: tuple[int, ...], sessions: tuple[str, ...], derivatives: str
) -> None:
    for subject, session, run in ((s, session, run) for s in range(1, 4) for session in sessions for run in (1, 2)):
        name = f"sub-{subject}{session}_run-{run}"
        place = Path(*name.split("_")[:-1], "anat")
        save(tmp_path / place / f"{name}_T1w.nii.gz")
        if run in labeled:
            save(tmp_path / derivatives / place / f"{name}_desc-lesion_mask.nii.gz", 1, 2)
    data = understood(tmp_path).data
    assert ([*data.channels.values()], data.label) == (["{id}_T1w.nii.gz"], "{id}_desc-lesion_mask.nii.gz")
    found = find_cases(data)
    assert len(found) == 6 * len(sessions)
    assert {case.patient for case in found} == {"sub-1", "sub-2", "sub-3"}
    assert all((case.label is not None) == (int(case.id[-1]) in labeled) for case in found)


def test_an_image_with_a_mask_in_colors_is_still_read(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "images" / f"{number}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "masks" / f"{number}.png")
    findings = inspect_folder(tmp_path)
    assert findings.data.image_size == 64
    assert "no image was read" not in findings.doubts
    assert any("a mask in colors" in doubt for doubt in findings.doubts)


def test_localizers_are_no_channels(tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        for folder, kind in (("1_scout", "LOCALIZER"), ("2_ct", "AXIAL")):
            for file in series(tmp_path / case / folder):
                stored = dcmread(file)
                stored.ImageType = ["ORIGINAL", "PRIMARY", kind]
                stored.save_as(file)
        save(tmp_path / case / "seg.nii.gz", 1)
    names = FolderTree(tmp_path).files()
    assert dict(recognize(tmp_path, names).channels) == {"ct": "2_ct"}
    scouts = [name for name in names if "2_ct" not in name]
    assert [*recognize(tmp_path, scouts).channels.values()] == ["1_scout"]
    file = next((tmp_path / "p1" / "2_ct").iterdir())
    stored = dcmread(file)
    stored.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    file.unlink()
    stored.save_as(file.with_name("0.dcm"))  # a scout in front of the slices of a series
    assert "p1/2_ct" in dicom_in(tmp_path, FolderTree(tmp_path).files()).series
