"""volumes.csv against values worked out by hand, and the label files as the two viewers read them."""

from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np

from segcct.files.table_file import read_rows_of
from segcct.images.volume import Volume
from segcct.inference.predictor import Predictor
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.label_colors import ITK_SNAP, SLICER, write_label_colors
from segcct.predictions.prediction_request import resolve
from segcct.predictions.volumes_table import volume_rows, volumes_table
from tests.support.toy_pair import loaded_case, predictor

CLASSES = ("low", "high", "none")


def test_rows_by_hand():
    of = predictor()
    segmented = of.segment(loaded_case())
    full = np.zeros((6, 5, 4), dtype=np.uint8)
    full[1:3, 2, 1] = 1
    full[4, 3:5, 0:2] = 2
    intensity = np.arange(120, dtype=np.float32).reshape(full.shape)
    grid = Volume(intensity, np.diag([0.5, 2, 10, 1]), (0.5, 2.0, 10.0), None, None)
    low, high, none = volume_rows(CLASSES, replace(segmented, grid=grid, full=full))
    assert (low["voxels"], low["ml"], low["touches_border"]) == ("2", "0.02", "no")
    assert [low[f"{axis}_{end}"] for axis in "xyz" for end in ("first", "last")] == ["1", "2", "2", "2", "1", "1"]
    assert float(low["mean_intensity"]) == (20 + 8 + 1 + 40 + 8 + 1) / 2
    assert (high["voxels"], high["ml"], high["touches_border"]) == ("4", "0.04", "yes")
    assert (none["voxels"], none["ml"], none["mean_intensity"], none["touches_border"]) == ("0", "0", "", "")
    (flat, *_) = volume_rows(CLASSES, replace(segmented, grid=replace(grid, spacing_mm=None), full=full[:, :, 1:2]))
    assert (flat["ml"], flat["mean_intensity"], flat["touches_border"]) == ("", "", "no")  # one slice touches nothing


def test_the_table_follows_the_masks(tmp_path):
    for name in ("a", "b"):
        loaded_case().grid.save(tmp_path / f"{name}.nii.gz")
    of, table = predictor(), volumes_table(["low", "high"])
    for name in ("b", "a"):
        predict_folder(of, resolve(of.card, tmp_path / f"{name}.nii.gz"), tmp_path / "p", tables=[table])
    rows = read_rows_of(tmp_path / "p" / "volumes.csv", ["mask"])
    assert [(row["case"], row["class"]) for row in rows] == [(case, name) for case in "ab" for name in ("low", "high")]
    label = loaded_case().label
    assert [int(row["voxels"]) for row in rows[:2]] == [int((label == value).sum()) for value in (3, 7)]


def test_rows_of_another_models_masks_do_not_stay(tmp_path):
    """Of the cases that the call which replaces its index does not predict."""
    of, table = predictor(), volumes_table(["low", "high"])
    for name in ("a", "b"):
        loaded_case().grid.save(tmp_path / f"{name}.nii.gz")
        predict_folder(of, resolve(of.card, tmp_path / f"{name}.nii.gz"), tmp_path / "p", tables=[table])
    other = Predictor(of.network, of.card.model_copy(update={"weights_sha256": "other"}), of.how)
    request = resolve(other.card, tmp_path / "a.nii.gz")
    predict_folder(other, request, tmp_path / "p", tables=[table], existing="replace")
    rows = read_rows_of(tmp_path / "p" / "volumes.csv", ["case"])
    assert [(row["case"], row["class"]) for row in rows] == [("a", "low"), ("a", "high")]


def test_label_files_are_what_the_viewers_read(tmp_path):
    write_label_colors(tmp_path, {"right ventricle": 1, 'the "wall"': 4})
    snap = [shlex.split(line, comments=True) for line in (tmp_path / ITK_SNAP).read_text().splitlines()]
    assert [(int(line[0]), line[-1]) for line in snap if line] == [
        (0, "Clear Label"),
        (1, "right ventricle"),
        (4, "the 'wall'"),
    ]
    assert all(len(line) == 8 for line in snap if line)
    slicer = [line.split() for line in (tmp_path / SLICER).read_text().splitlines() if not line.startswith("#")]
    assert [line[:2] for line in slicer] == [["0", "background"], ["1", "right_ventricle"], ["4", 'the_"wall"']]
    assert [line[2:5] for line in slicer] == [line[1:4] for line in snap if line]
