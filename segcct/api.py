"""`segcct.train` and `segcct.predict`: what the commands of these names do, for Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcct.config import Experiment
from segcct.errors import ConfigError
from segcct.inference.ensemble import Models, splits_files
from segcct.inference.folder_prediction import predict_folder
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.mask_folder import Predictions, existing_of
from segcct.inference.outcome_table import outcomes_after
from segcct.inference.prediction_request import resolve
from segcct.inference.predictor import Predictor
from segcct.inference.volumes_table import volumes_table
from segcct.progress import Progress
from segcct.run_folder import RunFolder
from segcct.tasks import training_run
from segcct.tasks.task import task_named, task_of
from segcct.training.session import experiment_of


def train(
    config: str | Path | Mapping[str, Any] | Experiment | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    task: str | None = None,
    resume: str | Path | None = None,
) -> RunFolder:
    """Train a model, as `segcct train-seg`, `train-m2i` and `train-cls` do.

    Args:
        config: a YAML file, its content as nested dictionaries, or a config object such as `SegmentationConfig`.
        overrides: dotted key -> value, laid over it: `{"train.epochs": 3}`.
        task: `segmentation` (default), `reconstruction` or `classification`; a config object knows its own.
        resume: a run folder to continue instead; `overrides` may then change its length, device and precision.

    Returns the run folder: `.path`, `.best` (the folder that `Predictor.load` takes), `.read_metrics()` (a row per
    epoch).

    Raises `SegcctError` for whatever is wrong with config, data or run, before the run folder appears.
    """
    if (config is None) == (resume is None):
        raise ConfigError("a training takes a config, or a run to resume", expected="one of config and resume")
    if isinstance(config, Experiment):
        kind = type(config)
        if task is not None and task_named(task).load_config() is not kind:
            raise ConfigError(
                "the config object is of another task",
                found=f"task {task} and a {kind.__name__}",
                expected=f"task {task_of(config).name}",
                remedy="Leave task out: a config object knows its own",
            )
    else:
        kind = task_named("segmentation" if task is None else task).load_config()
    experiment, run = experiment_of(kind, config, overrides or {}, resume=resume)
    return training_run.train(experiment, resume=run)


def predict(
    model: Models,
    input: str | Path,
    output: str | Path,
    *,
    split: str | None = None,
    overwrite: bool = False,
    how: InferenceSettings | None = None,
) -> Predictions:
    """Write the mask of every case below `input` to a folder, on the scans' own grids, with volumes.csv and the colors
    of the labels. Estimates of the masks' quality (quality.csv) come from `segcct predict` alone.

    Args:
        model: a `best/` folder, `hf://OWNER/NAME`, the folder of a cross-validation, or several of these.
        input: a scan, a case folder or a dataset root.
        output: the folder for masks, predictions.json and volumes.csv.
        split: `train`, `val` or `test`: only these cases of the model's own split.
        overwrite: replace earlier masks.
        how: batch size, precision, device, test-time augmentation, and adaptation to each case.

    Returns the masks' files (`.masks`) and, in words, which cases failed and why (`.problem`, else empty).

    Raises `SegcctError` where the model or the input cannot be used.
    """
    predictor = Predictor.load(model, how)
    request = resolve(predictor.card, Path(input), splits_files=splits_files(predictor.folders), split=split)
    tables = [volumes_table(list(predictor.card.classes))]
    existing, progress = existing_of(overwrite=overwrite), Progress("predicting")
    output = Path(output)
    with outcomes_after(output, wanted=False):
        return predict_folder(predictor, request, output, tables=tables, existing=existing, progress=progress)
