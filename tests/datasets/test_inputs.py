"""What prediction may be given beside a dataset: one file that holds every channel, a folder of new files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from segcct.datasets.label_schemes import custom_scheme
from segcct.datasets.layouts import find_cases
from segcct.datasets.split_record import Splits
from segcct.errors import DataError, SplitError, VolumeError
from segcct.images.volume import Volume
from segcct.model_card import ModelCard
from segcct.predictions.prediction_request import load_case, resolve
from tests.support.toy_pair import CLASSES, card, data_section

COLOUR = np.random.default_rng(5).integers(0, 256, (20, 30, 3)).astype(np.uint8)  # rows, columns, RGB
RGB = ("red", "green", "blue")
SCHEME = custom_scheme(CLASSES)


def card_of(layout: str, channels: dict[str, str], label: str | None = None, **more: object) -> ModelCard:
    return card("segmentation", data_section(layout=layout, channels=channels, label=label, **more))


def picture(file: Path, array: np.ndarray = COLOUR) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)
    return file


def scan(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Volume(np.zeros((4, 5, 2), np.float32), np.eye(4), (1.0, 1.0, 1.0)).save(file)
    return file


def test_one_colour_picture_is_every_channel(tmp_path):
    file = picture(tmp_path / "21_training.png")
    of = card_of("pictures", dict.fromkeys(("blue", "red"), "images/*_training.png"), "masks/*.gif")
    request = resolve(of, file)
    (case,) = request.cases
    assert (case.id, request.single) == ("21", False)
    image = load_case(request, case, SCHEME, with_label=False).image
    np.testing.assert_array_equal(image[:, ..., 0].transpose(2, 1, 0), COLOUR[..., [2, 0]])
    other = resolve(of, picture(tmp_path / "my.new.png"))
    assert [case.id for case in other.cases] == ["my.new"]


def test_one_picture_of_several_is_not_enough(tmp_path):
    file = picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"one file is not enough.*with channels a, b"):
        resolve(card_of("pictures", {"a": "a/*.png", "b": "b/*.png"}), file)


@pytest.mark.parametrize(
    ("name", "shape", "volume_shape"),
    [
        ("patient001_frame01_slice_3.h5", (6, 5), (5, 6, 1)),
        ("patient001_frame01.h5", (3, 6, 5), (5, 6, 3)),
        ("case0005_slice012.npz", (6, 5), (5, 6, 1)),
    ],
)
def test_one_file_of_arrays(tmp_path, name, shape, volume_shape):
    file, array = tmp_path / name, np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    if file.suffix == ".npz":
        np.savez(file, image=array)
    else:
        with h5py.File(file, "w") as stream:
            stream["image"] = array
    request = resolve(card_of("slices", {"ct": "image"}, "label"), file)
    (case,) = request.cases
    assert case.id == name.split(".")[0]
    assert load_case(request, case, SCHEME, with_label=False).grid.shape == volume_shape
    with pytest.raises(VolumeError, match="holds no array named mri"):
        resolve(card_of("slices", {"ct": "mri"}), file)


FLAT = {
    "pictures": ({"red": "images/{id}.png", "green": "images/{id}.png"}, "masks/{id}.gif", "new_{}.png"),
    "paired": ({"ct": "scans/*_ct.nii.gz"}, "masks/*.nii.gz", "new_{}_ct.nii.gz"),
    "nnunet": ({"t1": "{id}_0000.nii.gz", "t2": "{id}_0001.nii.gz"}, "{id}.nii.gz", "new_{}_0000.nii.gz"),
    "synapse": ({"ct": "img/img*.nii.gz"}, "label/label*.nii.gz", "imgnew_{}.nii.gz"),
}


@pytest.mark.parametrize("layout", FLAT)
def test_a_folder_of_new_files_is_predicted_but_not_trained_on(tmp_path, layout):
    channels, label, name = FLAT[layout]
    for number in (1, 2):
        file = tmp_path / name.format(number)
        picture(file) if layout == "pictures" else scan(file)
        if layout == "nnunet":
            scan(tmp_path / f"new_{number}_0001.nii.gz")
    (tmp_path / "notes.txt").write_text("of last week")
    of = card_of(layout, channels, label)
    request = resolve(of, tmp_path)
    assert [case.id for case in request.cases] == ["new_1", "new_2"]
    assert load_case(request, request.cases[0], SCHEME, with_label=False).image.shape[0] == len(channels)
    with pytest.raises(DataError, match=f"no case of layout {layout}"):
        find_cases(of.data_section(tmp_path))


def test_what_the_model_has_seen_goes_by_patient(tmp_path):
    for name in ("p1_a", "p1_b", "p2_a", "p3_a"):
        scan(tmp_path / "scans" / f"{name}_ct.nii.gz")
    of = card_of("paired", {"ct": "{id}_ct.nii.gz"}, patient=r"(p\d)_")
    split = tmp_path / "splits.json"
    Splits(("p1_a",), ("p2_a",), patients={"p1_a": "p1", "p2_a": "p2"}).save(split)
    seen = resolve(of, tmp_path / "scans", splits_files=[split]).seen
    assert seen == {"p1_a": "train", "p1_b": "train", "p2_a": "val"}
    with pytest.raises(SplitError, match=r"split test is empty\. Predict with --split val, or cross-validate"):
        resolve(of, tmp_path / "scans", splits_files=[split], split="test")


def test_a_damaged_split_costs_no_more_than_that_note(tmp_path, capsys):
    file = scan(tmp_path / "a_ct.nii.gz")
    of = card_of("paired", {"ct": "{id}_ct.nii.gz"})
    (tmp_path / "splits.json").write_text("{")
    assert resolve(of, file, splits_files=[tmp_path / "splits.json"]).seen == {}
    assert "not a split file" in capsys.readouterr().err
    with pytest.raises(SplitError, match="not a split file"):
        resolve(of, file, splits_files=[tmp_path / "splits.json"], split="test")


def test_channels_that_folders_alone_tell_apart_are_not_mixed_up(tmp_path):
    scan(tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="no case of layout paired"):
        resolve(card_of("paired", {"t1": "t1/{id}.nii.gz", "t2": "t2/{id}.nii.gz"}), tmp_path)
    with pytest.raises(DataError, match="no case of layout paired"):
        resolve(card_of("paired", {"t1": "{id}/scan.nii.gz"}), tmp_path)


def test_masks_beside_new_pictures_are_no_pictures(tmp_path):
    for name in ("a.png", "a_mask.png", "b.png"):
        picture(tmp_path / name)
    cases = resolve(card_of("pictures", {"grey": "images/{id}.png"}, "masks/{id}_mask.png"), tmp_path).cases
    assert [(case.id, case.label is not None) for case in cases] == [("a", True), ("b", False)]


def test_a_label_that_its_folder_alone_tells_from_the_picture_is_not_looked_for(tmp_path):
    picture(tmp_path / "a.png")
    (case,) = resolve(card_of("pictures", {"grey": "images/{id}.png"}, "masks/{id}.png"), tmp_path).cases
    assert (case.id, case.label) == ("a", None)


def test_a_channel_that_lacks_among_new_files_is_named(tmp_path):
    scan(tmp_path / "a_0000.nii.gz")
    with pytest.raises(DataError, match=r"a_0000\.nii\.gz: channel t2 is missing \(found no such file of case a"):
        resolve(card_of("nnunet", FLAT["nnunet"][0]), tmp_path)
