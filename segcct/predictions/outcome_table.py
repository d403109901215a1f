"""outcomes.parquet: what became of each case of a folder, for data platforms; predictions.json says the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from segcct.extras import import_extra
from segcct.files.atomic_file import atomic_path
from segcct.files.json_file import read_object
from segcct.predictions.predictions_index import INDEX

OUTCOMES = "outcomes.parquet"
_TEXTS = ("status", "reason", "mask", "digest", "input", "precision")
_NUMBERS = ("seconds", "peak_memory_mb")


@contextmanager
def outcomes_after(folder: Path, *, wanted: bool) -> Iterator[None]:
    """Write the table after the block where it is wanted, else bring that of an earlier call up to date, also where the
    block raises.

    Raises as `write_outcomes`.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the error of the block is more informative
            _update(folder)
        raise
    if wanted:
        write_outcomes(folder)
    else:
        _update(folder)


def _update(folder: Path) -> None:
    """Write an existing table again; without pyarrow, remove it, since it is outdated."""
    if not (folder / OUTCOMES).is_file():
        return
    if find_spec("pyarrow") is None:
        (folder / OUTCOMES).unlink()
    else:
        write_outcomes(folder)


def write_outcomes(folder: Path) -> Path:
    """A row for each case that predictions.json lists: `case`, its status, reason, digests, seconds, memory.

    Raises:
        PackageError: pyarrow is not installed.
        DataError: there is no predictions.json.
    """
    arrow, parquet = import_extra("pyarrow", "spark"), import_extra("pyarrow.parquet", "spark")
    content = read_object(folder / INDEX)
    rows = [{"case": name, **entry} for name, entry in content["cases"].items()]
    columns = {name: arrow.string() for name in ("case", *_TEXTS)} | {name: arrow.float64() for name in _NUMBERS}
    table = arrow.Table.from_pylist(rows, arrow.schema(list(columns.items())))
    with atomic_path(folder / OUTCOMES, private=not content.get("anonymized")) as temporary:
        parquet.write_table(table, temporary)
    return folder / OUTCOMES
