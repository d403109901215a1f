"""What the evaluation of anonymized predictions keeps apart: files.json, which names files and folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FILES = "files.json"
NOTE = "names files and folders, and by them patients: not to be shared with the anonymized scores"
NAMING = ("command", "predictions", "references")
"""Rows of an evaluation's provenance that name files or folders."""


def apart(sources: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an evaluation says of its sources -> what summary.json may hold of it, and what files.json holds."""
    made = sources["provenance"]
    data = sources["data"]
    told = {
        **sources,
        "anonymized": True,
        "files": {},
        "digests": {case: {"prediction": each["prediction"]} for case, each in sources["digests"].items()},
        "data": None if data is None else {**data, "root": "."},
        "provenance": {key: value for key, value in made.items() if key not in NAMING},
    }
    hidden = {
        "note": NOTE,
        "files": sources["files"],
        "digests": sources["digests"],
        "provenance": {key: value for key, value in made.items() if key in NAMING},
    }
    return told, hidden


def together(summary: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """A summary with what files.json says again, so that a report finds the pictures."""
    parts = [part if isinstance(part, Mapping) else {} for part in (summary.get("provenance"), files.get("provenance"))]
    digests = files.get("digests") or summary.get("digests") or {}
    return {**summary, "files": files.get("files") or {}, "digests": digests, "provenance": {**parts[0], **parts[1]}}
