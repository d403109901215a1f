"""Masks of pictures: palette pictures in the scheme's values, from prediction to evaluation and report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcct.datasets.label_schemes import Scheme
from segcct.errors import ConfigError, DataError, EvaluationError, RunError, VolumeError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.figures import class_colors
from segcct.images.affines import IMAGE_AFFINE
from segcct.images.volume import Volume
from segcct.inference.predictor import Predictor
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_files import load_mask, save_mask
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import resolve
from segcct.report.segmentation_page import write_report
from tests.support.toy_pair import INTENSITIES, predictor

SCHEME = Scheme("custom", {"low": 3, "high": 7})
WIDE = Scheme("custom", {"low": 3, "high": 700})
INDEX = np.zeros((20, 30), dtype=np.uint8)  # rows, columns
INDEX[4:14, 5:25] = 1
INDEX[6:10, 8:12] = 2


def mask_of(scheme: Scheme, depth: int = 1) -> Volume:
    """(30, 20, depth); the second page and those behind it hold the first class alone."""
    values = scheme.to_values(np.stack([INDEX.T, *[INDEX.T.clip(max=1)] * (depth - 1)], axis=-1))
    return Volume(values, IMAGE_AFFINE, None, None, None)


@pytest.mark.parametrize(("depth", "name"), [(1, "a.png"), (3, "a.tif")])
@pytest.mark.parametrize("scheme", [SCHEME, WIDE], ids=["palette", "16 bit"])
def test_masks_come_back_as_they_were(tmp_path, scheme, depth, name):
    mask = mask_of(scheme, depth)
    file = save_mask(mask, tmp_path, "a", scheme, mask_format="image")
    assert [path.name for path in tmp_path.iterdir()] == [file.name] == [name]
    again = load_mask(file)
    np.testing.assert_array_equal(again.array, mask.array)
    assert again.spacing_mm is None


def test_a_viewer_shows_every_class_in_its_colour(tmp_path):
    for depth in (1, 2):
        with Image.open(save_mask(mask_of(SCHEME, depth), tmp_path, "a", SCHEME, mask_format="image")) as opened:
            assert opened.mode == "P"
            shown = np.asarray(opened.convert("RGB"))
        colours = {tuple(shown[row, column]) for row, column in ((0, 0), (5, 6), (7, 9))}
        named = {tuple(bytes.fromhex(colour[1:])) for colour in class_colors(2)}
        assert colours == {(0, 0, 0), *named}


def test_a_mask_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(self, file, *_, **__):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_mask(mask_of(SCHEME), tmp_path, "a", SCHEME, mask_format="image")
    assert not list(tmp_path.iterdir())


def test_other_pictures_are_no_masks(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 6, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(VolumeError, match=r"a\.png: a mask in colors"):
        load_mask(tmp_path / "a.png")
    with pytest.raises(VolumeError, match=r"b\.png: no such file"):
        load_mask(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("scheme", "case", "found"),
    [
        (None, {"mask": "a.dcm", "channels": {"ct": ["scan"]}}, "found predictions.json without the scheme"),
        (SCHEME, {"mask": "a.dcm"}, "found predictions.json without the images of this mask"),
        (SCHEME, {"mask": "b.dcm", "channels": {"ct": ["scan"]}}, "found predictions.json without the images"),
        (SCHEME, {"mask": "a.dcm", "channels": {"ct": []}}, "found predictions.json without the images"),
    ],
)
def test_a_segmentation_that_predictions_json_says_too_little_of_is_refused(tmp_path, scheme, case, found):
    stored = None if scheme is None else {"name": scheme.name, "classes": scheme.classes}
    (tmp_path / "predictions.json").write_text(json.dumps({"scheme": stored, "cases": {"a": case}}))
    with pytest.raises(VolumeError, match=rf"a\.dcm: it is not known which images .*\({found}"):
        load_mask(tmp_path / "a.dcm")


@pytest.fixture
def of() -> Predictor:
    """Reads pictures and masks in folders of their own; the masks hold 100 and 200 for the scheme's 3 and 7."""
    return predictor(
        layout="pictures",
        channels={"grey": "images/{id}.png"},
        label="masks/{id}.png",
        label_map={100: 3, 200: 7},
    )


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Two pictures on which the toy predictor is right."""
    root = tmp_path / "data"
    for folder, values in (("images", INTENSITIES), ("masks", (0, 100, 200))):
        (root / folder).mkdir(parents=True)
        for name, index in (("a", INDEX), ("b", INDEX[::-1])):
            Image.fromarray(np.asarray(values, dtype=np.uint8)[index]).save(root / folder / f"{name}.png")
    return root


def test_pictures_from_prediction_to_report(of, dataset, tmp_path):
    masks = predict_folder(of, resolve(of.card, dataset), tmp_path / "p").masks
    assert [mask.name for mask in masks] == ["a.png", "b.png"]
    index = json.loads((tmp_path / "p" / "predictions.json").read_text(encoding="utf-8"))
    assert {name: entry["mask"] for name, entry in index["cases"].items()} == {"a": "a.png", "b": "b.png"}
    np.testing.assert_array_equal(load_mask(masks[0]).array[..., 0].T, np.asarray([0, 3, 7])[INDEX])
    Image.new("RGB", (9, 9)).save(tmp_path / "p" / "figure.png")  # what nobody predicted is no mask
    summary = evaluate(tmp_path / "p", dataset, output=tmp_path / "e")
    assert (summary["cases"], summary["overall"]["dice"]["mean"]) == (2, 1.0)
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert "No picture" not in page
    assert "data:image/webp" in page


def test_no_mask_takes_the_place_of_a_picture(of, dataset):
    request = resolve(of.card, dataset / "images")
    before = (dataset / "images" / "a.png").read_bytes()
    with pytest.raises(RunError, match=r"a\.png: a mask would replace an input file"):
        predict_folder(of, request, dataset / "images", existing="replace")
    assert (dataset / "images" / "a.png").read_bytes() == before


@pytest.mark.parametrize("name", ["png", "image"])
def test_a_format_that_cannot_be_asked_for_is_refused_with_those_that_can(name: str) -> None:
    """`image` is for masks of 2-D images, and would lose the geometry of a volume."""
    with pytest.raises(ConfigError, match=f"no such format of masks .found {name}; expected nifti, dicom-seg"):
        MaskOptions(mask_format=name)


def test_pictures_are_not_their_own_references(of, dataset, tmp_path):
    predict_folder(of, resolve(of.card, dataset / "images"), tmp_path / "p")
    with pytest.raises(DataError, match="no case of layout pictures"):
        evaluate(tmp_path / "p", dataset / "images")


def test_a_flat_folder_of_picture_masks_is_a_reference(of, dataset, tmp_path):
    predict_folder(of, resolve(of.card, dataset / "images"), tmp_path / "p")
    for name, index in (("a", INDEX), ("b", INDEX)):
        values = Image.fromarray(SCHEME.to_values(index))
        (tmp_path / "flat").mkdir(exist_ok=True)
        values.save(tmp_path / "flat" / f"{name}_mask.png")
    summary = evaluate(tmp_path / "p", tmp_path / "flat")
    assert summary["data"] is None
    assert 0 < summary["overall"]["dice"]["mean"] < 1  # b is upside down
    (tmp_path / "p" / "predictions.json").rename(tmp_path / "predictions.json")
    assert evaluate(tmp_path / "p", tmp_path / "flat", SCHEME)["overall"] == summary["overall"]
    (tmp_path / "predictions.json").rename(tmp_path / "p" / "predictions.json")
    (tmp_path / "p" / "b.png").unlink()
    with pytest.raises(EvaluationError, match=r"b: has a reference but no prediction \(.*p/b\.png is missing\)"):
        evaluate(tmp_path / "p", tmp_path / "flat")


def test_pages_become_pages_and_no_older_mask_stays(of, dataset, tmp_path):
    picture = tmp_path / "new" / "a.png"
    picture.parent.mkdir()
    (dataset / "images" / "a.png").rename(picture)
    predict_folder(of, resolve(of.card, picture), tmp_path / "p")
    page = Image.open(picture)
    pages = picture.with_suffix(".tif")
    page.save(pages, save_all=True, append_images=[page])
    with pytest.raises(RunError, match=r"exist already \(found a\.png\)"):
        predict_folder(of, resolve(of.card, pages), tmp_path / "p")
    (mask,) = predict_folder(of, resolve(of.card, pages), tmp_path / "p", existing="replace").masks
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["a.tif", "predictions.json"]
    assert load_mask(mask).shape == (30, 20, 2)
    index = json.loads((tmp_path / "p" / "predictions.json").read_text(encoding="utf-8"))
    assert index["cases"]["a"]["mask"] == "a.tif"
