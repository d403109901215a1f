"""The run of a configuration: found where it was left, gone on with, or trained now."""

from __future__ import annotations

from functools import reduce

from segcct.config import Experiment, settings
from segcct.config.config_keys import keys
from segcct.errors import RunError
from segcct.run_folder import RunFolder
from segcct.tasks.training_run import train
from segcct.training.device_settings import resolve_precision

ONLY_AT_THE_END = 1_000_000
"""`train.validate_every` of a training whose last weights are taken: no validation case has selected them."""
_ANYWHERE = ("run.root", "data.cache", "data.workers", "train.precision_reason")
"""Keys that the weights do not depend on."""


def trained(config: Experiment) -> RunFolder:
    """The finished run of this configuration.

    Raises:
        RunError: a run of that name has other settings, or cannot be gone on with.
    """
    config = resolve_precision(config)  # as a run stores it
    run = RunFolder(config.run.root / config.run.name)
    if not run.config.is_file():
        return train(config)
    check_settings(run, config)
    if run.summary.is_file():
        return run
    run.check_resumable()
    return train(config, resume=run)


def check_settings(run: RunFolder, config: Experiment) -> None:
    """Raises `RunError` where a run has other settings than a configuration that is settled for this machine."""
    there = settings.load(type(config), run.config)
    names = [key.name for key in keys(type(config)) if key.name not in _ANYWHERE]
    other = [name for name in names if _value(there, name) != _value(config, name)]
    if other:
        raise RunError(
            "the run that is there has other settings",
            file=run.path,
            found=", ".join(f"{name} {_value(there, name)}" for name in other),
            expected=", ".join(f"{name} {_value(config, name)}" for name in other),
            remedy="Choose another --output, or delete that run",
        )


def minutes(run: RunFolder) -> float:
    """What the training took, whenever that was."""
    return float(run.read_metrics()[-1]["elapsed_s"]) / 60


def _value(config: Experiment, name: str) -> object:
    return reduce(getattr, name.split("."), config)
