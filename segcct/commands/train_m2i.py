"""segcct train-m2i."""

from __future__ import annotations

import argparse
from pathlib import Path

from segcct.commands.experiment import print_plan, print_written, read_experiment
from segcct.commands.parser import add_command


def add_train_m2i(commands: argparse._SubParsersAction) -> None:
    """M2I training."""
    parser = add_command(
        commands, "train-m2i", _train_m2i, "train a generator (mask to image)", takes_keys=True, keys_help=_m2i_keys
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=Path, metavar="FILE", help="the experiment, as YAML")
    which.add_argument("--resume", type=Path, metavar="RUN", help="continue this run folder")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")


def _m2i_keys() -> str:
    from segcct.config import M2IConfig
    from segcct.config.settings import describe

    return "configuration keys, each as --key VALUE:\n" + describe(M2IConfig)


def _train_m2i(arguments: argparse.Namespace) -> None:
    from segcct.config import M2IConfig

    config, run = read_experiment(M2IConfig, arguments)
    from segcct.tasks.reconstruction.reconstruction_training import plan_reconstruction, train_reconstruction

    if arguments.dry_run:
        print_plan(arguments, config, plan_reconstruction(config, resume=run))
        return
    run = train_reconstruction(config, resume=run)
    models = ("--i2m", "SEGMENTER/best", "--m2i", run.best)
    print_written(run, "compare", *models, "--input", config.data.root, "--output", run.path / "comparison")
