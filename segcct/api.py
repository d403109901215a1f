"""`segcct.train` and `segcct.predict`: what the commands of these names do, for Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcct.config import Experiment, settings
from segcct.errors import ConfigError
from segcct.inference.ensemble import Models, find_members
from segcct.inference.folder_prediction import predict_folder
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.mask_folder import Predictions
from segcct.inference.outcome_table import outcomes_after
from segcct.inference.prediction_request import resolve
from segcct.inference.predictor import Predictor
from segcct.inference.volumes_table import volumes_table
from segcct.progress import Progress
from segcct.run_folder import RunFolder
from segcct.tasks import training_run
from segcct.tasks.task import TaskRow, task_named
from segcct.training.device_settings import resolve_precision
from segcct.training.session import check_length, resumed_config


def train(
    config: str | Path | Mapping[str, Any] | Experiment | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    task: str = "segmentation",
    resume: str | Path | None = None,
) -> RunFolder:
    """Train a model, as `segcct train-seg`, `train-m2i` and `train-cls` do.

    Args:
        config: a YAML file, its content as nested dictionaries, or a config object such as `SegmentationConfig`.
        overrides: dotted key -> value, laid over it: `{"train.epochs": 3}`.
        task: `segmentation`, `reconstruction` or `classification`; a config object knows it.
        resume: a run folder to continue instead; `overrides` may then change its length, device and precision.

    Returns the run folder: `.path`, `.best` (the folder that `Predictor.load` takes), `.read_metrics()` (a row per
    epoch).

    Raises `SegcctError` for whatever is wrong with config, data or run, before the run folder appears.
    """
    row, changes = task_named(task), dict(overrides or {})
    if (config is None) == (resume is None):
        raise ConfigError("a training takes a config, or a run to resume", expected="one of config and resume")
    if resume is not None:
        run = RunFolder.open(Path(resume))
        experiment = resumed_config(row.load_config(), run, changes)
    else:
        run, experiment = None, _experiment(config, row, changes)
    check_length(experiment, changes)
    return training_run.train(resolve_precision(experiment, announce=True), resume=run)


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
    of the labels, as `segcct predict` does.

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
    splits_files = [member / ".." / "splits.json" for member in find_members(model)]
    request = resolve(predictor.card, Path(input), splits_files=splits_files, split=split)
    tables = [volumes_table(list(predictor.card.classes))]
    progress = Progress("predicting")
    output = Path(output)
    with outcomes_after(output, wanted=False):
        return predict_folder(predictor, request, output, tables=tables, overwrite=overwrite, progress=progress)


def _experiment(config: Any, row: TaskRow, overrides: Mapping[str, Any]) -> Experiment:
    """The configuration as an object. Raises `ConfigError`."""
    if isinstance(config, Experiment):
        return settings.build(type(config), config.model_dump(mode="json"), overrides, source="config")
    kind = row.load_config()
    if isinstance(config, Mapping):
        return settings.build(kind, config, overrides, source="config")
    return settings.load(kind, Path(config), overrides)
