"""Cases listed in a table, CSV or Parquet: a column with their ids and one for each channel, with paths or URIs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from segcct.datasets.case import Case
from segcct.errors import DataError, short_reason
from segcct.extras import import_extra
from segcct.files.file_names import as_stored, composed
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
        DataError: a column is missing, an id is empty, cannot be the name of a file or is listed twice, or no row names
            all files. A row that lacks one gives a case with an error.
    """
    columns = [ID, *channels, *([MASK] if needs_mask else [])]
    rows = _parquet(file, columns) if file.suffix.lower() == ".parquet" else read_rows_of(file, columns)
    if not rows:
        raise DataError("lists no case", file=file)
    times = Counter(composed(row[ID]) for row in rows)
    for number, row in enumerate(rows, start=1):
        if not row[ID]:
            raise DataError("an empty cell", file=file, found=f"column {ID} of row {number} below the header")
        if PurePath(row[ID]).name != row[ID] or row[ID].startswith("."):  # which hides the mask
            raise DataError("a case id that cannot be the name of a mask", file=file, found=row[ID])
        if times[composed(row[ID])] > 1:
            raise DataError("a case is listed twice", file=file, found=row[ID])
    cases = [_case(row, file, channels, needs_mask=needs_mask) for row in rows]
    errors = [case.error for case in cases if case.error is not None]
    if len(errors) == len(cases):
        raise errors[0]
    return sorted(cases, key=lambda case: case.id)


def _case(row: Mapping[str, str], file: Path, channels: Sequence[str], *, needs_mask: bool) -> Case:
    """The case of a row; one with an empty cell lacks that file."""
    if empty := [name for name in (*channels, *([MASK] if needs_mask else [])) if not row[name]]:
        error = DataError("an empty cell", file=file, found=f"column {empty[0]} of case {row[ID]}")
        return Case(row[ID], row[ID], {}, error=error)

    def located(text: str) -> tuple[Path]:
        return (path_of(text) if is_uri(text) else as_stored(file.parent, text),)

    mask = located(row[MASK]) if needs_mask else None
    return Case(row[ID], row[ID], {name: located(row[name]) for name in channels}, mask=mask)


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
