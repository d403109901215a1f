"""`segcct demo`: every step runs, on fewer and smaller cases than users get."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from segcct.cli import main
from segcct.commands import build_parser, train
from segcct.config import ReconstructionConfig, SegmentationConfig, settings
from segcct.demo import walkthrough
from segcct.demo.walkthrough import Places, Step, prepare
from segcct.errors import DataError, RunError


def test_the_configs_are_valid_and_share_one_data_section(tmp_path):
    prepare(Places(tmp_path / "demo", tmp_path / "data"))
    segmentation = settings.load(SegmentationConfig, tmp_path / "demo_segmentation.yaml")
    reconstruction = settings.load(ReconstructionConfig, tmp_path / "demo_reconstruction.yaml")
    assert segmentation.data == reconstruction.data


def test_where_the_demo_writes_as_usual_its_configs_are_used_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [step.words for step in prepare(Places())]
    assert words[1] == ("train-seg", "--config", "runs/demo_segmentation.yaml")
    assert words[5] == ("train-m2i", "--config", "runs/demo_reconstruction.yaml")
    for each in words:
        assert not each or each[0] == "--picture" or build_parser().parse_known_args(each)[1] == []


def test_a_run_that_is_there_is_refused(tmp_path):
    (tmp_path / "demo" / "best").mkdir(parents=True)
    with pytest.raises(RunError, match=r"exists already.*with --output, or remove"):
        prepare(Places(tmp_path / "demo", tmp_path / "data"))


@pytest.mark.parametrize(("run", "data"), [("one", "one"), ("run", "run/data"), ("data/run", "data"), ("x/../a", "a")])
def test_folders_of_which_one_lies_in_the_other_are_refused_before_anything_is_drawn(tmp_path, run, data):
    with pytest.raises(DataError, match="kept apart"):
        prepare(Places(tmp_path / run, tmp_path / data))
    assert list(tmp_path.iterdir()) == []


def test_what_is_a_file_is_refused_as_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file: is not a folder\. Choose another folder with --output"):
        prepare(Places(tmp_path / "file" / "demo", tmp_path / "data"))
    with pytest.raises(DataError, match=r"found a file;.*Remove it"):
        prepare(Places(tmp_path / "demo", tmp_path / "file"))


def test_a_dataset_of_an_earlier_demo_is_used_again_and_a_part_of_one_is_not(tmp_path, monkeypatch):
    places = Places(tmp_path / "demo", tmp_path / "data")
    for index in range(3):
        (places.dataset / f"SegcctPhantom_{index:03d}").mkdir(parents=True)
    (places.dataset / ".DS_Store").touch()
    with pytest.raises(DataError, match=r"found 3 entries.*Remove it"):
        prepare(places)
    monkeypatch.setattr(walkthrough, "CASES", 3)
    assert prepare(places)[0].words[0] == "train-seg"


@pytest.mark.slow
def test_the_demo_ends_with_scores_and_pages(tmp_path, monkeypatch, capsys):
    small = ("--data.image_size", "48", "--model.name", "{}", "--train.epochs", "1", "--train.validate_every", "1",
             "--train.slices_per_epoch", "16", "--train.batch_size", "8")  # fmt: skip
    whole = walkthrough.prepare

    def fewer(places: Places) -> list[walkthrough.Step]:
        names = {"train-seg": "cct_unet_t", "train-m2i": "m2i_s"}
        steps = whole(places)
        keys = {name: tuple(word.format(model) for word in small) for name, model in names.items()}
        return [replace(step, words=(*step.words, *keys.get("".join(step.words[:1]), ()))) for step in steps]

    monkeypatch.setattr(walkthrough, "CASES", 6)
    monkeypatch.setattr(walkthrough, "VOXEL_MM", 5)
    monkeypatch.setattr(walkthrough, "prepare", fewer)
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    shown = capsys.readouterr()
    assert "[7/7] compare the scans" in shown.err
    assert "Look at runs/demo/report/report.html" in shown.out
    run = tmp_path / "runs" / "demo"
    assert 0 <= json.loads((run / "evaluation" / "summary.json").read_text())["overall"]["dice"]["mean"] <= 1
    for made in ("best/model.json", "predictions/predictions.json", "report/report.html", "report/panel.png",
                 "m2i/best/model.json", "comparison/report.html"):  # fmt: skip
        assert (run / made).is_file(), made
    assert main(["demo"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_ctrl_c_in_a_step_says_how_the_demo_starts_again(tmp_path, monkeypatch, capsys):
    def interrupted(*_: object) -> None:
        (tmp_path / "demo").mkdir()
        interrupt = KeyboardInterrupt()
        interrupt.add_note("continue with --resume demo")
        raise interrupt

    monkeypatch.setattr(walkthrough, "prepare", lambda _: [Step("train", ("train-seg", "--config", "demo.yaml"))])
    monkeypatch.setattr(train, "_train", interrupted)
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 130
    assert f"segcct demo: interrupted; to start again, delete {tmp_path / 'demo'}\n" in capsys.readouterr().err
