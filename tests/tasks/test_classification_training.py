"""Classification through the commands: train, predict, evaluate, report; resume, transfer."""

from __future__ import annotations

import csv
import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from segcct.cli import main
from segcct.config import ClassificationConfig, ImageAugmentSection, SegmentationConfig, settings
from segcct.datasets.split_record import Splits
from segcct.errors import RunError
from segcct.model_card import load_card, load_weights
from segcct.run_folder import RunFolder
from segcct.tasks.classification.classification_task import ClassificationTask, load_dataset
from segcct.tasks.classification.classifier import Classifier
from segcct.tasks.classification.image_augmentation import Mixing
from segcct.tasks.classification.labeled_images import load_labeled_images
from segcct.tasks.segmentation.segmentation_task import SegmentationTask
from segcct.tasks.training_run import train
from tests.conftest import training_command
from tests.support.drawn_images import CLASSES, drawn, write_cifar, write_folder, write_idx, write_tar

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SETTINGS = {
    "data": {"image_size": 16, "split": {"val": 6, "test": 9}},
    "augment": {"shift_px": 1, "randaugment": "rand-m5-n1", "erase": 0.2, "mixup": 0.8, "cutmix": 1.0},
    "model": {"name": "cct_2_3x2_32"},
    "train": {"epochs": 2, "batch_size": 16, "lr": 2e-3, "ema": 0.9},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures") / "data", 15)


def command(data: Path, root: Path, **more: object) -> list[str]:
    """`train-cls` arguments: the settings above on `data`, writing below `root`; `more` as data__fold=1."""
    config = root.parent / "config.yaml"
    config.write_text(yaml.safe_dump({**SETTINGS, "data": {**SETTINGS["data"], "root": str(data)}}))
    keys = {"data__cache": data.parent / "cache", "run__root": root, "run__name": "run", **more}
    words = [word for name, value in keys.items() for word in ("--" + name.replace("__", "."), str(value))]
    return ["train-cls", "--config", str(config), *words]


def config_of(data: Path, root: Path, **more: object) -> ClassificationConfig:
    arguments = command(data, root, **more)
    return settings.load(ClassificationConfig, Path(arguments[2]), settings.parse_overrides(arguments[3:]))


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained") / "runs"
    assert main(command(folder, root)) == 0
    return root / "run"


@pytest.fixture(scope="module")
def predicted(trained: Path, folder: Path) -> Path:
    output = trained / "predictions"
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(folder), "--split", "test"]
    assert main([*arguments, "--output", str(output)]) == 0
    return output


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    """Relative paths are below `tmp_path`."""
    monkeypatch.chdir(tmp_path)


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def states(*runs: Path) -> list[dict[str, torch.Tensor]]:
    return [torch.load(run / "last.ckpt", weights_only=True)["state_dict"] for run in runs]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# the run


def test_the_run_folder_is_whole(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "splits.json", "metrics.csv", "last.ckpt", "best", "summary.json"} <= names
    rows = rows_of(trained / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {"val_accuracy", "val_macro_f1", "val_log_loss", "lr", "train_loss"} <= rows[0].keys()
    card = load_card(trained / "best")
    assert card.task == "classification"
    assert card.scheme.classes == {"circle": 0, "plain": 1, "stripes": 2}
    assert card.architecture.num_classes == 3
    assert (card.data["image_size"], card.data["channels"], len(card.data["mean"]), len(card.data["std"])) == (
        16,
        "rgb",
        3,
        3,
    )
    assert not {"root", "cache", "split", "workers"} & card.data.keys()
    assert card.selected_on["metric"] == "val_accuracy"
    splits = Splits.load(trained / "splits.json")
    assert [len(ids) for ids in (splits.train, splits.val, splits.test)] == [30, 6, 9]


def test_predictions_are_distributions_and_the_python_api_gives_the_same(trained, predicted, folder):
    rows = rows_of(predicted / "predictions.csv")
    splits = Splits.load(trained / "splits.json")
    assert tuple(row["image"] for row in rows) == splits.test
    index = json.loads((predicted / "predictions.json").read_text(encoding="utf-8"))
    assert index["digests"].keys() == set(splits.test)
    assert set(index["data"]) == {*load_card(trained / "best").data, "root"}  # nothing of a training
    classifier = Classifier.load(trained / "best")
    images = np.stack([drawn(name.split("/")[0], int(name.split("/")[1][:2])) for name in splits.test])
    expected = classifier.probabilities(images)
    found = np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert [row["predicted"] for row in rows] == [CLASSES[number] for number in expected.argmax(axis=1)]
    weights = classifier.token_weights(images)
    assert weights.shape == (9, 4, 4)
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1, atol=1e-5)


def test_images_without_a_class_are_not_to_be_evaluated_next(trained, folder, tmp_path, capsys):
    flat, nested = tmp_path / "flat", tmp_path / "nested"
    shutil.copytree(folder / CLASSES[0], flat)
    for name in CLASSES:
        shutil.copytree(folder / name, nested / name / "patient")
    cases = ((folder, True), (nested, True), (flat, False), (next(flat.iterdir()), False))
    for number, (images, evaluated) in enumerate(cases):
        arguments = ["--input", str(images), "--output", str(tmp_path / f"out{number}")]
        assert main(["predict", "--model", str(trained / "best"), *arguments]) == 0
        assert ("next: segcct evaluate" in capsys.readouterr().out) == evaluated


def test_validation_is_prediction(trained, folder, tmp_path):
    """The accuracy that chose the weights is what prediction gives on the same images."""
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(folder), "--split", "val"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    accuracy = np.mean([row["image"].split("/")[0] == row["predicted"] for row in rows])
    assert accuracy == pytest.approx(load_card(trained / "best").selected_on["value"])


def test_evaluation_and_report(predicted, folder, tmp_path, in_tmp):
    evaluation = tmp_path / "evaluation"
    arguments = ["evaluate", "--prediction", str(predicted), "--reference", str(folder), "--output", str(evaluation)]
    assert main(arguments) == 0
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    rows = rows_of(predicted / "predictions.csv")
    right = [row["image"].split("/")[0] == row["predicted"] for row in rows]
    assert summary["overall"]["accuracy"]["mean"] == pytest.approx(np.mean(right))
    assert summary["overall"]["accuracy"]["n"] == summary["images"] == 9
    assert summary["data"].keys() & {"root", "split", "fold", "cache", "workers"} == {"root"}
    assert "top5" not in summary["overall"]
    assert np.trace(summary["confusion"]) == sum(right)
    assert [row["class"] for row in rows_of(evaluation / "metrics.csv")] == list(CLASSES)
    assert [row["correct"] == "yes" for row in rows_of(evaluation / "images.csv")] == right
    assert "| accuracy |" in (evaluation / "table.md").read_text(encoding="utf-8")
    assert main(["report", "--evaluation", str(evaluation), "--output", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    correct_classes = {row["predicted"] for row, correct in zip(rows, right, strict=True) if correct}
    assert page.count("data:image/webp") == 2 * (len(correct_classes) + 9 - sum(right))  # each image and its tokens
    assert "NaN" not in page
    assert "No weights of tokens" not in page


def test_any_folder_of_images_is_predicted(trained, tmp_path):
    Image.fromarray(drawn("plain", 90, 40)).save(tmp_path / "new.png")
    for source in (tmp_path, tmp_path / "new.png"):
        output = tmp_path / f"out_{source.name}"
        assert main(["predict", "--model", str(trained / "best"), "--input", str(source), "--output", str(output)]) == 0
        assert [row["image"] for row in rows_of(output / "predictions.csv")] == ["new.png"]


def test_a_bad_image_has_no_row_and_the_others_do(trained, folder, tmp_path, capsys):
    data = shutil.copytree(folder, tmp_path / "data")
    (data / "plain" / "00.png").write_bytes(b"no image")
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(data), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "plain/00.png" in capsys.readouterr().err
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == 44
    assert main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("whole", [True, False])
def test_an_image_that_failed_in_prediction_is_named_by_the_evaluation(
    trained, folder, tmp_path, capsys, in_tmp, whole
):
    """Also where the reference is `whole`; it lacks a prediction, and nothing else does."""
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    lost = Splits.load(trained / "splits.json").test[0]
    (data / lost).write_bytes(b"no image")
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(data), "--split", "test"]
    assert main([*arguments, "--output", "out"]) == 1
    reference = str(folder if whole else data)
    scored = ["evaluate", "--prediction", "out", "--reference", reference, "--output", "evaluation"]
    assert main(scored) == 1
    assert f"{lost} is in the dataset but has no prediction" in capsys.readouterr().err
    assert main([*scored, "--allow-unmatched"]) == 0
    summary = json.loads(Path("evaluation/summary.json").read_text(encoding="utf-8"))
    assert (summary["images"], summary["unmatched"]["references"]) == (8, [lost])
    assert main(["report", "--evaluation", "evaluation", "--output", "report"]) == 0
    assert "data:image/webp" in Path("report/report.html").read_text(encoding="utf-8")


def test_images_that_the_model_has_seen_are_counted(trained, predicted, folder, in_tmp):
    assert main(["predict", "--model", str(trained / "best"), "--input", str(folder), "--output", "all"]) == 0
    counts, noted = [], []
    for prediction in ("all", str(predicted)):
        assert main(["evaluate", "--prediction", prediction, "--reference", str(folder), "--output", "scores"]) == 0
        assert main(["report", "--evaluation", "scores", "--output", "report"]) == 0
        seen = json.loads(Path("scores/summary.json").read_text(encoding="utf-8"))["seen"]
        counts.append({split: len(ids) for split, ids in seen.items()})
        pages = [Path(file).read_text(encoding="utf-8") for file in ("scores/table.md", "report/report.html")]
        noted += ["Of the 45 images, the model was trained on 30 and selected on 6" in page for page in pages]
    assert counts == [{"train": 30, "val": 6}, {"train": 0, "val": 0}]
    assert noted == [True, True, False, False]


# every layout


@pytest.mark.parametrize("layout", ["tar", "idx", "cifar"])
def test_train_predict_evaluate_report_on_every_layout(layout, folder, tmp_path, in_tmp):
    more: dict[str, object] = {"train__epochs": 1, "augment__randaugment": "null"}
    if layout == "tar":
        (tmp_path / "data").mkdir()
        data = write_tar(tmp_path / "data" / "pictures.tar.gz", folder)
    elif layout == "idx":
        data = write_idx(tmp_path / "data" / "idx")
        more |= {"data__layout": "idx", "data__channels": "gray", "data__class_names": "[circle, plain, stripes]"}
    else:
        data = write_cifar(tmp_path / "data" / "cifar", 3)
        more |= {"data__layout": "cifar", "data__split__val": 10}
    assert main(command(data, tmp_path / "runs", **more)) == 0
    best = tmp_path / "runs" / "run" / "best"
    steps = {"predict": ["--model", best, "--input", data, "--split", "test", "--output", "out"],
             "evaluate": ["--prediction", "out", "--reference", data, "--output", "evaluation"],
             "report": ["--evaluation", "evaluation", "--output", "report"]}  # fmt: skip
    for name, arguments in steps.items():
        assert main([name, *map(str, arguments)]) == 0
    summary = json.loads(Path("evaluation/summary.json").read_text(encoding="utf-8"))
    assert summary["images"] == {"tar": 9, "idx": 9, "cifar": 30}[layout]
    assert ("top5" in summary["overall"]) == (layout == "cifar")
    assert Path("report/report.html").is_file()


# the same result whatever the way


def test_a_run_that_broke_off_and_was_resumed_equals_a_whole_one(trained, folder, tmp_path, monkeypatch):
    config = config_of(folder, tmp_path / "runs")
    with monkeypatch.context() as patch:
        real = ClassificationTask.loss

        def loss(task, network, batch, progress):
            if batch["epoch"] == 1 and batch["first"] > 0:
                raise OSError("power cut")
            return real(task, network, batch, progress)

        patch.setattr(ClassificationTask, "loss", loss)
        with pytest.raises(OSError, match="power cut"):
            train(config)
    run = RunFolder(tmp_path / "runs" / "run")
    assert len(run.read_metrics()) == 1
    assert main(["train-cls", "--resume", str(run.path)]) == 0
    assert same(*states(trained, run.path))
    assert same(*(load_weights(each / "best", load_card(each / "best")) for each in (trained, run.path)))


def test_a_dataset_that_changed_is_not_resumed(trained, folder, tmp_path):
    run = RunFolder(Path(shutil.copytree(trained, tmp_path / "run")))
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    Image.fromarray(drawn("plain", 80)).save(data / "plain" / "00.png")  # the name of another image
    with pytest.raises(RunError, match="another content of the files"):
        train(config_of(data, tmp_path / "runs"), resume=run)
    Image.fromarray(drawn("plain", 81)).save(data / "plain" / "81.png")
    with pytest.raises(RunError, match="another train split"):
        train(config_of(data, tmp_path / "runs"), resume=run)


def test_a_copy_in_another_unicode_spelling_is_resumed(folder, tmp_path):
    configs = []
    for form in ("NFC", "NFD"):
        data = Path(shutil.copytree(folder, tmp_path / form / "data"))
        (data / "circle").rename(data / unicodedata.normalize(form, "Ödem"))
        (data / "plain" / "00.png").rename(data / "plain" / unicodedata.normalize(form, "Ü.png"))
        configs.append(config_of(data, tmp_path / "runs"))
    run = train(configs[0])
    assert train(configs[1], resume=run).path == run.path


def test_validation_is_divided_among_processes(folder, tmp_path, monkeypatch):
    """Each process predicts its part; together the figures are those of one process."""
    task = ClassificationTask(config_of(folder, tmp_path / "runs"), load_dataset(config_of(folder, tmp_path / "r")))
    alone = task.validate(task.network, "cpu", 0, 1)
    parts: dict = {}
    for rank in range(2):
        monkeypatch.setattr(
            "segcct.tasks.classification.classification_task.gather",
            lambda mine, world: parts.update(mine) or mine,
        )
        task.validate(task.network, "cpu", rank, 2)
    monkeypatch.setattr("segcct.tasks.classification.classification_task.gather", lambda mine, world: parts)
    assert task.validate(task.network, "cpu", 0, 2) == pytest.approx(alone)


def test_dry_run_writes_no_run(folder, tmp_path, capsys):
    assert main([*command(folder, tmp_path / "runs"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for word in ("image_size: 16", "train 30, val 6, test 9 images of 3 classes", "parameters", "s per step"):
        assert word in shown
    assert not (tmp_path / "runs").exists()


def test_it_learns(folder, tmp_path):
    changes = {f"augment__{name}": 0 for name in ("shift_px", "erase", "mixup", "cutmix")}
    config = config_of(folder, tmp_path / "runs", train__epochs=12, augment__randaugment="null", **changes)
    rows = train(config).read_metrics()
    assert float(rows[-1]["train_loss"]) < 0.75 < float(rows[0]["train_loss"])
    assert max(float(row["val_accuracy"]) for row in rows) > 0.8


# mixing


def mixed(section: dict, *, epoch: int = 0, count: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    image = torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    batch = {"image": image, "label": torch.arange(count) % 4, "epoch": epoch, "first": 16}
    return image, *Mixing(ImageAugmentSection.model_validate(section), 0.1, 4, seed=3).apply(batch)


@pytest.mark.parametrize("section", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}, {}])
@pytest.mark.parametrize("count", [1, 7, 8])
def test_targets_are_distributions_that_follow_the_pixels(section, count):
    image, mixture, target = mixed(section, count=count)
    np.testing.assert_allclose(target.sum(dim=1), 1, atol=1e-6)
    pairs = count - count % 2
    for place in range(count):
        other = pairs - 1 - place if place < pairs else place
        weight = 1.0
        if other != place and image[place].mean() != image[other].mean():
            mine, theirs = image[place].mean(), image[other].mean()
            weight = float((mixture[place].mean() - theirs) / (mine - theirs))
        expected = 0.1 / 4 + 0.9 * (weight * np.eye(4)[place % 4] + (1 - weight) * np.eye(4)[other % 4])
        np.testing.assert_allclose(target[place], expected, atol=1e-5)


def test_mixing_is_a_function_of_seed_epoch_and_place():
    section = {"mixup": 0.8, "cutmix": 1.0}
    torch.manual_seed(1)
    first = mixed(section)
    torch.manual_seed(2)
    second, other = mixed(section), mixed(section, epoch=1)
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[1], other[1])


def test_mixing_ends_with_its_epochs():
    section = {"mixup": 0.8, "mix_epochs": 2}
    image, before, _ = mixed(section, epoch=1)
    _, after, target = mixed(section, epoch=2)
    assert not torch.equal(image, before)
    assert torch.equal(image, after)
    assert target.max() == pytest.approx(0.925)


# transfer


def test_a_classifiers_encoder_starts_a_segmenter_and_back(folder, phantom, tmp_path, capsys):
    """Weights trained on color images initialize a segmenter of four channels, which then trains."""
    more = {"model__name": "cct_encoder_s", "train__epochs": 1, "data__image_size": 32, "train__batch_size": 32}
    assert main(command(folder, tmp_path / "runs", **more)) == 0
    best = tmp_path / "runs" / "run" / "best"
    held = load_weights(best, load_card(best))
    seg = {"model__name": "cct_unet_s", "model__pretrained": str(best), "train__epochs": "1",
           "train__slices_per_epoch": "2", "train__batch_size": "2"}  # fmt: skip
    arguments = training_command(phantom, tmp_path / "seg", **seg)
    config = settings.load(SegmentationConfig, Path(arguments[2]), settings.parse_overrides(arguments[3:]))
    own = SegmentationTask(config).network.state_dict()
    assert "loaded" in capsys.readouterr().err
    for name, tensor in held.items():
        if name.startswith("classifier.blocks.") or name.startswith("tokenizer."):
            assert torch.equal(own[name.replace("classifier.", "encoder.")], tensor), name
    assert main(arguments) == 0
    assert main(command(folder, tmp_path / "back", **more, model__pretrained=tmp_path / "seg" / "small" / "best")) == 0


# messages

WRONG = {
    "a segmenter": ({"model__name": "cct_unet_s"}, ["model.name", "cct_unet_s", "cct_7_3x1_32"]),
    "unknown model": ({"model__name": "cct_8"}, ["cct_8"]),
    "unknown option": ({"model__options": "{depth: 3}"}, ["depth", "positional"]),
    "missing dataset": ({"data__root": "/nowhere/pictures"}, ["/nowhere/pictures", "no such dataset"]),
    "another layout": ({"data__layout": "idx"}, ["IDX files are missing"]),
    "pretrained that is missing": ({"model__pretrained": "nowhere.pth"}, ["nowhere.pth"]),
    "too large a hold-out": ({"data__split__val": 45, "data__split__test": 0}, ["train split", "empty"]),
    "half an image": ({"data__split__val": 1.5}, ["data.split.val", "1.5"]),
    "mean of one channel": ({"data__mean": "[0.5]"}, ["data.mean", "rgb", "3"]),
    "names of a folder": ({"data__class_names": "[a, b]"}, ["data.class_names", "idx"]),
    "a name of two classes": (
        {"data__layout": "idx", "data__class_names": "[a, b, a]"},
        ["data.class_names lists a twice"],
    ),
    "a fold too many": ({"data__split__kind": "crossval", "data__fold": 5}, ["data.fold is 5"]),
    "a fold of no folds": ({"data__fold": 1}, ["data.fold is 1", "data.split.kind: crossval"]),
    "lists of another split": ({"data__split__val_list": "a.txt"}, ["data.split.val_list", "data.split.kind: lists"]),
    "lists without lists": ({"data__split__kind": "lists"}, ["data.split.train_list"]),
    "augmentation that timm refuses": ({"augment__randaugment": "rand-m9.5"}, ["augment.randaugment", "rand-m9.5"]),
    "unknown augmentation": ({"augment__randaugment": "strong"}, ["augment.randaugment", "strong"]),
    "unknown key": ({"augment__mix_up": 1}, ["augment.mix_up", "augment.mixup"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_training_refuses_what_cannot_be(name, folder, tmp_path, capsys):
    """What is wrong with the network, before images are decoded."""
    overrides, words = WRONG[name]
    assert main(command(folder, tmp_path / "runs", data__cache=tmp_path / "cache", **overrides)) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert not (tmp_path / "runs").exists()
    if any(key.startswith("model__") for key in overrides):
        assert not (tmp_path / "cache").exists()


def test_bad_images_are_all_named_before_anything_is_written(folder, tmp_path, capsys):
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    for name in ("circle/00.png", "stripes/03.png"):
        (data / name).write_bytes(b"")
    assert main(command(data, tmp_path / "runs")) == 1
    message = capsys.readouterr().err
    for word in ("2 images", "circle/00.png", "stripes/03.png"):
        assert word in message
    assert not (tmp_path / "runs").exists()


def test_an_existing_run_and_other_changes_are_refused(trained, folder, capsys):
    for more in ([], ["--dry-run"]):
        assert main([*command(folder, trained.parent), *more]) == 1
        assert "--resume" in capsys.readouterr().err
    assert main(["train-cls", "--resume", str(trained), "--train.lr", "1"]) == 1
    assert "train.lr cannot change" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--keep-largest"], ["--anonymize"], ["--protocol", "transunet"], ["--no-quality"]])
def test_flags_of_masks_are_refused(trained, folder, tmp_path, capsys, flags):
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(folder), "--output", str(tmp_path / "o")]
    assert main([*arguments, *flags]) == 1
    assert f"{flags[0]} does nothing for classification" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "no such file"),
        ("empty", "no image"),
        ("text.txt", "is not an image"),
        ("pictures", "be found"),
    ],
)
def test_prediction_of_something_else(trained, tmp_path, capsys, source, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("x")
    write_folder(tmp_path / "pictures", 2)
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(tmp_path / source), "--split", "test"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


TABLES = {
    "empty": (lambda text: "", "columns are missing"),
    "no rows": (lambda text: text.splitlines()[0] + "\n", "holds no image"),
    "no sum": (lambda text: text.splitlines()[0] + "\ncircle/00.png,plain,0.5,0.6,0.3\n", "line 2"),
    "no number": (lambda text: text.splitlines()[0] + "\ncircle/00.png,plain,0.5,x,0.3\n", "line 2: not a number"),
    "nan": (lambda text: text.splitlines()[0] + "\ncircle/00.png,plain,0.5,nan,0.5\n", "line 2"),
    "short row": (lambda text: text.splitlines()[0] + "\ncircle/00.png,plain\n", "line 2 has a different number"),
    "twice": (lambda text: text + text.splitlines()[1] + "\n", "listed twice"),
    "unknown image": (lambda text: text.replace("circle/", "circles/"), "without a reference"),
    "other classes": (lambda text: text.replace("p_plain", "p_field"), "do not know 1 class of the reference"),
}


@pytest.mark.parametrize("name", TABLES)
def test_evaluation_of_bad_tables(predicted, folder, tmp_path, capsys, name, in_tmp):
    damage, words = TABLES[name]
    data = Path(shutil.copytree(predicted, tmp_path / "predictions"))
    (data / "predictions.csv").write_text(damage((data / "predictions.csv").read_text(encoding="utf-8")))
    arguments = ["evaluate", "--prediction", str(data), "--reference", str(folder), "--output", str(tmp_path / "e")]
    assert main(arguments) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


def test_a_table_of_somebody_elses_model(folder, tmp_path, capsys, in_tmp):
    """A bare CSV is scored against class folders; what it lacks is named, or left out on request."""
    lines = ["image,p_stripes,p_plain,p_circle"]
    lines += [f"{kind}/{number:02d}.png,0.1,0.2,0.7" for kind in CLASSES for number in range(4)]
    Path("mine.csv").write_text("\n".join(lines))
    arguments = ["evaluate", "--prediction", "mine.csv", "--reference", str(folder), "--output", "evaluation"]
    assert main(arguments) == 1
    assert "33 references without a prediction" in capsys.readouterr().err
    assert main([*arguments, "--allow-unmatched"]) == 0
    summary = json.loads(Path("evaluation/summary.json").read_text(encoding="utf-8"))
    assert summary["overall"]["accuracy"]["mean"] == pytest.approx(1 / 3)
    assert list(summary["classes"]) == ["stripes", "plain", "circle"]
    assert summary["classes"]["circle"]["recall"]["mean"] == 1
    assert main(["report", "--evaluation", "evaluation", "--output", "report"]) == 0
    assert "names no model" in Path("report/report.html").read_text(encoding="utf-8")


def test_scheme_flags_are_refused_for_classes(predicted, folder, tmp_path, capsys):
    arguments = ["evaluate", "--prediction", str(predicted), "--reference", str(folder), "--output", str(tmp_path)]
    assert main([*arguments, "--scheme", "acdc"]) == 1
    assert "--scheme does nothing for classification" in capsys.readouterr().err


def test_a_cached_dataset_is_read_again(folder, trained):
    """The training left the decoded images where its configuration says."""
    config = settings.load(ClassificationConfig, trained / "config.yaml")
    assert load_labeled_images(config.data).stored.folder.parent == folder.parent / "cache"
