"""predictions.csv: images and their class probabilities, written by prediction and read back for evaluation.

A row is `image, predicted, p_CLASS, p_CLASS, ...`; predictions.json in the same folder says how the images were read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segcct.errors import DataError
from segcct.files.json_file import read_object
from segcct.files.table_file import read_rows_of, write_csv
from segcct.predictions.predictions_index import INDEX
from segcct.predictions.predictions_record import StoredTable

TABLE = "predictions.csv"
PREFIX = "p_"
"""Before a class name in the head of a probability column."""
_MOST_BYTES = 2**31
"""The probabilities of 50,000 images of 1,000 classes take 0.6 GB."""
_SUM_TOLERANCE = 1e-3
_REMEDY = "Write it with `segcct predict`"


@dataclass(frozen=True)
class ProbabilityTable:
    """A table of class probabilities."""

    file: Path
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    """(N, K), rows sum to 1."""
    index: StoredTable = field(default_factory=StoredTable)
    """predictions.json of the same folder; empty where there is none."""


def write_table(file: Path, rows: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    """Write (K,) probabilities by image, sorted by image."""
    lines = [
        [name, classes[int(probabilities.argmax())], *(f"{value:.7g}" for value in probabilities)]
        for name, probabilities in sorted(rows.items())
    ]
    write_csv(file, ["image", "predicted", *(PREFIX + name for name in classes)], lines, private=True)


def read_table(path: Path) -> ProbabilityTable:
    """Read a table, or the one in a folder.

    Raises:
        DataError: it is missing, or a line is no distribution over the classes; names file and line.
    """
    file = path / TABLE if path.is_dir() else path
    rows = read_rows_of(file, remedy=_REMEDY, most_bytes=_MOST_BYTES)
    if not rows:
        raise DataError("the table holds no image", file=file, remedy=_REMEDY)
    columns = [name for name in rows[0] if name.startswith(PREFIX)]
    if "image" not in rows[0] or len(columns) < 2:
        raise DataError(
            "columns are missing",
            file=file,
            found=", ".join(list(rows[0])[:6]),
            expected=f"image, {PREFIX}CLASS, {PREFIX}CLASS, ...",
            remedy=_REMEDY,
        )
    probabilities = np.array([_row(file, number, row, columns) for number, row in enumerate(rows, start=2)])
    ids = [row["image"] for row in rows]
    classes = tuple(name.removeprefix(PREFIX) for name in columns)
    twice = [name for name, times in Counter(ids).items() if times > 1]
    if twice:
        raise DataError("an image is listed twice", file=file, found=twice[0])
    return ProbabilityTable(file, tuple(ids), classes, probabilities, _index(file.parent / INDEX))


def _row(file: Path, line: int, row: Mapping[str, str], columns: Sequence[str]) -> list[float]:
    try:
        values = [float(row[name]) for name in columns]
    except ValueError as error:
        raise DataError(f"line {line}: not a number", file=file, found=str(error)) from None
    if not all(0 <= value <= 1 for value in values) or abs(sum(values) - 1) > _SUM_TOLERANCE:
        raise DataError(
            f"line {line} is not a distribution over the classes",
            file=file,
            found=f"a sum of {sum(values):g}",
            expected="values from 0 to 1 that sum to 1",
        )
    return values


def _index(file: Path) -> StoredTable:
    if not file.is_file():
        return StoredTable()
    content = read_object(file, StoredTable.NOT_THIS, remedy=_REMEDY)
    if content.get("task") != "classification":
        raise DataError("is not of a classification", file=file, remedy=_REMEDY)
    return StoredTable.from_json(content, file, _REMEDY)
