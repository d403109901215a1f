"""CSV tables: written atomically and harmless for a spreadsheet; read back checked, cells as they were."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segcct.errors import DataError, SegcctError
from segcct.escape import for_cell, from_cell
from segcct.files.atomic_file import atomic_path
from segcct.files.json_file import reason_of_parse
from segcct.files.small_file import read_small
from segcct.plurals import listed

MOST_BYTES = 512 * 2**20
_COMMAS = "Save it with commas between the columns"


def write_csv(file: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, private: bool = False) -> None:
    """Write a table; text that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        file: its folder is made when missing.
        columns: the header.
        rows: as long as the header; None is an empty cell.
        private: the file names patients, and is for its owner alone.
    """
    with (
        atomic_path(file, private=private) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow([for_cell(name) for name in columns])
        writer.writerows([for_cell(cell) for cell in row] for row in rows)


def write_records(
    file: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, private: bool = False
) -> None:
    """As `write_csv` for rows by column name; columns that a row lacks are empty, others of it are left out."""
    write_csv(file, columns, ([row.get(name, "") for name in columns] for row in rows), private=private)


def read_rows_of(
    file: Path,
    columns: Sequence[str] = (),
    *,
    error: type[SegcctError] = DataError,
    remedy: str | None = None,
    most_bytes: int = MOST_BYTES,
) -> list[dict[str, str]]:
    """The rows of a table, each as column -> cell; none where there is only a header.

    Args:
        file: the table.
        columns: what the header must name, among others.
        error: the class of the error.
        remedy: what to do next, for the error.
        most_bytes: a larger file is not read.

    Raises:
        SegcctError: of class `error`, naming the file, and the line where there is one.
    """
    lines = _lines(file, error, remedy, most_bytes)
    header = lines[0][1] if lines else []
    if not header or not set(columns) <= set(header):
        found = listed(header, 8) or "an empty file"
        remedy = _COMMAS if _is_divided_otherwise(",".join(header)) else remedy
        raise error("columns are missing", file=file, found=found, expected=", ".join(columns) or None, remedy=remedy)
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise error("a column is listed twice", file=file, found=repr(twice[:40]), remedy=remedy)
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise error(f"line {number} has a different number of cells than the header", file=file, remedy=remedy)
    return [dict(zip(header, cells, strict=True)) for _, cells in lines[1:]]


def _is_divided_otherwise(header: str) -> bool:
    """Whether the first line of a table has other characters than commas between its columns."""
    return "," not in header and (";" in header or "\t" in header)  # as some spreadsheets write tables


def _lines(file: Path, error: type[SegcctError], remedy: str | None, most: int) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    text = ""
    try:
        text = read_small(file, most).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        if "\0" in text:
            raise csv.Error("a null character")
        return [(reader.line_num, [from_cell(cell) for cell in cells]) for cells in reader if cells]
    except FileNotFoundError:
        raise error("no such file", file=file, remedy=remedy) from None
    except (OSError, ValueError, csv.Error) as problem:
        found = reason_of_parse(problem)
        if isinstance(problem, UnicodeDecodeError):
            remedy = remedy or "Save it as text in UTF-8"
        elif _is_divided_otherwise(text.partition("\n")[0]):
            remedy = _COMMAS
        raise error("is not a table of text", file=file, found=found, remedy=remedy) from None
