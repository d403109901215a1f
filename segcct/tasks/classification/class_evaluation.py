"""Class probabilities scored against the true classes: `segcct evaluate` for classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from segcct.config import ImagesSection
from segcct.config.layout_table import IMAGE_LAYOUTS
from segcct.errors import EvaluationError, items
from segcct.evaluation.evaluation_files import output_folder
from segcct.evaluation.summary_record import MetricStats
from segcct.files.file_names import absolute
from segcct.metrics.calibration import expected_error, reliability
from segcct.metrics.class_scores import (
    brier_scores,
    class_aurocs,
    class_scores,
    log_losses,
    top_k,
)
from segcct.metrics.classification_intervals import RESAMPLES, class_intervals
from segcct.metrics.confidence_intervals import summarize
from segcct.metrics.defined_values import mean_of
from segcct.metrics.metric_table import Quantity
from segcct.plurals import counted, listed
from segcct.predictions.predictions_index import INDEX
from segcct.progress import Report
from segcct.provenance import provenance
from segcct.tasks.classification.class_results import Bin, ClassEntry, ClassSummary, write_class_results
from segcct.tasks.classification.image_layout import ClassLabels, get_image_layout, section_of
from segcct.tasks.classification.labeled_images import groups_of
from segcct.tasks.classification.probability_table import ProbabilityTable, read_table

FEW_CLASSES = 5
"""With at most this many classes, top 5 says nothing and is left out."""
QUANTITIES = {
    each.key: each
    for each in (
        Quantity("accuracy", "Accuracy", "fraction of the images whose class has the highest probability (top 1)"),
        Quantity("top5", "Top 5", "fraction of the images whose class is among the five of highest probability"),
        Quantity("precision", "Precision", "fraction of the images predicted as a class that belong to it"),
        Quantity(
            "recall", "Recall (sensitivity)", "fraction of the images of a class that are predicted as it (sensitivity)"
        ),
        Quantity("specificity", "Specificity", "fraction of the images of other classes that are not predicted as it"),
        Quantity("f1", "F1", "2 tp / (2 tp + fp + fn)"),
        Quantity("macro_f1", "Macro F1", "mean F1 of the classes in the reference"),
        Quantity("balanced_accuracy", "Balanced accuracy", "mean recall of the classes"),
        Quantity(
            "auroc",
            "AUROC",
            "probability that an image of the class has a higher probability for it than one of another class; "
            "overall the mean over the classes",
        ),
        Quantity(
            "ece",
            "Calibration error",
            "expected calibration error: mean gap between confidence and accuracy, in 15 bins of confidence",
            higher_is_better=False,
        ),
        Quantity(
            "log_loss",
            "Log loss",
            "mean of minus the logarithm of the true class's probability",
            bounds=(0.0, np.inf),
            higher_is_better=False,
        ),
        Quantity(
            "brier",
            "Brier score",
            "mean over the images of the summed squared error of the probabilities, 0 to 2",
            bounds=(0.0, 2.0),
            higher_is_better=False,
        ),
    )
}
"""Every figure of a classification."""
CI95 = (
    "95% interval by bootstrap over groups of images (copies, or images of one patient): BCa with 10,000 resamples for "
    f"means, percentiles of {RESAMPLES:,} resamples for all other figures; the interval of ece is corrected for its "
    "bootstrap bias, because resampling widens every gap"
)


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
    unknown = [name for name in reference_labels.classes if name not in table.classes]
    if unknown:
        raise EvaluationError(
            f"the predictions do not know {counted(len(unknown), 'class')} of the reference",
            file=table.file,
            found=listed(table.classes),
            expected=f"{listed(unknown)} too, as in {reference}",
            remedy="Name them as the model does; or move them out of the dataset, and add --allow-unmatched",
        )
    unmatched = _unmatched(table, reference_labels, allow_unmatched)
    stray = set(unmatched["predictions"])
    scored = [place for place, name in enumerate(table.ids) if name not in stray]
    if not scored:
        raise EvaluationError("no image has both a prediction and a reference", file=table.file)
    with output_folder(output):
        ids = [table.ids[place] for place in scored]
        class_of = dict(zip(reference_labels.ids, reference_labels.labels, strict=True))
        number = {name: index for index, name in enumerate(table.classes)}
        labels = np.array([number[reference_labels.classes[class_of[name]]] for name in ids])
        probabilities = table.probabilities[scored]
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
    each = class_scores(labels, predicted, len(classes))
    aurocs = class_aurocs(probabilities, labels)
    ranges = class_intervals(probabilities, labels, groups)
    bins = reliability(probabilities.max(axis=1), top_k(probabilities, labels, 1))
    supported = [one for one in each if one.support]
    overall = {
        **_means(probabilities, labels, groups),
        "macro_f1": _stats(mean_of([one.f1 for one in supported]), ranges.macro_f1),
        "balanced_accuracy": _stats(mean_of([one.recall for one in supported]), ranges.balanced_accuracy),
        "auroc": _stats(mean_of(aurocs), ranges.macro_auroc),
        "ece": _stats(expected_error(bins), ranges.ece),
    }
    return ClassSummary(
        task="classification",
        images=len(labels),
        groups=len(set(groups)),
        overall=overall,
        classes={
            name: ClassEntry(
                precision=_stats(one.precision, ranges.precision[place]),
                recall=_stats(one.recall, ranges.recall[place]),
                specificity=one.specificity,
                f1=_stats(one.f1, ranges.f1[place]),
                auroc=_stats(aurocs[place], ranges.auroc[place]),
                support=one.support,
            )
            for place, (name, one) in enumerate(zip(classes, each, strict=True))
        },
        confusion=confusion_matrix(labels, predicted, labels=range(len(classes))).tolist(),
        reliability=[Bin(**asdict(one)) for one in bins],
        mean_confidence=float(probabilities.max(axis=1).mean()),
        definitions={
            **{name: each.definition for name, each in QUANTITIES.items() if name != "top5" or "top5" in overall},
            "ci95": CI95,
        },
    )


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


def _unmatched(table: ProbabilityTable, images: ClassLabels, allowed: bool) -> dict[str, list[str]]:
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
        "data": {**data.model_dump(mode="json"), "root": absolute(reference)},
        **{key: getattr(table.index, key) for key in copied},
        "provenance": {**provenance(), "predictions": absolute(table.file), "references": absolute(reference)},
    }
