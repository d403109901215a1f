"""Configuration: YAML and overrides, and the words of every error."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from segcct.config import ClassificationConfig, DataSection, ReconstructionConfig, SegmentationConfig, settings
from segcct.config.config_keys import keys
from segcct.errors import CheckpointError, ConfigError

MINIMAL = {"data": {"layout": "acdc", "root": "data/acdc", "channels": {"cine": "*.nii.gz"}, "scheme": "acdc"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def test_defaults_file_and_overrides_in_that_order(file):
    config = settings.load(SegmentationConfig, file, {"train.epochs": 3, "model.options.skips": 2})
    assert config.data.layout == "acdc"
    assert config.train.epochs == 3
    assert config.train.batch_size == 16
    assert config.model.options == {"skips": 2}


def test_dump_loads_equal(file, tmp_path):
    config = settings.load(SegmentationConfig, file, {"train.budget": "30min"})
    again = tmp_path / "again.yaml"
    again.write_text(settings.dump(config))
    assert settings.load(SegmentationConfig, again) == config
    assert config.train.budget == 1800.0


def test_configuration_is_frozen(file):
    config = settings.load(SegmentationConfig, file)
    with pytest.raises(Exception, match="frozen"):
        config.train.epochs = 5


def test_file_patterns_may_stand_on_the_command_line(file):
    patterns = {"a": "{id}_t1.nii.gz", "b": "{id}", "c": "*_t2.nii.gz"}
    arguments = [word for name, text in patterns.items() for word in (f"--data.channels.{name}", text)]
    config = settings.load(SegmentationConfig, file, settings.parse_overrides(arguments))
    assert config.data.channels == {"cine": "*.nii.gz", **patterns}


def test_a_tilde_is_the_home_folder(file, tmp_path, monkeypatch):
    """In a file, and behind `=` on the command line, no shell replaces it."""
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    keys = ["--data.root=~/acdc", "--run.root=~/runs", "--model.pretrained=hf://lab/heart", "--data.cache=~nobody-here"]
    config = settings.load(SegmentationConfig, file, settings.parse_overrides(keys))
    assert config.data.root == tmp_path / "acdc"
    assert (config.run.root, config.run.path) == (tmp_path / "runs", tmp_path / "runs" / config.run.name)
    assert config.model.pretrained == Path("hf://lab/heart")
    assert config.data.cache == Path("~nobody-here")


def test_a_mistyped_section_is_named_as_it_was_typed(file):
    with pytest.raises(ConfigError, match=r"unknown key tran\.epochs\. Nearest valid key: train\.epochs"):
        settings.load(SegmentationConfig, file, {"tran.epochs": 3})


def test_parse_overrides_takes_both_forms_and_yaml_values(file):
    parsed = settings.parse_overrides(
        ["--train.epochs", "3", "--model.name=unet", "--train.loss.class_weights", "[1, 2]"]
    )
    config = settings.load(SegmentationConfig, file, parsed)
    assert (config.train.epochs, config.model.name, config.train.loss.class_weights) == (3, "unet", [1.0, 2.0])


def test_a_whole_section_is_laid_over_key_by_key(file):
    file.write_text(yaml.safe_dump(MINIMAL | {"train": {"epochs": 5, "batch_size": 4, "loss": {"ce": 1, "dice": 2}}}))
    train = settings.load(SegmentationConfig, file, {"train": {"epochs": 7, "loss": {"ce": 3}}}).train
    assert (train.epochs, train.batch_size, train.loss.ce, train.loss.dice) == (7, 4, 3.0, 2.0)
    words = ["--train", "{epochs: 7}", "--train.epochs", "8", "--train.loss={ce: 3}"]
    train = settings.load(SegmentationConfig, file, settings.parse_overrides(words)).train
    assert (train.epochs, train.batch_size, train.loss.ce, train.loss.dice) == (8, 4, 3.0, 2.0)
    with pytest.raises(ConfigError, match=r"command line: unknown key train\.epoch\. Nearest valid key: train\.epochs"):
        settings.load(SegmentationConfig, file, {"train": {"epoch": 7}})


def test_a_mapping_that_is_one_value_is_replaced_as_a_whole(file):
    config = settings.load(SegmentationConfig, file, settings.parse_overrides(["--data.channels", "{a: x, b: y}"]))
    assert config.data.channels == {"a": "x", "b": "y"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"train.epoch": 3}, ["command line", "train.epoch", "train.epochs"]),
        ({"epochs": 3}, ["unknown key epochs", "train.epochs"]),
        ({"train.epochs": "many"}, ["train.epochs", "found 'many'; expected a whole number)"]),
        ({"train.lr": "fast"}, ["found 'fast'; expected a number)"]),
        ({"train.epochs": 0}, ["train.epochs", "found 0", "expected at least 1"]),
        ({"train.precision": "fp16"}, ["train.precision", "fp16", "'fp32' or 'bf16'"]),
        ({"train.budget": "soon"}, ["train.budget", "soon", "30min"]),
        ({"train.loss.ce": 0, "train.loss.dice": 0}, ["impossible combination", "or one of train.loss.terms"]),
        ({"data.intensity.rule": "clip"}, ["data.intensity.low < data.intensity.high"]),
        ({"data.scheme": "custom"}, ["data.labels goes with"]),
        ({"data.split.kind": "kfold", "data.fold": 7}, ["data.fold is 7", "folds is 5"]),
        ({"train.loss.deep_supervision": 0.5}, ["deep supervision needs both"]),
        ({"data.fit": "resize", "data.spacing_mm": 1.5}, ["no effect under data.fit: resize"]),
        ({"data.split.kind": "lists"}, ["data.split.train_list"]),
        ({"data.split.val": 2.5}, ["data.split.val is a fraction below 1 or a whole number", "2.5"]),
        ({"data.fold": 1}, ["data.fold is 1", "nothing is folded", "data.split.kind: kfold"]),
        (
            {"data.fold": 1, "data.split": {"kind": "lists", "train_list": "a", "val_list": "b"}},
            ["data.fold is 1", "without data.split.val_list"],
        ),
        (
            {"data.split.train_list": "a.txt"},
            ["data.split.train_list would not be read", "kind: lists, or the lists to null"],
        ),
        ({"data.split.kind": "kfold", "data.split.test_list": "a"}, ["data.split.test_list", "split.kind: kfold"]),
        ({"data.regions": {"heart": [1, 2]}}, ["data.regions goes with data.scheme: custom", "under acdc"]),
        ({"data.intensity.low": 0}, ["data.intensity.low and high", "under zscore_nonzero", "null"]),
        ({"data.layout": "brast"}, ["data.layout", "brast", "'brats'"]),
        ({"model.options.skips": [1]}, ["model.options.skips"]),
    ],
)
def test_errors_name_key_value_and_what_is_allowed(file, overrides, words):
    with pytest.raises(ConfigError) as caught:
        settings.load(SegmentationConfig, file, overrides)
    for word in words:
        assert word in str(caught.value)


def test_what_only_some_splits_read_is_taken_by_those(file):
    lists = {"kind": "lists", "train_list": "a", "test_list": "b"}
    assert settings.load(SegmentationConfig, file, {"data.split": lists, "data.fold": 4}).data.split.folded
    assert settings.load(SegmentationConfig, file, {"data.split.kind": "kfold", "data.fold": 4}).data.fold == 4
    cycle = {"train.unlabelled": {"method": "cycle", "model": "best"}, "data.split.unlabelled_list": "c"}
    assert settings.load(SegmentationConfig, file, cycle).data.split.kind == "fractions"


def test_errors_from_the_file_name_the_file(file):
    file.write_text(yaml.safe_dump(MINIMAL | {"train": {"lerning_rate": 1}, "modle": {"name": "unet"}}))
    with pytest.raises(ConfigError, match="2 problems") as caught:
        settings.load(SegmentationConfig, file)
    assert str(caught.value).count(str(file)) == 2
    assert "Nearest valid key: model.name" in str(caught.value) or "model" in str(caught.value)


def test_missing_section_says_what_it_needs(file):
    file.write_text("run: {name: a}")
    with pytest.raises(ConfigError, match=r"key data is missing .*data\.layout, data\.root"):
        settings.load(SegmentationConfig, file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: [", "is not YAML"),
        ("", "holds no configuration"),
        ("- 1\n- 2", "holds no configuration"),
        ("run: {name: a}\nrun: {name: b}", "key 'run' is listed twice"),
        ("# a comment\n" * 30_000, "is not YAML .found more than 262,144 bytes"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, text, words):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        settings.load(SegmentationConfig, path)


def test_missing_file_lists_the_configs_here(tmp_path):
    with pytest.raises(ConfigError, match="no such config file"):
        settings.load(SegmentationConfig, tmp_path / "nothing.yaml")


@pytest.mark.parametrize("arguments", [["--train.epochs"], ["train.epochs", "3"], ["--train.epochs", "--model.name"]])
def test_overrides_without_key_or_value(arguments):
    with pytest.raises(ConfigError, match="command line"):
        settings.parse_overrides(arguments)


@pytest.mark.parametrize("kind", [SegmentationConfig, ReconstructionConfig, ClassificationConfig])
def test_every_key_is_described_and_its_default_shown(kind):
    text = settings.describe(kind)
    assert [key.name for key in keys(kind) if not key.description] == []
    assert "--model.options  [default {}]" in text
    assert "Pydantic" not in text


def test_help_shows_keys_and_whether_they_must_be_given():
    text = settings.describe(SegmentationConfig)
    assert "--train.budget" in text
    assert "--data.intensity.rule" in text
    assert "[required]" in text


def test_a_stored_section_that_cannot_be_used_is_refused_by_its_first_key():
    stored = {**MINIMAL["data"], "channels": "*.nii.gz", "fit": "crop"}
    with pytest.raises(CheckpointError, match=r"model\.json: the stored data section cannot be used \(found channels:"):
        settings.stored_section(DataSection, stored, file="model.json", error=CheckpointError)
    assert settings.stored_section(DataSection, MINIMAL["data"]).layout == "acdc"
