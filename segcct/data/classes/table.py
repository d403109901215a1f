"""predictions.csv: pictures and their class probabilities, written by prediction and read back for evaluation.

A row is `picture, predicted, p_CLASS, p_CLASS, ...`; predictions.json beside it says how the pictures were read.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segcct.csv_file import write_csv
from segcct.errors import DataError
from segcct.escape import from_cell

TABLE = "predictions.csv"
INDEX = "predictions.json"
PREFIX = "p_"
"""Before a class name in the head of a probability column."""
_SUM_TOLERANCE = 1e-3
_REMEDY = "Write it by `segcct predict`"


@dataclass(frozen=True)
class ProbabilityTable:
    """A table of class probabilities."""

    file: Path
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    """(N, K), rows sum to 1."""
    index: Mapping[str, Any] = field(default_factory=dict)
    """predictions.json beside it; empty where there is none."""


def write_table(file: Path, rows: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    """Write (K,) probabilities by picture, sorted by picture, whole or not at all."""
    lines = [
        [name, classes[int(probabilities.argmax())], *(f"{value:.7g}" for value in probabilities)]
        for name, probabilities in sorted(rows.items())
    ]
    write_csv(file, ["picture", "predicted", *(PREFIX + name for name in classes)], lines, private=True)


def is_table(path: Path) -> bool:
    """Whether `path` is a table of class probabilities, or a folder that `segcct predict` wrote one into."""
    return path.name.lower().endswith(".csv") or (path / TABLE).is_file()


def read_table(path: Path) -> ProbabilityTable:
    """Read a table, or the one in a folder.

    Raises:
        DataError: it is missing, or a line is no distribution over the classes; names file and line.
    """
    file = path / TABLE if path.is_dir() else path
    if not file.is_file():
        raise DataError("no such file", file=file, remedy=_REMEDY)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = [[from_cell(cell) for cell in line] for line in csv.reader(stream)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("is no table of text", file=file, found=str(error), remedy=_REMEDY) from None
    head, rows = (lines[0], lines[1:]) if lines else ([], [])
    columns = {name.removeprefix(PREFIX): place for place, name in enumerate(head) if name.startswith(PREFIX)}
    if "picture" not in head or len(columns) < 2:
        raise DataError(
            "columns are missing",
            file=file,
            found=", ".join(head[:6]) or "an empty file",
            expected=f"picture, {PREFIX}CLASS, {PREFIX}CLASS, ...",
            remedy=_REMEDY,
        )
    if not rows:
        raise DataError("the table holds no picture", file=file, remedy=_REMEDY)
    name_at = head.index("picture")
    probabilities = np.array(
        [_row(file, number, row, len(head), list(columns.values())) for number, row in enumerate(rows, start=2)]
    )
    ids = [row[name_at] for row in rows]
    twice = [name for name, times in Counter(ids).items() if times > 1]
    if twice:
        raise DataError("a picture stands twice", file=file, found=twice[0])
    return ProbabilityTable(file, tuple(ids), tuple(columns), probabilities, _index(file.parent / INDEX))


def _row(file: Path, line: int, row: Sequence[str], cells: int, places: Sequence[int]) -> list[float]:
    if len(row) != cells:
        raise DataError(f"line {line} has another number of cells than the header", file=file, found=len(row))
    try:
        values = [float(row[place]) for place in places]
    except ValueError as error:
        raise DataError(f"line {line}: not a number", file=file, found=str(error)) from None
    if not all(0 <= value <= 1 for value in values) or abs(sum(values) - 1) > _SUM_TOLERANCE:
        raise DataError(
            f"line {line} is no distribution over the classes",
            file=file,
            found=f"a sum of {sum(values):g}",
            expected="values from 0 to 1 that sum to 1",
        )
    return values


def _index(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("is not valid JSON", file=file, found=str(error), remedy=_REMEDY) from None
    if not isinstance(content, dict) or content.get("task") != "classification":
        raise DataError("belongs to no classification", file=file, remedy=_REMEDY)
    return content
