"""A folder of masks: cases in, masks, predictions.json and label colors out; what earlier calls finished is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from segcct.case_runner import (
    Backend,
    CaseJob,
    CaseOutcome,
    Done,
    Failed,
    Skipped,
    failures,
    run_cases,
    skipped,
    values,
)
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import unread_places
from segcct.errors import RunError, items, reason_of
from segcct.files.atomic_file import OTHER_OR_OVERWRITE, OTHER_OUTPUT, remove_unfinished
from segcct.plurals import counted
from segcct.predictions.case_files import remove_files
from segcct.predictions.case_journal import Journal, journals_in, new_journal
from segcct.predictions.finished_cases import finished_cases, listed_cases, say_outdated
from segcct.predictions.label_colors import write_label_colors
from segcct.predictions.mask_files import FORMATS
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.prediction_request import Request
from segcct.predictions.predictions_index import INDEX, Index, index_lock
from segcct.predictions.tracked_case import FolderCase, PredictedCase, TrackedWork, failed_row, recorded
from segcct.progress import Report

Existing = Literal["refuse", "replace", "continue"]
"""What happens where the folder has masks of these cases already. `refuse`: that is an error. `replace`: they are
replaced, and so is the index of another model. `continue`: what earlier calls finished is kept."""
_OF_TABLES = ("calibration",)
"""Settings that tables depend on, and masks do not."""


def existing_of(*, overwrite: bool, continue_: bool = False) -> Existing:
    """What the options --overwrite and --continue say, of which one is given at most."""
    if overwrite:
        return "replace"
    return "continue" if continue_ else "refuse"


@dataclass(frozen=True)
class Predictions:
    """The outcomes of one call."""

    output: Path
    """The folder."""
    outcomes: Sequence[CaseOutcome[PredictedCase]]
    unwritten: str = ""
    """Why predictions.json could not be updated, if cases failed too."""
    unread: str = ""
    """Says that parts of the input could not be read, so that their cases are not among the outcomes."""

    @property
    def masks(self) -> list[Path]:
        """The files."""
        return [case.mask for case in values(self.outcomes)]

    @property
    def unlike_training(self) -> str:
        """Names the cases that are unlike those the model was trained on, and in what; empty if none is."""
        done = [each for each in self.outcomes if isinstance(each, Done)]
        odd = [f"{each.name}: {'; '.join(each.value.unlike)}" for each in done if each.value.unlike]
        if not odd:
            return ""
        return f"{len(odd)} of {counted(len(self.outcomes), 'case')} unlike the training cases:{items(odd, most=10)}"

    @property
    def problem(self) -> str:
        """Names every case that failed or was skipped, and why, and what of the input could not be read; empty if
        there is nothing of the kind."""
        reasons = [*failures(self.outcomes), *skipped(self.outcomes)]
        if not reasons:
            return self.unread
        missing = f"{len(self.outcomes) - len(self.masks)} of {counted(len(self.outcomes), 'case')}"
        failed = f"{missing} failed and got no new mask:{items([*reasons, *filter(None, [self.unwritten])])}"
        return "\n".join(filter(None, [failed, self.unread]))


@dataclass(frozen=True)
class MaskFolder:
    """The folder that one call writes masks to, and what is to be in it."""

    path: Path
    made_by: MaskSource
    request: Request
    """The cases."""
    how: Mapping[str, Any]
    """What else the masks depend on, for predictions.json."""
    mask_format: str
    """A row of `FORMATS`."""
    tables: Sequence[str] = ()
    """The tables that the work gives rows for."""
    existing: Existing = field(default="refuse", kw_only=True)

    def write(
        self,
        work: Callable[[tuple[str, Case]], PredictedCase],
        *,
        backend: str | Backend = "serial",
        workers: int = 1,
        max_failures: int | None = None,
        progress: Report | None = None,
        on_start: Callable[[], object] | None = None,
    ) -> Predictions:
        """The masks of every case, predictions.json, and the colors of the labels.

        Args:
            work: (name of the mask, case) -> its mask, written into the folder.
            backend: of `run_cases`.
            workers: cases at a time.
            max_failures: of `run_cases`.
            progress: called with (done, total).
            on_start: called once nothing in the folder is in the way, before the first case.

        Raises:
            RunError: the folder has masks of these cases that `existing` does not provide for; or another model's
                predictions, which only `replace` removes; or another process is predicting one of these cases into it.
            OSError: the folder cannot be written to.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError("is not a folder", file=self.path)
        with new_journal(self.path) as journal:
            with index_lock(self.path):
                index = self._open(journal)
                jobs = self._begin(index)
                journal.claim(index.cases)
                index.write()
                if on_start is not None:
                    on_start()
            outcomes: list[CaseOutcome[PredictedCase]] = []
            tracked = TrackedWork(work, journal, self._suffixes, self.tables)
            run = partial(run_cases, output=self.path, max_failures=max_failures, progress=progress)
            try:
                for outcome, job in zip(run(jobs, tracked, backend=backend, workers=workers), jobs, strict=False):
                    outcomes.append(outcome)
                    _note(index, outcome, job.input)
            finally:
                outcomes, unwritten = self._finish(index, journal, outcomes)
        unread = unread_places(self.request.unread, named=not self.request.anonymize)
        return Predictions(self.path, outcomes, unwritten, unread)

    @property
    def _suffixes(self) -> Sequence[str]:
        return FORMATS[self.mask_format].suffixes

    def _open(self, journal: Journal) -> Index:
        data, selection = self.request.data, self.request.selection
        overwrite, anonymized = self.existing == "replace", self.request.anonymize
        index = Index.open(self.path, self.made_by, data, selection, overwrite=overwrite, anonymized=anonymized)
        index.journal = journal
        return index

    def _begin(self, index: Index) -> list[CaseJob[FolderCase]]:
        """Refuse or remove what is in the way, and list the cases before their masks are written: an evaluation then
        reports the masks that an interrupted prediction did not write as missing."""
        cases = index.named(self.request.cases)
        if self.request.anonymize:  # the order in which the files appear must not reveal anything either
            cases = dict(sorted(cases.items()))
        index.names = cases.keys()
        earlier = self._earlier_entries(index)
        jobs = [FolderCase.of(self.path, name, case, earlier.get(name)) for name, case in cases.items()]
        masks = self._masks_in_the_way(cases, index)
        _refuse_two(index, cases)
        self._refuse_foreign(masks, index)
        index.outdated = {job.name for job in jobs if not job.is_finished}  # no old estimate of a new mask
        self._remove(cases, [file for file, name in masks.items() if name not in earlier], index.outdated)
        for job in jobs:
            self._expect(index, job)
        if self.request.anonymize:
            return [CaseJob(job.case.id, job, job.name) for job in jobs]
        return [CaseJob(job.name, job) for job in jobs]

    def _earlier_entries(self, index: Index) -> dict[str, Mapping[str, Any]]:
        """Name -> the entry of an earlier call that is continued, for the cases whose masks stay: those that it has
        finished; and those whose tables are outdated, without digests, until other masks take their places."""
        if self.existing != "continue" or not index.earlier:
            return {}
        index.write()  # so that the tables hold what killed calls have left in their journals
        finished = finished_cases(index, index.names, self.how, tables=self.tables, suffixes=self._suffixes)
        of_masks = {key: value for key, value in self.how.items() if key not in _OF_TABLES}
        listed = listed_cases(index, index.names, of_masks, suffixes=self._suffixes)
        say_outdated(index, index.names, self.how)
        undone: dict[str, Any] = {"input": None, "digest": None, "files": []}
        kept: dict[str, Mapping[str, Any]] = {name: {**entry, **undone} for name, entry in listed.items()}
        return kept | finished

    def _masks_in_the_way(self, cases: Mapping[str, Case], index: Index) -> dict[Path, str]:
        """The files that are where masks would go, or that the index lists as masks in another format, and the names of
        their cases. Raises `RunError` where one of them is an input."""
        scans = {file.resolve() for case in self.request.cases for file in case.files()}
        listed = {entry["mask"] for entry in index.earlier.values()}
        files = {
            self.path / f"{name}{suffix}": name
            for name in cases
            for each in FORMATS.values()
            for suffix in each.suffixes
            if suffix in self._suffixes or f"{name}{suffix}" in listed
        }
        for file in files:
            if file.resolve() in scans:
                raise RunError("a mask would replace an input file", file=file, remedy=OTHER_OUTPUT)
        return {file: name for file, name in files.items() if file.exists()}

    def _refuse_foreign(self, masks: Mapping[Path, str], index: Index) -> None:
        """Raises `RunError` for masks that are neither to be replaced nor a call's that is continued."""
        if self.existing == "replace":
            return
        continuing = self.existing == "continue"
        foreign = [file for file, name in masks.items() if not (continuing and name in index.earlier)]
        if foreign:
            unlisted, instead = f", and {INDEX} does not list them", ", or --continue to predict what is missing"
            raise RunError(
                f"{len(foreign)} of the masks exist already" + (unlisted if continuing else ""),
                file=self.path,
                found=foreign[0].name,
                remedy=OTHER_OR_OVERWRITE + ("" if continuing else instead),
            )

    def _remove(self, names: Collection[str], masks: Iterable[Path], outdated: Collection[str]) -> None:
        """Remove masks, the files next to outdated ones, and what killed processes left of any of them."""
        remove_unfinished(self.path, [f"{name}{suffix}" for name in names for suffix in self._suffixes])
        for file in masks:
            file.unlink()
        remove_files(self.path, outdated)

    def _expect(self, index: Index, job: FolderCase) -> None:
        """List a case, with what is known of it where an earlier call has finished it."""
        seen = self.request.seen.get(job.case.id)
        index.expect(job.name, job.case, mask=f"{job.name}{self._suffixes[0]}", seen=seen, how=self.how)
        if job.earlier is not None and job.is_finished:
            index.cases[job.name] = {**job.earlier, **index.cases[job.name], "mask": job.earlier["mask"]}

    def _finish(
        self, index: Index, journal: Journal, outcomes: list[CaseOutcome[PredictedCase]]
    ) -> tuple[list[CaseOutcome[PredictedCase]], str]:
        """Write the index and the label colors. Gives the outcomes, corrected by what the journal knows of them, and
        why the index could not be updated, if cases failed too. Raises `OSError` if only that went wrong."""
        try:
            with index_lock(self.path):
                outcomes = _with_finished(outcomes, journal)
                index.write()
                journal.remove()
            if values(outcomes) and not FORMATS[self.mask_format].has_colors and not self.request.of_images:
                write_label_colors(self.path, self.made_by.scheme.classes)
        except OSError as error:  # on a full disk the index written before the work stays
            if not failures(outcomes):
                raise
            return outcomes, reason_of(error)
        return outcomes, ""


def _note(index: Index, outcome: CaseOutcome[PredictedCase], job: FolderCase) -> None:
    """Take the row of a case into the index, and that of a failure into the journal. A finished case that failed keeps
    its row where it keeps its mask, as `TrackedWork` leaves it."""
    if isinstance(outcome, Skipped) or (isinstance(outcome, Failed) and job.keeps_mask(index.folder)):
        return
    row = index.rows[outcome.name] = outcome.value.row() if isinstance(outcome, Done) else failed_row(outcome)
    if not row["files"]:
        index.cases[outcome.name].pop("probabilities", None)
    if isinstance(outcome, Done) and not outcome.value.is_new:
        return
    if isinstance(outcome, Failed) and index.journal is not None:
        with suppress(OSError):  # a full disk, which is reported elsewhere
            index.journal.add(outcome.name, row)
    index.outdated.add(outcome.name)


def _with_finished(
    outcomes: Sequence[CaseOutcome[PredictedCase]], journal: Journal
) -> list[CaseOutcome[PredictedCase]]:
    """The outcomes; a skipped case that was finished before its task was canceled counts as done."""
    rows = journal.rows() if any(isinstance(outcome, Skipped) for outcome in outcomes) else {}

    def corrected(outcome: CaseOutcome[PredictedCase]) -> CaseOutcome[PredictedCase]:
        row = rows.get(outcome.name)
        if not isinstance(outcome, Skipped) or row is None:
            return outcome
        return Done(outcome.name, recorded(journal.folder / row["mask"], row, is_new=True))

    return [corrected(outcome) for outcome in outcomes]


def _refuse_two(index: Index, cases: Mapping[str, Case]) -> None:
    """Raises `RunError` where another process is predicting some of the cases into this folder.

    Where its lock cannot tell, as on a file system without locks, nothing is refused: a killed call looks there like
    one that runs, so nobody could ever continue it. A line on stderr has said that nothing keeps two processes apart.
    """
    for journal in journals_in(index.folder):
        if journal != index.journal and (process := journal.holder()) and (both := journal.claimed() & cases.keys()):
            raise RunError(
                f"another process is predicting {len(both)} of these cases into this folder",
                file=index.folder,
                found=process,
                remedy="Wait until it has ended, or give each of the two its own --shard",
            )
