"""sources.json: the cases and files behind hashed names, and the key of the hash."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcct.errors import DataError
from segcct.files.file_names import absolute
from segcct.files.json_file import read_object, write_json
from segcct.files.json_record import LONGEST_NAME
from segcct.files.pseudonyms import KEY_BYTES
from segcct.provenance import invocation

SOURCES = "sources.json"
NOTE = "names patients, files and folders: not to be shared with the anonymized masks"


def move_to_sources(
    cases: Mapping[str, dict[str, Any]], folder: Path, key: str, root: Path, new: Mapping[str, Mapping[str, Any]]
) -> None:
    """Move to sources.json what predictions.json must not say.

    Args:
        cases: name of a mask -> its entry in predictions.json, from which the digest of the input is removed.
        folder: that of the masks.
        key: of the hashed names.
        root: the folder of the input.
        new: name of a mask -> id and files of its case, of this call.
    """
    sources: dict[str, Mapping[str, Any]] = {**read_sources(folder), **new}
    for name, entry in cases.items():
        digest = entry.pop("input", None)  # it would link a scan to its mask
        if digest and name in sources:
            sources[name] = {**sources[name], "input": digest}
    hidden = {
        "note": NOTE,
        "key": key,
        "root": absolute(root),
        "command": invocation(),
        "cases": {name: sources[name] for name in cases if name in sources},
    }
    write_json(folder / SOURCES, hidden, private=True)


def read_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """Name of a mask -> id and files of its case; empty if sources.json was removed, or is damaged."""
    try:
        cases: dict[str, dict[str, Any]] = read_object(folder / SOURCES)["cases"]
        return dict(cases) if all(are_channels(entry["channels"]) for entry in cases.values()) else {}
    except (DataError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def are_channels(channels: Any) -> bool:
    """Whether a value read from a file is a mapping from channels to lists of file names."""
    if not isinstance(channels, dict) or not all(isinstance(files, list) for files in channels.values()):
        return False
    return all(isinstance(file, str) and len(file) <= LONGEST_NAME for files in channels.values() for file in files)


def read_key(folder: Path) -> str | None:
    """The key of a folder's hashed names; None if there is none."""
    try:
        key = str(read_object(folder / SOURCES)["key"])
        return key if len(bytes.fromhex(key)) == KEY_BYTES else None
    except (DataError, ValueError, KeyError):
        return None
