"""Bad files, labels, configs and flags through the commands: one clear message, exit code 1, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segcct.cli import main
from segcct.datasets.split_record import Splits
from tests.conftest import training_command

pytestmark = pytest.mark.slow


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def file_of(root: Path, kind: str, run: Path) -> Path:
    """A file of the first case that the split of `run` trains on."""
    case = Splits.load(run / "splits.json").train[0]
    return root / case / f"{case}_{kind}.nii.gz"


def rewrite(path: Path, change: Callable[[nib.Nifti1Image], nib.Nifti1Image]) -> None:
    image = nib.load(path)
    nib.save(change(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)), path)


def with_array(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda path: rewrite(
        path, lambda image: nib.Nifti1Image(change(np.asarray(image.dataobj).copy()), image.affine)
    )


def with_value(value: float, dtype: type) -> Callable[[Path], None]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(dtype)
        array[3, 3, 3] = value
        return array

    return with_array(change)


def shifted(path: Path) -> None:
    def change(image: nib.Nifti1Image) -> nib.Nifti1Image:
        affine = image.affine.copy()
        affine[0, 3] += 5
        return nib.Nifti1Image(np.asarray(image.dataobj), affine)

    rewrite(path, change)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGED_FILES = {
    "truncated gzip": ("flair", truncated, ["truncated"]),
    "channel of another affine": ("t1ce", shifted, ["mm"]),
    "stray label value": ("seg", with_value(255, np.uint8), ["255", "brats2021"]),
}


@pytest.mark.parametrize("name", DAMAGED_FILES)
def test_training_refuses_damaged_data(name, phantom, trained, tmp_path, capsys):
    kind, damage, words = DAMAGED_FILES[name]
    data = tmp_path / "data"
    shutil.copytree(phantom, data)
    path = file_of(data, kind, trained)
    damage(path)
    before = tree(data)
    code = main(training_command(data, tmp_path / "runs", data__cache=str(tmp_path / "cache")))
    message = capsys.readouterr().err
    assert code == 1
    assert "Traceback" not in message
    for word in [path.name.split("_seg")[0].split("_t")[0].split("_flair")[0], *words]:
        assert word in message
    assert not (tmp_path / "runs").exists()
    assert tree(data) == before


def test_training_refuses_validation_cases_without_structures(phantom, trained, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(phantom, data)
    for case in Splits.load(trained / "splits.json").val:
        with_array(np.zeros_like)(data / case / f"{case}_seg.nii.gz")
    command = training_command(data, tmp_path / "runs", data__cache=str(tmp_path / "cache"))
    assert main(command) == 1
    assert "no validation case holds a structure" in (message := capsys.readouterr().err)
    assert case in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("command", "name"), [("train-seg", "brats_cct_unet"), ("train-m2i", "brats_m2i")])
def test_a_dry_run_refuses_what_the_training_would(command, name, phantom, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(phantom, data)
    file = next(data.rglob("*_t1.nii.gz"))
    file.write_bytes(b"")
    config = Path(__file__).parents[2] / "configs" / f"{name}.yaml"
    keys = ["--data.root", str(data), "--run.root", str(tmp_path / "runs")]
    assert main([command, "--config", str(config), *keys, "--dry-run"]) == 1
    shown = capsys.readouterr()
    assert "the dataset cannot be trained on" in shown.err
    assert file.name in shown.err
    assert shown.out == ""


def test_check_names_the_file_and_fails(phantom, trained, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(phantom, data)
    path = file_of(data, "seg", trained)
    with_value(255, np.uint8)(path)
    config = Path(__file__).parents[2] / "configs" / "brats_cct_unet.yaml"
    assert main(["check", "--config", str(config), "--data.root", str(data)]) == 1
    shown = capsys.readouterr()
    for word in (path.name, "255", "brats2021"):
        assert word in shown.out + shown.err


WRONG_TRAININGS = {
    "unknown model": ({"model__name": "cct_unet_x"}, ["cct_unet_x", "cct_unet_s"]),
    "unknown model option": ({"model__options": "{skip: 2}"}, ["skip"]),
    "unknown scheme": ({"data__scheme": "brats2020x"}, ["brats2020x", "brats2021"]),
    "missing dataset": ({"data__root": "/nowhere/brats"}, ["/nowhere/brats", "segcct phantom brats"]),
    "pattern that fits nothing": ({"data__channels": "{t1: '{id}_nothing.nii.gz'}"}, ["nothing"]),
    "too many folds": ({"data__split__kind": "kfold", "data__split__folds": "50"}, ["50"]),
    "split without validation": ({"data__split__val": "0.0"}, ["val"]),
    "class weights that do not fit": ({"train__loss__class_weights": "[1, 2]"}, ["class_weights", "4"]),
    "pretrained that is missing": ({"model__pretrained": "nowhere.pth"}, ["nowhere.pth"]),
    "list that is missing": (
        {"data__split__kind": "lists", "data__split__train_list": "nowhere.list"},
        ["nowhere.list"],
    ),
    "unknown key": ({"train__epoch": "3"}, ["train.epoch", "train.epochs"]),
    "ill-typed value": ({"train__lr": "fast"}, ["train.lr", "fast"]),
}


@pytest.mark.parametrize("name", WRONG_TRAININGS)
def test_training_refuses_wrong_configurations(name, phantom, tmp_path, capsys):
    overrides, words = WRONG_TRAININGS[name]
    assert main(training_command(phantom, tmp_path / "runs", **overrides)) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert not (tmp_path / "runs").exists()


def test_an_existing_run_is_refused(trained, phantom, capsys):
    before = tree(trained)
    for more in ([], ["--dry-run"]):
        assert main([*training_command(phantom, trained.parent), *more]) == 1
        assert "--resume" in capsys.readouterr().err
    assert tree(trained) == before


def test_a_resume_may_not_change_the_experiment(trained, capsys):
    before = tree(trained)
    assert main(["train-seg", "--resume", str(trained), "--train.lr", "0.1"]) == 1
    assert "train.lr cannot change" in capsys.readouterr().err
    assert tree(trained) == before


@pytest.fixture
def case(phantom, tmp_path) -> Path:
    """A copy of one case."""
    source = sorted(phantom.iterdir())[0]
    return Path(shutil.copytree(source, tmp_path / "data" / source.name))


def test_prediction_of_a_damaged_case_leaves_no_mask(trained, case, tmp_path, capsys):
    truncated(next(case.glob("*_flair.nii.gz")))
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(case.parent)]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 1
    assert "truncated" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_an_old_mask_never_passes_for_a_new_one(trained, case, tmp_path, capsys):
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(case.parent)]
    arguments += ["--output", str(tmp_path / "o")]
    assert main(arguments) == 0
    assert main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    truncated(next(case.glob("*_flair.nii.gz")))
    assert main([*arguments, "--overwrite"]) == 1
    assert not list((tmp_path / "o").glob("*.nii.gz"))


@pytest.mark.parametrize(
    ("source", "words"),
    [("nowhere", "no such file"), ("scan", "one file is not enough"), ("empty", "empty")],
)
def test_prediction_of_something_else(trained, case, tmp_path, capsys, source, words):
    (tmp_path / "empty").mkdir()
    paths = {"nowhere": tmp_path / "nowhere", "scan": next(case.glob("*_t1.nii.gz")), "empty": tmp_path / "empty"}
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(paths[source])]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda best: (best / "model.json").unlink(), "not a model folder"),
        (lambda best: (best / "model.json").write_text("{}"), "not a model card"),
        (lambda best: (best / "weights.safetensors").write_bytes(b"x"), "damaged"),
        (lambda best: (best / "weights.safetensors").unlink(), "missing"),
    ],
)
def test_a_damaged_model_is_refused(trained, case, tmp_path, capsys, damage, words):
    best = Path(shutil.copytree(trained / "best", tmp_path / "best"))
    damage(best)
    arguments = ["predict", "--model", str(best), "--input", str(case), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_split_without_its_file(trained, case, tmp_path, capsys):
    best = shutil.copytree(trained / "best", tmp_path / "alone" / "best")
    arguments = ["predict", "--model", str(best), "--input", str(case.parent), "--split", "test"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 1
    assert "splits.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda last: last.unlink(), "nothing to resume from"),
        (lambda last: last.write_bytes(last.read_bytes()[:5000]), "damaged"),
        (lambda last: last.write_bytes(b""), "damaged"),
    ],
)
def test_a_run_without_a_whole_state_cannot_be_resumed(trained, tmp_path, capsys, damage, words):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    damage(run / "last.ckpt")
    before = tree(run)
    assert main(["train-seg", "--resume", str(run), "--train.epochs", "3"]) == 1
    assert words in capsys.readouterr().err
    assert tree(run) == before


def _gone(data: Path) -> None:
    shutil.rmtree(sorted(data.iterdir())[0])


def _relabelled(data: Path) -> None:
    first = json.loads((data.parent / "run" / "splits.json").read_text(encoding="utf-8"))["train"].popitem()[1][0]
    file = data / first / f"{first}_seg.nii.gz"
    with_array(lambda array: np.where(array == 4, 1, array).astype(np.uint8))(file)


@pytest.mark.parametrize(("change", "words"), [(_gone, " split)"), (_relabelled, "content of the files")])
def test_a_resume_on_another_dataset_is_refused(trained, phantom, tmp_path, capsys, change, words):
    data = Path(shutil.copytree(phantom, tmp_path / "data"))
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(f"root: {phantom}", f"root: {data}"))
    change(data)
    before = tree(run)
    assert main(["train-seg", "--resume", str(run), "--train.epochs", "3"]) == 1
    message = capsys.readouterr().err
    assert "not the one the run began with" in message
    assert words in message
    assert tree(run) == before


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--device", "abacus"], "no such device"),
        (["--device", "cuda:99"], "no such device"),
    ],
)
def test_prediction_options_that_cannot_be(trained, case, tmp_path, capsys, option, words):
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(case), "--output", str(tmp_path / "out")]
    assert main([*arguments, *option]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"cases": []}'])
def test_a_broken_index_of_predictions(trained, case, tmp_path, capsys, text):
    index = tmp_path / "out" / "predictions.json"
    index.parent.mkdir()
    index.write_text(text)
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(case), "--output", str(index.parent)]
    assert main(arguments) == 1
    assert "is not an index of predictions" in capsys.readouterr().err
    assert index.read_text(encoding="utf-8") == text
    assert main([*arguments, "--overwrite"]) == 0
    assert case.name in json.loads(index.read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize(
    "override",
    [("--model.name", "cct_unet"), ("--model.pretrained", "nowhere.pth"), ("--train.loss.class_weights", "[1, 2]")],
)
def test_a_wrong_network_shows_before_cases_are_prepared(phantom, tmp_path, capsys, override):
    command = [*training_command(phantom, tmp_path), "--data.cache", str(tmp_path / "cache"), *override]
    assert main(command) == 1
    assert "preparing cases" not in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_phantom_refuses_a_folder_that_holds_something(phantom, capsys):
    before = tree(phantom)
    assert main(["phantom", "brats", str(phantom), "--cases", "1", "--reduce", "4"]) == 1
    assert str(phantom) in capsys.readouterr().err
    assert tree(phantom) == before


def test_init_opens_the_config_by_commands_that_name_it(phantom, tmp_path):
    config = tmp_path / "mine.yaml"
    assert main(["init", str(phantom), "--output", str(config)]) == 0
    assert f"#   segcct check --config {config}\n" in config.read_text(encoding="utf-8")


def test_an_interrupted_prediction_says_what_is_missing(trained, phantom, tmp_path, capsys, monkeypatch):
    from segcct.predictions import folder_prediction as folder

    once = iter([folder.load_case])

    def interrupted(*arguments, **options):
        for predict in once:
            return predict(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "load_case", interrupted)
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(phantom), "--output", str(tmp_path / "o")]
    assert main(arguments) == 130
    said = capsys.readouterr().err
    assert said.endswith("segcct predict: interrupted; the same command with --continue does the rest\n")
    assert len(list((tmp_path / "o").glob("*.nii.gz"))) == 1
    scored = ["evaluate", "--prediction", str(tmp_path / "o"), "--reference", str(phantom)]
    assert main([*scored, "--output", str(tmp_path / "e")]) == 1
    assert "has a reference but no prediction" in capsys.readouterr().err


def test_init_does_not_overwrite(phantom, tmp_path, capsys):
    config = tmp_path / "mine.yaml"
    config.write_text("mine")
    assert main(["init", str(phantom), "--output", str(config)]) == 1
    assert f"{config}: exists already" in capsys.readouterr().err
    assert config.read_text(encoding="utf-8") == "mine"


def test_report_of_a_folder_that_is_no_evaluation(tmp_path, capsys):
    assert main(["report", "--evaluation", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "summary.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_report_of_a_broken_summary(tmp_path, capsys):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "summary.json").write_text(json.dumps({"convention": "default"}))
    assert main(["report", "--evaluation", str(tmp_path / "e"), "--output", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
