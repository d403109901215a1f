"""What `segcct predict`, `evaluate` and `report` do for classes of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segcct.inference.inference_settings import InferenceSettings
from segcct.plurals import counted
from segcct.progress import Progress
from segcct.tasks.classification.class_evaluation import evaluate_classes
from segcct.tasks.task import Outcome


def predict(
    model: Sequence[Path], input: Path, output: Path, *, split: str | None, overwrite: bool, how: InferenceSettings
) -> Outcome:
    """Write predictions.csv and predictions.json; of several models, their mean probabilities."""
    from segcct.inference.ensemble import splits_files
    from segcct.tasks.classification.classifier import Classifier
    from segcct.tasks.classification.image_prediction import find_images, predict_images

    classifier = Classifier.load(model, how)
    members = classifier.folders
    request = find_images(classifier, input, splits_files=splits_files(members), split=split)
    single, progress = members[0] if len(members) == 1 else None, Progress("predicting")
    table = predict_images(classifier, request, output, model=single, overwrite=overwrite, progress=progress)
    folders = ("--prediction", output, "--reference", input)
    next_command = ("evaluate", *folders, "--output", output.parent / "evaluation")
    return Outcome(f"wrote {counted(len(request.ids), 'row')} to {table}", next_command)


def evaluate(prediction: Path, reference: Path, output: Path, *, layout: str | None, allow_unmatched: bool) -> Outcome:
    """Score predictions.csv."""
    progress = Progress("decoding images")
    evaluate_classes(
        prediction, reference, output=output, layout=layout, allow_unmatched=allow_unmatched, progress=progress
    )
    return Outcome(f"wrote {output}", ("report", "--evaluation", output, "--output", output.parent / "report"))


def report(evaluation: Path, output: Path) -> Outcome:
    """Write the page of an evaluation."""
    from segcct.tasks.classification.class_page import write_class_report

    return Outcome(f"wrote {write_class_report(evaluation, output)}")
