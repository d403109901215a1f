"""segcct train-seg."""

from __future__ import annotations

import argparse
from pathlib import Path

from segcct.commands.experiment import print_plan, print_written, read_experiment
from segcct.commands.parser import add_command


def add_train_seg(commands: argparse._SubParsersAction) -> None:
    """I2M training."""
    parser = add_command(
        commands,
        "train-seg",
        _train_seg,
        "train a segmentation model (image to mask)",
        takes_keys=True,
        keys_help=_segmentation_keys,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=Path, metavar="FILE", help="the experiment, as YAML")
    which.add_argument("--resume", type=Path, metavar="RUN", help="continue this run folder")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")


def _segmentation_keys() -> str:
    from segcct.config import SegmentationConfig
    from segcct.config.settings import describe

    return "configuration keys, each as --key VALUE:\n" + describe(SegmentationConfig)


def _train_seg(arguments: argparse.Namespace) -> None:
    from segcct.config import SegmentationConfig

    config, run = read_experiment(SegmentationConfig, arguments)
    if arguments.dry_run:
        from segcct.tasks.segmentation.plan import plan

        print_plan(arguments, config, plan(config, resume=run))
        return
    from segcct.datasets.splits import Splits
    from segcct.tasks.segmentation.segmentation_training import train_segmentation

    run = train_segmentation(config, resume=run)
    side = "test" if Splits.load(run.splits).test else "val"
    scans = ("--input", config.data.root, "--split", side)
    print_written(run, "predict", "--model", run.best, *scans, "--output", run.path / "predictions")
