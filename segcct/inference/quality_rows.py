"""quality.csv: its rows are read, removed and written here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from segcct.files.table_file import read_rows_of, write_records

TABLE = "quality.csv"
COLUMNS = ("case", "class", "estimated_dice", "low", "high", "level", "doubtful", "doubtful_below", "note", "mask")
"""`mask`: digest of the mask that was estimated, as in predictions.json; another digest there is another mask."""
_SINCE_0_2 = ("mask",)


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a quality.csv; none if there is no such file. Raises `DataError` if it is damaged."""
    if not file.is_file():
        return []
    needed = [name for name in COLUMNS if name not in _SINCE_0_2]
    return read_rows_of(file, needed, remedy="Delete it, and write it again by segcct predict --overwrite")


def keep_rows(folder: Path, cases: Collection[str], *, private: bool = True) -> None:
    """Remove all other cases from the folder's quality.csv: their masks are another model's, or predicted again."""
    file = folder / TABLE
    if file.is_file():
        write_rows(file, [row for row in read_rows(file) if row["case"] in cases], private=private)


def write_rows(file: Path, rows: Sequence[Mapping[str, str]], *, private: bool = True) -> None:
    """Write a quality.csv atomically; `private` if its ids are not hashed."""
    write_records(file, COLUMNS, rows, private=private)
