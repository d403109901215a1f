"""The comparison report: image, predicted mask, image made of the mask; what differs, and which masks to review."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segcct.case_runner import CaseJob, CaseOutcome, Done, Failed, failures, run_cases
from segcct.comparison.compared_case import case_viewer, compare_case
from segcct.comparison.comparison_page import comparison_page
from segcct.comparison.comparison_record import CaseFigures, Comparison
from segcct.comparison.comparison_summary import definitions, ordered, summary_of
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import unread_places
from segcct.datasets.label_schemes import Scheme
from segcct.errors import DataError, RunError, items
from segcct.evaluation.prediction_folder import PredictionFolder
from segcct.evaluation.reference_folder import ReferenceCase, read_references
from segcct.evaluation.scoring import read_reference
from segcct.files.atomic_file import OTHER_OUTPUT, refuse_existing
from segcct.files.json_file import read_object, write_json
from segcct.files.lock import exclusive
from segcct.files.pseudonyms import new_key, pseudonym
from segcct.images.content_digest import content_digest
from segcct.images.volume import says_synthetic
from segcct.inference.cycle import Cycles
from segcct.model_card import SchemeCard
from segcct.plurals import counted, listed
from segcct.predictions.prediction_request import Request, load_case
from segcct.predictions.predictions_index import index_lock
from segcct.predictions.predictions_record import StoredScheme
from segcct.predictions.sources_file import NOTE, SOURCES, read_key, read_sources
from segcct.progress import Report
from segcct.provenance import provenance, versions
from segcct.quality.quality_model import QualityModel
from segcct.report.html import COMPARISON, PAGE, write_page
from segcct.report.viewer import Viewer

SLICES = 10
"""Slices per case on the page."""
_IMAGES = 500
"""Slices times channels on a page, so that it stays below about 10 MB; of more cases than this, a slice each."""
_MOST_CHANNELS = 4


@dataclass(frozen=True)
class _Result:
    """What is kept of a case: figures and embedded images, no volume."""

    figures: CaseFigures
    viewer: Viewer
    synthetic: bool


@dataclass(frozen=True)
class _Names:
    """What the page calls cases and patients: by their ids, or hashed."""

    key: str | None = None
    """Of hashed names; None where cases are named."""
    known: Container[str] = ()
    """Hashed names in sources.json."""

    @classmethod
    def hashed(cls, output: Path) -> _Names:
        """Hashed names, by the key of a folder which has one, for the masks in it are named by it."""
        key = read_key(output)
        if key is None and (output / SOURCES).exists():
            raise RunError("holds no key of hashed names", file=output / SOURCES, remedy=OTHER_OUTPUT)
        return cls(key or new_key(), read_sources(output))

    def of(self, case_or_patient: str) -> str:
        """The name of one."""
        return case_or_patient if self.key is None else pseudonym(case_or_patient, self.key, self.known)

    def named(self, cases: Sequence[Case]) -> dict[str, Case]:
        """Name -> case, in an order that does not reveal what is hashed."""
        named = {self.of(case.id): case for case in cases}
        return named if self.key is None else dict(sorted(named.items()))

    def save(self, output: Path, cases: Mapping[str, Case]) -> None:
        """Add to sources.json which case (name -> case) is whose, if names are hashed."""
        if self.key is None:
            return
        file = output / SOURCES
        with index_lock(output):
            stored = read_object(file) if file.exists() else {}
            ids = {name: {"id": case.id, "channels": {}} for name, case in cases.items()}
            sources = {**stored, "note": NOTE, "key": self.key, "cases": ids | read_sources(output)}
            write_json(file, sources, private=True)


@dataclass(frozen=True)
class _CompareCase:
    """What is done for one case."""

    cycles: Cycles
    request: Request
    labels: Mapping[str, ReferenceCase] | None
    """References named by the user; None: the dataset's own labels."""
    quality: QualityModel | None
    channels: int
    slices: int
    names: _Names

    def __call__(self, numbered: tuple[int, Case]) -> _Result:
        """(number on the page, case) -> what is shown of it."""
        number, case = numbered
        scheme = self.cycles.predictor.scheme
        own = self.labels is None and case.label is not None
        loaded = load_case(self.request, case, scheme, with_label=own)
        if self.labels is not None and case.id in self.labels:
            loaded = replace(loaded, label=read_reference(self.labels[case.id], scheme, loaded.grid).array)
        compared = compare_case(self.cycles, loaded, quality=self.quality, channels=self.channels)
        update = {"patient": self.names.of(case.patient)}
        if self.names.key is None:
            update["input_digest"] = content_digest([file for files in case.channels.values() for file in files])
        viewer = case_viewer(f"case-{number}", compared, count=self.slices)
        return _Result(compared.figures.model_copy(update=update), viewer, says_synthetic(compared.grid))


def write_comparison(
    cycles: Cycles,
    request: Request,
    output: Path,
    *,
    quality: QualityModel | None = None,
    references: Path | None = None,
    slices: int = SLICES,
    anonymize: bool = False,
    models: Mapping[str, Path] | None = None,
    progress: Report | None = None,
) -> Path:
    """Write `report.html` and `report.json` into the folder `output`.

    Args:
        cycles: segmenter and generator.
        request: the cases, and how they are read.
        output: made when missing.
        quality: the segmenter's quality.json.
        references: a dataset root or a flat folder of masks; None takes the labels of the dataset, where there are
            some.
        slices: shown per case, at most; fewer of many cases, so that the page stays small.
        anonymize: show hashed case ids, and name no file.
        models: name -> folder, for the provenance.
        progress: called with (done, total).

    Returns:
        report.html.

    Raises:
        RunError: a report is there already.
        DataError: every case failed; or, after the report of the others is written, naming every case that failed, and
            what of the input could not be read.
    """
    page = output / PAGE
    refuse_existing(page)  # the last file to appear
    with exclusive(output / ".compare.lock", "another comparison is being written to this folder"):
        labels = _references(request, references, cycles.predictor.scheme)
        names = _Names.hashed(output) if anonymize else _Names()
        cases = names.named(request.cases)
        slices, channels = _shown_per_case(len(cases), slices)
        work = _CompareCase(cycles, request, labels, quality, channels, slices, names)
        outcomes = _compare(cases, work, progress)
        names.save(output, cases)
        results = {outcome.name: outcome.value for outcome in outcomes if isinstance(outcome, Done)}
        if not results:
            raise DataError(f"none of {counted(len(cases), 'case')} can be compared:{items(failures(outcomes))}")
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        comparison = _comparison(cycles, results, failed, quality, models or {}, anonymize=anonymize)
        text = comparison_page(comparison, {name: each.viewer for name, each in results.items()}, quality)
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / COMPARISON, comparison.to_json(), private=not anonymize)
        write_page(page, text, private=not anonymize)
    unread = unread_places(request.unread, named=not anonymize)
    if failed or unread:
        raise DataError("\n".join(filter(None, [_failed_cases(failed, len(cases), page), unread])))
    return page


def _failed_cases(failed: Sequence[Failed], cases: int, page: Path) -> str:
    """Names those of the cases that are not on the page, and why; empty if all are."""
    if not failed:
        return ""
    return f"{len(failed)} of {counted(cases, 'case')} failed; the others are in {page}:{items(failures(failed))}"


def _shown_per_case(cases: int, slices: int) -> tuple[int, int]:
    """Slices, at most as many as wanted, and channels of each of some cases; see `_IMAGES`."""
    images = _IMAGES // max(1, cases)
    slices = max(1, min(slices, images))
    return slices, max(1, min(_MOST_CHANNELS, images // slices))


def _compare(cases: Mapping[str, Case], work: _CompareCase, progress: Report | None) -> list[CaseOutcome[_Result]]:
    """What becomes of each case; failures bear its name on the page, which may be hashed."""
    jobs = [
        CaseJob(case.id, (number, case), None if work.names.key is None else name)
        for number, (name, case) in enumerate(cases.items(), start=1)
    ]
    return list(run_cases(jobs, work, progress=progress))


def _references(request: Request, folder: Path | None, scheme: Scheme) -> dict[str, ReferenceCase] | None:
    """References named by the user, by case id; None where the dataset's own labels are to be taken."""
    if folder is None:
        return None
    cases = {case.id: Path() for case in request.cases}
    references = read_references(
        folder, PredictionFolder(folder, cases, data=request.data, scheme=scheme), None, scheme
    )
    if not references.keys() & cases.keys():
        found, expected = listed(sorted(references)), listed(sorted(cases))
        raise DataError("holds no reference of these cases", file=folder, found=found, expected=expected)
    return references


def _comparison(
    cycles: Cycles,
    results: Mapping[str, _Result],
    failed: Sequence[Failed],
    quality: QualityModel | None,
    models: Mapping[str, Path],
    *,
    anonymize: bool,
) -> Comparison:
    segmenter, generator = cycles.predictor.card, cycles.reconstructor.card
    scheme = cycles.predictor.scheme
    cases = {name: each.figures for name, each in results.items()}
    calibration: dict[str, object] | None = None
    if quality is not None:
        facts = {name: fact for name, fact in quality.facts.items() if not (anonymize and name == "sources")}
        calibration = {"level": quality.level, **facts}
    return Comparison(
        format=1,
        scheme=StoredScheme(**SchemeCard.of(scheme).model_dump(mode="json")),
        channels=list(cycles.predictor.data.channels),
        units={"intensities": "normalized to 0..1", "psnr": "dB"},
        definitions=definitions(None if quality is None else quality.level),
        synthetic=any(each.synthetic for each in results.values()),
        synthetic_training=segmenter.synthetic or generator.synthetic,
        summary=summary_of(cases, tuple(scheme.classes), None if quality is None else quality.flag_below),
        order=ordered(cases),
        quality=calibration,
        cases=cases,
        failed={each.name: each.kind if anonymize else each.reasons[0] for each in failed},
        models={
            name: {
                "folder": str(models[name]) if name in models and not anonymize else None,
                "architecture": card.architecture.model_dump(mode="json"),
                "weights_sha256": card.weights_sha256,
                "selected_on": card.selected_on,
            }
            for name, card in (("I2M", segmenter), ("M2I", generator))
        },
        provenance=versions() if anonymize else provenance(),  # the command names the scans
    )
