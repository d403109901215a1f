"""The evaluation of a cross-validation: the classes of every image by the model that was not trained on it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from segcct.config import ClassificationConfig
from segcct.files.json_file import write_json
from segcct.hardware.devices import pick_device
from segcct.inference.inference_settings import InferenceSettings
from segcct.predictions.predictions_index import INDEX
from segcct.progress import Progress
from segcct.run_folder import FoldsFolder
from segcct.tasks.classification.class_evaluation import evaluate_classes
from segcct.tasks.classification.class_page import write_class_report
from segcct.tasks.classification.classifier import Classifier
from segcct.tasks.classification.image_prediction import find_images, predict_images
from segcct.tasks.classification.probability_table import TABLE, read_table, write_table


def evaluate_out_of_fold(folds: FoldsFolder, config: ClassificationConfig, split: str) -> Path:
    """Write predictions, evaluation and report.html into `folds.out_of_fold`; returns the table of scores.

    Raises `DataError` naming the images that cannot be read.
    """
    train, output = config.train, folds.out_of_fold
    how = InferenceSettings(train.batch_size, train.precision, pick_device(train.device))
    tables = []
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output) as parts:
        for number in folds.folds:
            run, part = folds.fold(number), Path(parts) / str(number)
            classifier = Classifier.load(run.best, how)
            request = find_images(classifier, config.data.root, splits_files=[run.splits], split=split)
            bar = Progress(f"predicting what fold {number} held out")
            tables.append(read_table(predict_images(classifier, request, part, model=None, progress=bar)))
    card, predictions = Classifier.card_of(folds.path), output / "predictions"
    seen = [table.index.seen or {} for table in tables]
    merged = {
        "seen": {name: [image for each in seen for image in each.get(name, [])] for name in ("train", "val")},
        "digests": {name: digest for table in tables for name, digest in (table.index.digests or {}).items()},
        "weights_sha256": card.weights_sha256,
        "selected_on": card.selected_on,
    }
    predictions.mkdir(exist_ok=True)
    write_json(predictions / INDEX, tables[0].index.model_copy(update=merged).to_json(), private=True)
    rows = {name: row for table in tables for name, row in zip(table.ids, table.probabilities, strict=True)}
    write_table(predictions / TABLE, rows, tables[0].classes)
    evaluate_classes(predictions, config.data.root, output=output / "evaluation", progress=Progress("decoding images"))
    write_class_report(output / "evaluation", output)
    return output / "evaluation" / "table.md"
