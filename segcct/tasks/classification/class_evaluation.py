"""Class probabilities scored against the true classes: `segcct evaluate` for classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from segcct.config import ImagesSection
from segcct.config.layout_table import IMAGE_LAYOUTS
from segcct.errors import EvaluationError, items
from segcct.evaluation.evaluation_files import output_folder
from segcct.evaluation.summary_record import MetricStats
from segcct.files.file_names import absolute, spelled_as
from segcct.metrics.calibration import expected_error, reliability
from segcct.metrics.class_scores import (
    ClassScores,
    brier_scores,
    class_aurocs,
    class_scores,
    log_losses,
    top_k,
)
from segcct.metrics.classification_intervals import ClassIntervals, class_intervals
from segcct.metrics.confidence_intervals import summarize
from segcct.metrics.defined_values import mean_of
from segcct.plurals import counted, listed
from segcct.predictions.predictions_index import INDEX
from segcct.progress import Report
from segcct.provenance import provenance
from segcct.tasks.classification.class_quantities import FEW_CLASSES, QUANTITIES, definitions
from segcct.tasks.classification.class_results import Bin, ClassEntry, ClassSummary, write_class_results
from segcct.tasks.classification.image_layout import ClassLabels, get_image_layout, reading, section_of
from segcct.tasks.classification.labeled_images import groups_of
from segcct.tasks.classification.probability_table import ProbabilityTable, read_table


def evaluate_classes(
    predictions: str | Path,
    reference: str | Path,
    *,
    output: str | Path | None = None,
    layout: str | None = None,
    allow_unmatched: bool = False,
    progress: Report | None = None,
) -> ClassSummary:
    """Score predictions.csv, or the folder that holds it, against a labeled dataset.

    Args:
        predictions: the table; predictions.json in its folder says how the dataset is read.
        reference: root of the dataset; images are matched by their path below it.
        output: folder for metrics.csv (a row per class), images.csv (a row per image), table.md and summary.json;
            None writes nothing.
        layout: of the dataset; default: that of predictions.json, else a folder per class.
        allow_unmatched: leave out images without a prediction or without a reference.
        progress: called with (done, total) images to decode.

    Returns:
        What summary.json holds.

    Raises:
        EvaluationError: images or classes do not fit the dataset.
        DataError: table or dataset cannot be read.
    """
    reference = Path(reference)
    table = read_table(Path(predictions))
    data = _section(table, reference, layout)
    reference_labels = get_image_layout(data.layout).find(data)
    table = _spelled_as(reference_labels, table)
    _check_classes(table, reference_labels, reference)
    unmatched = _unmatched(table, reference_labels, allowed=allow_unmatched)
    stray = set(unmatched["predictions"])
    scored = [row for row, name in enumerate(table.ids) if name not in stray]
    if not scored:
        raise EvaluationError("no image has both a prediction and a reference", file=table.file)
    with output_folder(output):
        ids = [table.ids[row] for row in scored]
        labels, probabilities = _class_numbers(reference_labels, ids, table.classes), table.probabilities[scored]
        groups = groups_of(data, reference_labels, ids, table.index.digests or {}, progress=progress)
        summary = scores(probabilities, labels, table.classes, groups)
        sources = {"unmatched": unmatched, "seen": _seen(table, set(ids)), **_sources(table, data, reference)}
        summary = summary.model_copy(update=sources)
        if output is not None:
            write_class_results(Path(output), summary, ids, probabilities, labels)
    return summary


def scores(
    probabilities: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], groups: Sequence[str]
) -> ClassSummary:
    """Every figure of probabilities (N, K) and class numbers (N,)."""
    from sklearn.metrics import confusion_matrix

    predicted = probabilities.argmax(axis=1)
    per_class = class_scores(labels, predicted, len(classes))
    aurocs = class_aurocs(probabilities, labels)
    intervals = class_intervals(probabilities, labels, groups)
    bins = reliability(probabilities.max(axis=1), top_k(probabilities, labels, 1))
    present = [each for each in per_class if each.support]
    overall = {
        **_means(probabilities, labels, groups),
        "macro_f1": _stats(mean_of([each.f1 for each in present]), intervals.macro_f1),
        "balanced_accuracy": _stats(mean_of([each.recall for each in present]), intervals.balanced_accuracy),
        "auroc": _stats(mean_of(aurocs), intervals.macro_auroc),
        "ece": _stats(expected_error(bins), intervals.ece),
    }
    return ClassSummary(
        task="classification",
        images=len(labels),
        groups=len(set(groups)),
        overall=overall,
        classes=dict(zip(classes, _entries(per_class, aurocs, intervals), strict=True)),
        confusion=confusion_matrix(labels, predicted, labels=range(len(classes))).tolist(),
        reliability=[Bin(**asdict(each)) for each in bins],
        mean_confidence=float(probabilities.max(axis=1).mean()),
        definitions=definitions(overall),
    )


def _entries(
    per_class: Sequence[ClassScores], aurocs: Sequence[float | None], intervals: ClassIntervals
) -> list[ClassEntry]:
    """The figures of each class."""
    return [
        ClassEntry(
            precision=_stats(each.precision, intervals.precision[number]),
            recall=_stats(each.recall, intervals.recall[number]),
            specificity=each.specificity,
            f1=_stats(each.f1, intervals.f1[number]),
            auroc=_stats(aurocs[number], intervals.auroc[number]),
            support=each.support,
        )
        for number, each in enumerate(per_class)
    ]


def _means(probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> dict[str, MetricStats]:
    """Statistics of every figure that is a plain mean over the images."""
    values = {"accuracy": top_k(probabilities, labels, 1)}
    if probabilities.shape[1] > FEW_CLASSES:
        values["top5"] = top_k(probabilities, labels, 5)
    values["log_loss"] = log_losses(probabilities, labels)
    values["brier"] = brier_scores(probabilities, labels)
    return {
        name: MetricStats(**summarize(each.astype(float).tolist(), groups, bounds=QUANTITIES[name].bounds))
        for name, each in values.items()
    }


def _stats(value: float | None, interval: list[float | None]) -> MetricStats:
    return MetricStats(mean=value, ci95=interval if value is not None else [None, None])


def _section(table: ProbabilityTable, reference: Path, layout: str | None) -> ImagesSection:
    """How the dataset is read: as the predicted images were, with its own root."""
    stored = dict(table.index.data or {})
    if layout is not None:
        if layout not in IMAGE_LAYOUTS:
            raise EvaluationError("no such layout of labeled images", found=layout, expected=", ".join(IMAGE_LAYOUTS))
        stored["layout"] = layout
        if not get_image_layout(layout).numbered:
            stored.pop("class_names", None)  # the layout itself holds them
    return section_of(stored, reference, file=table.file.parent / INDEX, error=EvaluationError)


def _spelled_as(images: ClassLabels, table: ProbabilityTable) -> ProbabilityTable:
    """The table with its images and classes in the Unicode spelling that they have in the dataset."""
    index = table.index
    seen, failed, digests = index.seen or {}, index.failed or [], index.digests or {}
    spelled = spelled_as({*table.ids, *failed, *digests, *chain.from_iterable(seen.values())}, images.ids)
    changes = {
        "seen": {split: [spelled[name] for name in names] for split, names in seen.items()},
        "failed": [spelled[name] for name in failed],
        "digests": {spelled[name]: digest for name, digest in digests.items()},
    }
    ids, classes = (spelled[name] for name in table.ids), spelled_as(table.classes, images.classes).values()
    return replace(table, ids=tuple(ids), classes=tuple(classes), index=index.model_copy(update=changes))


def _check_classes(table: ProbabilityTable, images: ClassLabels, reference: Path) -> None:
    """Raises `EvaluationError` for classes of the reference that the predictions lack."""
    unknown = [name for name in images.classes if name not in table.classes]
    if unknown:
        raise EvaluationError(
            f"the predictions do not know {counted(len(unknown), 'class')} of the reference",
            file=table.file,
            found=listed(table.classes),
            expected=f"{listed(unknown)} too, as in {reference}",
            remedy="Name them as the model does; or move them out of the dataset, and add --allow-unmatched",
        )


def _class_numbers(images: ClassLabels, ids: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(N,) place of the true class of each of some images among `classes`."""
    number = {name: index for index, name in enumerate(classes)}
    label_of = dict(zip(images.ids, images.labels, strict=True))
    return np.array([number[images.classes[label_of[name]]] for name in ids])


def _unmatched(table: ProbabilityTable, images: ClassLabels, *, allowed: bool) -> dict[str, list[str]]:
    """Images without a counterpart. A table of one split is expected to hold that split only: there, those are missing
    whose prediction failed."""
    known, predicted = set(images.ids), set(table.ids)
    extra = [name for name in table.ids if name not in known]
    expected = table.index.failed or [] if table.index.selection else images.ids
    missing = [name for name in expected if name not in predicted]
    if (extra or missing) and not allowed:
        problems = [f"{name} has a prediction but is not in the dataset" for name in extra[:5]]
        problems += [f"{name} is in the dataset but has no prediction" for name in missing[:5]]
        raise EvaluationError(
            f"{counted(len(extra), 'prediction')} without a reference and "
            f"{counted(len(missing), 'reference')} without a prediction:" + items(problems),
            file=table.file,
            remedy="Fix them, or leave them out with --allow-unmatched",
        )
    return {"predictions": extra, "references": missing}


def _seen(table: ProbabilityTable, scored: set[str]) -> dict[str, list[str]]:
    """Those of the scored images that the model was trained or selected on, as the prediction noted."""
    seen = table.index.seen or {}
    return {split: [name for name in seen.get(split) or () if name in scored] for split in ("train", "val")}


def _sources(table: ProbabilityTable, data: ImagesSection, reference: Path) -> dict[str, Any]:
    """Where everything came from, so that a report finds the images and the model again."""
    copied = ("selection", "model", "weights_sha256", "architecture", "selected_on")
    return {
        "data": {**reading(data), "root": absolute(reference)},
        **{key: getattr(table.index, key) for key in copied},
        "provenance": {**provenance(), "predictions": absolute(table.file), "references": absolute(reference)},
    }
