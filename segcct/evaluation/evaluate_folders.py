"""Folders of masks in, tables out: `segcct evaluate` and `segcct.evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from segcct.case_runner import Backend, CaseJob, CaseOutcome, failures, run_cases, skipped, values
from segcct.datasets.label_schemes import Scheme
from segcct.errors import EvaluationError, MetricError, items
from segcct.evaluation.anonymous import redact
from segcct.evaluation.evaluation_files import output_folder, write_evaluation
from segcct.evaluation.matching import Matching, match, named_alike
from segcct.evaluation.paired_comparison import check_same_cases, paired_differences
from segcct.evaluation.prediction_folder import (
    PredictionFolder,
    check_same_meaning,
    choose_scheme,
    read_predictions,
    scheme_and_section,
)
from segcct.evaluation.reference_folder import ReferenceCase, patients_sentence, read_references
from segcct.evaluation.scoring import CaseScores, Job, LabelMapScores, Row, check_case, score_case
from segcct.evaluation.summary import label_map_summary, summary_of
from segcct.evaluation.summary_record import PairedSummary, ScoredModel, SegmentationSummary
from segcct.files.file_names import absolute
from segcct.metrics import Convention, get_convention
from segcct.metrics.metric_table import check_sendable, registered_metrics
from segcct.plurals import counted
from segcct.progress import Report, say
from segcct.provenance import provenance


def evaluate(
    predictions: str | Path,
    references: str | Path,
    scheme: str | Path | Scheme | None = None,
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
        scheme: name of a label scheme, a scheme, or the config file of an experiment, whose data section also says how
            a dataset root is read; default: that of predictions.json.
        output: folder for metrics.csv, details.csv, cases.csv, summary.json and table.md, a metrics.NAME.csv and
            summary.NAME.json per convention if there are several, and files.json of anonymized predictions. None writes
            nothing.
        conventions: names; the first is that of metrics.csv, summary.json and the result.
        layout: of a dataset root; default: as the config or predictions.json says.
        workers: processes, each with one case at a time in memory.
        backend: scores the cases instead, such as that of Spark.
        max_failures: once more cases than this have failed, the remaining ones are skipped; None reports the problems
            of all cases.
        allow_unmatched: leave out cases that have no prediction or no reference.
        against: other predictions of the same cases, compared pairwise: paired.json and key `paired` of the result.
        tolerance_mm: of the surface Dice; default 2, for BraTS schemes 1.
        progress: called with (done, total) cases.

    Returns:
        The content of summary.json.

    Raises:
        EvaluationError: nothing to evaluate, or one message that lists every unmatched case, unreadable file, grid
            mismatch and stray label value; `output` is a run folder.
        MetricError, LabelError: unknown convention or scheme; a registered metric cannot be sent to another process.
        ConfigError: the config file cannot be read.
    """
    chosen = _checked(conventions, workers, tolerance_mm)
    named, experiment = scheme_and_section(scheme)
    folders = [read_predictions(Path(path), experiment) for path in (predictions, against) if path is not None]
    labels = choose_scheme(named, folders[0])
    for folder in folders[1:]:
        check_same_meaning(labels, folder)
    cases = read_references(Path(references), folders[0], layout, labels)
    tolerance = tolerance_mm or labels.tolerance_mm
    evaluation = Evaluation(_matchings(folders, cases), Path(references), labels, chosen, tolerance)
    unmatched = [] if allow_unmatched else evaluation.unmatched()
    if against is not None and not unmatched:  # unmatched cases are reported anyway
        check_same_cases(*(matching.pairs for matching in evaluation.matchings))
    jobs = evaluation.jobs()
    at_a_time = min(workers, len(jobs))
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
        ours, *others = evaluation.scored(_score(jobs, run, unmatched))
        summaries, hidden = evaluation.summaries(ours, *others)
        scored = ours.matching.reference_files()  # whose ids may be hashed in the matching, other than their patients
        _say_doubts(summaries[0], [case for case in cases.values() if case.files() in scored])
        if output is not None:
            write_evaluation(Path(output), ours.rows, ours.label_maps, summaries, hidden)
    return summaries[0].to_json()


def _checked(conventions: Sequence[str], workers: int, tolerance_mm: float | None) -> list[Convention]:
    """The conventions of these names. Raises as `evaluate` for problems that can be seen without reading a file."""
    if isinstance(conventions, str) or not conventions:
        raise MetricError("conventions are a list of names", found=repr(conventions), expected='such as ("default",)')
    chosen = [get_convention(name) for name in dict.fromkeys(conventions)]
    if workers < 1:
        raise EvaluationError("no worker to score with", found=f"workers={workers}", expected="1 or more")
    if tolerance_mm is not None and not 0 < tolerance_mm < math.inf:
        raise EvaluationError("a tolerance is out of range", found=f"{tolerance_mm} mm", expected="above 0 mm")
    return chosen


def _say_doubts(summary: SegmentationSummary, scored: Sequence[ReferenceCase]) -> None:
    """Say what weakens the scores: patients that are not known, masks that are not as they were predicted."""
    others = "" if summary.paired is None else summary.paired.edited_sentence()
    for sentence in filter(None, (patients_sentence(scored), summary.edited_sentence(), others)):
        say(sentence)


def _matchings(folders: Sequence[PredictionFolder], cases: Mapping[str, ReferenceCase]) -> list[Matching]:
    """Each folder matched with the references; all name their cases as the first does. If the first is of a split, the
    others need only its cases."""
    first = match(folders[0], cases)
    only = first if first.folder.index.selection else None
    return [first, *(named_alike(match(folder, cases, only=only), first) for folder in folders[1:])]


def _score(
    jobs: Sequence[CaseJob[Job]], run: Callable[..., Iterator[CaseOutcome[CaseScores]]], unmatched: Sequence[str]
) -> list[CaseScores]:
    """The scores of all cases, in order. `run` is `run_cases` without jobs and work, `unmatched` the problems found so
    far. Raises `EvaluationError` listing all problems."""
    problems = list(unmatched)
    outcomes = list(run(jobs, check_case if problems else score_case))
    problems += failures(outcomes)
    if problems:
        once = list(dict.fromkeys(problems))  # a reference that both folders are scored against has its problem twice
        raise EvaluationError(
            f"{counted(len(once), 'problem')}, nothing was scored:{items([*once, *skipped(outcomes)])}"
        )
    return values(outcomes)


@dataclass(frozen=True)
class Evaluation:
    """What is scored, and how."""

    matchings: list[Matching]
    """Of the predictions, and of those that they are compared with, if any."""
    references: Path
    scheme: Scheme
    conventions: list[Convention]
    """The first is that of the comparison."""
    tolerance_mm: float

    def unmatched(self) -> list[str]:
        """A line for every case that lacks a prediction or a reference."""
        return [line for matching in self.matchings for line in matching.unmatched()]

    def jobs(self) -> list[CaseJob[Job]]:
        """One for each case of each folder. Errors about an anonymized case name its hashed id alone."""
        names, registered = tuple(convention.name for convention in self.conventions), registered_metrics()
        return [
            CaseJob(
                case,
                Job(case, mask, reference, self.scheme, names, self.tolerance_mm, registered),
                case if self._anonymized else None,
            )
            for matching in self.matchings
            for case, (mask, reference) in matching.pairs.items()
        ]

    def scored(self, scores: Sequence[CaseScores]) -> list[Scored]:
        """The scores of the jobs, per folder. Raises `EvaluationError` for a folder without any."""
        if not all(matching.pairs for matching in self.matchings):
            raise EvaluationError("no case has both a prediction and a reference")
        left = iter(scores)
        return [Scored.of(matching, list(islice(left, len(matching.pairs)))) for matching in self.matchings]

    def summaries(
        self, ours: Scored, theirs: Scored | None = None
    ) -> tuple[list[SegmentationSummary], dict[str, Any] | None]:
        """A summary per convention, and the content of files.json where cases are named by hashed ids."""
        everything = self._sources(ours)
        sources, hidden = redact(everything) if self._anonymized else (everything, None)
        if theirs is not None:
            sources["paired"] = self._paired(ours, theirs)
        sources["label_map"] = label_map_summary(ours.label_maps)
        made = (summary_of(ours.rows, self.scheme, each, self.tolerance_mm, sources) for each in self.conventions)
        return list(made), hidden

    @property
    def _anonymized(self) -> bool:
        return self.matchings[0].folder.anonymized

    def _sources(self, ours: Scored) -> dict[str, Any]:
        """Where everything comes from, so that a report finds the images and notices if masks were replaced."""
        matching, index = ours.matching, ours.matching.folder.index
        sections = [reference.data for _, reference in matching.pairs.values() if reference.data is not None]
        model = ScoredModel(architecture=index.architecture, selected_on=index.selected_on, provenance=index.provenance)
        folders = {"predictions": absolute(matching.folder.path), "references": absolute(self.references)}
        return {
            "unmatched": {
                "predictions": list(matching.without_reference),
                "references": list(matching.without_prediction),
            },
            **ours.of_model(),
            "synthetic": [case for case, entry in matching.entries().items() if entry.synthetic],
            "synthetic_training": bool(index.synthetic_training),
            "digests": ours.digests,
            "model": model if index.cases else ScoredModel(),
            "data": sections[0].model_dump(mode="json") if sections else None,
            "files": matching.files(),
            "provenance": {**provenance(), **folders},
        }

    def _paired(self, ours: Scored, theirs: Scored) -> PairedSummary:
        """Our scores minus theirs."""
        return PairedSummary(
            against="the other predictions" if self._anonymized else absolute(theirs.matching.folder.path),
            **theirs.of_model(),
            **paired_differences(ours.rows, theirs.rows, self.scheme, self.conventions[0]),
        )


@dataclass(frozen=True)
class Scored:
    """The scores of one folder of predictions."""

    matching: Matching
    rows: list[Row]
    label_maps: list[LabelMapScores]
    digests: dict[str, dict[str, str]]
    """Case id -> digests of its mask and of its reference."""

    @classmethod
    def of(cls, matching: Matching, cases: Sequence[CaseScores]) -> Scored:
        """The scores of its cases."""
        return cls(
            matching,
            [row for case in cases for row in case.rows],
            [case.label_map for case in cases if case.label_map is not None],
            {case.id: dict(case.digests) for case in cases},
        )

    def of_model(self) -> dict[str, Any]:
        """Of the model: its weights, the cases that it was trained or selected on, and those whose mask is not the one
        that it predicted."""
        entries = self.matching.entries()
        return {
            "weights_sha256": self.matching.folder.index.weights_sha256,
            "seen": {
                split: [case for case, entry in entries.items() if entry.seen == split] for split in ("train", "val")
            },
            "edited": [
                case
                for case, entry in entries.items()
                if entry.digest and entry.digest != self.digests[case]["prediction"]
            ],
        }
