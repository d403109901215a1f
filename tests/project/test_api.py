"""segcct.train and segcct.predict: the same as the commands, from Python."""

from __future__ import annotations

import ast
import doctest
import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import segcct
from segcct.config import ReconstructionConfig, SegmentationConfig, settings
from segcct.config.descriptions import description_of
from segcct.errors import ConfigError, LabelError, ModelError, RunError
from segcct.run_folder import RunFolder
from segcct.tasks import training_run
from segcct.tasks.task import TASKS
from segcct.training import session
from tests.conftest import SMALL
from tests.support import small_tasks
from tests.support.documents import ROOT

CONFIG = ROOT / "configs" / "brats_cct_unet.yaml"


@pytest.fixture
def keys(phantom: Path, tmp_path: Path) -> dict[str, Any]:
    """The overrides of a training of seconds."""
    small = {name.removeprefix("--"): yaml.safe_load(value) for name, value in SMALL.items()}
    places = {"data.root": str(phantom), "data.cache": str(phantom.parent / "cache"), "run.root": str(tmp_path)}
    return {**small, **places, "train.epochs": 1, "train.slices_per_epoch": 8, "run.name": "run"}


@pytest.mark.parametrize("form", ["path", "text", "mapping", "object"])
def test_every_form_of_a_config_is_the_same_experiment(
    form: str, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[object] = []
    monkeypatch.setattr(training_run, "train", lambda config, **_: trained.append(config))
    content = yaml.safe_load(CONFIG.read_text())
    config = {
        "path": CONFIG,
        "text": str(CONFIG),
        "mapping": content,
        "object": settings.load(SegmentationConfig, CONFIG),
    }[form]
    segcct.train(config, keys)
    assert trained == [settings.load(SegmentationConfig, CONFIG, keys)]


@pytest.mark.slow
def test_a_run_is_resumed_and_predicts(keys: dict[str, Any], phantom: Path, tmp_path: Path) -> None:
    run = segcct.train(CONFIG, keys)
    assert settings.load(SegmentationConfig, run.config).train.epochs == 1
    assert len(segcct.train(resume=run.path, overrides={"train.epochs": 2}).read_metrics()) == 2
    with pytest.raises(ConfigError, match=r"train\.lr cannot change"):
        segcct.train(resume=run.path, overrides={"train.lr": 1})
    with pytest.raises(RunError, match="nothing is overwritten"):
        segcct.train(CONFIG, keys)
    predictions = segcct.predict(run.best, phantom, tmp_path / "masks", split="test")
    assert predictions.problem == ""
    (mask,) = predictions.masks
    assert {"volumes.csv", "labels_itksnap.txt", "labels_slicer.ctbl"} < {file.name for file in mask.parent.iterdir()}
    with pytest.raises(RunError, match="exist already"):
        segcct.predict(run.best, phantom, tmp_path / "masks", split="test")
    assert segcct.predict(run.best, phantom, tmp_path / "masks", split="test", existing="replace").masks == [mask]


@pytest.mark.parametrize("task", list(TASKS))
def test_a_resumed_run_knows_its_task(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_tasks.SMALL[task](0, tmp_path).config
    run = RunFolder.create(tmp_path / "run")
    run.write_text(run.config, settings.dump(config))
    asked: list[type] = []
    monkeypatch.setattr(session, "experiment_of", lambda kind, *_, **__: (asked.append(kind), None))
    monkeypatch.setattr(training_run, "train", lambda *_, **__: None)
    segcct.train(resume=run.path)
    assert asked == [type(config)]


def test_what_cannot_be_trained_is_said(keys: dict[str, Any]) -> None:
    for arguments in ({}, {"config": CONFIG, "resume": "runs/x"}):
        with pytest.raises(ConfigError, match="one of config and resume"):
            segcct.train(**arguments)
    with pytest.raises(ConfigError, match="Nearest valid key: train"):
        segcct.train(CONFIG, {**keys, "trian.epochs": 2})
    with pytest.raises(ConfigError, match="names no task"):
        segcct.train(CONFIG, keys, task="segmentacion")
    with pytest.raises(ConfigError, match="no such config file"):
        segcct.train("configs/nowhere.yaml")


@pytest.mark.parametrize("task", ["segmentacion", "reconstruction"])
def test_a_task_that_is_not_the_config_objects_is_refused(task: str) -> None:
    config = settings.load(SegmentationConfig, CONFIG)
    expected = {
        "segmentacion": "names no task of this installation",
        "reconstruction": "found task reconstruction and a SegmentationConfig; expected task segmentation",
    }
    with pytest.raises(ConfigError, match=expected[task]):
        segcct.train(config, task=task)


@pytest.mark.parametrize("task", [None, "reconstruction"])
def test_a_config_object_knows_its_task(task: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[object] = []
    monkeypatch.setattr(training_run, "train", lambda config, **_: trained.append(config))
    config = settings.load(ReconstructionConfig, ROOT / "configs" / "acdc_slices_m2i.yaml")
    segcct.train(config, {"train.precision": "fp32"}, task=task)
    segcct.train(CONFIG, {"train.precision": "fp32"})
    assert [type(each) for each in trained] == [ReconstructionConfig, SegmentationConfig]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"existing": "overwrite"}, "existing has no such value .*expected refuse, replace, continue"),
        ({"split": "testing"}, "split has no such value .*expected train, val, test"),
    ],
)
def test_an_option_of_a_prediction_that_does_not_exist_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        segcct.predict("runs/x/best", "scans", "masks", **options)


@pytest.mark.parametrize("shard", [(0, 3), (4, 3), "3/16", 3, (1, 2, 3)])
def test_a_part_of_a_cohort_that_does_not_exist_is_refused(shard: Any) -> None:
    with pytest.raises(ConfigError, match=r"no such part of the cases .*such as \(3, 16\)"):
        segcct.CohortOptions(shard=shard)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: segcct.predict("x", "y", "z", settings={"tta": "flips"}), "settings .* InferenceSettings, not dict"),
        (lambda: segcct.predict("x", "y", "z", masks={"keep_largest": True}), "masks .* MaskOptions, not dict"),
        (lambda: segcct.predict("x", "y", "z", cohort=(3, 16)), "cohort .* CohortOptions, not tuple"),
        (lambda: segcct.CohortOptions(engine="spark"), "engine .* SparkEngine, not str"),
        (lambda: segcct.Predictor.load("x", {"tta": "flips"}), "how .* InferenceSettings, not dict"),
        (lambda: segcct.train(CONFIG, ["train.epochs=1"]), "overrides .* Mapping, not list"),
    ],
)
def test_an_option_of_another_type_is_refused_by_its_name(call: Callable[[], object], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


def test_an_empty_list_of_models_is_refused() -> None:
    """Such as that of a glob that finds nothing."""
    with pytest.raises(ModelError, match="no model is named"):
        segcct.Predictor.load([])


def test_options_may_be_numbers_of_numpy() -> None:
    assert segcct.CohortOptions(shard=(np.int64(3), np.int64(16))).shard == (3, 16)
    assert segcct.MaskOptions(keep_largest=np.True_).keep_largest is True  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["no", None, 2])
def test_a_switch_of_a_mask_is_true_or_false(value: Any) -> None:
    """The word "no" would be true."""
    with pytest.raises(ConfigError, match=r"keep_largest is of the wrong type .*expected True or False"):
        segcct.MaskOptions(keep_largest=value)


@pytest.mark.parametrize("value", [1.5, "3", -1])
def test_failures_are_counted_in_whole_numbers(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"max_failures is a number of cases .*expected a whole number of at least 0"):
        segcct.CohortOptions(max_failures=value)


def test_label_values_alone_are_no_scheme() -> None:
    with pytest.raises(LabelError, match=r"not a label scheme .*data.labels names the classes"):
        segcct.evaluate("masks", "references", scheme={"LV": 1})  # type: ignore[arg-type]


def test_public_names_are_there_and_documented() -> None:
    for name in segcct.__all__:
        assert getattr(segcct, name, None) is not None
        assert name == "__version__" or getattr(segcct, name).__doc__
    assert dir(segcct) == sorted(segcct.__all__)


def test_examples_in_docstrings_run() -> None:
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    examples = [
        example
        for module in (segcct, segcct.metrics)
        for documented in (module, *(getattr(module, name) for name in module.__all__))
        for example in finder.find(documented, globs={}, name=getattr(documented, "__name__", "value"))
        if example.examples
    ]
    for example in examples:
        runner.run(example)
    assert {example.name for example in examples} >= {"segcct.metrics", "create_model", "Volume"}
    assert runner.failures == 0


def test_editors_see_the_public_names_and_no_others() -> None:
    """They read the imports of segcct/__init__.py, which a program does one by one, at first use."""
    (declared,) = (node for node in ast.parse(inspect.getsource(segcct)).body if isinstance(node, ast.If))
    places = {alias.name: node.module for node in declared.body for alias in node.names}  # type: ignore[attr-defined]
    assert sorted({"__version__", *places}) == sorted(segcct.__all__)
    assert places == {"metrics": "segcct", **segcct._EXPORTS}


def test_parameters_and_options_say_what_they_are() -> None:
    public = [getattr(module, name) for module in (segcct, segcct.metrics) for name in module.__all__]
    for function in filter(inspect.isfunction, public):
        for name, parameter in inspect.signature(function).parameters.items():
            assert parameter.annotation is not parameter.empty
            if function.__module__.startswith("segcct.metrics") and "Args:" not in function.__doc__:
                continue  # of two masks, which the package describes
            assert f"\n        {name}: " in function.__doc__, f"{function.__name__}({name})"
    for options in (segcct.InferenceSettings, segcct.MaskOptions, segcct.CohortOptions):
        for field in fields(options):
            assert description_of(options, field.name), f"{options.__name__}.{field.name}"
