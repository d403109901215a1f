"""Cases listed in a table, CSV or Parquet: a column with their ids and one for each channel, with paths or URIs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from segcct.datasets.case import Case
from segcct.errors import DataError, short_reason
from segcct.extras import import_extra
from segcct.files.file_names import spellings
from segcct.files.remote_file import is_uri, path_of
from segcct.files.table_file import read_rows_of
from segcct.plurals import listed

ID, MASK = "case", "mask"
SUFFIXES = (".csv", ".parquet")


def is_case_table(file: Path) -> bool:
    """Whether a path is a table by its name; Spark writes a Parquet table as a folder of parts."""
    return file.suffix.lower() in SUFFIXES and (file.is_file() or (file.suffix.lower() == ".parquet" and file.is_dir()))


def read_case_table(file: Path, channels: Sequence[str], *, needs_mask: bool = False) -> list[Case]:
    """The cases of a table, sorted by id.

    Args:
        file: the table, with column `case` and one for each channel; other columns are ignored. Its paths may be
            relative to its own folder.
        channels: the columns that hold files.
        needs_mask: also read column `mask`, the region for intensity normalization.

    Raises:
        PackageError: pyarrow, which reads Parquet, is not installed.
        DataError: a column is missing, a cell is empty, or an id cannot be the name of a file or is listed twice.
    """
    columns = [ID, *channels, *([MASK] if needs_mask else [])]
    rows = _parquet(file, columns) if file.suffix.lower() == ".parquet" else read_rows_of(file, columns)
    if not rows:
        raise DataError("lists no case", file=file)
    times = Counter(row[ID] for row in rows)
    for number, row in enumerate(rows, start=1):
        if empty := [name for name in columns if not row[name]]:
            raise DataError("an empty cell", file=file, found=f"column {empty[0]} of row {number}")
        if PurePath(row[ID]).name != row[ID]:
            raise DataError("a case id that cannot be the name of a file", file=file, found=row[ID])
        if times[row[ID]] > 1:
            raise DataError("a case is listed twice", file=file, found=row[ID])
    return sorted((_case(row, file.parent, channels, needs_mask) for row in rows), key=lambda case: case.id)


def _case(row: Mapping[str, str], folder: Path, channels: Sequence[str], needs_mask: bool) -> Case:
    def located(text: str) -> tuple[Path]:
        return (path_of(text) if is_uri(text) else _as_stored(folder, text),)

    mask = located(row[MASK]) if needs_mask else None
    return Case(row[ID], row[ID], {name: located(row[name]) for name in channels}, mask=mask)


def _as_stored(folder: Path, text: str) -> Path:
    """The path that a table names, in the Unicode spelling that its file has."""
    paths = [folder / spelling for spelling in spellings(text)]
    return paths[0] if len(paths) == 1 else next(filter(os.path.lexists, paths), paths[0])


def _parquet(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    parquet: Any = import_extra("pyarrow.parquet", "spark")
    try:
        table = parquet.ParquetDataset(file)
        names = table.schema.names
        if not set(columns) <= set(names):
            raise DataError("columns are missing", file=file, found=listed(names, 8), expected=", ".join(columns))
        rows = table.read(columns=list(columns)).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise DataError("is not a Parquet file", file=file, found=short_reason(error)) from None
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
