"""What the training commands share: which experiment is meant, and what a dry run says of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypeVar

from segcct.commands.parser import command_line
from segcct.errors import ConfigError

if TYPE_CHECKING:
    from segcct.config import ClassificationConfig, M2IConfig, SegmentationConfig
    from segcct.run_folder import RunFolder
    from segcct.tasks.segmentation.plan import Plan

Config = TypeVar("Config", "SegmentationConfig", "M2IConfig", "ClassificationConfig")


def read_experiment(kind: type[Config], arguments: argparse.Namespace) -> tuple[Config, RunFolder | None]:
    """The configuration of a training by --config or --resume and the keys, and the run that it goes on with.

    Raises:
        ConfigError: a key that is wrong, that a resume may not change, or that would do nothing.
        RunError: the run cannot be resumed.
    """
    from segcct.config import settings

    overrides = settings.leaf_overrides(kind, settings.parse_overrides(arguments.keys))
    run = None
    if arguments.resume is None:
        config = settings.load(kind, arguments.config, overrides)
        # That of another run, whose config.yaml this is, says nothing of this machine.
        train = config.train.model_copy(update={"precision_reason": None})
        config = config.model_copy(update={"train": train})
    else:
        from segcct.run_folder import RunFolder
        from segcct.training.session import resumed_config

        run = RunFolder.open(arguments.resume)
        config = resumed_config(kind, run, overrides)
    if "train.epochs" in overrides and config.train.budget is not None:
        raise ConfigError(
            "--train.epochs would do nothing",
            file=settings.COMMAND_LINE,
            found=f"a train.budget of {config.train.budget:g} s, which replaces the epochs",
            remedy="Add --train.budget null to train by epochs, or leave --train.epochs out",
        )
    from segcct.training.arithmetic import settle

    return settle(config, announce=True), run


def print_plan(arguments: argparse.Namespace, config: Config, plan: Plan) -> None:
    """What --dry-run prints: every key resolved, the plan, and the command that does it."""
    from segcct.config import settings

    which = ("--config", arguments.config) if arguments.resume is None else ("--resume", arguments.resume)
    print(settings.dump(config))
    print(plan)
    print(f"next: {command_line(arguments.command, *which, *arguments.keys)}")


def print_written(run: RunFolder, *next_words: object) -> None:
    """What a training wrote and the command that goes on with it; said by the first process of several."""
    from segcct.training.processes import is_first_process

    if is_first_process():
        print(f"wrote {run.best}; next: {command_line(*next_words)}")
