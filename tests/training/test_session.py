"""A run from outside: what a resume may change and remembers, and what is refused before any data is read."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

import segcct
from segcct.cli import main
from segcct.config import RunSection, SegmentationConfig, settings
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError, RunError
from segcct.run_folder import FoldsFolder, RunFolder
from segcct.training.session import (
    RESUMABLE,
    begin_run,
    check_epochs,
    check_same_dataset,
    locked_run,
    resumed_config,
)

ROOT = Path(__file__).parents[2]
CONTENT = {"data": {"layout": "acdc", "root": "data/acdc", "channels": {"cine": "*.nii.gz"}, "scheme": "acdc"}}
SPLITS = Splits(("a",), ("b",))


STATE = {
    "epoch": 1,
    "global_step": 0,
    "state_dict": {},
    "loops": {"fit_loop": {"epoch_progress": {"current": {"processed": 2}}}},
    "callbacks": {},
    "optimizer_states": [{"state": {}, "param_groups": [{}]}],
    "clock": {"elapsed": 1.0, "validation": 0.0, "validations": 1.0, "ended": None},
    "averaged_steps": 0,
    "training": {},
}
"""The end of the second epoch, as far as it is looked at before any data is read."""


def experiment(root: Path, **train: object) -> SegmentationConfig:
    content = {**CONTENT, "run": {"root": str(root), "name": "one"}, "train": train}
    return settings.build(SegmentationConfig, content, {}, source="test")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of 100 epochs of which two are done."""
    config = experiment(tmp_path, epochs=100)
    run = RunFolder(tmp_path / "one")
    begin_run(run, config, SPLITS)
    save_state(run)
    for epoch in range(2):
        run.add_metrics({"epoch": epoch})
    return run


def save_state(run: RunFolder) -> None:
    """The state that a training with the config of now leaves."""
    torch.save({**STATE, "config": run.config.read_text(encoding="utf-8")}, run.last)


def test_a_resume_with_another_length_is_remembered(run):
    splits = run.splits.read_bytes()
    longer = resumed_config(SegmentationConfig, run, {"train.epochs": 200, "data.workers": 2})
    check_epochs(run, longer.train)
    begin_run(run, longer, SPLITS, resumed=True)
    assert resumed_config(SegmentationConfig, run, {}) == longer
    assert (longer.train.epochs, longer.data.workers) == (200, 2)
    assert run.splits.read_bytes() == splits


def test_a_dataset_whose_names_a_copy_spells_otherwise_is_the_same(tmp_path):
    """In decomposed Unicode, as macOS stores names, `ö` comes before `z`, and in composed Unicode after it."""
    names = ("jörg", "jz")
    decomposed = tuple(sorted(unicodedata.normalize("NFD", name) for name in names))
    composed = tuple(sorted(unicodedata.normalize("NFC", name) for name in names))
    assert decomposed != composed
    assert [len(name) for name in decomposed] != [len(name) for name in composed]
    run = RunFolder(tmp_path / "one")
    begin_run(run, experiment(tmp_path), Splits(composed, ("b",)))
    check_same_dataset(run, Splits(decomposed, ("b",)), "")
    with pytest.raises(RunError, match="another train split"):
        check_same_dataset(run, Splits((*decomposed, "k"), ("b",)), "")
    with pytest.raises(RunError, match="another train, val split"):
        check_same_dataset(run, Splits(("b",), decomposed), "")


def test_a_run_is_not_resumed_with_other_unlabeled_cases(tmp_path):
    """Before the first validation there is no best/, whose digest of the files would differ."""
    run = RunFolder(tmp_path / "one")
    begin_run(run, experiment(tmp_path), Splits(("a",), ("b",), unlabeled=("c",)))
    check_same_dataset(run, Splits(("a",), ("b",), unlabeled=("c",)), "")
    for unlabeled in ((), ("c", "d")):
        with pytest.raises(RunError, match="found other unlabeled cases"):
            check_same_dataset(run, Splits(("a",), ("b",), unlabeled=unlabeled), "")


def test_only_the_first_process_writes(run, monkeypatch):
    before = run.config.read_bytes()
    monkeypatch.setenv("RANK", "1")
    longer = resumed_config(SegmentationConfig, run, {"train.epochs": 200})
    with locked_run(longer.run, run):
        begin_run(run, longer, SPLITS, resumed=True)
        assert not run.lock.exists()
    assert run.config.read_bytes() == before


def test_a_taken_name_and_a_shorter_length_are_refused_beforehand(run):
    config = resumed_config(SegmentationConfig, run, {"train.epochs": 1})
    with pytest.raises(RunError, match=r"trained 2 epochs already .*epochs 1; expected at least 2"):
        check_epochs(run, config.train)
    with pytest.raises(RunError, match=r"exists already.*--resume"), locked_run(config.run):
        pass


@pytest.mark.usefixtures("no_locks")  # which would keep the two apart before
def test_a_name_that_is_taken_while_the_data_are_prepared_is_refused(tmp_path):
    config = experiment(tmp_path)
    with locked_run(config.run) as first, locked_run(config.run) as second:
        begin_run(first, config, SPLITS)
        with pytest.raises(RunError, match=r"exists already.*unless it still trains"):
            begin_run(second, config, SPLITS)


def notes_of_ctrl_c(section: RunSection, resumed: RunFolder | None = None, *, within: Callable[[], None]) -> list[str]:
    """What a Ctrl-C that comes within the training says."""
    try:
        with locked_run(section, resumed):
            within()
    except KeyboardInterrupt as interrupt:
        return getattr(interrupt, "__notes__", [])
    pytest.fail("not passed on")


def ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_says_how_to_continue_wherever_it_comes(tmp_path):
    config = experiment(tmp_path / "a b")
    new = RunFolder(config.run.path)

    def in_the_first_epoch() -> None:
        begin_run(new, config, SPLITS)
        ctrl_c()

    assert notes_of_ctrl_c(config.run, within=ctrl_c) == []  # nothing is there yet
    (note,) = notes_of_ctrl_c(config.run, within=in_the_first_epoch)
    assert note == f"no epoch has ended, so nothing can be resumed: delete {new.path} to start again"
    save_state(new)
    assert notes_of_ctrl_c(config.run, new, within=ctrl_c) == [f"continue with --resume '{new.path}'"]


def test_ctrl_c_in_a_fold_says_how_all_folds_continue(tmp_path):
    folds, fold = FoldsFolder(tmp_path / "cv", [0]), experiment(tmp_path / "cv")

    def in_a_fold() -> None:
        folds.write()
        with locked_run(fold.run):
            begin_run(RunFolder(fold.run.path), fold, SPLITS)
            ctrl_c()

    section = RunSection(root=tmp_path, name="cv")
    assert notes_of_ctrl_c(section, within=in_a_fold) == [f"continue with --resume {folds.path}"]


def test_an_interrupted_training_ends_with_how_to_continue(run, monkeypatch, capsys):
    monkeypatch.setattr("segcct.tasks.training_run._checked_task", ctrl_c)
    assert main(["train-seg", "--resume", str(run.path)]) == 130
    assert capsys.readouterr().err.endswith(f"\nsegcct train-seg: interrupted; continue with --resume {run.path}\n")


def edit(folder: RunFolder, **sections: dict[str, object]) -> None:
    content = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    for section, keys in sections.items():
        content[section] |= keys
    folder.write_text(folder.config, yaml.safe_dump(content))


def test_an_edited_configuration_is_refused(run):
    edit(run, train={"lr": 0.01, "batch_size": 8, "epochs": 200}, run={"name": "renamed"})
    with pytest.raises(RunError) as caught:
        resumed_config(SegmentationConfig, run, {})
    for words in (
        f"{run.config}: the configuration was edited since the run was trained",
        "found train.batch_size 8, train.lr 0.01; expected train.batch_size 16, train.lr 0.001)",
        f"a resume may change {', '.join(RESUMABLE)}",
    ):
        assert words in str(caught.value)


def test_what_may_change_may_be_edited(run):
    edit(run, train={"epochs": 200}, run={"name": "renamed"}, data={"root": "moved", "cache": "x", "workers": 1})
    edit(run, model={"pretrained": "gone"})
    config = resumed_config(SegmentationConfig, run, {"train.epochs": 300})
    assert (config.train.epochs, config.data.root, config.run.name) == (300, Path("moved"), "renamed")


def test_a_resume_with_another_precision_may_be_interrupted(run):
    edit(run, train={"precision": "fp32", "precision_reason": "measured here"})
    save_state(run)
    other = resumed_config(SegmentationConfig, run, {"train.precision": "bf16"})
    assert other.train.precision_reason is None
    begin_run(run, other, SPLITS, resumed=True)
    assert resumed_config(SegmentationConfig, run, {}).train.precision == "bf16"


def test_a_cross_validation_is_not_resumed_as_one_run(run):
    """Nobody is to delete the folder of its folds."""
    folds = FoldsFolder(run.path, (0, 1))
    folds.write()
    run.last.unlink()
    with pytest.raises(RunError, match=rf"is a cross-validation, not a single run\. .*--resume {run.path}$"):
        resumed_config(SegmentationConfig, run, {})


def test_a_state_without_its_configuration_is_refused(run):
    torch.save(STATE, run.last)
    with pytest.raises(RunError, match="no config of the right kind in it"):
        resumed_config(SegmentationConfig, run, {})


@pytest.mark.parametrize(
    ("command", "config"),
    [
        ("train-seg", "acdc_slices_cct_unet"),
        ("train-m2i", "brats_m2i"),
        ("train-cls", "cifar10_cct_2_3x2_30min"),
    ],
)
def test_epochs_beside_a_budget_are_refused(command, config, tmp_path, capsys):
    arguments = [command, "--config", str(ROOT / "configs" / f"{config}.yaml"), "--data.root", "nowhere"]
    arguments += ["--run.root", str(tmp_path)]
    assert main([*arguments, "--train.epochs", "3"]) == 1
    assert "train.epochs would do nothing" in (message := capsys.readouterr().err)
    assert "--train.budget null" in message
    assert main([*arguments, "--train.epochs", "3", "--train.budget", "null"]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_epochs_beside_a_budget_are_refused_in_python_too():
    with pytest.raises(ConfigError, match=r"found a train\.budget of 1800 s"):
        segcct.train(ROOT / "configs" / "acdc_slices_cct_unet.yaml", {"train.epochs": 3, "data.root": "nowhere"})


def test_epochs_of_a_resumed_budget_are_refused(run, capsys):
    run.write_text(run.config, settings.dump(experiment(run.path.parent, budget="30min")))
    before = run.config.read_bytes()
    assert main(["train-seg", "--resume", str(run.path), "--train.epochs", "200"]) == 1
    assert "found a train.budget of 1800 s" in capsys.readouterr().err
    assert run.config.read_bytes() == before


@pytest.mark.parametrize("command", ["train-seg", "train-m2i"])
def test_a_dry_run_of_a_taken_name_is_refused(command, run, capsys):
    config = "brats_cct_unet" if command == "train-seg" else "brats_m2i"
    arguments = [command, "--config", str(ROOT / "configs" / f"{config}.yaml"), "--run.root", str(run.path.parent)]
    assert main([*arguments, "--run.name", "one", "--dry-run"]) == 1
    shown = capsys.readouterr()
    assert f"{run.path}: this run exists already" in shown.err
    assert shown.out == ""
