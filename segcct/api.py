"""`segcct.train` and `segcct.predict`: what the commands of these names do, for Python."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from segcct.config import Experiment
from segcct.datasets.split_names import SPLIT_NAMES, SplitName
from segcct.errors import ConfigError, require_type
from segcct.predictions.mask_options import MaskOptions
from segcct.tasks.task import task_named, task_of
from segcct.tasks.task_options import CohortOptions, PredictOptions

if TYPE_CHECKING:
    from segcct.inference.ensemble import Models
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.predictions.mask_folder import Existing
    from segcct.run_folder import RunFolder
    from segcct.tasks.segmentation.mask_prediction import PredictedMasks


def train(
    config: str | Path | Mapping[str, Any] | Experiment | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    task: str | None = None,
    resume: str | Path | None = None,
) -> RunFolder:
    """Train a model, as `segcct train-seg`, `train-m2i`, `train-cls` and `pretrain` do.

    Args:
        config: a YAML file, its content as nested dictionaries, or a config object such as
            `segcct.config.SegmentationConfig`.
        overrides: dotted key -> value, laid over it: `{"train.epochs": 3}`. `segcct train-seg --help` lists the keys.
        task: `segmentation` (default), `reconstruction`, `classification` or `pretraining`; a config object and a run
            know their own.
        resume: a run folder to continue instead; `overrides` may then change its length, device and precision.

    Returns the run folder: `.path`, `.best` (the folder that `Predictor.load` takes), `.read_metrics()` (a row per
    epoch, its cells as text).

    Raises `SegcctError` for whatever is wrong with config, data or run, before the run folder appears.
    """
    from segcct.config import settings
    from segcct.run_folder import RunFolder
    from segcct.tasks import training_run
    from segcct.tasks.task_files import task_of_keys
    from segcct.training.session import experiment_of

    require_type("overrides", overrides, Mapping)
    if (config is None) == (resume is None):
        raise ConfigError("training takes a config, or a run to resume", expected="one of config and resume")
    if isinstance(config, Experiment):
        kind = type(config)
        if task is not None and task_named(task).load_config() is not kind:
            raise ConfigError(
                "the config object is of another task",
                found=f"task {task} and a {kind.__name__}",
                expected=f"task {task_of(config).name}",
                remedy="Leave task out: a config object knows its own",
            )
    elif resume is not None and task is None:
        kind = task_of_keys(settings.read_yaml(RunFolder.open(Path(resume)).config), {}).load_config()
    else:
        kind = task_named("segmentation" if task is None else task).load_config()
    experiment, run = experiment_of(kind, config, overrides or {}, resume=resume)
    return training_run.train(experiment, resume=run)


def predict(
    model: Models,
    source: str | Path,
    output: str | Path,
    *,
    split: SplitName | None = None,
    existing: Existing = "refuse",
    settings: InferenceSettings | None = None,
    masks: MaskOptions | None = None,
    quality: bool = True,
    cohort: CohortOptions | None = None,
) -> PredictedMasks:
    """Write the mask of every case below `source` to a folder, on the scans' own grids, with volumes.csv, the colors of
    the labels and, if the model has an estimate, quality.csv: what `segcct predict` does with a segmentation model.

    Args:
        model: a `best/` folder, a file that `segcct export` wrote, `hf://OWNER/NAME`, the folder of a cross-validation,
            or several of these, which predict by their mean probabilities.
        source: a scan, a case folder, a dataset root, or a table of cases.
        output: the folder for masks, predictions.json and tables.
        split: `train`, `val` or `test`: only these cases of the model's own split.
        existing: what is done where the folder holds masks of these cases. `refuse`: an error; `replace`: they are
            predicted again (`--overwrite`); `continue`: those that the same model finished under the same options stay
            (`--continue`).
        settings: how the network runs: batch size, precision, device, test-time augmentation, adaptation to each case.
        masks: what is written of each case: format, largest components, probabilities, hashed names.
        quality: False leaves out quality.csv, which takes three more passes of the network. It is left out, with a
            line that says so, for masks other than those that it was calibrated on: `keep_largest`, another protocol or
            postprocessing, test-time augmentation, adaptation.
        cohort: for many cases: a part of them (`shard`), how many may fail (`max_failures`), Spark (`engine`).

    Returns the masks' files (`.masks`), the cases that are flagged for review (`.flagged`) and, in words, which cases
    are unlike those seen in training (`.unlike_training`), and which failed and why (`.problem`), each empty if there
    are none. Cases that fail do not stop the others.

    Raises `SegcctError` where the model (such as a classifier), the input or an option cannot be used, or the folder
    has masks that `existing` does not provide for; `TypeError` for options of another type.
    """
    from segcct.predictions.mask_folder import Existing

    masks, cohort = masks or MaskOptions(), cohort or CohortOptions()
    _check("existing", existing, get_args(Existing))
    _check("split", split, (None, *SPLIT_NAMES))
    from segcct.inference.inference_settings import InferenceSettings  # imports PyTorch
    from segcct.tasks.segmentation.mask_prediction import MaskPrediction

    require_type("settings", settings, InferenceSettings)
    require_type("masks", masks, MaskOptions)
    require_type("cohort", cohort, CohortOptions)
    options = PredictOptions(
        settings=settings, masks=masks, quality=quality, split=split, existing=existing, cohort=cohort
    )
    return MaskPrediction.of(model, Path(source), Path(output), options).write()


def _check(name: str, value: str | None, allowed: Collection[str | None]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} has no such value", found=value, expected=", ".join(filter(None, allowed)))
