"""quality.csv: its columns, and its rows as they are read."""

from __future__ import annotations

from pathlib import Path

from segcct.files.table_file import read_rows_of

COLUMNS = ("case", "class", "estimated_dice", "low", "high", "level", "flagged", "flag_below", "note", "mask")
"""`mask`: digest of the mask that was estimated, as in predictions.json; where the two differ, the row is of another
mask."""


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a quality.csv; none if there is no such file. Raises `DataError` if it is damaged."""
    if not file.is_file():
        return []
    return read_rows_of(file, COLUMNS, remedy="Delete it, and write it again by segcct predict --overwrite")
