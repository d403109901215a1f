"""A file, a case folder or a dataset root -> masks and predictions.json in an output folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from segcct.case_runner import Backend, CaseJob, CaseOutcome, Done, Skipped, attempt, failures, run_cases, values
from segcct.datasets.case import Case
from segcct.datasets.image_headers import says_synthetic
from segcct.errors import ModelError, RunError, items, reason_of
from segcct.files.atomic_file import remove_unfinished
from segcct.images.content_digest import content_digest
from segcct.images.volume import Volume
from segcct.inference.batched_inference import Inference
from segcct.inference.case_journal import journals_in, new_journal
from segcct.inference.case_tables import CaseTable
from segcct.inference.ensemble import Ensemble
from segcct.inference.mask_files import FORMATS, save_mask
from segcct.inference.prediction_request import Request, load_case
from segcct.inference.predictions_index import INDEX, Index, index_lock
from segcct.inference.predictor import Predictor
from segcct.inference.probability_files import FOLDER as PROBABILITIES
from segcct.inference.probability_files import save_probabilities
from segcct.inference.shared_batches import images_at_a_time, one_thread_each
from segcct.inference.tracked_case import FolderCase, PredictedCase, TrackedWork, failed_row
from segcct.model_card import ModelCard
from segcct.plurals import counted
from segcct.preparation.input_ranges import unlike
from segcct.progress import Report


@dataclass(frozen=True)
class Predictions:
    """The outcomes of one call."""

    output: Path
    """The folder."""
    outcomes: Sequence[CaseOutcome[PredictedCase]]
    unwritten: str = ""
    """Why predictions.json could not be updated, if cases failed too."""

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
        """Names every case without a mask, and why; empty if all have theirs."""
        reasons = failures(self.outcomes)
        skipped = [outcome for outcome in self.outcomes if isinstance(outcome, Skipped)]
        if skipped:
            reasons.append(f"{skipped[0].reason}: {len(skipped)} more were not begun")
        if not reasons:
            return ""
        missing = f"{len(self.outcomes) - len(self.masks)} of {counted(len(self.outcomes), 'case')}"
        return f"{missing} failed and got no mask:{items([*reasons, *filter(None, [self.unwritten])])}"


@dataclass(frozen=True)
class PredictCase:
    """What is done for one case of a folder: read it, predict it, write its mask.

    It pickles as paths and settings, so that it runs in any process that sees the same files; see `LoadedModel`.
    """

    predictor: Predictor
    reading: Request
    """How the files are read; of a request without its cases."""
    output: Path
    tables: tuple[CaseTable, ...] = ()
    mask_format: str = "nifti"
    keep_largest: bool = False
    anonymize: bool = False
    probabilities: bool = False
    """Write those of each class too."""
    shares_batches: bool = False
    """Several threads do this work, and their images go through the network together."""

    def __call__(self, named: tuple[str, Case]) -> PredictedCase:
        """(name of the mask, case) -> its mask, written into the folder."""
        if not self.shares_batches:
            return self._predict(self.predictor, *named)
        with self.predictor.sharing.network.caller():
            return self._predict(self.predictor.sharing, *named)

    def _predict(self, predictor: Predictor, name: str, case: Case) -> PredictedCase:
        reading = self.reading
        loaded = load_case(reading, case, predictor.scheme, with_label=False)
        soft = self.probabilities or any(table.needs_probabilities for table in self.tables)
        FORMATS[self.mask_format].check(loaded.grid)
        segmented = predictor.segment(loaded, keep_largest=self.keep_largest, keep_probabilities=soft)
        mask = predictor.mask_of(segmented)
        stored = without_description(mask) if self.anonymize else mask
        if self.probabilities:
            save_probabilities(segmented, stored, self.output, name, predictor.scheme)
        file = save_mask(stored, self.output, name, predictor.scheme, mask_format=self.mask_format)
        job = CaseJob(case.id, segmented, name if self.anonymize else None)
        tables = {table.file: attempt(table.rows_of, job) for table in self.tables}
        odd = unlike(segmented.prepared, predictor.card.input_ranges, list(predictor.data.channels))
        return PredictedCase(file, content_digest([file]), says_synthetic(mask), tables, unlike=tuple(odd))


def predict_folder(
    predictor: Predictor,
    request: Request,
    output: Path,
    *,
    tables: Sequence[CaseTable] = (),
    mask_format: str = "nifti",
    keep_largest: bool = False,
    probabilities: bool = False,
    overwrite: bool = False,
    continuing: bool = False,
    anonymize: bool = False,
    backend: Backend | None = None,
    max_failures: int | None = None,
    progress: Report | None = None,
) -> Predictions:
    """Write the mask of every case (see `masks.py`) and predictions.json.

    A case that fails leaves no mask and does not stop the others. Cases that the same model predicted into this folder
    before stay in predictions.json.

    Args:
        predictor: the model.
        request: the cases.
        output: the folder.
        tables: written next to the masks from the same one pass.
        mask_format: `nifti`, or `dicom-seg` for DICOM images; masks of 2-D images are 2-D images.
        keep_largest: keep only the largest component of each class.
        probabilities: also write the probabilities of each class; see probability_files.py.
        overwrite: replace earlier masks, and another model's index.
        continuing: keep what earlier calls finished: the masks that are whole, by this model under these settings, of
            inputs that are as they were, with their rows in `tables`. Everything else is predicted again.
        anonymize: name masks by hashed ids; what names a file or an id then goes to sources.json.
        backend: of `run_cases`, in place of threads; each of its workers then has `cases_at_a_time`.
        max_failures: of `run_cases`.
        progress: called with (done, total).

    Raises:
        RunError: the folder has masks of these cases, and neither `overwrite` nor `continuing` is on; or another
            model's predictions, and `overwrite` is off; or another process predicts one of these cases into it; or
            masks in this format name the patient, and they are to be anonymized.
        PackageError: the format needs a package that is not installed.
        OSError: the folder cannot be written to.
    """
    mask_format = request.mask_format(mask_format, anonymize=anonymize)
    if probabilities and predictor.how.protocol == "transunet":
        raise ModelError("the published slice protocol has no probabilities", remedy="Leave --protocol out")
    how = settings_of(
        predictor.card,
        predictor.how,
        keep_largest=keep_largest,
        probabilities=probabilities,
        calibration=next((table.calibration for table in tables if table.calibration), None),
    )
    reading = replace(request, cases=(), seen={})
    shared = shares_batches(predictor, request, tables)
    workers = cases_at_a_time(predictor, request, tables)
    work = PredictCase(
        predictor, reading, output, tuple(tables), mask_format, keep_largest, anonymize, probabilities, shared
    )
    with one_thread_each(shared and predictor.how.device == "cpu"):
        return write_masks(
            predictor.card,
            request,
            output,
            work,
            how=how,
            mask_format=mask_format,
            tables=[table.file for table in tables],
            backend=backend or ("threads" if workers > 1 else "serial"),
            workers=workers,
            overwrite=overwrite,
            max_failures=max_failures,
            continuing=continuing,
            anonymize=anonymize,
            progress=progress,
        )


def shares_batches(predictor: Predictor, request: Request, tables: Sequence[CaseTable]) -> bool:
    """Whether cases go through the network together: 2-D images, unless the network is adapted to each, or the
    agreement of an ensemble's members on each is counted."""
    counts = isinstance(predictor.network, Ensemble) and any(table.needs_probabilities for table in tables)
    alike = predictor.how.adapt == "none" and not counts
    return request.of_images and predictor.card.spatial_dims == 2 and alike


def cases_at_a_time(predictor: Predictor, request: Request, tables: Sequence[CaseTable]) -> int:
    """Cases that one process has at a time: images as many as fill batches, else one."""
    if not shares_batches(predictor, request, tables):
        return 1
    return images_at_a_time(predictor.how, predictor.preparation.image_size)


def settings_of(
    card: ModelCard,
    how: Inference,
    *,
    keep_largest: bool,
    probabilities: bool = False,
    calibration: str | None = None,
) -> dict[str, Any]:
    """What a finished case depends on besides the weights and the files of the case, as predictions.json says it.

    Args:
        card: of the model.
        how: how the network runs.
        keep_largest: only the largest component of each class.
        probabilities: those of each class are there too.
        calibration: digest of the estimate, where quality.csv is written.
    """
    steps = card.postprocessing if how.postprocessing else ()
    return {
        **{name: getattr(how, name) for name in ("protocol", "precision", "tta", "adapt", "backend")},
        "keep_largest": keep_largest,
        "postprocessing": [step.model_dump(mode="json") for step in steps],
        **({"probabilities": True} if probabilities else {}),
        **({} if calibration is None else {"calibration": calibration}),
    }


def write_masks(
    card: ModelCard,
    request: Request,
    output: Path,
    work: Callable[[tuple[str, Case]], PredictedCase],
    *,
    how: Mapping[str, Any],
    mask_format: str,
    tables: Sequence[str] = (),
    backend: str | Backend = "serial",
    workers: int = 1,
    max_failures: int | None = None,
    overwrite: bool = False,
    continuing: bool = False,
    anonymize: bool = False,
    progress: Report | None = None,
) -> Predictions:
    """The masks of every case by `work`, and predictions.json; see `predict_folder`.

    Args:
        card: what the masks are made with.
        request: the cases.
        output: the folder.
        work: (name of the mask, case) -> its mask, written into the folder.
        how: what else the masks depend on, for predictions.json.
        mask_format: that of their files, a row of `FORMATS`.
        tables: the tables that `work` gives rows for.
        backend: of `run_cases`.
        workers: cases at a time.
        max_failures: of `run_cases`.
        overwrite: as `predict_folder`.
        continuing: as `predict_folder`.
        anonymize: as `predict_folder`.
        progress: called with (done, total).

    Raises:
        RunError, OSError: as `predict_folder`.
    """
    if output.exists() and not output.is_dir():
        raise RunError("is not a folder", file=output)
    with new_journal(output) as journal:
        with index_lock(output):
            index = Index.open(output, card, request.data, request.selection, overwrite=overwrite, anonymized=anonymize)
            index.journal = journal
            cases = {index.name_of(case): case for case in request.cases}
            if anonymize:  # the order in which the files appear tells nothing either
                cases = dict(sorted(cases.items()))
            finished: Mapping[str, Mapping[str, Any]] = {}
            suffixes = FORMATS[mask_format].suffixes
            if continuing and index.earlier:
                index.write()  # so that the tables hold what killed calls have left in their journals
                finished = index.finished(cases, how, tables=tables, suffixes=suffixes)
            _announce(index, request, cases, how, suffixes, finished, continuing=continuing)
        jobs = [
            CaseJob(case.id, FolderCase(name, case, finished.get(name)), name if anonymize else None)
            for name, case in cases.items()
        ]
        outcomes: list[CaseOutcome[PredictedCase]] = []
        unwritten = ""
        tracked = TrackedWork(work, journal)
        run = partial(run_cases, output=output, max_failures=max_failures, progress=progress)
        try:
            for outcome in run(jobs, tracked, backend=backend, workers=workers):
                outcomes.append(outcome)
                _note(index, outcome)
        finally:
            try:
                with index_lock(output):
                    index.write()
                    journal.remove()
            except OSError as error:  # on a full disk the index written before the work stays
                if not failures(outcomes):
                    raise
                unwritten = reason_of(error)
    return Predictions(output, outcomes, unwritten)


def _note(index: Index, outcome: CaseOutcome[PredictedCase]) -> None:
    """Take the row of a case into the index, and that of a failure into the journal."""
    if isinstance(outcome, Done):
        index.rows[outcome.name] = outcome.value.row()
        if not outcome.value.is_new:
            return
    elif isinstance(outcome, Skipped):
        return
    else:
        index.rows[outcome.name] = failed_row(outcome)
        if index.journal is not None:
            with suppress(OSError):  # a full disk, which is told elsewhere
                index.journal.add(outcome.name, index.rows[outcome.name])
    index.outdated.add(outcome.name)


def _announce(
    index: Index,
    request: Request,
    cases: Mapping[str, Case],
    how: Mapping[str, Any],
    suffixes: Sequence[str],
    finished: Mapping[str, Mapping[str, Any]],
    *,
    continuing: bool,
) -> None:
    """Refuse or remove files in the way, and list the cases (name -> case) before their masks are written: so an
    evaluation misses the masks that an interrupted prediction did not write."""
    scans = {file.resolve() for case in request.cases for file in case.files()}
    earlier: dict[Path, str] = {}
    for name in cases:
        for suffix in suffixes:
            file = index.folder / f"{name}{suffix}"
            if file.resolve() in scans:
                raise RunError(
                    "a mask would replace a file of its own case", file=file, remedy="Choose another --output"
                )
            if file.exists():
                earlier[file] = name
    _refuse_two(index, cases)
    remove_unfinished(index.folder, [f"{name}{suffix}" for name in cases for suffix in suffixes])
    foreign = [file for file, name in earlier.items() if not (continuing and name in index.earlier)]
    if foreign and not index.overwrite:
        raise RunError(
            f"{len(foreign)} of the masks exist already" + (f", and {INDEX} does not list them" if continuing else ""),
            file=index.folder,
            found=foreign[0].name,
            remedy="Choose another --output, or add --overwrite"
            + ("" if continuing else ", or --continue to predict what is missing"),
        )
    for file, name in earlier.items():
        if name not in finished:
            file.unlink()
    for name in set(cases).difference(finished):  # volumes of the earlier mask
        shutil.rmtree(index.folder / PROBABILITIES / name, ignore_errors=True)
    for name, case in cases.items():
        index.expect(name, case, mask=f"{name}{suffixes[0]}", seen=request.seen.get(case.id), how=how)
        index.cases[name] = {**finished.get(name, {}), **index.cases[name]}
        if not (index.folder / PROBABILITIES / name).is_dir() and name in finished:
            index.cases[name].pop("probabilities", None)
        if name in finished:
            index.cases[name]["mask"] = finished[name]["mask"]
    index.outdated = set(cases).difference(finished)  # no old estimate of a new mask
    if index.journal is not None:
        index.journal.claim(cases)
    index.write()


def _refuse_two(index: Index, cases: Mapping[str, Case]) -> None:
    """Raises `RunError` where another process predicts some of the cases into this folder now."""
    for journal in journals_in(index.folder):
        if journal != index.journal and (process := journal.holder()) and (both := journal.claimed() & cases.keys()):
            raise RunError(
                f"another process predicts {len(both)} of these cases into this folder",
                file=index.folder,
                found=process,
                remedy="Wait until it has ended, or give each of the two its own --shard",
            )


def without_description(mask: Volume) -> Volume:
    """Without the free text of the scan's header, where some converters write names; our own mark of synthetic images
    stays."""
    if mask.header is None or mask.spacing_mm is None or says_synthetic(mask):
        return mask
    header = mask.header.copy()
    header["descrip"] = b""
    return replace(mask, header=header)
