"""Cross-validation: one run per fold, all in one folder, resumed as a whole; and the evaluation of the held-out
cases."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from segcct.config import Experiment, SplitSection, settings
from segcct.errors import ConfigError
from segcct.files.lock import holder
from segcct.model_card import load_card
from segcct.progress import duration, say
from segcct.run_folder import FoldsFolder, RunFolder
from segcct.tasks.task import TaskRow, task_of
from segcct.tasks.training_run import plan, train
from segcct.training.device_settings import resolve_precision
from segcct.training.processes import world_size
from segcct.training.session import check_length, locked_run, resumed_config, stored_config

Config = TypeVar("Config", bound=Experiment)


def chosen_folds(text: str, config: Experiment) -> tuple[int, ...]:
    """The numbers of the folds that `all` or `0,2` names.

    Raises `ConfigError` where the split has no folds or no such fold, or several processes would train.
    """
    if max(config.train.devices, world_size()) > 1:
        raise ConfigError(
            "several folds are trained by one process",
            found=f"{max(config.train.devices, world_size())} processes",
            remedy="Start each fold by itself: --data.fold 0 --run.name NAME_0, and so on",
        )
    split = _split_of(config)
    if text == "all":
        return tuple(range(split.folds))
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 4 and int(part) < split.folds for part in numbers):
        expected = f"all, or numbers from 0 to {split.folds - 1} with commas between them"
        raise ConfigError("--folds does not name folds of this split", found=text, expected=expected)
    return tuple(sorted({int(part) for part in numbers}))


def of_fold(config: Config, number: int) -> Config:
    """The configuration of one fold: a run `fold_N` in the folder of the cross-validation."""
    run = config.run.model_copy(update={"root": config.run.path, "name": f"fold_{number}"})
    data = config.data.model_copy(update={"fold": number})
    return config.model_copy(update={"run": run, "data": data})


def train_folds(config: Experiment, folds: Sequence[int]) -> FoldsFolder:
    """Train folds one after the other into a new folder `run.root/run.name`, and evaluate the cases they held out.

    Raises `SegcctError` for whatever is wrong with data, model or folder; every fold is checked before one is trained.
    """
    folder = FoldsFolder(config.run.path, folds)
    with locked_run(config.run):
        for number in folder.folds:
            task_of(config).load()(of_fold(config, number)).find()
        RunFolder.create(folder.path)
        _write(folder, config)
        _train(folder, config, {})
    return folder


def resume_folds(row: TaskRow, path: Path, overrides: Mapping[str, Any], folds: str | None = None) -> FoldsFolder:
    """Continue a cross-validation: the folds that are not finished or not begun, and the evaluation.

    Args:
        row: the task.
        path: the folder.
        overrides: keys that a resume may change; with any, the finished folds are resumed too.
        folds: folds to be added, as `chosen_folds` reads them.

    Raises as `train_folds` and `resumed_config`.
    """
    folder = FoldsFolder.open(path)
    config = resolve_precision(stored_config(row.load_config(), folder.config, overrides))
    check_length(config, overrides)
    named = path if path.name not in ("", "..") else path.resolve()
    run = config.run.model_copy(update={"root": named.parent, "name": named.name})  # it may have been moved
    config = config.model_copy(update={"run": run})
    wanted = chosen_folds(folds or ",".join(map(str, folder.folds)), config)
    folder = FoldsFolder(path, sorted({*folder.folds, *wanted}))
    with locked_run(config.run, RunFolder(path)):
        _write(folder, config)
        _train(folder, config, overrides)
    return folder


def held_out_split(config: Experiment) -> str:
    """The split that each fold holds out: a case is in that of exactly one fold."""
    return "test" if _split_of(config).kind == "crossval" else "val"


def _split_of(config: Experiment) -> SplitSection:
    split = getattr(config.data, "split", None)
    if not isinstance(split, SplitSection) or not split.folded:
        raise ConfigError(
            "--folds needs a split by folds",
            found="a task without one" if split is None else f"data.split.kind {split.kind}",
            remedy="Set data.split.kind: kfold or crossval, or lists without data.split.val_list",
        )
    return split


def _write(folder: FoldsFolder, config: Experiment) -> None:
    RunFolder(folder.path).write_text(folder.config, settings.dump(config))
    folder.write()


def _train(folder: FoldsFolder, config: Experiment, overrides: Mapping[str, Any]) -> None:
    row = task_of(config)
    changed = {number: {**_other_length(row, folder.fold(number), config), **overrides} for number in folder.folds}
    waiting = [number for number in folder.folds if changed[number] or not folder.fold(number).summary.is_file()]
    for place, number in enumerate(waiting, start=1):
        say(f"fold {number} ({place} of {len(waiting)})")
        _train_fold(row, of_fold(config, number), changed[number], following=len(waiting) - place)
    if row.out_of_fold:
        row.evaluate_folds()(folder, config, held_out_split(config))


def _other_length(row: TaskRow, run: RunFolder, config: Experiment) -> dict[str, Any]:
    """Key -> value of the wanted length, where a fold began with another: a cross-validation may have been interrupted
    while it was being made longer, and all folds train for as long."""
    if not run.config.is_file():
        return {}
    own, wanted = settings.load(row.load_config(), run.config).train, config.train
    length = {"train.epochs": (own.epochs, wanted.epochs), "train.budget": (own.budget, wanted.budget)}
    return {key: value for key, (stored, value) in length.items() if stored != value}


def _train_fold(row: TaskRow, config: Experiment, overrides: Mapping[str, Any], *, following: int) -> None:
    """Begin a fold, or continue it; one that was interrupted in its first epoch has no state and begins again.

    Where it cannot be told whether another process trains it, its folder stays, and `train` refuses it.
    """
    run = RunFolder(config.run.path)
    if run.last.is_file():
        own = resolve_precision(resumed_config(row.load_config(), run, overrides))
        train(own, resume=run, following=following)
        return
    if run.path.is_dir() and not run.summary.is_file() and holder(run.lock, unknown="another process") is None:
        shutil.rmtree(run.path)
    train(config, following=following)


def plan_folds(config: Experiment, folds: Sequence[int]) -> str:
    """The configuration, and the plan of the first fold with the time of all. Raises as `train_folds`."""
    RunFolder.check_free(config.run.path)
    first = plan(of_fold(config, folds[0]))
    seconds = config.train.budget or first.training_s
    total = "" if seconds is None else f", about {duration(seconds * len(folds))} in all"
    order = f"folds       {', '.join(map(str, folds))}, one after the other{total}; this is fold {folds[0]}"
    return f"{settings.dump(config)}\n{first}\n{order}"


def progress_of(folder: FoldsFolder) -> str:
    """A table of the folds with their best epochs so far, as Markdown."""
    lines = ["| fold | epochs | best | in epoch | |", "|---|---|---|---|---|"]
    for number in folder.folds:
        run = folder.fold(number)
        best = load_card(run.best).selected_on if run.best.is_dir() else None
        score = " | " if best is None else f"{best['metric']} {best['value']:.3f} | {best['epoch'] + 1}"
        state = "finished" if run.summary.is_file() else "not finished" if run.last.is_file() else "not begun"
        lines.append(f"| {number} | {len(run.read_metrics())} | {score} | {state} |")
    return "\n".join(lines)
