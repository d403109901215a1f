"""What `segcct predict`, `evaluate` and `report` do for classes of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from segcct.files.file_names import composed
from segcct.plurals import counted
from segcct.progress import Progress
from segcct.tasks.classification.class_evaluation import evaluate_classes
from segcct.tasks.task import Outcome
from segcct.tasks.task_options import EvaluateOptions, PredictOptions, ReportOptions


def predict(model: Sequence[Path], source: Path, output: Path, options: PredictOptions) -> Outcome:
    """Write predictions.csv and predictions.json; of several models, their mean probabilities."""
    from segcct.inference.ensemble import splits_files
    from segcct.tasks.classification.classifier import Classifier
    from segcct.tasks.classification.image_prediction import find_images, predict_images

    classifier = Classifier.load(model, options.settings)
    members = classifier.folders
    request = find_images(classifier, source, splits_files=splits_files(members), split=options.split)
    table = predict_images(
        classifier,
        request,
        output,
        model=members[0] if len(members) == 1 else None,
        overwrite=options.existing == "replace",
        progress=Progress("predicting"),
    )
    wrote = f"wrote {counted(len(request.ids), 'row')} to {table}"
    classes = set(classifier.classes)
    in_class_folders = all(classes.intersection(PurePosixPath(composed(name)).parts[:-1]) for name in request.ids)
    if request.source.labels is None and not in_class_folders:
        return Outcome(wrote)
    folders = ("--prediction", output, "--reference", source)
    return Outcome(wrote, ("evaluate", *folders, "--output", output.parent / "evaluation"))


def evaluate(prediction: Path, reference: Path, output: Path, options: EvaluateOptions) -> Outcome:
    """Score predictions.csv."""
    evaluate_classes(
        prediction,
        reference,
        output=output,
        layout=options.layout,
        allow_unmatched=options.allow_unmatched,
        progress=Progress("decoding images"),
    )
    return Outcome(f"wrote {output}", ("report", "--evaluation", output, "--output", output.parent / "report"))


def report(evaluation: Path, output: Path, _: ReportOptions) -> Outcome:
    """Write the page of an evaluation."""
    from segcct.tasks.classification.class_page import write_class_report

    return Outcome(f"wrote {write_class_report(evaluation, output)}")
