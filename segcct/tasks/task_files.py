"""Which task a file belongs to: the key `task` of model.json, predictions.json and summary.json.

Files without the key were written by earlier versions, for masks. A damaged file is reported by the task's own reader.
"""

from __future__ import annotations

from pathlib import Path

from segcct.errors import DataError
from segcct.export.model_file import card_at
from segcct.files.json_file import read_object
from segcct.inference.batched_inference import Inference
from segcct.inference.ensemble import Models, find_members
from segcct.inference.loaded_model import LoadedModel
from segcct.inference.predictions_index import INDEX
from segcct.tasks.task import TASKS, TaskRow, task_named


def load_model(models: Models, how: Inference | None = None) -> LoadedModel:
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


def _task_in(file: Path, otherwise: TaskRow) -> TaskRow:
    try:
        task = read_object(file).get("task")
    except DataError:
        return otherwise
    return otherwise if task is None else task_named(task, file=file)
