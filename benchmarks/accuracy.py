"""Accuracy of networks, or of training settings, after the same minutes, steps or epochs on the same data.

    python benchmarks/accuracy.py --config benchmarks/acdc.yaml --data.root data/acdc_h5
    python benchmarks/accuracy.py --config benchmarks/acdc.yaml --entries unet_16 --lr 5e-4 1e-3 2e-3 --budget 10min
    python benchmarks/accuracy.py --config benchmarks/acdc.yaml --table

Protocol: every entry of the config is trained from scratch, once per seed and fold, each time in a process of its own.
Data, split, augmentation and budget are the same for all entries. Without `--final`, an entry is scored on the fold of
the training patients that also selected its weights: use this to choose settings. With `--final`, it is scored on the
held-out patients, which no run sees.

Table: a row per entry, with the mean Dice of the cases (each case's mean over classes, averaged over seeds and folds)
and its 95% interval over patients, the standard deviation of the means over seeds, and the paired difference to the
reference entry with its interval over patients. curves.csv and curves.png show the Dice of the validation patients over
time.

Finished runs are not repeated, and interrupted ones are resumed; if their settings differ, the program stops.
Every machine, precision and budget has its own folder of results. Options that are config keys of an experiment
(`--train.loss.deep_supervision 0.4`) apply to all entries.
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import program
from accuracy_table import table, write_curves
from machine import folder_here, machine
from peer_networks import PREFIX, register_peer
from pydantic import Field
from trained import check_settings, trained

from segcct.config import SegmentationConfig, settings
from segcct.config.base import Section
from segcct.datasets.layouts import scheme_of
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError, RunError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.files.json_file import read_object, write_json
from segcct.files.table_file import read_rows_of
from segcct.hardware.memory import peak_memory_mb
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.models.cost import cost
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from segcct.progress import say
from segcct.provenance import versions
from segcct.run_folder import RunFolder
from segcct.tasks.training_run import plan
from segcct.training.device_settings import resolve_precision

BUSY = 0.1
"""Fraction of the processor's time above which other programs disturb a measurement."""
_BUDGET = re.compile(r"(\d+)\s*(steps|epochs)")


class Lists(Section):
    train: Path
    final: Path


class Benchmark(Section):
    """A config of this program."""

    experiment: Path
    """The config of the runs: data, augmentation and recipe of all entries."""
    reference: str
    """The entry that all others are compared with."""
    budget: str
    """`30min`, `3000 steps` or `40 epochs`."""
    seeds: Annotated[list[int], Field(min_length=1)]
    folds: Annotated[list[int], Field(min_length=1)]
    lists: Lists | None = None
    """Split files below `data.root`; null: the split of the experiment, without held-out patients."""
    keys: dict[str, Any] = Field(default_factory=dict)
    """Config keys of all entries."""
    entries: dict[str, dict[str, Any]]
    """Name -> its config keys; the name is the network unless `model.name` is among them."""


class Training(NamedTuple):
    """An entry trained with one seed on one fold."""

    entry: str
    seed: int
    fold: int
    final: bool

    @property
    def name(self) -> str:
        """Name of its run folder."""
        entry = re.sub(r"[^\w.+-]", "_", self.entry)
        return f"{entry}_{'final' if self.final else f'fold{self.fold}'}_seed{self.seed}"


def length_of(budget: str, experiment: SegmentationConfig) -> dict[str, Any]:
    """The config keys of a budget. Raises `ConfigError` for steps without `train.slices_per_epoch`."""
    match = _BUDGET.fullmatch(budget.strip())
    if match is None:
        return {"train.budget": budget}
    count, train = int(match[1]), experiment.train
    if match[2] == "steps":
        if train.slices_per_epoch is None:
            raise ConfigError("a budget in steps needs train.slices_per_epoch", found=budget)
        count = math.ceil(count / math.ceil(train.slices_per_epoch / train.batch_size))
    return {"train.budget": None, "train.epochs": count}


def experiment_of(training: Training, benchmark: Benchmark, arguments: argparse.Namespace) -> SegmentationConfig:
    """The configuration of a run, with its precision resolved for this machine."""
    keys = {
        "model.name": training.entry,
        "model.options": {},
        **benchmark.keys,
        **benchmark.entries[training.entry],
        **settings.parse_overrides(arguments.keys),
    }
    plain = settings.load(SegmentationConfig, benchmark.experiment, keys)
    overrides = {
        **keys,
        **length_of(benchmark.budget, plain),
        **split_of(benchmark.lists, plain.data.root, final=training.final),
        "data.fold": training.fold,
        "run.root": str(folder_of(benchmark, arguments)),
        "run.name": training.name,
        "run.seed": training.seed,
        "train.pictures": 0,
    }
    if overrides["model.name"].startswith(PREFIX):
        register_peer(overrides["model.name"])
    return resolve_precision(settings.load(SegmentationConfig, benchmark.experiment, overrides))


def split_of(lists: Lists | None, root: Path, *, final: bool) -> dict[str, Any]:
    """The config keys of the split."""
    if lists is None:
        return {}
    return {
        "data.split.kind": "lists",
        "data.split.train_list": str(root / lists.train),
        "data.split.test_list": str(root / lists.final) if final else None,
    }


def folder_of(benchmark: Benchmark, arguments: argparse.Namespace) -> Path:
    """The folder of this machine's runs of this length."""
    return folder_here(arguments.output, arguments.keys, benchmark.budget)


def train_and_score(training: Training, benchmark: Benchmark, arguments: argparse.Namespace) -> None:
    """Train in this process, predict, evaluate, and write result.json."""
    config = experiment_of(training, benchmark, arguments)
    run = RunFolder(config.run.path)
    planned = None if run.config.is_file() else plan(config)
    cost_file = run.path.with_suffix(".cost.json")
    if planned is not None:
        facts = {"step_s": planned.step_s, "parameters": planned.parameters, "macs": macs_of(config)}
        run.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(cost_file, facts)
    finished = run.summary.is_file()  # by a process that ended before it was scored
    trained(config)
    peak_mb = None if finished else peak_memory_mb()
    split = "test" if training.final else "val"
    predictor = Predictor.load(
        run.best, InferenceSettings(precision=config.train.precision, device=config.train.device)
    )
    request = resolve(predictor.card, config.data.root, splits_files=[run.splits], split=split)
    predict_folder(predictor, request, run.path / "predictions", existing="replace")
    summary = evaluate(run.path / "predictions", config.data.root, output=run.path / "evaluation")
    rows = run.read_metrics()
    result = {
        **read_object(cost_file),
        "entry": training.entry,
        "seed": training.seed,
        "fold": training.fold,
        "lr": config.train.lr,
        "machine": machine(arguments.keys),
        "busy": arguments.busy,
        "provenance": versions(),
        "peak_mb": peak_mb,
        "epochs": len(rows),
        "minutes": float(rows[-1]["elapsed_s"]) / 60,
        "curve": [[float(row["elapsed_s"]), float(row["val_dice"])] for row in rows if row.get("val_dice")],
        "cases": cases_of(run),
        "classes": {name: stats["dice"]["mean"] for name, stats in summary["classes"].items()},
        "hd95": {
            name: stats["mean"]
            for name, stats in summary["overall"].items()
            if name.startswith("hd95") and stats["mean"] is not None  # in mm where the files hold spacing
        },
    }
    write_json(run.path / "result.json", result)


def macs_of(config: SegmentationConfig) -> int | None:
    """Multiply-accumulate operations of one image; None if those of the network cannot be counted."""
    try:
        data, model = config.data, config.model
        classes = scheme_of(data).num_classes
        return cost(model.name, len(data.channels), classes, data.image_size, model.options).macs
    except (RuntimeError, NotImplementedError):
        return None


def cases_of(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Case -> its patient and its Dice, a mean over classes, from the evaluation of a run."""
    splits = Splits.load(run.splits)
    scores: dict[str, list[float]] = {}
    for row in read_rows_of(run.path / "evaluation" / "metrics.csv", ("case", "dice")):
        if row["dice"]:
            scores.setdefault(row["case"], []).append(float(row["dice"]))
    return {case: {"patient": splits.patient_of(case), "dice": float(np.mean(dice))} for case, dice in scores.items()}


def results_of(benchmark: Benchmark, arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Entry -> its results on this machine so far. Raises as `result_of`."""
    results: dict[str, list[dict[str, Any]]] = {}
    for training in trainings(benchmark, arguments):
        if (result := result_of(training, benchmark, arguments)) is not None:
            results.setdefault(training.entry, []).append(result)
    return results


def result_of(training: Training, benchmark: Benchmark, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The result of a run, or None. Raises `RunError` if the run had other settings."""
    run = RunFolder(folder_of(benchmark, arguments) / training.name)
    file = run.path / "result.json"
    if not file.is_file():
        return None
    check_settings(run, experiment_of(training, benchmark, arguments))
    return read_object(file)


def trainings(benchmark: Benchmark, arguments: argparse.Namespace) -> Iterator[Training]:
    """Every run, seed by seed, so that an unfinished table already compares all entries."""
    for seed in benchmark.seeds:
        for fold in benchmark.folds[:1] if arguments.final else benchmark.folds:
            for entry in benchmark.entries:
                yield Training(entry, seed, fold, arguments.final)


def busy_fraction(seconds: float = 2.0) -> float:
    """Fraction of the processor's time that other programs use; 0 where it is not known (not on Linux)."""

    def times() -> tuple[int, int]:
        fields = [int(text) for text in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    try:
        total, idle = times()
        time.sleep(seconds)
        later, idle_later = times()
    except (OSError, ValueError):
        return 0.0
    return 1 - (idle_later - idle) / max(later - total, 1)


def read(arguments: argparse.Namespace) -> Benchmark:
    """Read the config and apply the options. Raises `ConfigError`."""
    benchmark = settings.load(Benchmark, arguments.config)
    if benchmark.reference not in benchmark.entries:
        raise ConfigError(
            "the reference is not an entry",
            file=arguments.config,
            found=benchmark.reference,
            expected=", ".join(benchmark.entries),
        )
    given = {name: getattr(arguments, name) for name in ("budget", "seeds", "folds") if getattr(arguments, name)}
    entries = benchmark.entries
    if arguments.entries:
        if unknown := [name for name in arguments.entries if name not in entries]:
            raise ConfigError("no such entry", file=arguments.config, found=unknown[0], expected=", ".join(entries))
        entries = {name: entries[name] for name in arguments.entries}
    if arguments.final and benchmark.lists is None:
        raise ConfigError("lists no held-out patients", file=arguments.config, remedy="Omit --final")
    if arguments.lr:
        entries = {f"{name} lr {lr:g}": {"model.name": name, **benchmark.keys, **keys, "train.lr": lr}
                   for name, keys in entries.items() for lr in arguments.lr}  # fmt: skip
    return benchmark.model_copy(update={**given, "entries": entries})


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--entries", nargs="+", help="only these entries of the config")
    parser.add_argument("--seeds", nargs="+", type=int, help="instead of those of the config")
    parser.add_argument("--folds", nargs="+", type=int, help="instead of those of the config")
    parser.add_argument("--budget", help="30min, 3000 steps or 40 epochs, instead of that of the config")
    parser.add_argument("--lr", nargs="+", type=float, help="train each entry with each of these learning rates")
    parser.add_argument("--final", action="store_true", help="score the held-out patients")
    parser.add_argument("--busy", action="store_true", help="measure even if other programs run; the table says so")
    parser.add_argument("--table", action="store_true", help="train nothing, only print the table")
    parser.add_argument("--one", nargs=3, metavar=("ENTRY", "SEED", "FOLD"), help=argparse.SUPPRESS)
    arguments, arguments.keys = parser.parse_known_args()
    benchmark = read(arguments)
    if arguments.one:
        entry, seed, fold = arguments.one
        train_and_score(Training(entry, int(seed), int(fold), arguments.final), benchmark, arguments)
        return
    if not arguments.table:
        train_missing(benchmark, arguments)
    results = results_of(benchmark, arguments)
    if not results:
        sys.exit(f"{parser.prog}: no results from this machine in {folder_of(benchmark, arguments)}")
    here = machine(arguments.keys)
    scored = "the held-out patients" if arguments.final else "a fold of the training patients"
    print(f"{here['processor']} ({here['sets']}), {here['cores']} cores, {here['precision']}, {benchmark.budget} each, "
          f"scored on {scored}\n")  # fmt: skip
    print(table(results, benchmark.reference))
    write_curves(results, folder_of(benchmark, arguments))


def train_missing(benchmark: Benchmark, arguments: argparse.Namespace) -> None:
    """Start every run that has no result yet, each in a process of its own.

    Raises `RunError` if the machine is busy or a run fails, and as `result_of`.
    """
    folder = folder_of(benchmark, arguments)
    missing = [each for each in trainings(benchmark, arguments) if result_of(each, benchmark, arguments) is None]
    for training in missing:
        experiment_of(training, benchmark, arguments)  # a wrong config is an error before anything is trained
        busy = busy_fraction()
        if busy > BUSY and not arguments.busy:
            raise RunError(
                "other programs are using this machine",
                found=f"{busy:.0%} of the processor",
                expected=f"at most {BUSY:.0%}",
                remedy="Wait, or measure anyway with --busy",
            )
        say(f"{training.name} ({benchmark.budget})")
        cell = ["--one", training.entry, str(training.seed), str(training.fold)]
        done = subprocess.run([sys.executable, *sys.argv, *cell], check=False)
        if done.returncode:
            raise RunError("a training failed", file=folder / training.name, remedy="Run the same command to resume it")


if __name__ == "__main__":
    program.run(main)
