"""Which task a file belongs to: the key `task` of model.json, predictions.json and summary.json; the keys of a config.

A folder without predictions.json holds masks, as does one whose predictions.json, written by hand, names no task. A
damaged file is reported by the task's own reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcct.config.config_keys import keys
from segcct.errors import DataError, SegcctError
from segcct.export.model_file import card_at
from segcct.files.json_file import read_object
from segcct.inference.ensemble import Models, find_members
from segcct.predictions.predictions_index import INDEX
from segcct.tasks.task import TASKS, TaskRow, task_named

if TYPE_CHECKING:
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.inference.loaded_model import LoadedModel


def load_model(models: Models, how: InferenceSettings | None = None) -> LoadedModel:
    """The model of a `best/` folder, or an ensemble, whatever its task. Raises as `LoadedModel.load`, and
    `ConfigError`."""
    return task_of_model(models).load_model().load(models, how)


def task_of_model(models: Models) -> TaskRow:
    """The task of a `best/` folder, or of the first of several. Raises as `load_card`, and `ConfigError` for a task
    that is not installed."""
    folder = find_members(models)[0]
    return task_named(card_at(folder).task, file=folder)


def task_of_predictions(path: Path) -> TaskRow:
    """The task of a folder of predictions, or of a table; without predictions.json, the table tells."""
    otherwise = TASKS["segmentation"]
    for row in TASKS.values():
        if row.table and ((path / row.table).is_file() or path.suffix.lower() == Path(row.table).suffix):
            otherwise = row
    return _task_in((path if path.is_dir() else path.parent) / INDEX, otherwise)


def task_of_evaluation(folder: Path) -> TaskRow:
    """The task of what `segcct evaluate` wrote."""
    return _task_in(folder / "summary.json", TASKS["segmentation"])


def task_of_keys(content: Mapping[str, Any], overrides: Mapping[str, Any]) -> TaskRow:
    """The task of an experiment, of which a config does not tell the name: the one that knows most of its keys. Where
    several know equally many, it is the one whose networks `model.name` is of, else the first.

    Args:
        content: sections of keys, as in the file.
        overrides: dotted key -> value, laid over them.
    """
    given = [*_dotted(content), *overrides]

    def unknown(row: TaskRow) -> int:
        known = {f"{key.name}." for key in keys(row.load_config())}
        return sum(not any(f"{name}.".startswith(key) or key.startswith(f"{name}.") for key in known) for name in given)

    counts = {row.name: unknown(row) for row in TASKS.values()}
    fitting = [row for row in TASKS.values() if counts[row.name] == min(counts.values())]
    if len(fitting) > 1:
        kind = _kind_of_network(overrides.get("model.name", _model_in(content)))
        fitting = [row for row in fitting if row.load().model_kind == kind] or fitting
    return fitting[0]


def _model_in(content: Mapping[str, Any]) -> object:
    section = content.get("model")
    return section.get("name") if isinstance(section, Mapping) else None


def _kind_of_network(name: object) -> str | None:
    from segcct.models.zoo import entry  # imports torch

    try:
        return entry(str(name)).kind
    except SegcctError:
        return None


def _dotted(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The names of values that are not mappings, and of all mappings."""
    for name, value in content.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")


def _task_in(file: Path, otherwise: TaskRow) -> TaskRow:
    try:
        content = read_object(file)
    except DataError:
        return otherwise
    return task_named(content["task"], file=file) if "task" in content else otherwise
