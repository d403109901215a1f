"""What predict, evaluate and report do for a classification model."""

from __future__ import annotations

import argparse
from pathlib import Path

from segcct.commands.network_options import inference_of
from segcct.commands.parser import command_line
from segcct.errors import ConfigError
from segcct.plurals import counted


def predict_classes(arguments: argparse.Namespace) -> None:
    """`segcct predict` with a classification model."""
    from segcct.progress import Progress
    from segcct.tasks.classification.classifier import Classifier
    from segcct.tasks.classification.image_prediction import find_pictures, predict_pictures

    _refuse(arguments, m2i=None, no_quality=False, keep_largest=False, anonymize=False, protocol="soft")
    how = inference_of(arguments)
    classifier = Classifier.load(arguments.model, how)
    splits = arguments.model / ".." / "splits.json"
    request = find_pictures(classifier, arguments.input, split=splits, side=arguments.split)
    table = predict_pictures(
        classifier,
        request,
        arguments.output,
        model=arguments.model,
        overwrite=arguments.overwrite,
        progress=Progress("predicting"),
    )
    beside = arguments.output.parent / "evaluation"
    folders = ("--prediction", arguments.output, "--reference", arguments.input)
    command = command_line("evaluate", *folders, "--output", beside)
    print(f"wrote {counted(len(request.ids), 'row')} to {table}; next: {command}")


def evaluate_table(arguments: argparse.Namespace) -> None:
    """`segcct evaluate` of class probabilities."""
    from segcct.progress import Progress
    from segcct.tasks.classification.class_evaluation import evaluate_classes

    _refuse(arguments, scheme=None, convention="default", against=None, tolerance=None, workers=1)
    evaluate_classes(
        arguments.prediction,
        arguments.reference,
        output=arguments.output,
        layout=arguments.layout,
        allow_unmatched=arguments.allow_unmatched,
        progress=Progress("decoding pictures"),
    )
    print((arguments.output / "table.md").read_text(encoding="utf-8"))
    report = arguments.output.parent / "report"
    command = command_line("report", "--evaluation", arguments.output, "--output", report)
    print(f"wrote {arguments.output}; next: {command}")


def is_of_classes(evaluation: Path) -> bool:
    """Whether the folder holds the evaluation of a classification; what is wrong with it is said by its reader."""
    from segcct.errors import DataError
    from segcct.files.json_file import read_object

    try:
        return read_object(evaluation / "summary.json").get("task") == "classification"
    except DataError:
        return False


def report_classes(arguments: argparse.Namespace) -> None:
    """`segcct report` of a classification."""
    from segcct.tasks.classification.class_page import write_class_report

    _refuse(arguments, picture=None, case=None, channel=None)
    print(f"wrote {write_class_report(arguments.evaluation, arguments.output)}")


def _refuse(arguments: argparse.Namespace, **defaults: object) -> None:
    """Flags that speak of masks are refused, not passed over."""
    for name, default in defaults.items():
        if getattr(arguments, name) != default:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag} is for masks, and these are classes", remedy=f"Leave {flag} out")
