"""segcct predict, evaluate, report: each calls the function that the row of the task names (tasks/task.py)."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcct.commands.cohort_options import add_cohort_options, add_max_failures, add_planning_options
from segcct.commands.parser import (
    Commands,
    add_anonymize,
    add_command,
    add_compared,
    add_engine,
    add_model,
    add_network_options,
    at_least_one,
    engine_of,
    inference_of,
    number_above,
)
from segcct.errors import ConfigError
from segcct.tasks.task import Outcome, TaskRow

if TYPE_CHECKING:
    from segcct.spark.spark_cases import SparkEngine

_OF_NO_TASK = {"command", "debug", "keys", "batch_size", "precision", "device", "tta", "adapt", "backend"} | {
    "master",
    "spark_conf",
}
"""Options that a function does not take by name: those of the network come as `how`, those of Spark as `engine`."""


def add_predict(commands: Commands) -> None:
    """Masks for scans, class probabilities for images."""
    parser = add_command(
        commands, "predict", _predict, "predict masks on the scans' own grids, or the classes of images"
    )
    _add_cases(parser)
    _add_outputs(parser)
    add_planning_options(parser, add_cohort_options(parser))
    add_anonymize(
        parser,
        "replace the case ids in file names and reports by keyed hashes; the key and the names of files go to "
        "sources.json, and when the masks are evaluated to files.json: share neither of the two",
    )
    _add_inference(parser)
    add_network_options(parser)
    add_engine(parser)


def _add_cases(parser: argparse.ArgumentParser) -> None:
    """Register what is predicted: --model, --input, --output, --split."""
    add_model(
        parser,
        "--model",
        nargs="+",
        help="the folder of a trained model, or a file that segcct export wrote; several models, or the folder of a "
        "cross-validation, predict by their mean probabilities",
    )
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        help="a scan in one file, a case folder, a dataset root, a folder of new scans named like the dataset's, or a "
        "table (.csv, .parquet) with a column case and one per channel, of paths or URIs; for classification an image, "
        "or a folder or archive of images",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where masks or predictions.csv go")
    parser.add_argument("--split", choices=["train", "val", "test"], help="only these cases of the model's own split")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """Register what is written of a case: --no-quality, --format, --keep-largest, --no-postprocessing,
    --probabilities."""
    parser.add_argument(
        "--no-quality", action="store_true", help="do not write quality.csv, which takes three more passes"
    )
    parser.add_argument(
        "--format",
        choices=["nifti", "dicom-seg"],
        default="nifti",
        help="format of the masks: nifti, or for DICOM images dicom-seg, which hospital viewers show (needs the extra "
        "dicom); masks of 2-D images are PNG or TIFF (default %(default)s)",
    )
    parser.add_argument("--keep-largest", action="store_true", help="keep only the largest component of each class")
    parser.add_argument(
        "--no-postprocessing",
        action="store_true",
        help="leave out the steps of model.json that segcct tune-postprocessing chose",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also write the probability of each class, before postprocessing, as probabilities/ID/VALUE_CLASS.nii.gz",
    )


def _add_inference(parser: argparse.ArgumentParser) -> None:
    """Register what is done to slices: --protocol, --tta, --adapt, --generator, --backend."""
    parser.add_argument(
        "--protocol",
        choices=["soft", "orientations", "transunet"],
        default="soft",
        help="soft: probabilities are resampled to the scan's grid; orientations: their mean over slices of three "
        "orientations, for nearly cubic voxels; transunet: the protocol of TransUNet and Swin-Unet (default "
        "%(default)s)",
    )
    parser.add_argument(
        "--tta",
        choices=["none", "flips", "rotations"],
        default="none",
        help="test-time augmentation, at four times the cost: the mean probabilities of flipped or rotated slices "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--adapt",
        default="none",
        metavar="METHODS",
        help="for images of another scanner, adapt to each case: statistics (or statistics:0.4, with the weight of the "
        "case's batch norm statistics), image (its intensities), model (normalization weights); or several, separated "
        "by commas (default %(default)s)",
    )
    add_model(
        parser,
        "--generator",
        required=False,
        help="best/ of a generator of the same data section: --adapt model then adapts also by the image that it makes "
        "of the mask",
    )
    parser.add_argument(
        "--backend",
        choices=["torch", "onnx", "openvino"],
        help="what runs the network: PyTorch, or on the processor ONNX Runtime or OpenVINO (default: torch, and onnx "
        "for a file that segcct export wrote)",
    )


def add_evaluate(commands: Commands) -> None:
    """Scores of a folder of masks, or of a table of classes."""
    parser = add_command(
        commands, "evaluate", _evaluate, "score a folder of masks, or predictions.csv of images, against references"
    )
    add_compared(parser, "the predicted masks; DIR or predictions.csv")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="metrics.csv and summary.json go here"
    )
    parser.add_argument("--scheme", help="meaning of the label values (default: that of predictions.json)")
    parser.add_argument(
        "--convention",
        default="default",
        help="one or more, separated by commas, of default, transunet, medpy, monai, surface-distance, brats2020, "
        "brats2023 (default %(default)s); the first is that of metrics.csv and summary.json",
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="other predictions to compare with, case by case")
    parser.add_argument(
        "--tolerance",
        type=number_above(0),
        metavar="MM",
        help="tolerance of the surface Dice (default 2, for BraTS schemes 1)",
    )
    parser.add_argument("--layout", help="layout of the reference folder (default: that of predictions.json)")
    parser.add_argument(
        "--allow-unmatched", action="store_true", help="leave out cases without a prediction or a reference"
    )
    parser.add_argument(
        "--workers", type=at_least_one, default=1, help="processes that score cases in parallel (default %(default)s)"
    )
    add_max_failures(parser)
    add_engine(parser)


def add_report(commands: Commands) -> None:
    """The page of an evaluation."""
    parser = add_command(commands, "report", _report, "write the page of an evaluation, report.html")
    parser.add_argument("--evaluation", type=Path, required=True, metavar="DIR", help="what segcct evaluate wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where report.html goes")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="also draw one case as a figure")
    parser.add_argument("--case", help="which case to draw (default: the median one)")
    parser.add_argument("--channel", help="which channel to draw (default: the first)")


def _predict(arguments: argparse.Namespace) -> Outcome:
    from segcct.export.model_file import is_exported
    from segcct.tasks.task_files import task_of_model

    task, engine = task_of_model(arguments.model), engine_of(arguments)
    backend = arguments.backend or ("onnx" if all(map(is_exported, arguments.model)) else "torch")
    how = partial(inference_of, arguments, arguments.protocol, arguments.tta, arguments.adapt, backend)

    begun = partial(_begun, None if arguments.status else engine)
    return _of_task(task, "predict", arguments.model[0], arguments, engine=begun, how=how)


def _evaluate(arguments: argparse.Namespace) -> Outcome:
    from segcct.tasks.task_files import task_of_predictions

    task, engine = task_of_predictions(arguments.prediction), engine_of(arguments)
    outcome = _of_task(task, "evaluate", arguments.prediction, arguments, engine=partial(_begun, engine))
    table: Path = arguments.output / "table.md"
    if table.is_file():
        print(table.read_text(encoding="utf-8"))
    return outcome


def _begun(engine: SparkEngine | None) -> SparkEngine | None:
    """Spark, which starts while this process imports what it needs."""
    return None if engine is None else engine.begin()


def _report(arguments: argparse.Namespace) -> Outcome:
    from segcct.tasks.task_files import task_of_evaluation

    return _of_task(task_of_evaluation(arguments.evaluation), "report", arguments.evaluation, arguments)


def _of_task(
    row: TaskRow, command: str, file: Path, arguments: argparse.Namespace, **more: Callable[[], Any]
) -> Outcome:
    """Call the function of the task that `file` is of, with the options that it takes; raises `ConfigError` where
    another option is given.

    `more`: further arguments, made only where the function takes them and nothing is refused.
    """
    function = row.function(command, file)
    parameters = inspect.signature(function).parameters
    for name, value in vars(arguments).items():
        if name not in parameters and name not in _OF_NO_TASK and value != arguments.parser.get_default(name):
            flag = "--" + name.rstrip("_").replace("_", "-")
            raise ConfigError(f"{flag} does nothing for {row.name}", remedy=f"Leave {flag} out")
    options = {name: value for name, value in vars(arguments).items() if name in parameters}
    return function(**{**options, **{name: make() for name, make in more.items() if name in parameters}})
