"""segcct train-seg, train-cls, train-m2i, and the commands of tasks from outside: one for each row of TASKS."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcct.commands.parser import Commands, add_command
from segcct.errors import ConfigError
from segcct.tasks.task import TASKS, Outcome, TaskRow

if TYPE_CHECKING:
    from segcct.config import Experiment
    from segcct.run_folder import RunFolder


def add_train(commands: Commands) -> None:
    """The training command of each task."""
    for row in TASKS.values():
        parser = add_command(commands, row.command, partial(_train, row), row.help, config=row.load_config)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--config", type=Path, metavar="FILE", help="the experiment, as YAML")
        which.add_argument("--resume", type=Path, metavar="RUN", help="continue this run folder")
        parser.add_argument(
            "--folds",
            metavar="all|0,2",
            help="cross-validation: train these folds one after the other into RUN/fold_0 ..., each for the whole "
            "length or budget, and evaluate the masks or classes of the cases that they held out",
        )
        parser.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")


def _train(row: TaskRow, arguments: argparse.Namespace) -> Outcome | None:
    from segcct.run_folder import FoldsFolder

    if arguments.folds is not None or (arguments.resume is not None and FoldsFolder.is_at(arguments.resume)):
        return _cross_validate(row, arguments)
    config, run = read_experiment(row.load_config(), arguments)
    if arguments.dry_run:
        from segcct.config import settings
        from segcct.tasks.training_run import plan

        planned = plan(config, resume=run)
        print(f"{settings.dump(config)}\n{planned}")
        which = ("--config", arguments.config) if run is None else ("--resume", arguments.resume)
        return Outcome("", (row.command, *which, *arguments.keys))
    from segcct.tasks.training_run import train
    from segcct.training.processes import is_first_process

    run = train(config, resume=run)
    if not is_first_process():
        return None
    return Outcome(f"wrote {run.best}", row.load().next_command(config, run))


def _cross_validate(row: TaskRow, arguments: argparse.Namespace) -> Outcome:
    from segcct.run_folder import FoldsFolder
    from segcct.tasks import fold_training

    if arguments.resume is None:
        config, _ = read_experiment(row.load_config(), arguments)
        chosen = fold_training.chosen_folds(arguments.folds, config)
        if any(key.partition("=")[0] == "--data.fold" for key in arguments.keys):
            raise ConfigError("--data.fold would do nothing next to --folds", remedy="Leave one of them out")
        if arguments.dry_run:
            print(fold_training.plan_folds(config, chosen))
            again = (row.command, "--config", arguments.config, "--folds", arguments.folds, *arguments.keys)
            return Outcome("", again)
        folder = fold_training.train_folds(config, chosen)
    elif not FoldsFolder.is_at(arguments.resume):
        raise ConfigError("--folds is not for a run of one training", file=arguments.resume, remedy="Leave it out")
    elif arguments.dry_run:
        print(fold_training.progress_of(FoldsFolder.open(arguments.resume)))
        more = () if arguments.folds is None else ("--folds", arguments.folds)
        return Outcome("", (row.command, "--resume", arguments.resume, *more, *arguments.keys))
    else:
        overrides = overrides_of(row.load_config(), arguments)
        folder = fold_training.resume_folds(row, arguments.resume, overrides, arguments.folds)
    print(fold_training.progress_of(folder))
    table = folder.out_of_fold / "evaluation" / "table.md"
    if row.out_of_fold and table.is_file():
        print(f"\nEach case by the fold that was not trained on it:\n\n{table.read_text(encoding='utf-8')}")
    use = ("predict", "--model", folder.path, "--input", "SCANS", "--output", "DIR") if row.predict else ()
    return Outcome(f"wrote {folder.path}", use)


def read_experiment(kind: type[Experiment], arguments: argparse.Namespace) -> tuple[Experiment, RunFolder | None]:
    """The configuration of a run from --config or --resume and the keys, and the run that it resumes; raises as
    `experiment_of`."""
    from segcct.training.session import experiment_of

    return experiment_of(kind, arguments.config, overrides_of(kind, arguments), resume=arguments.resume)


def overrides_of(kind: type[Experiment], arguments: argparse.Namespace) -> dict[str, Any]:
    """Dotted key -> value, of the keys on the command line. Raises `ConfigError` for what is not a key."""
    from segcct.config import settings

    return settings.leaf_overrides(kind, settings.parse_overrides(arguments.keys))
