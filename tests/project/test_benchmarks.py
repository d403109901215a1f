"""Benchmarks: which earlier runs they use, their tables, and their errors."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from argparse import ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from segcct.config import ReconstructionConfig, SegmentationConfig, settings
from segcct.datasets.case import Case
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError, ModelError, PackageError, RunError
from segcct.files.json_file import write_json
from segcct.inference.cycle import Cycles
from segcct.models.zoo import entry
from segcct.quality import GROUPS
from segcct.quality.case_features import features_of_case
from segcct.run_folder import FoldsFolder, RunFolder
from segcct.tasks.fold_training import of_fold
from segcct.training.device_settings import resolve_precision
from tests.cluster.test_assignment import write_case
from tests.quality.test_quality import simulated
from tests.support import hostile_images, hostile_nifti
from tests.support.drawn_images import write_folder
from tests.support.hostile_files import all_hostile
from tests.support.toy_pair import class_filler, data_section, loaded_case, predictor

CLASSES = {"a": "RV", "b": "MYO", "c": "LV"}


@pytest.fixture
def benchmark_of(monkeypatch):
    """A module of benchmarks/, which stands outside the package, by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def config(root: Path, **overrides: object) -> ReconstructionConfig:
    data = data_section().model_dump(mode="json")
    given = {"run.root": str(root), "run.name": "m2i", "train.epochs": 3, **overrides}
    return settings.build(ReconstructionConfig, {"data": data}, given, source="test")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RunError("no such run", file="a"), "b.py: a: no such run"),
        (FileNotFoundError(2, "No such file or directory", "data/val.list"), "b.py: data/val.list: No such file or"),
    ],
)
def test_an_expected_error_is_one_line(benchmark_of, monkeypatch, error, line):
    def main() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["benchmarks/b.py"])
    with pytest.raises(SystemExit, match=f"^{line}"):
        benchmark_of("program").run(main)
    with pytest.raises(SystemExit, match=r"^3$"):
        benchmark_of("program").run(lambda: 3)


def test_a_command_next_to_a_hostile_file_is_judged(benchmark_of, tmp_path, monkeypatch):
    commands = benchmark_of("hostile_commands")
    hostile = next(one for one in all_hostile() if one.kind == "nifti" and one.expected is None and not one.either)
    assert commands.tried("check", hostile, tmp_path / "folder", {}).kind == "refused"
    monkeypatch.setattr(commands, "run", lambda arguments: ("KeyError", "Traceback"))
    assert commands.tried("check", hostile, tmp_path / "folder", {}).kind == "traceback"


def test_a_run_of_the_same_settings_is_taken_and_another_refused(benchmark_of, tmp_path):
    trained = benchmark_of("trained").trained
    run = RunFolder.create(tmp_path / "m2i")
    run.write_text(run.config, settings.dump(resolve_precision(config(tmp_path))))
    with pytest.raises(RunError, match="nothing to resume from"):
        trained(config(tmp_path))
    write_json(run.summary, {})
    assert trained(config(tmp_path, **{"data.workers": 2, "data.cache": "elsewhere"})).path == run.path
    with pytest.raises(RunError, match=r"other settings \(found train.epochs 3, train.lr 0.001; expected"):
        trained(config(tmp_path, **{"train.epochs": 4, "train.lr": 0.1}))


def test_results_of_other_settings_are_refused(benchmark_of, tmp_path):
    """The entries of several configs have the same names, and keys can be laid over all."""
    accuracy, root = benchmark_of("accuracy"), Path(__file__).parents[2]
    keys = ["--data.root", "elsewhere", "--train.precision", "fp32"]
    arguments = Namespace(config=root / "benchmarks" / "drive.yaml", output=tmp_path, keys=keys, entries=["before"],
                          seeds=None, folds=[0], budget=None, lr=None, final=False)  # fmt: skip
    benchmark = accuracy.read(arguments)
    benchmark = benchmark.model_copy(update={"experiment": root / benchmark.experiment})
    (training,) = accuracy.trainings(benchmark, arguments)
    assert accuracy.results_of(benchmark, arguments) == {}
    own = accuracy.experiment_of(training, benchmark, arguments)
    run = RunFolder.create(own.run.path)
    run.write_text(run.config, settings.dump(own))
    write_json(run.path / "result.json", {"seed": 0})
    assert accuracy.results_of(benchmark, arguments) == {"before": [{"seed": 0}]}
    arguments.keys = [*keys, "--train.lr", "0.1"]
    for use in (accuracy.results_of, accuracy.train_missing):
        with pytest.raises(RunError, match=r"other settings \(found train.lr 0.002; expected train.lr 0.1\)"):
            use(benchmark, arguments)


def test_a_cross_validation_of_other_settings_is_refused(benchmark_of, tmp_path, monkeypatch):
    folds = benchmark_of("folds")
    monkeypatch.setattr(folds, "train_folds", lambda config, numbers: None)
    monkeypatch.setattr(folds, "resume_folds", lambda row, path, overrides: FoldsFolder.open(path))
    keys = ["--train.precision", "fp32"]
    arguments = Namespace(root=Path("elsewhere"), output=tmp_path, folds=2, budget="1min", keys=keys)
    _, own = folds.cross_validated(arguments)
    folder = FoldsFolder(tmp_path / "acdc_folds", [0, 1])
    run = RunFolder.create(folder.fold(0).path)
    run.write_text(run.config, settings.dump(of_fold(own, 0)))
    folder.write()
    assert folds.cross_validated(arguments)[0].path == folder.path
    arguments.budget = "2min"
    with pytest.raises(RunError, match=r"found train.budget 60.0; expected train.budget 120.0"):
        folds.cross_validated(arguments)


def test_patients_with_the_same_images_count_once(benchmark_of):
    folds = benchmark_of("folds")
    cases = [f"patient{number}_frame0{frame}" for number in ("074", "075", "076") for frame in (1, 2)]
    one = {case: "patient07" for case in cases if "075" not in case}
    splits = Splits(tuple(cases), (), patients={**dict.fromkeys(cases, "patient075"), **one})
    scores = {case: {"RV": 0.5 + 0.1 * place, "LV": 0.9} for place, case in enumerate(cases)}
    own = folds.Model("own", scores, splits)
    assert own.of_patients() == ["patient07"] * 2 + ["patient075"] * 2 + ["patient07"] * 2
    assert folds.mean_of([own, own], "mean").of_patients() == own.of_patients()
    higher = {case: {"RV": each["RV"] + 0.01 * place, "LV": 0.95} for place, (case, each) in enumerate(scores.items())}
    better = folds.Model("better", higher, splits)
    assert folds.difference_of("d", better, own).split("|")[4].strip() == "0.500"  # two patients better, of two
    alone = folds.Model("alone", {cases[0]: {"RV": 0.5, "MYO": 0.7, "LV": 0.9}}, splits)
    assert folds.row_of(alone) == "| alone | 0.7000 [n/a] | 0.5000 | 0.7000 | 0.9000 |"


@pytest.mark.parametrize(
    ("name", "called", "keys"),
    [
        ("few_labels", "shifted_root", ["--root", "elsewhere"]),
        ("m2i", "experiment", ["--acdc", "elsewhere"]),
        ("quality", "measure_fold", ["--root", "elsewhere", "--train.precision", "fp32"]),
        ("folds", "sections", ["--root", "elsewhere", "--train.precision", "fp32"]),
        ("classification", "train", ["positional", "--root", "elsewhere", "--train.precision", "fp32"]),
    ],
)
def test_every_machine_has_a_folder_of_results(benchmark_of, tmp_path, monkeypatch, capsys, name, called, keys):
    module, machine = benchmark_of(name), benchmark_of("machine")
    here = {"processor": "Some CPU @ 2 GHz", "sets": "avx2", "cores": 2, "device": "cpu", "precision": "fp32"}
    for each in (machine, module):
        monkeypatch.setattr(each, "machine", lambda _=(): here, raising=False)
    outputs = []

    def stop(*given: object) -> None:
        outputs.extend(each.output for each in given if isinstance(each, Namespace))
        outputs.extend(each for each in given if isinstance(each, Path))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, called, stop)
    monkeypatch.setattr("sys.argv", [f"{name}.py", *keys, "--output", str(tmp_path)])
    with pytest.raises(KeyboardInterrupt):
        module.main()
    assert outputs[0] == tmp_path / "Some_CPU_2_GHz_avx2_2_cores_fp32"
    assert name != "few_labels" or capsys.readouterr().out.startswith("Some CPU @ 2 GHz, ")


def result(entry: str, seed: int, dice: list[float], **more: object) -> dict[str, object]:
    """A result.json of benchmarks/accuracy.py with a case of each patient."""
    cases = {f"case{number}": {"patient": f"p{number}", "dice": value} for number, value in enumerate(dice)}
    facts = {"lr": 0.001, "parameters": 2_000_000, "macs": 10**9, "step_s": 0.5, "peak_mb": 900.0, "epochs": 3}
    scores = {"classes": {"RV": 0.8}, "hd95": {"hd95_vox": 4.0}, "curve": [[60.0, 0.5], [120.0, 0.75]]}
    return {"entry": entry, "seed": seed, "fold": 0, "busy": False, "cases": cases, **facts, **scores, **more}


def test_the_table_of_accuracy_compares_the_same_cases_of_the_same_seeds(benchmark_of, tmp_path):
    accuracy = benchmark_of("accuracy_table")
    results = {
        "a": [result("a", 0, [0.9, 0.7, 0.8]), result("a", 1, [0.7, 0.7, 0.7], macs=None, busy=True)],
        "b": [result("b", 0, [0.5, 0.5, 0.5])],
    }
    _, _, first, second = [line.strip("| ").split(" | ") for line in accuracy.table(results, "b").splitlines()]
    assert first[:8] == ["a", "0.001", "2.00 M", "1.00", "0.50", "900", "3", "2 (busy)"]
    assert first[8].startswith("0.750 [")
    assert first[9] == "0.071"  # of 0.8 and 0.7
    assert first[12].startswith("+0.300 [")  # of seed 0 alone, which both have
    assert second[9] == "n/a"
    accuracy.write_curves(results, tmp_path)
    assert (tmp_path / "curves.csv").read_text().splitlines()[1:3] == ["a,0,0,1.000,0.50000", "a,0,0,2.000,0.75000"]
    assert (tmp_path / "curves.png").is_file()


@pytest.mark.parametrize(
    ("budget", "keys"),
    [
        ("90s", {"train.budget": "90s"}),
        ("40 epochs", {"train.budget": None, "train.epochs": 40}),
        ("21 steps", {"train.budget": None, "train.epochs": 3}),  # of 10 steps each
    ],
)
def test_a_budget_is_minutes_steps_or_epochs(benchmark_of, budget, keys):
    experiment = toy_experiment({"train.slices_per_epoch": 19, "train.batch_size": 2})
    assert benchmark_of("accuracy").length_of(budget, experiment) == keys
    with pytest.raises(ConfigError, match="slices_per_epoch"):
        benchmark_of("accuracy").length_of("21 steps", toy_experiment({}))


def test_a_table_of_accuracy_without_surface_distances(benchmark_of):
    """A network that predicts background alone has no HD95."""
    results = {
        "a": [result("a", 0, [0.0, 0.0], hd95={}, classes={"RV": None})],
        "b": [result("b", 0, [0.5, 0.6], peak_mb=None), result("b", 1, [0.5, 0.6], hd95={})],
    }
    _, _, first, second = [line.strip("| ").split(" | ") for line in table_of(benchmark_of, results)]
    assert first[10:12] == ["n/a", "n/a"]
    assert second[10:12] == ["0.800", "4.00"]
    assert second[5] == "900"
    results["b"].clear()
    assert "hd95_mm" in table_of(benchmark_of, {"a": results["a"]})[0]


def table_of(benchmark_of, results: dict[str, list[dict[str, object]]]) -> list[str]:
    return benchmark_of("accuracy_table").table(results, "b").splitlines()


def test_the_reference_is_an_entry(benchmark_of, tmp_path):
    config = tmp_path / "benchmark.yaml"
    content = "{experiment: any.yaml, reference: unet, budget: 1min, seeds: [0], folds: [0], entries: {net: {}}}"
    config.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="the reference is not an entry"):
        benchmark_of("accuracy").read(Namespace(config=config))


def toy_experiment(overrides: dict[str, object]) -> SegmentationConfig:
    data = data_section().model_dump(mode="json")
    return settings.build(SegmentationConfig, {"data": data}, overrides, source="test")


@pytest.mark.parametrize("name", ["acdc", "acdc_levers", "brats2015", "drive", "isbi2012"])
def test_entries_can_be_trained(benchmark_of, tmp_path, monkeypatch, name):
    """Every entry of a config names a network and keys that are there, and a folder of this machine."""
    accuracy = benchmark_of("accuracy")
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)  # as where the extra is not installed
    root = Path(__file__).parents[2]
    config = root / "benchmarks" / f"{name}.yaml"
    nothing = dict.fromkeys(("budget", "seeds", "folds", "entries", "lr"))
    keys = ["--data.root", "elsewhere", "--train.precision", "fp32"]
    arguments = Namespace(config=config, final="acdc" in name, output=tmp_path, keys=keys, **nothing)
    benchmark = accuracy.read(arguments)
    benchmark = benchmark.model_copy(update={"experiment": root / benchmark.experiment})
    assert benchmark.reference in benchmark.entries
    rates = accuracy.read(Namespace(**{**vars(arguments), "lr": [1e-3]})).model_copy(
        update={"experiment": benchmark.experiment}
    )
    assert len(rates.entries) == len(benchmark.entries)
    first = next(accuracy.trainings(rates, arguments))
    tried = accuracy.experiment_of(first, rates, arguments)
    assert (tried.model.name, tried.train.lr) == ("cct_unet_s", 1e-3)
    for training in accuracy.trainings(benchmark, arguments):
        if training.entry.startswith("smp/"):
            with pytest.raises(PackageError, match=r"segcct\[bench\]"):
                accuracy.experiment_of(training, benchmark, arguments)
            continue
        experiment = accuracy.experiment_of(training, benchmark, arguments)
        assert experiment.data.split.test_list == (Path("elsewhere/val.list") if arguments.final else None)
        assert "fp32" in experiment.run.root.name
        assert entry(experiment.model.name).kind == "segmenter"
    if benchmark.lists is None:
        with pytest.raises(ConfigError, match="no held-out patients"):
            accuracy.read(Namespace(**{**vars(arguments), "final": True}))


def test_measurements_know_what_they_depend_on(benchmark_of):
    quality, cycles = benchmark_of("quality"), Cycles(predictor(), class_filler())
    options = Namespace(precision="fp32", patients=None, draws=2)
    found = quality.dependencies(cycles, options, corrupt=True)
    assert found == quality.dependencies(cycles, options, corrupt=True)
    for name, value in (("precision", "bf16"), ("patients", 3), ("draws", 1)):
        assert quality.dependencies(cycles, Namespace(**{**vars(options), name: value}), corrupt=True) != found
    other = Cycles(predictor(), class_filler())
    other.reconstructor.card = other.reconstructor.card.model_copy(update={"weights_sha256": "another"})
    assert quality.dependencies(other, options, corrupt=True) != found


def test_residual_signals_look_where_they_say(benchmark_of):
    features = benchmark_of("m2i_features").residual_signals
    mask = np.zeros((3, 20, 20), dtype=bool)
    mask[:, 6:14, 6:14] = True
    found = features(np.ones(mask.shape, dtype=np.float32), mask)
    assert found["m2i_foreground"] == found["m2i_border"] == 1.0
    assert found["m2i_contrast"] == pytest.approx(0.0)
    found = features(mask.astype(np.float32), mask)
    assert found["m2i_foreground"] == 1.0
    assert 0 < found["m2i_border"] < 1
    assert found["m2i_contrast"] > 0


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_signals_of_a_generator_also_where_models_prepare_differently(benchmark_of, fit):
    cycles, with_m2i = Cycles(predictor(), class_filler(fit=fit)), benchmark_of("m2i_features").with_m2i
    seen = cycles.of_scan(loaded_case(noise=1.0))
    features = with_m2i(features_of_case(cycles.predictor, seen.segmented), seen)
    for own in features.values():
        assert {name for name, value in own.items() if value is None} == set(GROUPS["members"])
    assert features["high"]["m2i_cycle"] > 0.8
    index = seen.segmented.soft.index
    index[index == 2] = 0  # so that "high" is predicted on the scan's grid alone
    features = with_m2i(features_of_case(cycles.predictor, seen.segmented), seen)
    assert features["high"]["m2i_cycle"] is features["low"]["m2i_cycle_others"] is None


def test_tables_come_out_whatever_is_there(benchmark_of, tmp_path, monkeypatch, capsys):
    tables = benchmark_of("quality_tables")
    kept = ("all features", "without M2I", "M2I alone", *tables.RIVALS)
    monkeypatch.setattr(tables, "METHODS", {name: tables.METHODS[name] for name in kept})
    final = [replace(row, class_name=CLASSES[row.class_name]) for row in simulated(12, 0, cases=1)]
    missed = [replace(row, features=None, dice=0.0) for row in final[:2]]
    few = [replace(row, class_name=CLASSES[row.class_name]) for row in simulated(2, 7, cases=1)]
    tables.write({"final": [*final, *missed], "earlier": few, "corrupted": []}, tmp_path / "quality.md")
    text = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert text.startswith("# Dice without a reference")
    parts = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    assert "No masks." in parts["Corrupted images; fitted on natural predictions only"]
    assert "Not possible: too few patients" in parts["Natural predictions, earlier stages"]
    first = parts["Natural predictions, final stage"]
    assert "36 masks of 12 patients" in first
    assert "2 structures were not predicted" in first
    assert "| without M2I (in use) | pooled |" in first
    assert "Targets, all features, pooled: spearman" in first
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in first.splitlines() if line.startswith("|")]
    found = {(row[0], row[1]): row for row in rows if len(row) == 9}
    against = {(row[0], row[1]): row for row in rows if len(row) == 6}
    as_zero = float(found["in use, unpredicted structures taken as 0", "pooled"][4])
    assert as_zero == pytest.approx(36 / 38 * float(found["without M2I (in use)", "pooled"][4]), abs=2e-3)
    assert {(rival, name) for rival in tables.RIVALS for name in ("pooled", "RV", "MYO", "LV")} <= set(against)
    assert against["volume alone", "pooled"][3] == "yes"  # the simulated volume says nothing
    assert "| all features (in use) |" in parts["Leave one group of features out, final stage"]


def test_shifted_files_differ_in_what_standardising_leaves(benchmark_of, tmp_path):
    shifted = benchmark_of("shift")
    image = np.random.default_rng(0).random((32, 24)).astype(np.float32)
    moved = shifted.shifted(image, "p1_frame01", "p1_frame01_slice_1.h5")
    assert 0 <= moved.min() <= moved.max() <= 1
    np.testing.assert_array_equal(moved, shifted.shifted(image, "p1_frame01", "p1_frame01_slice_1.h5"))
    plain, other = ((each - each.mean()) / each.std() for each in (image, moved))
    assert np.abs(plain - other).mean() > 0.1
    cases = []
    for name in ("p1", "p2"):
        file = tmp_path / f"{name}_frame01.h5"
        with h5py.File(file, "w") as stored:
            stored["image"], stored["label"] = image[None].astype(np.float16), np.zeros((1, 32, 24), dtype=np.uint8)
        cases.append(Case(f"{name}_frame01", name, {"cine": (file,)}))
    folder = shifted.write_shifted(cases, ["p1"], tmp_path)
    assert shifted.write_shifted(cases, ["p1"], tmp_path) == folder
    assert shifted.write_shifted(cases, ["p2"], tmp_path) != folder
    same = []
    for case in cases:
        with h5py.File(folder / case.channels["cine"][0].name) as stored:
            same.append(np.array_equal(stored["image"][0], image.astype(np.float16)))
    assert same == [True, False]


@pytest.mark.parametrize(
    "method",
    ["supervised", "teacher", "cycle", "mae", "m2d+teacher", "scratch+teacher", "synthesize", "teacher+scanner"],
)
def test_every_method_takes_equally_many_steps(benchmark_of, tmp_path, monkeypatch, method):
    few = benchmark_of("few_labels")
    asked = []
    monkeypatch.setattr(few, "trained", lambda config: asked.append(config) or RunFolder(tmp_path))
    arguments = Namespace(
        root=tmp_path, output=tmp_path, epochs=6, minutes=30, pretrain_minutes=20, seed=0, model="cct_unet_t",
        cycle_weight=0.1,
    )  # fmt: skip
    few.segmenter(few.method_of(method), few.data_of(tmp_path, 7, 0), "any", arguments)
    last, steps = asked[-1], [each.train.epochs * each.train.slices_per_epoch // each.train.batch_size
                              for each in asked if not isinstance(each, ReconstructionConfig)]  # fmt: skip
    assert len(steps) == 1 + (method[0] == "m")
    assert sum(steps) == 6 * 128
    if len(steps) == 2:
        assert (last.train.lr, last.train.warmup) == (7e-4, 0.1)
        assert asked[0].data.split.val_list == tmp_path / "val.list"  # so all of train.list train
    assert last.run.name == f"{method}_any"
    unlabeled = [each for each in ("teacher", "cycle") if each in method]
    assert [last.train.unlabelled.method] == (unlabeled or ["none"])
    assert (last.augment.scanner, last.augment.synthesize) == (0.5 * ("scanner" in method), 0.25 * ("syn" in method))
    assert (last.train.optimizer == "adamw") == (len(steps) == 2 or "scratch" in method)
    for wrong in ("teacher+cycle", "mae+m2d", "scratch+mae", "mean"):
        with pytest.raises(ArgumentTypeError, match="not a valid combination"):
            few.method_of(wrong)


def test_differences_are_paired_over_patients(benchmark_of):
    tables, m2i = benchmark_of("case_scores"), benchmark_of("m2i")
    patients = {"a1": "a", "a2": "a", "b1": "b"}
    scores = tables.averaged([{"a1": 0.5, "a2": 0.7, "b1": 0.9}, {"a1": 0.7, "a2": 0.9, "b1": 0.9}])
    assert scores == pytest.approx({"a1": 0.6, "a2": 0.8, "b1": 0.9})
    text = tables.difference_text(scores, dict.fromkeys(patients, 0.6), patients)
    assert text.startswith("+0.167 [")
    assert tables.mean_text(scores, patients).startswith("0.767 [")
    assert tables.mean_text({"a1": 0.5}, patients) == "0.500 [n/a]"  # one patient has no interval
    assert tables.interval_text([-0.0049, 0.012], "+.1f", scale=100) == "[-0.5, +1.2]"
    # Other patients are labeled in each draw, so that each draw scores others with --choosing.
    assert tables.averaged([{"a1": 0.5}, {"a1": 0.7, "b1": 0.9}]) == pytest.approx({"a1": 0.6, "b1": 0.9})
    assert m2i.mean([None, 0.5, 0.7]) == pytest.approx(0.6)
    assert m2i.cell(m2i.mean([None]), ".3f") == "n/a"


def test_a_pretraining_is_shorter_than_the_training(benchmark_of, monkeypatch, capsys):
    options = ["--root", "elsewhere", "--methods", "scratch", "mae+teacher", "--minutes", "10"]
    monkeypatch.setattr("sys.argv", ["few_labels.py", *options])
    with pytest.raises(SystemExit):
        benchmark_of("few_labels").main()
    assert "--pretrain-minutes must be less than --minutes (10)" in capsys.readouterr().err


def test_a_segmenter_of_other_slices_is_refused(benchmark_of, monkeypatch):
    m2i = benchmark_of("m2i")
    monkeypatch.setattr(m2i.Predictor, "load", lambda *_: predictor(fit="resize"))
    data, arguments = data_section().model_dump(mode="json"), Namespace(styles=["none"])
    with pytest.raises(ModelError, match="prepared differently"):
        m2i.experiment("acdc", data, "test", arguments, {}, Path("run"))


def test_both_targets_are_met_by_one_generator_or_not(benchmark_of):
    m2i = benchmark_of("m2i")
    blank = dict.fromkeys(m2i.FIGURES)
    folds = [
        {"moments": {**blank, "gain": gain, "own_dice": 0.8, "cycle_dice": 0.72}, "none": {**blank, "gain": 0.5}}
        for gain in (0.1, 0.4)
    ]
    told = m2i.verdict("BraTS", m2i.over_folds(folds))
    assert "moments 25.0% and 0.90 (both met)" in told
    assert "none 50.0% and n/a (not both met)" in told


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [("coverage", 0.86, True), ("coverage", 0.97, False), ("mae", 0.05, True), ("spearman", 0.5, False)],
)
def test_which_figures_reach_their_targets(benchmark_of, name, value, met):
    tables = benchmark_of("quality_tables")
    targets = {"mae": 0.06, "spearman": 0.6, "coverage": 0.9}
    assert tables.hits(name, value, targets[name]) == met


def test_classification_tables_come_from_trainings(benchmark_of, tmp_path, monkeypatch, capsys):
    root, runs = write_folder(tmp_path / "pictures", 20), tmp_path / "runs"

    def table(campaign: str, *more: str) -> list[list[str]]:
        keys = ["--data.cache", str(tmp_path / "cache"), "--train.precision", "fp32"]
        told = ["--root", str(root), "--output", str(runs), "--models", "cct_2_3x2_32", *more, *keys]
        monkeypatch.setattr("sys.argv", ["classification.py", campaign, *told])
        benchmark_of("classification").main()
        lines = capsys.readouterr().out.splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| cct")]

    split = ["--data.split.val", "9", "--data.split.test", "12"]
    rows = table("positional", "--epochs", "1", *split)
    assert [row[1] for row in rows] == ["learnable", "sine", "none"]
    (weights,) = runs.glob("*/positional_cct_2_3x2_32_learnable_seed0/best")
    rows = table("brain", "--epochs", "1", "--sizes", "80", "--pretrained", f"cct_2_3x2_32={weights}")
    assert [row[1:5] for row in rows] == [["80", "25", start, "1"] for start in ("scratch", "CIFAR-10")]
    assert rows[0][5] != rows[1][5] or rows[0][7] != rows[1][7]
    classification = benchmark_of("classification")
    found = classification.difference(weights.parents[1], "cct_2_3x2_32", 80, ["scratch", "CIFAR-10"])
    shown = [float(row[5].split()[0]) for row in rows]
    assert found.startswith(f"CIFAR-10 against scratch {shown[1] - shown[0]:+.1f} points [")


def test_hostile_inputs_are_counted_by_kind(benchmark_of, monkeypatch, capsys):
    hostile = benchmark_of("hostile")
    monkeypatch.setattr("sys.argv", ["hostile.py", "--kind", "npz", "--kind", "nrrd", "--every", "9"])
    assert hostile.main() == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    counts = {row[0]: [int(cell) for cell in row[1:]] for row in rows if row and row[0] in ("npz", "nrrd", "all")}
    assert counts["all"] == [a + b for a, b in zip(counts["npz"], counts["nrrd"], strict=True)]
    assert counts["all"][0] == sum(counts["all"][1:]) >= 15
    assert min(counts["all"][1:3]) > 0
    assert counts["all"][3:] == [0, 0, 0, 0]


def test_what_a_hostile_input_must_not_do(benchmark_of):
    hostile = benchmark_of("hostile")
    mutation = next(one for one in hostile.mutations() if not one.either)
    for trial, kind in (
        (hostile.Trial(1, "segcct predict: model.json: damaged", 0.1, False), "refused"),
        (
            hostile.Trial(1, "segcct predict: case: unexpected KeyError. This is a bug of segcct", 0.1, False),
            "traceback",
        ),
        (hostile.Trial("KeyError: 1", "", 0.1, False), "traceback"),
        (hostile.Trial(1, "segcct predict: damaged", 11.0, False), "slow"),
        (hostile.Trial(1, "segcct predict: found root:x:0:0", 0.1, False), "foreign"),
        (hostile.Trial(0, "wrote masks", 0.1, True), "wrong"),
    ):
        assert hostile.verdict_of_trial(mutation, trial).kind == kind


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hostile", ["--kind", "nift"], "nift is not one of nifti"),
        ("real_files", ["--root", "elsewhere"], "no files that segcct reads in elsewhere"),
        ("export", ["--model", "runs/a/best"], "--model needs --input"),
        ("m2i", [], "give --acdc, --brats or both"),
        ("classification", ["brain", "--root", "a", "--pretrained", "b/best"], "not written as MODEL=RUN/best"),
        ("kills", ["--step", "predikt"], "invalid choice: 'predikt'"),
        ("full_disk", ["--command", "predikt"], "invalid choice: 'predikt'"),
        ("speed_models", ["--models", "unet:norm"], "unet:norm is not written as NAME:OPTION=VALUE"),
    ],
)
def test_wrong_options_are_refused_at_once(benchmark_of, monkeypatch, capsys, name, options, message):
    module = benchmark_of(name)
    monkeypatch.setattr("sys.argv", [f"{name}.py", *options])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_metrics_are_measured_without_brats_too(benchmark_of, monkeypatch, capsys):
    metrics = benchmark_of("metrics")
    monkeypatch.setattr("sys.argv", ["metrics.py", "--data", "elsewhere"])
    monkeypatch.setattr(metrics, "compare_organs", lambda: print("13 organs"))
    metrics.main()
    assert capsys.readouterr().out == (
        "no BraTS 2015 cases in elsewhere, so no HD95 of tumor regions: name their folder with --data\n\n13 organs\n"
    )


def test_a_command_that_fails_before_its_kill_is_a_problem(benchmark_of, tmp_path, monkeypatch):
    kills = benchmark_of("kills")
    (tmp_path / "before").mkdir()
    usual = kills.Undisturbed(1.0, {}, tmp_path / "before")
    for status, problems in ((0, []), (3, ["ends by itself with exit status 3"])):
        code = f"raise SystemExit({status})"
        monkeypatch.setattr(kills, "start", lambda *_, code=code: subprocess.Popen([sys.executable, "-c", code]))
        found = kills.killed(kills.STEPS[0], usual, tmp_path / f"killed{status}", 30.0)
        assert found == (False, problems)


def test_real_files_are_compared_with_independent_readers(benchmark_of, tmp_path, monkeypatch, capsys):
    real = benchmark_of("real_files")
    for name, data in (("a.nii", hostile_nifti.SOUND), ("b.nii.gz", hostile_nifti.PACKED), ("c.nii", b"nothing")):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "d.png").write_bytes(hostile_images.image(hostile_images.GRAY, "PNG"))
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["real_files.py", "--root", str(tmp_path)])
    assert real.main() == 0
    text = capsys.readouterr().out
    assert "| nifti | 3 | 2 | 1 | 0 | 0 | 0 |" in text
    assert "| image | 1 | 1 | 0 | 0 | 0 | 0 |" in text
    monkeypatch.setattr(real, "loaded", lambda kind, path: real.Read(np.zeros((6, 5, 4))))
    assert real.main() == 1
    assert "a.nii: other values" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_prediction_goes_on_and_its_folder_is_as_if_it_had_not_been(benchmark_of, tmp_path):
    assert benchmark_of("cohort").kill_often("command", 1, 5, tmp_path) == []  # after 62% of its time


@pytest.mark.parametrize(("problems", "status"), [([], None), (["a differs"], "a differs")])
def test_kills_without_problems_end_well(benchmark_of, monkeypatch, problems, status):
    cohort = benchmark_of("cohort")
    monkeypatch.setattr(cohort, "measure", lambda *_: None)
    monkeypatch.setattr(cohort, "kill_often", lambda *_: problems)
    monkeypatch.setattr("sys.argv", ["cohort.py", "--kills", "1"])
    with pytest.raises(SystemExit) as ended:
        cohort.main()
    assert ended.value.code == status


def test_cohorts_are_measured_engine_by_engine(benchmark_of, tmp_path, capsys, monkeypatch):
    cohort = benchmark_of("cohort")
    commands = []

    def seconds_of(started: list[list[str]], root: Path) -> float:
        """As if the masks were written after 0.5 and 1.6 seconds, and the commands ended after 2."""
        commands.append((started, root))
        masks = Path(started[0][started[0].index("--output") + 1])
        masks.mkdir()
        for number, after_s in enumerate([0.5, 1.6]):
            (masks / f"case_{number:05d}.png").touch()
            os.utime(masks / f"case_{number:05d}.png", (0, time.time() + after_s))
        return 2.0

    monkeypatch.setattr(cohort, "seconds_of", seconds_of)
    monkeypatch.setattr(cohort, "ENGINES", {**cohort.ENGINES, "other": lambda predict, count: [[*predict, str(count)]]})
    sizes = {"images": [3], "volumes": [2], "processes": [1, 3], "model": "cct_unet_t", "image_size": 32}
    engines = ["shards", "other"]
    cohort.measure(Namespace(**sizes, engines=engines, before=tmp_path), tmp_path / "c")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows[1] == "| before | 3 images | 1 | 2.0 | 0.5 | 0.4 | 1.5 |  |"
    assert rows[4] == "| other | 3 images | 1 | 2.0 | 0.5 | 0.4 | 1.5 | 0.0 |"
    assert [row.split(" | ")[0] for row in rows[1:6]] == ["| before", "| shards", "| shards", "| other", "| other"]
    assert [len(started) for started, _ in commands[:5]] == [1, 1, 3, 1, 1]
    assert commands[2][0][1][-2:] == ["--shard", "2/3"]


def test_clusters_are_scored_by_the_labels_of_others(benchmark_of, tmp_path):
    for seed in range(3):
        write_case(tmp_path / "data", f"p{seed}", seed)
    text = benchmark_of("clusters").score(tmp_path, tmp_path / "data", [], ["--clusters", 2])
    assert float(text.split()[0]) > 0.99
