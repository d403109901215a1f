"""Tables with rows of every predicted case, next to the masks: quality.csv, volumes.csv."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segcct.files.table_file import read_rows_of, write_records

if TYPE_CHECKING:
    from segcct.inference.predictor import Segmented

QUALITY, VOLUMES = "quality.csv", "volumes.csv"
Rows = list[dict[str, str]]


@dataclass(frozen=True)
class CaseTable:
    """One of the tables, for the one pass through the cases; it pickles with the work on a case."""

    file: str
    rows_of: Callable[[Segmented], Rows]
    """A case -> its rows, without the column `case`; a column `mask` gets the digest of the case's mask."""
    needs_probabilities: bool = False
    needs_agreement: bool = False
    """Of the members, if the model is an ensemble."""
    calibration: str | None = None
    """Digest of what its rows depend on besides the case and its mask; see `settings_of`."""


def cases_in(folder: Path, file: str) -> dict[str, str]:
    """Case -> the digest of the mask that its rows belong to."""
    path = folder / file
    return {row["case"]: row["mask"] for row in _read(path)} if path.is_file() else {}


def merge_rows(
    folder: Path,
    rows: Mapping[str, Mapping[str, Rows]],
    *,
    listed: Collection[str],
    drop: Collection[str] = (),
    private: bool = True,
) -> None:
    """Bring the tables of a folder up to date.

    Args:
        folder: the output folder; the caller holds its lock.
        rows: case -> table -> its rows, which replace earlier ones.
        listed: the cases of predictions.json; rows of other cases, which belong to another model's masks, are removed.
        drop: cases whose rows are no longer of their masks.
        private: the names of the cases may name patients.
    """
    present = {file for file in (QUALITY, VOLUMES) if (folder / file).is_file()}
    for file in sorted(present.union(*rows.values())):
        stored = _read(folder / file) if file in present else []
        new = [{"case": name, **row} for name, tables in rows.items() for row in tables.get(file, [])]
        replaced = {row["case"] for row in new}.union(drop)
        kept = [row for row in stored if row["case"] not in replaced and row["case"] in listed]
        if new or len(kept) < len(stored):
            merged = sorted([*kept, *new], key=lambda row: row["case"])
            columns = list(dict.fromkeys(name for row in (*new[:1], *stored[:1]) for name in row))
            write_records(folder / file, columns, merged, private=private)


def _read(file: Path) -> Rows:
    return read_rows_of(file, ["case", "mask"], remedy="Delete it, and write it again by segcct predict --overwrite")
