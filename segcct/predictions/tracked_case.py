"""One case of a folder of masks: found finished, or predicted; and the row that says what became of it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from segcct.case_runner import CaseOutcome, Done, Failed
from segcct.datasets.case import Case
from segcct.errors import DataError
from segcct.files.remote_file import fetch, is_uri
from segcct.hardware.memory import peak_memory_mb
from segcct.images.content_digest import content_digest
from segcct.predictions.case_files import remove_files
from segcct.predictions.case_journal import Journal
from segcct.predictions.case_tables import Rows

FileIdentity = tuple[int, int]
"""Size and time of modification (ns), the same on all machines that see a file; of one that takes its place, others."""


class Span(NamedTuple):
    """When a case was worked on."""

    process: str
    """By which process of which machine."""
    began: float
    """Seconds on the clock of that process."""
    ended: float


@dataclass(frozen=True)
class PredictedCase:
    """A case with its mask."""

    mask: Path
    digest: str
    synthetic: bool
    """The images say that they were generated."""
    tables: Mapping[str, CaseOutcome[Rows]] = field(default_factory=dict)
    """Table -> the rows of this case, or why there are none."""
    input: str | None = None
    """Digest of the files that were read."""
    seconds: float = 0.0
    """From the reading of its files to the writing of its mask."""
    span: Span | None = None
    """None where only its row is known, as of one that was finished by an earlier call."""
    peak_memory_mb: float | None = None
    """Most memory of the process until then, in MB."""
    unlike: tuple[str, ...] = ()
    """In what the case is unlike those that the model was trained on; see input_ranges.py."""
    is_new: bool = True
    """False: it was finished by an earlier call."""
    files: tuple[str, ...] = ()
    """Its files next to the mask, such as probabilities, relative to the folder."""

    def row(self) -> dict[str, Any]:
        """What predictions.json says of the case, and under `tables` its rows of tables."""
        tables = {file: rows.value for file, rows in self.tables.items() if isinstance(rows, Done)}
        return {
            "mask": self.mask.name,
            "digest": self.digest,
            "synthetic": self.synthetic,
            "status": "done",
            "reason": None,
            "seconds": round(self.seconds, 3),
            "peak_memory_mb": self.peak_memory_mb,
            "input": self.input,
            "unlike_training": list(self.unlike),
            "files": list(self.files),
            "tables": {file: [_bound(row, self.digest) for row in rows] for file, rows in tables.items()},
        }


class FolderCase(NamedTuple):
    """A case as it is handed to the work on it."""

    name: str
    """Of its mask."""
    case: Case
    earlier: Mapping[str, Any] | None
    """Its entry in predictions.json, if that says that it was finished by the same model under the same settings. One
    without digests is of a mask that stays only until another takes its place."""
    stood: Mapping[str, FileIdentity]
    """Its files, relative to the folder, as they were when the call began. Others were written by this call: no clock
    tells that, for it may have been wrong before, or is another machine's."""

    @classmethod
    def of(cls, folder: Path, name: str, case: Case, earlier: Mapping[str, Any] | None) -> FolderCase:
        """As a call finds it when it begins."""
        files = () if earlier is None else (earlier["mask"], *earlier["files"])
        stood = {file: found for file in files if (found := _identity(folder / file)) is not None}
        return cls(name, case, earlier, stood)

    def stands(self, folder: Path, file: str) -> bool:
        """Whether a file is still the one that was there when the call began."""
        return file in self.stood and _identity(folder / file) == self.stood[file]

    def keeps_mask(self, folder: Path) -> bool:
        """Whether the mask is the one of the call that finished the case."""
        return self.earlier is not None and self.is_finished and self.stands(folder, self.earlier["mask"])

    @property
    def is_finished(self) -> bool:
        """An earlier call finished it, as far as can be said without reading its files."""
        return self.earlier is not None and self.earlier["digest"] is not None


@dataclass(frozen=True)
class TrackedWork:
    """Work on cases of a folder that keeps what is finished, and notes in the journal what it finishes; pickles."""

    work: Callable[[tuple[str, Case]], PredictedCase]
    """(name of the mask, case) -> its mask, written into the folder."""
    journal: Journal
    suffixes: Sequence[str] = ()
    """Of the masks."""
    tables: Sequence[str] = ()
    """Those that the work gives rows for."""

    def __call__(self, job: FolderCase) -> PredictedCase:
        """The case with its mask: the existing one, if it and the files it was made from are unchanged, else a new one.

        Files of the earlier call that are not kept are removed, even if the case fails. Those of a finished case go as
        soon as its input or mask proves to have changed, so that they do not outlive a process that dies; others go at
        the end. A file that has been replaced meanwhile, by another attempt of this call such as a copy of its task,
        stays. A finished case whose input cannot be fetched or read keeps its files, since nothing says that the input
        has changed.
        """
        began, folder = time.monotonic(), self.journal.folder
        self.journal.require_here()
        digest: str | None = None
        try:
            with local_case(job.case, folder) as case:
                with nullcontext() if job.is_finished else suppress(DataError):  # which reading the case reports
                    digest = input_digest(case)
                made = self._done(job._replace(case=case), digest, began)
        except Exception:
            if digest is None and job.is_finished:
                raise
            self._remove_standing(job)
            if not self._has_new_mask(job):
                remove_files(folder, [job.name])
            raise
        if made.is_new:
            self._remove_standing(job, but=(made.mask.name, *made.files))
        return made

    def _done(self, job: FolderCase, digest: str | None, began: float) -> PredictedCase:
        if (finished := self._by_another_attempt(job, digest)) is not None:
            return finished
        if job.earlier is not None:
            mask = self.journal.folder / job.earlier["mask"]
            if job.earlier["input"] == digest and _is(mask, job.earlier["digest"]):
                return recorded(mask, job.earlier, is_new=False)
            if job.is_finished:
                self._remove_standing(job)
        made = self.work((job.name, job.case))
        span = Span(f"{socket.gethostname()}-{os.getpid()}", began, time.monotonic())
        seconds = span.ended - began
        made = replace(made, input=digest, seconds=seconds, span=span, peak_memory_mb=peak_memory_mb())
        with suppress(OSError):  # a full disk; predictions.json has the row if this call ends
            self.journal.add(job.name, made.row())
        return made

    def _by_another_attempt(self, job: FolderCase, digest: str | None) -> PredictedCase | None:
        """The case as another attempt of this call has finished it, if one has: a task of several cases is repeated as
        a whole where its process dies."""
        if not self._has_new_mask(job):
            return None
        row = self.journal.rows().get(job.name)
        if row is None or row["status"] != "done" or digest is None or row["input"] != digest:
            return None
        mask, tables = self.journal.folder / row["mask"], row["tables"]
        if not set(self.tables) <= tables.keys() or not _is(mask, row["digest"]):
            return None
        return replace(recorded(mask, row, is_new=True), tables={file: Done(file, tables[file]) for file in tables})

    def _remove_standing(self, job: FolderCase, *, but: Sequence[str] = ()) -> None:
        """Remove the files of the earlier call; not those that replaced them, which have the same time where a file
        system counts whole seconds."""
        for file in job.stood:
            if file not in but and job.stands(self.journal.folder, file):
                (self.journal.folder / file).unlink(missing_ok=True)

    def _has_new_mask(self, job: FolderCase) -> bool:
        files, folder = [f"{job.name}{suffix}" for suffix in self.suffixes], self.journal.folder
        return any((folder / file).is_file() and not job.stands(folder, file) for file in files)


def failed_row(outcome: Failed) -> dict[str, Any]:
    """As `PredictedCase.row` for a case that has no mask."""
    return {
        "status": "failed",
        "reason": "; ".join(outcome.reasons),
        "digest": None,
        "input": None,
        "files": [],
        "seconds": None if outcome.seconds is None else round(outcome.seconds, 3),
        "peak_memory_mb": outcome.peak_memory_mb,
    }


def input_digest(case: Case) -> str:
    """Digest of the files that a prediction reads. Raises `DataError` where one is missing or cannot be read."""
    if case.error is not None:
        raise case.error
    return content_digest([file for files in (*case.channels.values(), case.mask or ()) for file in files])


@contextmanager
def local_case(case: Case, folder: Path) -> Iterator[Case]:
    """The case with copies of its remote files in a folder, as long as the block runs; those of a killed process are
    removed from a folder of masks after a day, as any temporary file."""
    remote = [file for file in case.files() if is_uri(file)]
    if not remote:
        yield case
        return
    temporary = folder / f".remote-part-{secrets.token_hex(4)}"
    try:
        places = {file: fetch(file, temporary / str(number)) for number, file in enumerate(remote)}

        def copies(files: tuple[Path, ...]) -> tuple[Path, ...]:
            return tuple(places.get(file, file) for file in files)

        channels = {name: copies(files) for name, files in case.channels.items()}
        yield replace(case, channels=channels, label=None, mask=None if case.mask is None else copies(case.mask))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recorded(mask: Path, entry: Mapping[str, Any], *, is_new: bool) -> PredictedCase:
    """A case restored from its row, without its tables, which are written already or lie in the journal."""
    return PredictedCase(
        mask,
        entry["digest"],
        bool(entry["synthetic"]),
        input=entry["input"],
        seconds=entry["seconds"],
        peak_memory_mb=entry["peak_memory_mb"],
        unlike=tuple(entry["unlike_training"]),
        files=tuple(entry["files"]),
        is_new=is_new,
    )


def _identity(file: Path) -> FileIdentity | None:
    """None where there is no such file."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and content_digest([file]) == digest


def _bound(row: Mapping[str, str], digest: str) -> dict[str, str]:
    """A row that names the mask it is of, if its table does that."""
    return {**row, "mask": digest} if "mask" in row else dict(row)
