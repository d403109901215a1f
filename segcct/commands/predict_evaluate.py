"""segcct predict, evaluate, report: each calls the function that the row of the task names (tasks/task.py)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from segcct.commands.cohort_options import add_cohort_options, add_max_failures, continuable
from segcct.commands.parser import (
    Commands,
    add_anonymize,
    add_command,
    add_compared,
    add_engine,
    add_model,
    add_network_options,
    engine_of,
    flag_of,
    inference_of,
    refuse_unused,
)
from segcct.datasets.split_names import SPLIT_NAMES
from segcct.inference.inference_choices import BACKENDS, PROTOCOLS
from segcct.inference.views import VIEWS
from segcct.option_types import number_above, positive_int
from segcct.predictions.mask_options import MASK_FORMATS, MaskOptions
from segcct.tasks.task import Outcome, TaskRow
from segcct.tasks.task_options import CohortOptions, EvaluateOptions, PredictOptions, ReportOptions

if TYPE_CHECKING:
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.spark.spark_cases import SparkEngine

OF_EVERY_TASK = {
    *("command", "debug", "keys", "model", "input", "output", "prediction", "reference", "evaluation"),
    *("batch_size", "precision", "device", "tta", "adapt", "backend"),
    *("master", "spark_conf"),  # which are for --engine alone
}
"""Arguments that a row does not list: files, options of the network, and what every command has."""


def add_predict(commands: Commands) -> None:
    """Masks for scans, class probabilities for images."""
    parser = add_command(
        commands, "predict", _predict, "predict masks on the scans' own grids, or the classes of images"
    )
    _add_cases(parser)
    _add_outputs(parser)
    add_cohort_options(parser).add_argument(
        "--dry-run",
        action="store_true",
        help="only report how many cases and gigabytes this command would predict, and how long it would take, "
        "estimated from a few of them",
    )
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
    parser.add_argument("--split", choices=SPLIT_NAMES, help="only these cases of the model's own split")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """Register what is written of a case: --no-quality, --format, --keep-largest, --no-postprocessing,
    --probabilities."""
    parser.add_argument(
        "--no-quality", action="store_true", help="do not write quality.csv, which takes three more passes"
    )
    parser.add_argument(
        "--format",
        choices=MASK_FORMATS,
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
        choices=PROTOCOLS,
        default="soft",
        help="soft: probabilities are resampled to the scan's grid; orientations: their mean over slices of three "
        "orientations, for nearly cubic voxels; transunet: the protocol of TransUNet and Swin-Unet (default "
        "%(default)s)",
    )
    parser.add_argument(
        "--tta",
        choices=list(VIEWS),
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
        choices=BACKENDS,
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
    parser.add_argument(
        "--scheme",
        metavar="NAME|CONFIG",
        help="meaning of the label values: a named scheme, or the config of an experiment, CONFIG.yaml, to read the "
        "references as this experiment does (default: as predictions.json says)",
    )
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
    parser.add_argument("--layout", help="layout of the reference folder (default: that of CONFIG or predictions.json)")
    parser.add_argument(
        "--allow-unmatched", action="store_true", help="leave out cases without a prediction or a reference"
    )
    parser.add_argument(
        "--workers", type=positive_int, default=1, help="processes that score cases in parallel (default %(default)s)"
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
    from segcct.tasks.task_files import task_of_model

    task, engine = task_of_model(arguments.model), engine_of(arguments)
    predict = _checked_function(task, "predict", arguments.model[0], arguments)
    if not arguments.status:
        _begin(engine)
    options = _predict_options(arguments, engine)
    with continuable(arguments, when=options.only is None and "--continue" in task.options("predict")):
        return predict(arguments.model, arguments.input, arguments.output, options)


def _predict_options(arguments: argparse.Namespace, engine: SparkEngine | None) -> PredictOptions:
    from segcct.predictions.mask_folder import existing_of

    return PredictOptions(
        settings=_settings(arguments),
        masks=MaskOptions(
            mask_format=arguments.format,
            keep_largest=arguments.keep_largest,
            probabilities=arguments.probabilities,
            anonymize=arguments.anonymize,
        ),
        quality=not arguments.no_quality,
        split=arguments.split,
        existing=existing_of(overwrite=arguments.overwrite, continue_=arguments.continue_),
        cohort=CohortOptions(shard=arguments.shard, max_failures=arguments.max_failures, engine=engine),
        only="status" if arguments.status else "dry-run" if arguments.dry_run else None,
    )


def _settings(arguments: argparse.Namespace) -> InferenceSettings:
    """How the network runs."""
    from segcct.inference.loaded_model import default_backend

    return inference_of(
        arguments,
        protocol=arguments.protocol,
        tta=arguments.tta,
        adapt=arguments.adapt,
        postprocessing=not arguments.no_postprocessing,
        backend=arguments.backend or default_backend(arguments.model),
        generator=arguments.generator,
    )


def _evaluate(arguments: argparse.Namespace) -> Outcome:
    from segcct.tasks.task_files import task_of_predictions

    task, engine = task_of_predictions(arguments.prediction), engine_of(arguments)
    evaluate = _checked_function(task, "evaluate", arguments.prediction, arguments)
    _begin(engine)
    options = EvaluateOptions(
        scheme=arguments.scheme,
        conventions=tuple(arguments.convention.split(",")),
        layout=arguments.layout,
        against=arguments.against,
        tolerance_mm=arguments.tolerance,
        allow_unmatched=arguments.allow_unmatched,
        workers=arguments.workers,
        max_failures=arguments.max_failures,
        engine=engine,
    )
    outcome = evaluate(arguments.prediction, arguments.reference, arguments.output, options)
    table: Path = arguments.output / "table.md"
    if table.is_file():
        print(table.read_text(encoding="utf-8"))
    return outcome


def _report(arguments: argparse.Namespace) -> Outcome:
    from segcct.tasks.task_files import task_of_evaluation

    report = _checked_function(task_of_evaluation(arguments.evaluation), "report", arguments.evaluation, arguments)
    refuse_unused(arguments, [(arguments.picture is None, "without a --picture", ("case", "channel"))])
    options = ReportOptions(picture=arguments.picture, case=arguments.case, channel=arguments.channel)
    return report(arguments.evaluation, arguments.output, options)


def _checked_function(row: TaskRow, command: str, file: Path, arguments: argparse.Namespace) -> Callable[..., Outcome]:
    """The function by which a command handles `file`, which is of this task. Raises `ConfigError` if there is none, or
    for an option that the task does not use."""
    function, used = row.function(command, file), row.options(command)
    unused = [name for name in vars(arguments) if name not in OF_EVERY_TASK and flag_of(name) not in used]
    refuse_unused(arguments, [(True, f"for {row.name}", unused)])
    return function


def _begin(engine: SparkEngine | None) -> None:
    """Start Spark, which gets ready while this process imports PyTorch; imports before this call do not overlap it."""
    if engine is not None:
        engine.begin()
