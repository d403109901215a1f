"""Cross-validation by one command: its folder, its resume, its out-of-fold evaluation, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from segcct.cli import main
from segcct.commands.parser import command_line
from segcct.config import ClassificationConfig, RunSection, SegmentationConfig, settings
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError
from segcct.images.volume import Volume
from segcct.inference import loaded_model
from segcct.inference.predictor import Predictor
from segcct.model_card import ModelCard, save_model
from segcct.run_folder import FoldsFolder, RunFolder
from segcct.tasks import fold_training
from segcct.tasks.fold_training import chosen_folds, train_folds
from segcct.tasks.segmentation.out_of_fold import evaluate_out_of_fold
from segcct.tasks.task import TASKS
from tests.conftest import training_command
from tests.support.drawn_images import write_folder
from tests.support.toy_pair import Nearest, card, data_section, loaded_case

KFOLD = {"data__split__kind": "kfold", "data__split__folds": "2", "data__split__test": "2", "run__name": "cv"}
KFOLD["train__epochs"] = "1"
Trained = tuple[FoldsFolder, str]


def config(kind: str = "kfold", **split: object) -> SegmentationConfig:
    content = {"data": data_section(split={"kind": kind, "folds": 4, **split}).model_dump(mode="json")}
    return settings.build(SegmentationConfig, content, {}, source="test")


def test_folds_are_named_by_number_or_all() -> None:
    assert chosen_folds("all", config()) == (0, 1, 2, 3)
    assert chosen_folds("2, 0,2", config("crossval")) == (0, 2)
    assert chosen_folds("3", config("lists", train_list="train.txt")) == (3,)


@pytest.mark.parametrize("text", ["4", "", "-1", "0,,1", "0-2", "9" * 5000])
def test_what_is_no_fold_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="all, or numbers from 0 to 3"):
        chosen_folds(text, config())


def test_a_split_without_folds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for other in (config("fractions"), config("lists", train_list="a.txt", val_list="b.txt")):
        with pytest.raises(ConfigError, match=r"data\.split\.kind: kfold"):
            chosen_folds("all", other)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        chosen_folds("all", config())


@pytest.fixture(scope="module")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A cross-validation, and what the command printed."""
    root = tmp_path_factory.mktemp("runs")
    command = training_command(phantom, root, **KFOLD)
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda *text, **_: printed.append(" ".join(map(str, text))))
        assert main([*command, "--folds", "all"]) == 0
    return FoldsFolder.open(root / "cv"), "\n".join(printed)


@pytest.mark.slow
def test_every_case_is_evaluated_by_the_fold_that_held_it_out(trained: Trained) -> None:
    folder, printed = trained
    splits = [Splits.load(folder.fold(number).splits) for number in folder.folds]
    held_out = sorted(name for each in splits for name in each.val)
    assert len(held_out) == len(set(held_out)) == 4
    index = json.loads((folder.out_of_fold / "predictions" / "predictions.json").read_text())
    assert sorted(index["cases"]) == held_out
    assert {entry["seen"] for entry in index["cases"].values()} == {"val"}
    assert len(index["members"]) == 2
    summary = json.loads((folder.out_of_fold / "evaluation" / "summary.json").read_text())
    assert summary["weights_sha256"] == index["weights_sha256"] == Predictor.load(folder.path).card.weights_sha256
    assert summary["overall"]["dice"]["n"] == 4
    assert (folder.out_of_fold / "report.html").is_file()
    assert "all folds" in printed
    assert "| 1 | 1 | val_dice" in printed
    assert "mean of classes" in printed
    # each mask is that of the model of its fold
    one = splits[1].val[0]
    alone = folder.path.parent / "alone"
    root = json.loads((folder.out_of_fold / "evaluation" / "summary.json").read_text())["provenance"]["references"]
    arguments = ["--input", root, "--split", "val", "--output", str(alone), "--no-quality"]
    assert main(["predict", "--model", str(folder.fold(1).best), *arguments]) == 0
    assert json.loads((alone / "predictions.json").read_text())["cases"][one]["digest"] == index["cases"][one]["digest"]


@pytest.mark.slow
def test_the_folder_is_a_model_for_predict(trained: Trained, phantom: Path, tmp_path: Path) -> None:
    folder, _ = trained
    arguments = ["--input", str(phantom), "--split", "test", "--output", str(tmp_path), "--tta", "flips"]
    assert main(["predict", "--model", str(folder.path), *arguments]) == 0
    assert len(json.loads((tmp_path / "predictions.json").read_text())["members"]) == 2


@pytest.mark.slow
def test_a_cross_validation_is_resumed_as_a_whole(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = FoldsFolder(tmp_path / "moved", trained[0].folds)
    shutil.copytree(trained[0].path, folder.path)
    begun: list[str] = []
    train = fold_training.train

    def noting(config: SegmentationConfig, **how: object) -> object:
        begun.append(f"{config.run.name} {'resumed' if how.get('resume') else 'begun'}")
        return train(config, **how)

    monkeypatch.setattr(fold_training, "train", noting)
    command = ["train-seg", "--resume", str(folder.path)]
    assert main(command) == 0
    assert begun == []  # all are finished
    folder.fold(0).summary.unlink()
    shutil.rmtree(folder.fold(1).best)
    folder.fold(1).summary.unlink()
    folder.fold(1).last.unlink()  # killed in its first epoch
    capsys.readouterr()
    assert main([*command, "--dry-run"]) == 0
    assert "| 1 | 1 |  |  | not begun |" in capsys.readouterr().out
    assert main(command) == 0
    assert begun == ["fold_0 resumed", "fold_1 begun"]
    assert main([*command, "--train.epochs", "2"]) == 0
    assert begun[2:] == ["fold_0 resumed", "fold_1 resumed"]
    assert [len(folder.fold(number).read_metrics()) for number in (0, 1)] == [2, 2]
    for wrong in (["--data.fold", "1"], ["--folds", "5"], ["--model.name", "unet"]):
        assert main([*command, *wrong]) == 1


@pytest.mark.slow
def test_folders_in_the_way_and_keys_without_effect_are_refused(
    trained: Trained, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = training_command(phantom, trained[0].path.parent, **KFOLD)
    assert main([*command, "--folds", "all"]) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*training_command(phantom, tmp_path, **KFOLD, data__fold="1"), "--folds", "all"]) == 1
    assert "--data.fold would do nothing" in capsys.readouterr().err
    assert main(["train-seg", "--resume", str(trained[0].fold(0).path), "--folds", "all"]) == 1
    assert "not for a run of one training" in capsys.readouterr().err
    assert main([*training_command(phantom, tmp_path, **KFOLD), "--folds", "1", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "folds       1, one after the other, about" in shown
    assert "--folds 1" in shown
    assert list(tmp_path.iterdir()) == []


def test_each_fold_is_loaded_once_to_be_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = loaded_case()
    assert case.label is not None
    for name in "ab":
        for array, file in ((case.image[0], "ct.nii.gz"), (case.label, "seg.nii.gz")):
            Volume(array, case.grid.affine, case.grid.spacing_mm).save(tmp_path / "data" / name / file)
    data = data_section(root=tmp_path / "data", channels={"ct": "ct.nii.gz"}, label="seg.nii.gz")
    folder = FoldsFolder(tmp_path / "cv", (0, 1))
    for number, (trained, held_out) in enumerate((("a", "b"), ("b", "a"))):
        save_model(folder.fold(number).best, {"of": torch.tensor(float(number))}, card("segmentation", data))
        Splits((trained,), (held_out,)).save(folder.fold(number).splits)
    folder.write()
    loaded = loads_of(Nearest(), monkeypatch)
    content = {"data": data.model_dump(mode="json"), "train": {"device": "cpu", "precision": "fp32"}}
    evaluate_out_of_fold(folder, settings.build(SegmentationConfig, content, {}, source="test"), "val")
    assert loaded == [folder.fold(0).best, folder.fold(1).best]


def loads_of(network: nn.Module | None, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The best/ folders whose networks are loaded from now on; `network` stands in for them, if there is one."""
    loaded: list[Path] = []
    usual = loaded_model.load_network

    def noting(best: Path, of: ModelCard) -> nn.Module:
        loaded.append(best)
        return usual(best, of) if network is None else network

    monkeypatch.setattr(loaded_model, "load_network", noting)
    return loaded


@pytest.mark.slow
def test_classes_of_images_are_cross_validated_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "run": {"root": str(tmp_path), "name": "cv"},
        "data": {"root": str(write_folder(tmp_path / "pictures", 8)), "image_size": 16, "cache": str(tmp_path / "c"),
                 "split": {"kind": "kfold", "folds": 2, "test": 0}},
        "model": {"name": "cct_2_3x2_32"},
        "train": {"epochs": 1, "batch_size": 8},
    }  # fmt: skip
    own = settings.build(ClassificationConfig, content, {}, source="test")
    loaded = loads_of(None, monkeypatch)
    folder = train_folds(own, (0, 1))
    assert loaded == [folder.fold(0).best, folder.fold(1).best]
    splits = [Splits.load(folder.fold(number).splits) for number in (0, 1)]
    summary = json.loads((folder.out_of_fold / "evaluation" / "summary.json").read_text())
    assert summary["cases" if "cases" in summary else "images"] == sum(len(each.val) for each in splits)
    assert (folder.out_of_fold / "report.html").is_file()


def test_a_plan_to_add_folds_ends_with_the_command_that_adds_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FoldsFolder(tmp_path / "cv", (0,)).write()
    words = ["--resume", str(tmp_path / "cv"), "--folds", "1,2"]
    assert main(["train-seg", *words, "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith(f"next: {command_line('train-seg', *words)}\n")


@pytest.mark.parametrize("named", [".", "link"])
def test_a_resume_finds_its_folds_by_any_name_of_the_folder(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FoldsFolder(tmp_path / "cv", (0, 1))
    folder.write()
    stored = config().model_copy(update={"run": RunSection(name="cv")})
    stored = stored.model_copy(
        update={"train": stored.train.model_copy(update={"precision": "bf16", "precision_reason": "measured"})}
    )
    folder.config.write_text(settings.dump(stored))
    (tmp_path / "link").symlink_to(folder.path)
    monkeypatch.chdir(folder.path if named == "." else tmp_path)
    trained: list[Path] = []

    def train(config: SegmentationConfig, **_: object) -> None:
        trained.append(config.run.path.resolve())
        assert (config.train.precision, config.train.precision_reason) == ("fp32", None)

    monkeypatch.setattr(fold_training, "train", train)
    row = replace(TASKS["segmentation"], out_of_fold="")
    monkeypatch.setattr(fold_training, "task_of", lambda _: row)
    fold_training.resume_folds(row, Path(named), {"train.precision": "fp32"})
    assert trained == [folder.fold(number).path for number in (0, 1)]


@pytest.mark.parametrize("locks", [True, False])
def test_a_fold_that_another_process_may_be_training_is_not_deleted(
    locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    own = config().model_copy(update={"run": RunSection(root=tmp_path, name="fold_0")})
    run = RunFolder(tmp_path / "fold_0")
    run.path.mkdir()
    run.splits.touch()
    run.lock.touch()
    begun: list[Path] = []
    monkeypatch.setattr(fold_training, "train", lambda config, **_: begun.append(config.run.path))
    if not locks:
        request.getfixturevalue("no_locks")
    fold_training._train_fold(TASKS["segmentation"], own, {}, following=0)
    assert begun == [run.path]  # which refuses a folder that is still there
    assert run.splits.exists() is not locks
