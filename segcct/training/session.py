"""The run folder: locked, opened, and checked before it is resumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from segcct.config import Experiment, RunSection, TrainSection, settings, yaml_text
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError, RunError
from segcct.files.file_names import composed
from segcct.files.lock import exclusive
from segcct.model_card import CARD, load_card
from segcct.plurals import counted
from segcct.run_folder import BUSY, RunFolder
from segcct.training.checkpoint import CONFIG, check_best, read_state
from segcct.training.device_settings import resolve_precision
from segcct.training.processes import is_first_process

RESUMABLE = (
    "train.epochs",
    "train.budget",
    "train.device",
    "train.precision",
    "train.logger",
    "data.workers",
    "data.spark",
)
"""Keys that may change when a run is resumed."""
_LOCATIONS = (
    "run.name",
    "run.root",
    "data.root",
    "data.cache",
    "data.split.train_list",
    "data.split.val_list",
    "data.split.test_list",
    "data.split.unlabelled_list",
    "model.pretrained",
    "train.unlabelled.model",
    "augment.generator",
)
"""Keys that may be edited in config.yaml, because files may have been moved. The dataset and the frozen models are
compared by content, and the weights to start from are not read again."""

Config = TypeVar("Config", bound=Experiment)


def experiment_of(
    kind: type[Config],
    source: str | Path | Mapping[str, Any] | Experiment | None,
    overrides: Mapping[str, Any],
    *,
    resume: str | Path | None = None,
) -> tuple[Config, RunFolder | None]:
    """The configuration of a run with its precision chosen for this machine, and the run that it resumes.

    Args:
        kind: the config class of the task.
        source: a YAML file, its content, or an object of `kind`; None where a run is resumed.
        overrides: dotted key -> value, laid over it.
        resume: a run folder.

    Raises:
        ConfigError: a key that is wrong, that a resume may not change, or that has no effect.
        ModelError: a device that is not there.
        RunError: the run cannot be resumed.
    """
    if resume is not None:
        run = RunFolder.open(Path(resume))
        config = resumed_config(kind, run, overrides)
    else:
        run = None
        if isinstance(source, Experiment):
            source = source.model_dump(mode="json")
        if isinstance(source, Mapping):
            config = settings.build(kind, source, overrides, source="config")
        else:
            config = settings.load(kind, Path(source or ""), overrides)
        # The configuration may be that of another run, whose reason says nothing about this machine.
        train = config.train.model_copy(update={"precision_reason": None})
        config = config.model_copy(update={"train": train})
    check_length(config, overrides)
    return resolve_precision(config, announce=True), run


def check_epochs(run: RunFolder, train: TrainSection) -> None:
    """Raises `RunError` where a run to be resumed has more epochs than `train` asks for."""
    done = len(run.read_metrics())
    if train.budget is None and done > train.epochs:
        raise RunError(
            f"the run has trained {counted(done, 'epoch')} already",
            file=run.path,
            found=f"--train.epochs {train.epochs}",
            expected=f"at least {done}",
        )


def check_length(config: Experiment, overrides: Iterable[str]) -> None:
    """Raises `ConfigError` where `overrides` set the epochs, but a budget replaces them."""
    if "train.epochs" in overrides and config.train.budget is not None:
        raise ConfigError(
            "train.epochs would do nothing",
            found=f"a train.budget of {config.train.budget:g} s, which replaces the epochs",
            remedy="Set train.budget to null (--train.budget null) to train by epochs, or leave train.epochs out",
        )


@contextmanager
def locked_run(section: RunSection, resume: RunFolder | None = None) -> Iterator[RunFolder]:
    """A run folder, `resume` or a new one, while no other process may train into it. A new one does
    not exist yet; `begin_run` makes it.

    Of several processes that train together, the first one holds the lock for all. Raises `RunError` where the name of
    a new run is taken, or another process, which the error names, holds the lock. A Ctrl-C gets a note that says how
    the run is resumed.
    """
    run = resume or RunFolder(section.path)
    if not is_first_process():
        yield run
        return
    if resume is None:
        RunFolder.check_free(run.path)
    with exclusive(run.lock, BUSY, remedy="Wait until it has ended, or end it"):
        try:
            yield run
        except KeyboardInterrupt as interrupt:
            if note := run.how_to_continue():
                interrupt.__notes__ = [note]  # of a cross-validation, not that of its fold
            raise


def begin_run(run: RunFolder, config: BaseModel, splits: Splits, *, resumed: bool = False) -> None:
    """Write configuration and splits into a run folder; only the first process does.

    A resumed run keeps its splits and gets the configuration that it is resumed with, so that after another
    interruption a plain `--resume` continues with it. Raises `RunError` where a new run's name was taken during
    the preparation of its data, as it may be where the file system has no locks.
    """
    if not is_first_process():
        return
    if resumed:
        run.summary.unlink(missing_ok=True)  # it describes the weights so far, and is written again at the end
    else:
        RunFolder.create(run.path)
        splits.save(run.splits)
    run.write_text(run.config, settings.dump(config))


def resumed_config(kind: type[Config], run: RunFolder, overrides: Mapping[str, Any]) -> Config:
    """The configuration of a run, with the few overrides that a resume allows.

    Raises:
        ConfigError: another override.
        RunError: the run has nothing to resume from, it is damaged or another run's, or config.yaml was edited.
    """
    config = stored_config(kind, run.config, overrides)
    run.check_resumable()
    state = read_state(run.last)
    _check_not_edited(kind, run, state[CONFIG])
    check_best(run, state)
    return config


def stored_config(kind: type[Config], file: Path, overrides: Mapping[str, Any]) -> Config:
    """The config.yaml of a run or a cross-validation, with `overrides` laid over it. Raises `ConfigError` for a key
    that may not change when it is resumed."""
    for key in overrides:
        if key not in RESUMABLE:
            allowed = ", ".join(RESUMABLE)
            raise ConfigError(f"{key} cannot change when a run is resumed", file=file.parent, expected=allowed)
    if "train.precision" in overrides:
        overrides = {**overrides, "train.precision_reason": None}  # the stored one is about the earlier precision
    return settings.load(kind, file, overrides)


def _check_not_edited(kind: type[BaseModel], run: RunFolder, text: str) -> None:
    """Raises `RunError` where config.yaml describes another run than `text`, the config in last.ckpt."""
    before = settings.values(settings.build(kind, yaml_text.parse(text), {}, source=str(run.last)))
    now = settings.values(settings.load(kind, run.config))
    ignored = {*RESUMABLE, *_LOCATIONS, "train.precision_reason"}  # the reason changes with the precision
    changed = [key for key in now if now[key] != before[key] and key not in ignored]
    if changed:
        raise RunError(
            "the configuration was edited since the run was trained",
            file=run.config,
            found=", ".join(f"{key} {now[key]}" for key in changed),
            expected=", ".join(f"{key} {before[key]}" for key in changed),
            remedy="Undo the edit, or start a new run with --config; a resume may change "
            f"{', '.join(RESUMABLE)} (--KEY)",
        )


def check_same_dataset(run: RunFolder, splits: Splits, fingerprint: str) -> None:
    """Raises `RunError` where the split differs from the run's splits.json, or the files from those of best/: patients
    could move from one split to another."""
    stored = Splits.load(run.splits)
    began = dict(stored.items())
    other = [split for split, ids in splits.items() if _comparable(ids) != _comparable(began[split])]
    changed = f"another {', '.join(other)} split" if other else ""
    if not other and _comparable(splits.unlabeled) != _comparable(stored.unlabeled):
        changed = "other unlabeled cases"
    elif not other and (run.best / CARD).is_file() and load_card(run.best).data_fingerprint != fingerprint:
        changed = "another content of the files"
    if changed:
        raise RunError(
            "the dataset is not the one the run began with",
            file=run.path,
            found=changed,
            remedy="Restore the dataset as it was, or start a new run with --config",
        )


def _comparable(names: Iterable[str]) -> list[str]:
    """Names for comparison: a dataset that is copied to or from macOS may change their Unicode, and so their order."""
    return sorted(map(composed, names))
