"""The evaluation of a cross-validation: the mask of every case by the model that was not trained on it."""

from __future__ import annotations

import shutil
from pathlib import Path

from segcct.config import SegmentationConfig
from segcct.errors import DataError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.hardware.devices import pick_device
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.predictions.folder_prediction import CaseLoop, predict_folder
from segcct.predictions.prediction_request import resolve
from segcct.progress import Progress
from segcct.report.segmentation_page import write_report
from segcct.run_folder import FoldsFolder


def evaluate_out_of_fold(folds: FoldsFolder, config: SegmentationConfig, split: str) -> Path:
    """Write predictions, evaluation and report.html into `folds.out_of_fold`; returns the table of scores.

    The masks are the models' together: predictions.json names all of them. Raises `DataError` naming the cases without
    a mask.
    """
    train, output = config.train, folds.out_of_fold
    # Steps of postprocessing may have been chosen by the labels of these very cases.
    how = InferenceSettings(train.batch_size, train.precision, pick_device(train.device), postprocessing=False)
    card = Predictor.card_of(folds.path)
    for earlier in ("predictions", "evaluation"):  # of other weights, or of another number of folds
        shutil.rmtree(output / earlier, ignore_errors=True)
    (output / "report.html").unlink(missing_ok=True)
    for number in folds.folds:
        run = folds.fold(number)
        predictor = Predictor(Predictor.load(run.best, how).network, card, how)
        request = resolve(card, config.data.root, splits_files=[run.splits], split=split)
        bar = Progress(f"predicting what fold {number} held out")
        predictions = predict_folder(predictor, request, output / "predictions", loop=CaseLoop(progress=bar))
        if predictions.problem:
            raise DataError(predictions.problem)
    evaluate(
        output / "predictions",
        config.data.root,
        output=output / "evaluation",
        progress=Progress("scoring cases"),
    )
    write_report(output / "evaluation", output)
    return output / "evaluation" / "table.md"
