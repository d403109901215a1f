"""What is done and what is missing in a folder of masks: `segcct predict --status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcct.datasets.case import Case
from segcct.datasets.folder_tree import unread_places
from segcct.errors import items, of_case
from segcct.plurals import counted
from segcct.predictions.case_journal import journals_in
from segcct.predictions.finished_cases import finished_cases
from segcct.predictions.mask_files import FORMATS
from segcct.predictions.mask_options import FormatName
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.prediction_request import Request
from segcct.predictions.predictions_index import Index

_MOST_NAMED = 20
_UNKNOWN = "a process that may have ended (its lock cannot be tested: no file locks here, or no right to write)"


@dataclass(frozen=True)
class FolderStatus:
    """How far a prediction is. Reads what predictions.json and journals say, and no scan or mask."""

    folder: Path
    finished: Sequence[str]
    """Cases that this model predicted under these settings, and whose masks exist."""
    failed: Mapping[str, str]
    """Case -> why."""
    missing: Sequence[str]
    left: tuple[Case, ...]
    """The failed and missing cases."""
    untried: tuple[Case, ...]
    """The missing ones."""
    processes: Sequence[tuple[str, int]]
    """The processes that predict into the folder now, and how many of the missing cases are theirs."""
    unread: str = ""
    """Says that parts of the input could not be read, so that their cases are not counted."""

    def __str__(self) -> str:
        total = counted(len(self.finished) + len(self.failed) + len(self.missing), "case")
        lines = [
            f"{self.folder}: {len(self.finished)} of {total} finished, {len(self.failed)} failed, "
            f"{len(self.missing)} missing"
        ]
        lines += [f"{process} predicts {counted(cases, 'case')} of them" for process, cases in self.processes]
        if self.failed:
            lines.append("failed:" + items([of_case(name, reason) for name, reason in self.failed.items()]))
        if self.missing:
            lines.append("missing:" + items(self.missing, most=_MOST_NAMED))
        if self.unread:
            lines.append(self.unread)
        return "\n".join(lines)


def folder_status(
    made_by: MaskSource,
    request: Request,
    output: Path,
    *,
    how: Mapping[str, Any],
    tables: Sequence[str] = (),
    mask_format: FormatName = "nifti",
) -> FolderStatus:
    """The status of a folder that `predict_folder` writes, or was killed in; no lock is needed, see `Index`.

    Args:
        made_by: what makes the masks.
        request: the cases.
        output: the folder.
        how: `settings_of` the prediction.
        tables: those that hold rows of a finished case.
        mask_format: as of the prediction.

    Raises:
        RunError: the folder holds another model's predictions.
    """
    suffixes, anonymized = FORMATS[request.mask_format(mask_format)].suffixes, request.anonymize
    index = Index.open(output, made_by, request.data, request.selection, overwrite=False, anonymized=anonymized)
    names = index.named(request.cases)
    entries = finished_cases(index, names, how, tables=tables, suffixes=suffixes)
    finished = [name for name in names if name in entries and (output / entries[name]["mask"]).is_file()]
    failed = {
        name: str(index.earlier[name].get("reason"))
        for name in names
        if index.earlier.get(name, {}).get("status") == "failed"
    }
    unfinished = names.keys() - set(finished)
    missing = sorted(unfinished - failed.keys())
    left = tuple(case for name, case in names.items() if name in unfinished)
    untried = tuple(names[name] for name in missing)
    processes = [
        (process, len(journal.claimed().intersection(missing)))
        for journal in journals_in(output)
        if (process := journal.holder(unknown=_UNKNOWN))
    ]
    unread = unread_places(request.unread, named=not anonymized)
    return FolderStatus(output, finished, failed, missing, left, untried, processes, unread)
