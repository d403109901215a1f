"""The run of a configuration: an earlier one if it is finished, resumed if it was interrupted, or a new one."""

from __future__ import annotations

from functools import reduce

from segcct.config import Experiment, settings
from segcct.config.config_keys import keys
from segcct.errors import RunError
from segcct.run_folder import RunFolder
from segcct.tasks.training_run import train
from segcct.training.device_settings import resolve_precision

ONLY_AT_THE_END = 1_000_000
"""`train.validate_every` of a run that keeps its last weights, so that no validation case selects them."""
_ANYWHERE = ("run.root", "data.cache", "data.workers", "train.precision_reason")
"""Keys that do not change the weights."""


def trained(config: Experiment) -> RunFolder:
    """Return the finished run of this configuration.

    Raises:
        RunError: a run of that name has other settings, or cannot be resumed.
    """
    config = resolve_precision(config)  # as a run stores it
    run = RunFolder(config.run.path)
    if not run.config.is_file():
        return train(config)
    check_settings(run, config)
    if run.summary.is_file():
        return run
    run.check_resumable()
    return train(config, resume=run)


def check_settings(run: RunFolder, config: Experiment) -> None:
    """Raise `RunError` if a run has other settings than a configuration whose precision is resolved."""
    stored = settings.load(type(config), run.config)
    names = [key.name for key in keys(type(config)) if key.name not in _ANYWHERE]
    differing = [name for name in names if _value(stored, name) != _value(config, name)]
    if differing:
        raise RunError(
            "a run of this name exists, with other settings",
            file=run.path,
            found=", ".join(f"{name} {_value(stored, name)}" for name in differing),
            expected=", ".join(f"{name} {_value(config, name)}" for name in differing),
            remedy="Choose another --output, or delete that run",
        )


def minutes(run: RunFolder) -> float:
    """How long training took."""
    return float(run.read_metrics()[-1]["elapsed_s"]) / 60


def _value(config: Experiment, name: str) -> object:
    return reduce(getattr, name.split("."), config)
