"""Tables as CSV files: written whole or not at all, harmless for a spreadsheet, and read as they were before that."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segcct.escape import for_cell, from_row
from segcct.private import private_path
from segcct.volume import atomic_path


def write_csv(file: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, private: bool = False) -> None:
    """Write a table; text that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        file: its folder is made when missing.
        columns: the header.
        rows: as long as the header; None is an empty cell.
        private: the file names patients, and is for its owner alone.
    """
    with (
        private_path(file) if private else atomic_path(file) as beside,
        beside.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow([for_cell(name) for name in columns])
        writer.writerows([for_cell(cell) for cell in row] for row in rows)


def write_records(
    file: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, private: bool = False
) -> None:
    """As `write_csv` for rows by column name; columns that a row lacks are empty, others of it are left out."""
    write_csv(file, columns, ([row.get(name, "") for name in columns] for row in rows), private=private)


def read_records(file: Path) -> list[dict[str, str]]:
    """The rows of a table that `write_csv` wrote, as they were given to it; none where there is no such file."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return [from_row(row) for row in csv.DictReader(stream)]
