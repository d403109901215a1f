"""segcct compare."""

from __future__ import annotations

import argparse
from pathlib import Path

from segcct.commands.parser import (
    Commands,
    add_anonymize,
    add_command,
    add_model,
    add_network_options,
    inference_of,
)
from segcct.datasets.split_names import SPLIT_NAMES
from segcct.option_types import positive_int
from segcct.tasks.task import Outcome


def add_compare(commands: Commands) -> None:
    """The page of image, mask and image again."""
    parser = add_command(
        commands, "compare", _compare, "compare scans with their reconstructions from the predicted masks"
    )
    add_model(parser, "--i2m", help="the segmentation model")
    add_model(parser, "--m2i", help="the generator")
    parser.add_argument(
        "--input", type=Path, required=True, help="as for predict: a file, a case folder, a dataset root, new files"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="report.html and report.json go here")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="DIR",
        help="a dataset root, or a flat folder of masks; default: the labels next to the scans, where there are some",
    )
    parser.add_argument("--split", choices=SPLIT_NAMES, help="only these cases of the split of --i2m")
    parser.add_argument("--slices", type=positive_int, default=10, help="slices shown per case (default %(default)s)")
    add_anonymize(parser, "hash the case ids by a random key, kept in sources.json")
    add_network_options(parser)


def _compare(arguments: argparse.Namespace) -> Outcome:
    from segcct.comparison.comparison_run import write_comparison
    from segcct.inference.cycle import Cycles
    from segcct.inference.ensemble import splits_files
    from segcct.inference.predictor import Predictor
    from segcct.inference.reconstructor import Reconstructor
    from segcct.predictions.prediction_request import resolve
    from segcct.progress import Progress
    from segcct.quality.quality_model import QualityModel, estimate_file

    inference = inference_of(arguments)
    cycles = Cycles(Predictor.load(arguments.i2m, inference), Reconstructor.load(arguments.m2i, inference))
    members, card = cycles.predictor.folders, cycles.predictor.card
    request = resolve(
        card,
        arguments.input,
        splits_files=splits_files(members),
        split=arguments.split,
        anonymize=arguments.anonymize,
    )
    page = write_comparison(
        cycles,
        request,
        arguments.output,
        quality=QualityModel.load(estimate_file(members, card), card),
        references=arguments.reference,
        slices=arguments.slices,
        anonymize=arguments.anonymize,
        models={"I2M": arguments.i2m, "M2I": arguments.m2i},
        progress=Progress("comparing"),
    )
    return Outcome(f"wrote {page}, its figures in {page.with_name('report.json')}")
