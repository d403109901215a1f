"""The cases of a folder that earlier calls have finished, so that `--continue` keeps their masks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from segcct.plurals import counted
from segcct.predictions.case_files import MEMBERSHIPS, PROBABILITIES, files_of_cases
from segcct.predictions.case_tables import cases_in
from segcct.predictions.predictions_index import Index
from segcct.progress import say


def finished_cases(
    index: Index,
    names: Collection[str],
    how: Mapping[str, Any],
    *,
    suffixes: Sequence[str],
    tables: Sequence[str] = (),
) -> dict[str, Mapping[str, Any]]:
    """Name -> entry of the cases that an earlier call finished under the same settings, as far as can be said without
    reading their files.

    Args:
        index: of the folder.
        names: the cases in question.
        how: the settings, as for `Index.expect`.
        suffixes: how their files may end.
        tables: the tables that must hold rows of their masks.
    """
    rows = index.rows_of_others()
    digests = [
        cases_in(index.folder, table)
        | {name: row["digest"] for name, row in rows.items() if table in row.get("tables", {})}
        for table in tables
    ]
    files = files_of_cases(index.folder, names)
    return {
        name: {**entry, "files": files.get(name, [])}
        for name, entry in listed_cases(index, names, how, suffixes=suffixes).items()
        if entry.get("digest")
        and entry.get("input")
        and all(digest.get(name) == entry["digest"] for digest in digests)
        and _has_its_files(entry, how, files.get(name, []))
    }


def listed_cases(
    index: Index, names: Collection[str], how: Mapping[str, Any], *, suffixes: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """As `finished_cases`, also the cases that the earlier call did not finish."""
    return {
        name: entry
        for name, entry in index.earlier.items()
        if name in names
        and entry["mask"].removeprefix(name) in suffixes
        and all(entry.get(key) == value for key, value in how.items())
    }


def say_outdated(index: Index, names: Collection[str], how: Mapping[str, Any]) -> None:
    """A line on stderr if masks of an earlier call are to be made again only because settings have changed."""
    done = [entry for name, entry in index.earlier.items() if name in names and entry.get("digest")]
    changed = [other for entry in done if (other := [key for key, value in how.items() if entry.get(key) != value])]
    if changed:
        keys = ", ".join(key for key in how if any(key in other for other in changed))
        say(f"made again because of other settings ({keys}): {counted(len(changed), 'mask')}")


def _has_its_files(entry: Mapping[str, Any], how: Mapping[str, Any], existing: Sequence[str]) -> bool:
    """Whether all files next to the mask exist, where such files are asked for."""
    if not any(how.get(name) for name in (PROBABILITIES, MEMBERSHIPS)):
        return True
    files = entry.get("files")
    return bool(existing) and isinstance(files, list) and all(file in existing for file in files)
