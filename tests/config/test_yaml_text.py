"""YAML 1.1's surprises: what is written without quotes means what it says, or is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from segcct.cli import main
from segcct.config import ClassificationConfig, SegmentationConfig, settings, yaml_text
from segcct.errors import ConfigError

BASE = """run: {name: r}
data: {layout: folder, root: scans, channels: {t1: t1.nii.gz}, label: mask.nii.gz, scheme: custom, labels: {one: 1}}
train: {epochs: 2}
"""
NAMES = ["20261128", "2026-11-28", "no", "on", "y", "007", "1e3", "0x1F", "1:30", "true", ".inf", "1_0", "+5", "2.5"]


def load(tmp_path: Path, text: str) -> SegmentationConfig:
    file = tmp_path / "experiment.yaml"
    file.write_text(text, encoding="utf-8")
    return settings.load(SegmentationConfig, file)


def with_train(entry: str) -> str:
    return BASE.replace("epochs: 2", entry)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("epochs: 010", "train.epochs .*found 010, which YAML takes for 8"),
        ("epochs: yes", "train.epochs .*found yes, which YAML takes for true"),
        ("epochs: true", "train.epochs .*found true; expected"),
        ("epochs: 1:30", "train.epochs .*found 1:30, which YAML takes for 90"),
        ("epochs: 0x10", "train.epochs .*found 0x10, which YAML takes for 16"),
        ("epochs: 2026-11-28", "train.epochs .*found 2026-11-28, which YAML takes for a date"),
        ("epochs: .inf", "train.epochs .*finite"),
        ("epochs: 2.5", "train.epochs .*found 2.5"),
        ("lr: .inf", "train.lr .*finite"),
        ("lr: .nan", "train.lr"),
        ("lr: nan", "train.lr"),
        ("lr: off", "train.lr .*found off, which YAML takes for false"),
        ("lr: 1e999", "train.lr .*finite"),
        ("budget: 1:30", "train.budget .*found 1:30, which YAML takes for 90; expected a duration such as 90s"),
        ("budget: .inf", "train.budget .*finite"),
        ("budget: yes", "train.budget .*expected a duration"),
        ("loss: {dice_background: 2}", "train.loss.dice_background"),
    ],
)
def test_numbers_that_are_none_are_refused(tmp_path, entry, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load(tmp_path, with_train(entry))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "key", "expected"),
    [
        ("lr: 1e-3", "lr", 1e-3),
        ("lr: 1.e-3", "lr", 1e-3),
        ("lr: .5", "lr", 0.5),
        ("epochs: 1_000", "epochs", 1000),
        ("epochs: +5", "epochs", 5),
        ("epochs: 1e3", "epochs", 1000),
        ("epochs: 08", "epochs", 8),
        ('epochs: "5"', "epochs", 5),
        ("budget: 90s", "budget", 90.0),
        ("budget: 90", "budget", 90.0),
        ("budget: ~", "budget", None),
        ("patience: null", "patience", None),
        ("patience:", "patience", None),
    ],
)
def test_numbers_that_are_plain_are_taken(tmp_path, entry, key, expected):
    assert getattr(load(tmp_path, with_train(entry)).train, key) == expected


@pytest.mark.parametrize(("word", "expected"), [("yes", True), ("no", False), ("true", True), ("off", False)])
def test_a_switch_may_be_said_in_any_word(tmp_path, word, expected):
    assert load(tmp_path, with_train(f"loss: {{dice_background: {word}}}")).train.loss.dice_background is expected


@pytest.mark.parametrize("name", NAMES)
def test_names_that_look_like_something_else_are_text(tmp_path, name):
    text = BASE.replace("name: r", f"name: {name}").replace("t1: t1.nii.gz", f"{name}: {name}")
    config = load(tmp_path, text.replace("one: 1", f"{name}: 1").replace("root: scans", f"root: {name}"))
    assert (config.run.name, config.data.root) == (name, Path(name))
    assert (config.data.channels, config.data.labels) == ({name: name}, {name: 1})
    again = tmp_path / "again.yaml"
    again.write_text(settings.dump(config), encoding="utf-8")
    assert settings.load(SegmentationConfig, again) == config
    assert yaml.safe_load(again.read_text(encoding="utf-8"))["run"]["name"] == name  # other readers agree
    words = ["--run.name", name, "--data.label", name, "--data.root", name]
    given = settings.load(SegmentationConfig, again, settings.parse_overrides(words))
    assert (given.run.name, given.data.label, given.data.root) == (name, name, Path(name))


@pytest.mark.parametrize("name", ["#5", "a #b", "*", "{id}", "&a", "!x", "%", "@a", "'a'"])
def test_a_name_on_the_command_line_is_whole(tmp_path, name):
    file = tmp_path / "experiment.yaml"
    file.write_text(BASE, encoding="utf-8")
    config = settings.load(SegmentationConfig, file, settings.parse_overrides(["--run.name", name]))
    assert config.run.name == (name if name != "'a'" else "a")


def test_class_names_are_text(tmp_path):
    file = tmp_path / "classes.yaml"
    names = ", ".join(NAMES)
    file.write_text(f"data: {{root: x, layout: idx, class_names: [{names}]}}", encoding="utf-8")
    config = settings.load(ClassificationConfig, file)
    assert config.data.class_names == NAMES
    file.write_text(settings.dump(config), encoding="utf-8")
    assert settings.load(ClassificationConfig, file) == config


def test_label_maps_have_numbers_for_keys(tmp_path):
    text = BASE.replace("one: 1}}", "one: 1}, label_map: {205: 1, 0: 0}}")
    assert load(tmp_path, text).data.label_map == {205: 1, 0: 0}
    with pytest.raises(ConfigError, match=r"data\.label_map.*010, which YAML takes for 8"):
        load(tmp_path, text.replace("205", "010"))


@pytest.mark.parametrize(("text", "value"), [("4", 4), ("0.5", 0.5), ("true", True), ("bilinear", "bilinear")])
def test_options_are_what_they_look_like(tmp_path, text, value):
    assert load(tmp_path, BASE + f"model: {{options: {{a: {text}}}}}").model.options == {"a": value}


@pytest.mark.parametrize("text", ["yes", "010", "1:30", "1_000", "2026-11-28"])
def test_options_that_could_be_two_things_are_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=rf"model\.options\.a .*found {text}, which YAML takes for") as caught:
        load(tmp_path, BASE + f"model: {{options: {{a: {text}}}}}")
    assert "\n" not in str(caught.value)


def test_merge_keys_merge(tmp_path):
    text = "x: &x {weight_decay: 0.05, epochs: 9}\n"
    file = tmp_path / "experiment.yaml"
    file.write_text(text + BASE.replace("train: {", "train: {<<: *x, lr: 0.1, "), encoding="utf-8")
    content = settings.read_yaml(file)
    assert content["train"] == {"weight_decay": "0.05", "epochs": "2", "lr": "0.1"}
    config = load(tmp_path, BASE.replace("train: {", "train: {<<: {weight_decay: 0.05, epochs: 9}, "))
    assert (config.train.weight_decay, config.train.epochs) == (0.05, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: {name: a, name: b}", "key 'name' is listed twice"),
        ('run: {1: a, "1": b}', "key '1' is listed twice"),
        ("run: {<<: {name: a}, <<: {name: b}}", "key '<<' is listed twice"),
        ("a: &a [*a]", "an alias inside itself"),
        ("a: &a {<<: *a}", "an alias inside itself"),
        ("run: !!int x", "could not determine a constructor"),
        ("run: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("run: {[a]: b}", "unhashable"),
        ("run: {<<: 3}", "merging"),
        ("a: b\n---\nc: d", "single document"),
        ("[" * 20_000, "nested too deeply"),
        ("run: " + "[" * 20_000 + "]" * 20_000, "nested too deeply"),
        ("\0", "not allowed"),
    ],
)
def test_documents_that_are_refused(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load(tmp_path, text)
    assert len(str(caught.value)) < 500


def test_aliases_of_aliases_are_no_bomb(tmp_path):
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    with pytest.raises(ConfigError, match="too many aliases"):
        load(tmp_path, "\n".join(lines))


@pytest.mark.parametrize(
    "value", [*NAMES, "a: b", "- a", "#", "", " a", "a\nb", "ä", "null", "~", "=", "<<", "'", "{id}"]
)
def test_what_is_written_is_read_again(value: Any):
    content = {"name": value, value: [value]}
    again = yaml_text.parse(yaml_text.dump(content))
    assert again == content
    assert yaml.safe_load(yaml_text.dump(content)) == content


def test_a_section_may_be_given_whole_on_the_command_line(tmp_path, capsys):
    file = tmp_path / "experiment.yaml"
    file.write_text(BASE, encoding="utf-8")
    assert main(["train-seg", "--config", str(file), "--train", "{epochs: none}", "--dry-run"]) == 1
    assert "key train.epochs has a value that cannot be used (found 'none'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train-seg", "--config", str(file), "--train", "7", "--dry-run"])
