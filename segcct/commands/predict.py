"""segcct predict."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from segcct.commands.network_options import add_network_options, inference_of
from segcct.commands.parser import Commands, add_command
from segcct.commands.task_options import run_for_task


def add_predict(commands: Commands) -> None:
    """Masks for scans, class probabilities for pictures."""
    parser = add_command(
        commands, "predict", _predict, "predict masks on the scans' own grids, or the classes of images"
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN/best", help="a trained model's folder")
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        help="a file that holds every channel, a case folder, a dataset root, or a folder of new files named as the "
        "dataset's; for classes an image, a folder or archive of them",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where masks or predictions.csv go")
    parser.add_argument("--split", choices=["train", "val", "test"], help="only these cases of the model's own split")
    parser.add_argument("--m2i", type=Path, help=argparse.SUPPRESS)
    parser.add_argument(
        "--no-quality", action="store_true", help="do not write quality.csv, which takes three more passes"
    )
    parser.add_argument("--keep-largest", action="store_true", help="keep only the largest component of each class")
    parser.add_argument("--overwrite", action="store_true", help="replace masks that exist already")
    parser.add_argument(
        "--anonymize",
        action="store_true",
        help="hash the case ids in file names and reports; what names a file, and the key of the hash, goes to "
        "sources.json, and when the masks are evaluated to files.json: share neither",
    )
    parser.add_argument("--anonymise", dest="anonymize", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--protocol",
        choices=["soft", "transunet"],
        default="soft",
        help="soft: resample probabilities; transunet: the published slice protocol (default %(default)s)",
    )
    add_network_options(parser)


def _predict(arguments: argparse.Namespace) -> None:
    from segcct.tasks.task_files import task_of_model

    how = partial(inference_of, arguments, arguments.protocol)
    run_for_task(task_of_model(arguments.model), "predict", arguments, how=how)
