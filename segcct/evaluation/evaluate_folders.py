"""Folders of masks in, tables out: `segcct evaluate` and `segcct.evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from segcct.case_runner import Backend, CaseJob, CaseOutcome, Skipped, failures, run_cases, values
from segcct.datasets.label_schemes import Scheme
from segcct.errors import EvaluationError, MetricError, items
from segcct.evaluation.anonymous import redact
from segcct.evaluation.evaluation_files import output_folder, write_evaluation
from segcct.evaluation.matching import Matching, match, named_alike
from segcct.evaluation.paired_comparison import check_same_cases, paired_differences
from segcct.evaluation.prediction_folder import PredictionFolder, choose_scheme, read_predictions
from segcct.evaluation.reference_folder import ReferenceCase, patients_sentence, read_references
from segcct.evaluation.scoring import CaseScores, Job, LabelMapScores, Row, check_case, score_case
from segcct.evaluation.summary import label_map_summary, summary_of
from segcct.evaluation.summary_record import CaseFiles, PairedSummary, ScoredModel, SegmentationSummary
from segcct.files.file_names import absolute
from segcct.metrics import Convention, get_convention
from segcct.metrics.metric_table import check_sendable, registered_metrics
from segcct.plurals import counted
from segcct.predictions.predictions_record import CaseEntry
from segcct.progress import Report, say
from segcct.provenance import provenance


@dataclass(frozen=True)
class Scored:
    """The scores of one folder of predictions."""

    rows: list[Row]
    label_maps: list[LabelMapScores]
    digests: dict[str, dict[str, str]]
    """Case id -> digests of its mask and of its reference."""

    @classmethod
    def of(cls, cases: Sequence[CaseScores]) -> Scored:
        """The scores of some cases."""
        return cls(
            [row for case in cases for row in case.rows],
            [case.label_map for case in cases if case.label_map is not None],
            {case.id: dict(case.digests) for case in cases},
        )


def evaluate(
    predictions: str | Path,
    references: str | Path,
    scheme: str | Scheme | None = None,
    *,
    output: str | Path | None = None,
    conventions: Sequence[str] = ("default",),
    layout: str | None = None,
    workers: int = 1,
    backend: Backend | None = None,
    max_failures: int | None = None,
    allow_unmatched: bool = False,
    against: str | Path | None = None,
    tolerance_mm: float | None = None,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Score a folder of masks against references, case by case and structure by structure.

    Args:
        predictions: folder of masks named by case id, with or without the predictions.json of `segcct predict`.
        references: flat folder of masks named by case id (an ending such as _seg or _gt is allowed), or a dataset root.
        scheme: name of a label scheme, or a scheme; default: that of predictions.json.
        output: folder for metrics.csv, details.csv, cases.csv, summary.json and table.md, those of several conventions,
            and files.json of anonymized predictions. None writes nothing.
        conventions: names; the first is that of metrics.csv, summary.json and the result.
        layout: of a dataset root; default: as predictions.json says.
        workers: processes, each with one case at a time in memory.
        backend: scores the cases instead, such as that of Spark.
        max_failures: once more cases than this have failed, the others are not looked at; None reports the problems
            of all.
        allow_unmatched: leave out cases that have no prediction or no reference.
        against: other predictions of the same cases, compared pairwise: paired.json and key `paired` of the result.
        tolerance_mm: of the surface Dice; default 2, for BraTS schemes 1.
        progress: called with (done, total) cases.

    Returns:
        The content of summary.json.

    Raises:
        EvaluationError: nothing to evaluate, or one message that lists every unmatched case, unreadable file, grid
            mismatch and stray label value; `output` is the folder of a training.
        MetricError, LabelError: unknown convention or scheme; a registered metric that another process cannot be sent.
    """
    chosen = _checked(conventions, workers, tolerance_mm)
    folders = [read_predictions(Path(path)) for path in (predictions, against) if path is not None]
    labels = choose_scheme(scheme, folders[0])
    cases = read_references(Path(references), folders[0], layout, labels)
    tolerance = tolerance_mm or labels.tolerance_mm
    matchings = _matchings(folders, cases)
    unmatched = [] if allow_unmatched else [line for matching in matchings for line in _unmatched(matching)]
    if against is not None and not unmatched:  # unmatched cases are reported anyway
        check_same_cases(*(matching.pairs for matching in matchings))
    at_a_time = min(workers, sum(len(matching.pairs) for matching in matchings))
    engine = backend or ("serial" if at_a_time < 2 else "processes")
    if engine != "serial":
        check_sendable(registered_metrics())
    with output_folder(output):
        run = partial(
            run_cases,
            backend=engine,
            workers=at_a_time,
            after_failure=check_case,
            max_failures=max_failures,
            progress=progress,
        )
        scored = _score(matchings, labels, chosen, tolerance, run, unmatched, folders[0].anonymized)
        summaries, names = _summaries(matchings, folders, Path(references), scored, labels, chosen, tolerance)
        first = summaries[0]
        edited = (first.edited_sentence(), first.paired.edited_sentence() if first.paired else "")
        for sentence in filter(None, (patients_sentence(cases), *edited)):
            say(sentence)
        if output is not None:
            write_evaluation(Path(output), scored[0].rows, scored[0].label_maps, summaries, names)
    return first.to_json()


def _checked(conventions: Sequence[str], workers: int, tolerance_mm: float | None) -> list[Convention]:
    """The conventions of these names. Raises as `evaluate` for what no file is needed to see."""
    if isinstance(conventions, str) or not conventions:
        raise MetricError("conventions are a list of names", found=repr(conventions), expected='such as ("default",)')
    chosen = [get_convention(name) for name in dict.fromkeys(conventions)]
    if workers < 1:
        raise EvaluationError("no worker to score with", found=f"workers={workers}", expected="1 or more")
    if tolerance_mm is not None and not 0 < tolerance_mm < math.inf:
        raise EvaluationError("a tolerance is out of range", found=f"{tolerance_mm} mm", expected="above 0 mm")
    return chosen


def _matchings(folders: Sequence[PredictionFolder], cases: Mapping[str, ReferenceCase]) -> list[Matching]:
    """Each folder matched with the references; the cases of all are named as those of the first."""
    first, *others = (match(folder, cases) for folder in folders)
    return [first, *(named_alike(other, first) for other in others)]


def _score(
    matchings: Sequence[Matching],
    scheme: Scheme,
    conventions: Sequence[Convention],
    tolerance_mm: float,
    run: Callable[..., Iterator[CaseOutcome[CaseScores]]],
    unmatched: Sequence[str],
    hidden: bool,
) -> list[Scored]:
    """The scores of all cases, in order, per folder of predictions; `run` is `run_cases` without jobs and work,
    `unmatched` are problems that are known. Raises `EvaluationError` listing all problems."""
    problems = list(unmatched)
    names, registered = tuple(convention.name for convention in conventions), registered_metrics()
    jobs = [
        CaseJob(case, Job(case, mask, reference, scheme, names, tolerance_mm, registered), case if hidden else None)
        for matching in matchings
        for case, (mask, reference) in matching.pairs.items()
    ]
    outcomes = list(run(jobs, check_case if problems else score_case))
    for outcome in outcomes:
        start = f"{outcome.name}: "  # each reason begins with the case
        problems += [reason if reason.startswith(start) else start + reason for reason in failures([outcome])]
    if problems:
        skipped = [outcome.reason for outcome in outcomes if isinstance(outcome, Skipped)]
        left = [f"{skipped[0]}: {len(skipped)} more were left out"] if skipped else []
        once = list(dict.fromkeys(problems))  # a reference that both folders are scored against has its problem twice
        raise EvaluationError(f"{counted(len(once), 'problem')}, nothing was scored:{items([*once, *left])}")
    if not all(matching.pairs for matching in matchings):
        raise EvaluationError("no case has both a prediction and a reference")
    scores = iter(values(outcomes))
    return [Scored.of(list(islice(scores, len(matching.pairs)))) for matching in matchings]


def _summaries(
    matchings: Sequence[Matching],
    folders: Sequence[PredictionFolder],
    references: Path,
    scored: Sequence[Scored],
    scheme: Scheme,
    conventions: Sequence[Convention],
    tolerance_mm: float,
) -> tuple[list[SegmentationSummary], dict[str, Any] | None]:
    """A summary per convention, and the content of files.json where cases are named by hashed ids; a second folder is
    compared with the first."""
    rows, hidden = scored[0].rows, folders[0].anonymized
    sources = _sources(matchings[0], folders[0], references, scored[0].digests)
    sources, names = redact(sources) if hidden else (sources, None)
    if len(folders) > 1:
        rival = folders[1]
        sources["paired"] = PairedSummary(
            against="the other predictions" if hidden else absolute(rival.path),
            weights_sha256=rival.index.weights_sha256,
            **_of_model(matchings[1], rival, scored[1].digests),
            **paired_differences(rows, scored[1].rows, scheme, conventions[0]),
        )
    sources["label_map"] = label_map_summary(scored[0].label_maps)
    return [summary_of(rows, scheme, convention, tolerance_mm, sources) for convention in conventions], names


def _unmatched(matching: Matching) -> list[str]:
    extra = [f"{case}: has a prediction ({mask}) but no reference" for case, mask in matching.without_reference.items()]
    missing = [
        f"{case}: has a reference but no prediction ({expected} is missing)"
        for case, expected in matching.without_prediction.items()
    ]
    return extra + missing


def _sources(
    matching: Matching, folder: PredictionFolder, references: Path, digests: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Where everything came from, so that a report finds the images, and notices if masks were replaced."""
    index, entries = folder.index, _entries(matching, folder)
    sections = [reference.data for _, reference in matching.pairs.values() if reference.data is not None]
    return {
        "unmatched": {"predictions": list(matching.without_reference), "references": list(matching.without_prediction)},
        **_of_model(matching, folder, digests),
        "synthetic": [case for case, entry in entries.items() if entry.synthetic],
        "synthetic_training": bool(index.synthetic_training),
        "digests": dict(digests),
        "weights_sha256": index.weights_sha256,
        "model": ScoredModel(
            architecture=index.architecture, selected_on=index.selected_on, provenance=index.provenance
        )
        if index.cases
        else ScoredModel(),
        "data": sections[0].model_dump(mode="json") if sections else None,
        "files": _files(matching, folder),
        "provenance": {**provenance(), "predictions": absolute(folder.path), "references": absolute(references)},
    }


def _of_model(matching: Matching, folder: PredictionFolder, digests: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Cases that the model was trained or selected on, and those whose mask is not the one that it predicted."""
    entries = _entries(matching, folder)
    return {
        "seen": {split: [case for case, entry in entries.items() if entry.seen == split] for split in ("train", "val")},
        "edited": [
            case for case, entry in entries.items() if entry.digest and entry.digest != digests[case]["prediction"]
        ],
    }


def _entries(matching: Matching, folder: PredictionFolder) -> dict[str, CaseEntry]:
    """Case -> what predictions.json says of its mask, which has a hashed name of its own in each anonymized folder."""
    known = folder.index.cases
    return {case: known[reference.id] for case, (_, reference) in matching.pairs.items() if reference.id in known}


def _files(matching: Matching, folder: PredictionFolder) -> dict[str, CaseFiles]:
    files = {}
    for case, (mask, reference) in matching.pairs.items():
        channels = folder.channels.get(case)
        if not channels and reference.case is not None:
            channels = {name: [absolute(p) for p in paths] for name, paths in reference.case.channels.items()}
        named = {"prediction": absolute(mask), "reference": reference.name(), "channels": channels or {}}
        files[case] = CaseFiles.from_json(named, folder.path)
    return files
