"""segcct evaluate, report."""

from __future__ import annotations

import argparse
from pathlib import Path

from segcct.commands.parser import Commands, add_command
from segcct.commands.task_options import run_for_task


def add_evaluate(commands: Commands) -> None:
    """Scores of a folder of masks, or of a table of classes."""
    parser = add_command(
        commands, "evaluate", _evaluate, "score a folder of masks, or predictions.csv of images, against references"
    )
    parser.add_argument(
        "--prediction", type=Path, required=True, metavar="DIR", help="the predicted masks; DIR or predictions.csv"
    )
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="DIR", help="a dataset root, or a flat folder of masks"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="metrics.csv and summary.json go here"
    )
    parser.add_argument("--scheme", help="meaning of the label values; default: that of predictions.json")
    parser.add_argument(
        "--convention",
        default="default",
        help="one or more, by commas, of default, transunet, medpy, monai, surface-distance, brats2020, brats2023 "
        "(default %(default)s); the first is that of metrics.csv and summary.json",
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="other predictions to compare with, case by case")
    parser.add_argument(
        "--tolerance", type=float, metavar="MM", help="of the surface Dice (default 2, for BraTS schemes 1)"
    )
    parser.add_argument("--layout", help="how the reference folder is laid out; default: as predictions.json says")
    parser.add_argument("--allow-unmatched", action="store_true", help="leave out cases without a counterpart")
    parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")


def add_report(commands: Commands) -> None:
    """The page of an evaluation."""
    parser = add_command(commands, "report", _report, "write report.html of an evaluation")
    parser.add_argument("--evaluation", type=Path, required=True, metavar="DIR", help="what segcct evaluate wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where report.html goes")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="also draw one case as a picture")
    parser.add_argument("--case", help="which case to draw (default: the median one)")
    parser.add_argument("--channel", help="which channel to draw (default: the first)")


def _evaluate(arguments: argparse.Namespace) -> None:
    from segcct.tasks.task_files import task_of_predictions

    run_for_task(task_of_predictions(arguments.prediction), "evaluate", arguments)


def _report(arguments: argparse.Namespace) -> None:
    from segcct.tasks.task_files import task_of_evaluation

    run_for_task(task_of_evaluation(arguments.evaluation), "report", arguments)
