"""Evaluations of anonymized predictions: everything that names files or folders goes to files.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FILES = "files.json"
NOTE = "names files and folders, which can identify patients: not to be shared with the anonymized scores"
NAMING = ("command", "predictions", "references")
"""Rows of an evaluation's provenance that name files or folders."""


def redact(sources: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the sources of a summary into those that name no file, and the content of files.json."""
    provenance = sources["provenance"]
    data = sources["data"]
    redacted = {
        **sources,
        "anonymized": True,
        "files": {},
        "digests": {case: {"prediction": digests["prediction"]} for case, digests in sources["digests"].items()},
        "data": None if data is None else {**data, "root": "."},
        "provenance": {key: value for key, value in provenance.items() if key not in NAMING},
    }
    hidden = {
        "note": NOTE,
        "files": {case: files.to_json() for case, files in sources["files"].items()},
        "digests": sources["digests"],
        "provenance": {key: value for key, value in provenance.items() if key in NAMING},
    }
    return redacted, hidden


def restore(summary: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """The content of summary.json completed by that of files.json, so that a report finds the images."""
    parts = [part if isinstance(part, Mapping) else {} for part in (summary.get("provenance"), files.get("provenance"))]
    digests = files.get("digests") or summary.get("digests") or {}
    return {**summary, "files": files.get("files") or {}, "digests": digests, "provenance": {**parts[0], **parts[1]}}
