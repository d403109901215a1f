"""What every task keeps to, and a task from outside the package that does."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segcct.cli import main
from segcct.commands import build_parser
from segcct.commands.parser import flag_of
from segcct.commands.predict_evaluate import OF_EVERY_TASK
from segcct.config import Experiment, SegmentationConfig, settings
from segcct.datasets.split_record import Splits
from segcct.errors import CheckpointError, ConfigError, DataError, ModelError, PluginError
from segcct.images.volume import Volume
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.model_card import load_card, save_model
from segcct.models.zoo import entry
from segcct.run_folder import RunFolder
from segcct.tasks.segmentation.segmentation_task import SegmentationTask
from segcct.tasks.task import _TABLE, TASKS, TaskRow, register_task, task_named, task_of
from segcct.tasks.task_files import load_model, task_of_evaluation, task_of_predictions
from tests.support.installed_package import install
from tests.support.small_tasks import SMALL
from tests.support.toy_pair import data_section

HOW = InferenceSettings(batch_size=4, device="cpu", precision="fp32")
OUTSIDE = Path(__file__).parents[1] / "support" / "outside_task.py"


@pytest.fixture(params=list(TASKS))
def row(request: pytest.FixtureRequest) -> TaskRow:
    return TASKS[request.param]


def test_a_row_names_what_is_there(row: TaskRow) -> None:
    assert row.load().name == row.name == row.load_model().task
    assert row.command == row.load_model().command
    assert issubclass(row.load_config(), Experiment)
    assert all(
        callable(row.function(name, Path("best"))) for name in ("predict", "evaluate", "report") if getattr(row, name)
    )
    assert set(TASKS) == set(SMALL)


@pytest.mark.parametrize("command", ["predict", "evaluate", "report"])
def test_the_options_that_rows_list_are_those_of_the_command(command: str) -> None:
    commands = next(each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    names = {action.dest for action in commands.choices[command]._actions} - {"help"} - OF_EVERY_TASK
    assert {flag_of(name) for name in names} == set(TASKS["segmentation"].options(command))
    for row in TASKS.values():
        assert set(row.options(command)) <= set(TASKS["segmentation"].options(command))


def test_the_loss_of_an_example_reaches_the_network(row: TaskRow, tmp_path: Path) -> None:
    task = SMALL[row.name](0, tmp_path)
    assert task_of(task.config) is row
    assert entry(task.architecture.name).kind == task.model_kind
    loss = task.loss(task.network.train(), task.example(2, "cpu"), 1.0)
    loss.backward()
    assert loss.shape == ()
    assert torch.isfinite(loss)
    reached = [value.grad is not None for value in task.network.parameters() if value.requires_grad]
    assert all(reached)


def test_a_batch_of_the_loader_is_an_example_with_names(row: TaskRow, tmp_path: Path) -> None:
    task = SMALL[row.name](0, tmp_path)
    batch = next(iter(task.loader(0, 1)))
    example = task.example(len(batch["image"]), "cpu")
    for name, value in example.items():
        if name in batch and isinstance(value, torch.Tensor):
            assert (batch[name].shape, batch[name].dtype) == (value.shape, value.dtype), name
    assert len(task.names(batch)) == len(batch["image"])
    assert torch.isfinite(task.loss(task.network, batch, 1.0))


def test_validation_gives_the_score(row: TaskRow, tmp_path: Path) -> None:
    task = SMALL[row.name](0, tmp_path)
    assert np.isfinite(task.validate(task.network, "cpu", 0, 1)[task.score])


def test_a_saved_model_loads_as_its_task_alone(row: TaskRow, tmp_path: Path) -> None:
    task = SMALL[row.name](0, tmp_path)
    card = task.card({"metric": task.score})
    assert card.task == row.name
    assert card.selected_on == {"metric": task.score, **task.validated_on()}
    best = tmp_path / "best"
    save_model(best, task.network.state_dict(), card)
    model = load_model(best, HOW)
    assert type(model) is row.load_model()
    assert all(
        torch.equal(value, task.network.state_dict()[name]) for name, value in model.network.state_dict().items()
    )
    for other in TASKS.values():
        if other is not row:
            with pytest.raises(ModelError, match=f"found a model of task {row.name}"):
                other.load_model().load(best, HOW)
    save_model(best, task.network.state_dict(), card.model_copy(update={"scheme": None}))
    if task.scheme_card is None:
        assert type(load_model(best, HOW)) is row.load_model()
    else:
        with pytest.raises(CheckpointError):  # it needs to know its classes
            load_model(best, HOW)


def test_a_resumed_task_does_not_read_the_weights_it_began_with(row: TaskRow, tmp_path: Path) -> None:
    config = SMALL[row.name](0, tmp_path).config
    model = config.model.model_copy(update={"pretrained": tmp_path / "gone.safetensors"})
    config = config.model_copy(update={"model": model})
    row.load()(config, resumed=True)
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        row.load()(config)


@pytest.mark.parametrize(("test", "split"), [(("c",), "test"), ((), "val")])
@pytest.mark.parametrize("name", ["segmentation", "classification"])
def test_the_next_command_names_a_split_that_has_cases(
    name: str, test: tuple[str, ...], split: str, tmp_path: Path
) -> None:
    run = RunFolder.create(tmp_path / "run")
    Splits(("a",), ("b",), test).save(run.splits)
    words = TASKS[name].load().next_command(SMALL[name](0, tmp_path).config, run)
    assert words[words.index("--split") + 1] == split


def test_names_and_commands_are_taken_once() -> None:
    known = TASKS["segmentation"]
    for name, command in (("segmentation", "train-other"), ("other", "train-seg"), ("other", "other")):
        with pytest.raises(PluginError, match=name):
            register_task(TaskRow(name, command, "", known.task, known.config))
    with pytest.raises(PluginError, match="'--splits' is not an option of segcct predict"):
        register_task(replace(known, name="other", command="train-other", predict_options=("--splits",)))
    with pytest.raises(ConfigError, match="segmentation, classification, reconstruction"):
        task_named("other")
    with pytest.raises(ConfigError, match="train_dataset"):
        task_named(["train_dataset"])
    unregistered = type("OtherConfig", (SegmentationConfig,), {})
    with pytest.raises(ConfigError, match=r"class of configuration .*found OtherConfig"):
        task_of(unregistered.model_construct())


def test_folders_without_an_index_hold_masks_or_a_table(tmp_path: Path) -> None:
    assert task_of_predictions(tmp_path).name == task_of_evaluation(tmp_path).name == "segmentation"
    (tmp_path / "predictions.csv").write_text("image\n")
    assert task_of_predictions(tmp_path).name == "classification"
    assert task_of_predictions(tmp_path / "predictions.csv").name == "classification"
    (tmp_path / "predictions.json").write_text("{}")
    assert task_of_predictions(tmp_path).name == "classification"
    (tmp_path / "predictions.json").write_text('{"task": "denoising"}')
    with pytest.raises(ConfigError, match="names no task of this installation"):
        task_of_predictions(tmp_path)
    (tmp_path / "summary.json").write_text('{"task": "classification"}')
    assert task_of_evaluation(tmp_path).name == "classification"
    (tmp_path / "summary.json").write_text('{"task": ["segmentation"]}')
    with pytest.raises(ConfigError, match="names no task of this installation"):
        task_of_evaluation(tmp_path)


# cases without labels


class Unlabeled(SegmentationTask):
    """Slices of cases without labels."""

    needs_labels = False


def test_cases_without_labels_are_found_split_and_shown(tmp_path: Path) -> None:
    for number in range(4):
        array = np.random.default_rng(number).uniform(0, 100, (32, 32, 3)).astype(np.float32)
        (tmp_path / f"case{number}").mkdir()
        Volume(array, np.eye(4), (1.0, 1.0, 1.0)).save(tmp_path / f"case{number}" / "ct.nii.gz")
    data = data_section(root=tmp_path, label=None, cache=tmp_path / "cache", split={"val": 0.25, "test": 0})
    content = {"data": data.model_dump(mode="json"), "model": {"name": "cct_unet_t"}, "train": {"batch_size": 3}}
    config = settings.build(SegmentationConfig, content, {}, source="test")
    with pytest.raises(DataError, match=r"data\.label names no label files"):
        SegmentationTask(config).find()
    task = Unlabeled(config)
    assert task.find() == ("train 3 cases of 3 patients, val 1 case of 1 patient, test 0 cases of 0 patients", 3)
    task.prepare()
    batch = next(iter(task.loader(0, 1)))
    assert batch["image"].shape == (3, 1, 32, 32)
    assert not batch["label"].any()


# a task from outside


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        np.save(folder / f"{number}.npy", np.random.default_rng(number).random((32, 32), dtype=np.float32))
    return folder


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file of the task, where it can be imported from, and its row."""
    place = tmp_path / "site"
    place.mkdir()
    shutil.copy(OUTSIDE, place)
    monkeypatch.syspath_prepend(place)
    import outside_task  # type: ignore[import-not-found]  # noqa: F401 - it registers the task

    yield
    del _TABLE._added["denoising"], sys.modules["outside_task"]


@pytest.mark.usefixtures("outside")
def test_a_task_from_outside_is_trained_and_used(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "denoising.yaml"
    config.write_text(f"data: {{root: {images}}}\ntrain: {{epochs: 1, batch_size: 2, device: cpu}}\n")
    with pytest.raises(SystemExit):
        main(["train-denoising", "--help"])
    assert "Folder of .npy files" in capsys.readouterr().out
    assert main(["train-denoising", "--config", str(config), "--dry-run"]) == 0
    assert "train 3, val 1" in capsys.readouterr().out
    assert main(["train-denoising", "--config", str(config)]) == 0
    assert main(["train-denoising", "--resume", "runs/run", "--train.epochs", "2"]) == 0
    capsys.readouterr()
    best = tmp_path / "runs" / "run" / "best"
    assert (load_card(best).task, load_card(best).scheme) == ("denoising", None)
    assert type(load_model(best, HOW)).__name__ == "Denoiser"
    with pytest.raises(ModelError, match="is not a segmenter"):
        Predictor.load(best)
    predict = ["predict", "--model", str(best), "--input", str(images), "--output", "made"]
    assert main([*predict, "--keep-largest"]) == 1
    assert "--keep-largest does nothing for denoising" in capsys.readouterr().err
    assert main(predict) == 0
    assert capsys.readouterr().out.startswith("wrote made; next: segcct evaluate --prediction made")
    assert main(["evaluate", "--prediction", "made", "--reference", str(images), "--output", "scores"]) == 0
    assert main(["report", "--evaluation", "scores", "--output", "page"]) == 0
    assert "the mean error is" in capsys.readouterr().out


def test_an_installed_package_adds_its_task_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        source = OUTSIDE.read_text(encoding="utf-8")
        install(tmp_path, patch, _TABLE, "outside_task", source, package="outside")
        with pytest.raises(SystemExit):
            main(["--help"])
    assert "train a network that removes noise from images" in " ".join(capsys.readouterr().out.split())
    with monkeypatch.context() as patch:
        source = "raise ImportError('no such thing')\n"
        install(tmp_path, patch, _TABLE, "outside_task", source, package="outside")
        assert main(["--help"]) == 1
    assert "of package outside cannot be loaded" in capsys.readouterr().err
