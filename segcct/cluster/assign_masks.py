"""`segcct assign-clusters`: masks of clusters become masks of classes.

Every case is relabeled by an assignment that was chosen on other patients, as in cross-validation, so no case is scored
by an assignment that was fitted to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segcct.case_runner import CaseJob, failures, run_cases, values
from segcct.cluster.assignment import best_assignment, overlap_table
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import Scheme, get_scheme
from segcct.datasets.layouts import scheme_of
from segcct.errors import DataError, EvaluationError, items
from segcct.evaluation.matching import match
from segcct.evaluation.prediction_folder import PredictionFolder, read_predictions, scheme_and_section
from segcct.evaluation.reference_folder import ReferenceCase, read_references
from segcct.evaluation.scoring import read_mask, read_reference
from segcct.files.json_file import write_json
from segcct.images.content_digest import content_digest
from segcct.images.volume import says_synthetic
from segcct.plurals import counted
from segcct.predictions.mask_files import save_mask
from segcct.predictions.mask_folder import MaskFolder, Predictions, existing_of
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.prediction_request import Request
from segcct.predictions.tracked_case import PredictedCase
from segcct.progress import Progress

ASSIGNMENT = "assignment.json"


@dataclass(frozen=True)
class Pair:
    """The clusters of a case and its reference."""

    mask: Path
    reference: ReferenceCase
    clusters: Scheme
    classes: Scheme


@dataclass(frozen=True)
class Relabel:
    """The work on one case."""

    pairs: Mapping[str, Pair]
    assigned: Mapping[str, list[int]]
    """Case id -> class index of every cluster."""
    output: Path
    mask_format: str

    def __call__(self, named: tuple[str, Case]) -> PredictedCase:
        """Write the mask of a case in the scheme of the classes."""
        name, case = named
        pair = self.pairs[case.id]
        mask = read_mask(pair.mask, pair.clusters)
        index = np.asarray(self.assigned[case.id], dtype=np.uint8)[pair.clusters.to_index(mask.array)]
        relabeled = mask.with_array(pair.classes.to_values(index))
        file = save_mask(relabeled, self.output, name, pair.classes, mask_format=self.mask_format)
        return PredictedCase(file, content_digest([file]), says_synthetic(mask))


def assign_clusters(
    prediction: Path, reference: Path, output: Path, *, scheme: str | None, folds: int, overwrite: bool
) -> Predictions:
    """Write the masks of classes, predictions.json, and assignment.json, which says what was chosen on which cases.

    Args:
        prediction: what `segcct cluster-segment` wrote.
        reference: a dataset root, or a flat folder of masks.
        output: the folder of the masks.
        scheme: of the references, by its name or as the config of an experiment, which then also says how a dataset
            root is read; None: as the scans were read.
        folds: parts of the patients; those of one are assigned by the others.
        overwrite: replace earlier masks.

    Raises:
        EvaluationError: masks without predictions.json or with hashed ids, cases without a reference, fewer than two
            patients.
        ConfigError, LabelError: the config cannot be read; no scheme of that name.
        DataError: a mask or reference cannot be read.
        RunError: masks are there already, or would replace clusters or references.
    """
    folder = read_predictions(prediction)
    clusters = folder.scheme
    if clusters is None or folder.data is None or folder.anonymized:
        found = "hashed ids" if folder.anonymized else "no predictions.json"
        raise EvaluationError("are not masks of segcct cluster-segment", file=prediction, found=found)
    chosen_scheme, experiment = scheme_and_section(scheme)
    classes = chosen_scheme or scheme_of(folder.data)
    classes = get_scheme(classes) if isinstance(classes, str) else classes
    references = read_references(reference, replace(folder, data=experiment or folder.data), None, classes)
    matched = match(folder, references).pairs
    pairs = {name: Pair(mask, case, clusters, classes) for name, (mask, case) in matched.items()}
    groups = _folds(pairs, folds)
    tables = _tables(pairs)
    chosen = [
        best_assignment(np.sum([table for name, table in tables.items() if name not in group], axis=0))
        for group in groups
    ]
    assigned = {name: assignment for group, assignment in zip(groups, chosen, strict=True) for name in group}
    request = _request(folder, pairs)
    made_by = _made_by(folder, classes, chosen)
    existing = existing_of(overwrite=overwrite)
    mask_format = request.mask_format("nifti")
    masks = MaskFolder(output, made_by, request, {"protocol": "assigned"}, mask_format, existing=existing)
    predictions = masks.write(Relabel(pairs, assigned, output, mask_format), progress=Progress("relabeling"))
    folds_chosen = [
        {"cases": group, "classes": _in_words(assignment, clusters, classes)}
        for group, assignment in zip(groups, chosen, strict=True)
    ]
    write_json(output / ASSIGNMENT, {"folds": folds_chosen}, private=True)
    return predictions


def _in_words(assignment: Sequence[int], clusters: Scheme, classes: Scheme) -> dict[str, str]:
    """Name of a cluster -> name of its class, from the class index of each cluster index."""
    names = ["background", *classes.classes]
    return dict(zip(clusters.classes, (names[index] for index in assignment[1:]), strict=True))


def _folds(pairs: Mapping[str, Pair], folds: int) -> list[list[str]]:
    """The cases in parts of about as many patients each, which are assigned in the order of their names' digests."""
    patients = {pair.reference.patient for pair in pairs.values()}
    if len(patients) < 2:
        found = counted(len(patients), "patient")
        raise EvaluationError(
            "nothing to choose on: cases of other patients are needed", found=found, expected="2 or more"
        )
    shuffled = sorted(patients, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())
    count = min(folds, len(patients))
    fold_of = {patient: place % count for place, patient in enumerate(shuffled)}
    groups: list[list[str]] = [[] for _ in range(count)]
    for name, pair in pairs.items():
        groups[fold_of[pair.reference.patient]].append(name)
    return groups


def _tables(pairs: Mapping[str, Pair]) -> dict[str, np.ndarray]:
    """The overlap table of every case. Raises `DataError` naming all that cannot be read."""
    jobs = [CaseJob(name, pair) for name, pair in pairs.items()]
    outcomes = list(run_cases(jobs, _table, progress=Progress("comparing")))
    if reasons := failures(outcomes):
        raise DataError(f"{counted(len(reasons), 'case')} cannot be compared:{items(reasons)}")
    return dict(zip(pairs, values(outcomes), strict=True))


def _table(pair: Pair) -> np.ndarray:
    mask = read_mask(pair.mask, pair.clusters)
    reference = read_reference(pair.reference, pair.classes, mask)
    sizes = pair.clusters.num_classes, pair.classes.num_classes
    return overlap_table(pair.clusters.to_index(mask.array), pair.classes.to_index(reference.array), sizes)


def _request(folder: PredictionFolder, pairs: Mapping[str, Pair]) -> Request:
    """The cases of the folder that have a reference; their clusters and references are files that no mask replaces."""
    assert folder.data is not None
    channels = {
        name: {channel: tuple(map(Path, files)) for channel, files in folder.channels[name].items()} for name in pairs
    }
    cases = tuple(
        Case(name, pair.reference.patient, channels[name], label=(*pair.reference.files(), pair.mask))
        for name, pair in pairs.items()
    )
    return Request(cases, folder.data, selection=folder.index.selection)


def _made_by(folder: PredictionFolder, classes: Scheme, chosen: list[list[int]]) -> MaskSource:
    """What made the clusters, in the scheme of the classes."""
    made: dict[str, Any] = dict(folder.index.architecture or {})
    digest = hashlib.sha256(f"{folder.index.weights_sha256} {classes.classes} {chosen}".encode()).hexdigest()
    return MaskSource(classes, {**made, "num_classes": classes.num_classes}, digest)
