"""Whether the masks and references are still those that were scored: a page must not show others under these scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segcct.errors import SegcctError
from segcct.evaluation.summary_record import CaseFiles
from segcct.images.content_digest import content_digest
from segcct.plurals import counted
from segcct.report.html import listed
from segcct.report.results import Results


def changed_files(results: Results) -> dict[str, str]:
    """Case id -> `mask` or `reference`, where that is another file by now than the evaluation scored.

    Files that are gone are not among them; nor is anything where the evaluation noted no digests.
    """
    changed = {}
    for case, digests in (results.summary.digests or {}).items():
        files = (results.summary.files or {}).get(case, CaseFiles())
        if _is_other(files.prediction, digests.get("prediction")):
            changed[case] = "mask"
        elif _is_other(files.reference, digests.get("reference")):
            changed[case] = "reference"
    return changed


def changed_sentence(results: Results, changed: Mapping[str, str]) -> str:
    """What a reader must know of it; empty where everything is as it was scored."""
    parts = []
    for noun in ("mask", "reference"):
        cases = [case for case, what in changed.items() if what == noun]
        if cases:
            what = (
                f"the {noun} of 1 case is another"
                if len(cases) == 1
                else f"the {noun}s of {counted(len(cases), 'case')} are others"
            )
            parts.append(f"{what} by now ({listed(cases)})")
    if results.other_model:
        parts.append("the folder of predictions holds those of another model by now")
    if not parts:
        return ""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}. The scores are of what was there before: run segcct evaluate again."


def _is_other(files: str | list[str] | None, digest: str | None) -> bool:
    paths = [Path(file) for file in ([files] if isinstance(files, str) else files or ())]
    try:
        return bool(paths and digest) and all(path.exists() for path in paths) and content_digest(paths) != digest
    except (SegcctError, OSError):
        return False  # the page says why the file cannot be read
