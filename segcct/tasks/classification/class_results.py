"""The files of a classification's evaluation: summary.json as a typed record, its tables written, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from segcct.errors import EvaluationError
from segcct.escape import for_markdown
from segcct.evaluation.evaluation_files import remove_earlier
from segcct.evaluation.summary_record import EvaluationRecord, MetricStats, seen_sentence
from segcct.files.atomic_file import atomic_path
from segcct.files.json_file import write_json
from segcct.files.table_file import read_rows_of, write_csv
from segcct.plurals import counted
from segcct.report.results import REMEDY, read_json

Count = Annotated[int, Field(ge=0)]
_OUTPUTS = ("summary.json", "metrics.csv", "images.csv", "table.md")  # removed in this order
_METRICS = ("precision", "recall", "f1", "auroc")
_OVERALL = ("accuracy", "top5", "balanced_accuracy", "macro_f1", "auroc", "ece", "log_loss", "brier")
_COLUMNS = ("image", "class", "predicted", "correct", "confidence", "p_class")


class ClassEntry(EvaluationRecord):
    """Figures of one class against all others."""

    precision: MetricStats
    recall: MetricStats
    specificity: float | None
    f1: MetricStats
    auroc: MetricStats
    support: Count
    """Images of the class."""


class Bin(EvaluationRecord):
    """One bin of the reliability diagram; an empty one has neither confidence nor accuracy."""

    low: float
    high: float
    confidence: float | None = None
    accuracy: float | None = None
    count: Count

    @model_validator(mode="after")
    def _filled(self) -> Self:
        if self.count and (self.confidence is None or self.accuracy is None):
            raise ValueError("a bin of images without their confidence or accuracy")
        return self


class ClassSummary(EvaluationRecord):
    """summary.json."""

    task: str = "classification"
    images: Annotated[int, Field(ge=1)]
    groups: int
    overall: dict[str, MetricStats]
    classes: dict[str, ClassEntry]
    confusion: list[list[Count]]
    """Row: true class; column: predicted class."""
    reliability: list[Bin]
    mean_confidence: float
    definitions: dict[str, str]
    unmatched: dict[str, list[str] | None] | None = None
    """`predictions` and `references` -> images without a counterpart."""
    seen: dict[str, list[str] | None] | None = None
    """`train` and `val` -> images that the model was trained or selected on."""
    data: dict[str, object] | None = None
    """How the images are read."""
    selection: object = None
    model: str | None = None
    """Its folder."""
    weights_sha256: str | None = None
    architecture: object = None
    selected_on: object = None
    provenance: dict[str, object] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if "accuracy" not in self.overall:
            raise ValueError("no accuracy over all classes")
        if [len(row) for row in self.confusion] != [len(self.classes)] * len(self.classes):
            raise ValueError("the confusion matrix has other classes")
        return self


@dataclass(frozen=True)
class ImageResult:
    """One row of images.csv."""

    image: str
    true: str
    predicted: str
    confidence: float
    """Probability of the predicted class."""
    p_true: float

    @property
    def correct(self) -> bool:
        """The true class came first."""
        return self.true == self.predicted


@dataclass(frozen=True)
class ClassResults:
    """The content of an evaluation folder."""

    folder: Path
    summary: ClassSummary
    images: tuple[ImageResult, ...]

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the summary."""
        return list(self.summary.classes)


def write_class_results(
    folder: Path, summary: ClassSummary, ids: Sequence[str], probabilities: np.ndarray, labels: np.ndarray
) -> None:
    """metrics.csv (a row per class), images.csv (a row per image), table.md and summary.json, in place of those of an
    earlier evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_earlier(folder, _OUTPUTS)
    _write_classes(folder / "metrics.csv", summary)
    write_image_results(folder / "images.csv", ids, probabilities, labels, list(summary.classes))
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(_markdown(summary), encoding="utf-8", errors="backslashreplace")
    # The last file to appear: a folder that holds summary.json holds a whole evaluation.
    write_json(folder / "summary.json", summary.to_json(), private=True)


def write_image_results(
    file: Path, ids: Sequence[str], probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> None:
    """images.csv: a row per image with its true class, the predicted one and the probabilities of both."""
    rows = []
    for name, row, true, predicted in zip(ids, probabilities, labels, probabilities.argmax(axis=1), strict=True):
        correct = "yes" if true == predicted else "no"
        rows.append([name, classes[true], classes[predicted], correct, f"{row[predicted]:.6g}", f"{row[true]:.6g}"])
    write_csv(file, _COLUMNS, rows, private=True)


def read_class_results(folder: Path) -> ClassResults:
    """Read and check an evaluation folder.

    Raises:
        EvaluationError: it is missing, incomplete or damaged, or its table and its summary do not fit.
    """
    file = folder / "summary.json"
    summary = ClassSummary.from_json(read_json(file), file, REMEDY)
    images = _read_image_results(folder / "images.csv")
    unknown = sorted({name for one in images for name in (one.true, one.predicted)} - set(summary.classes))
    if unknown or len(images) != summary.images:
        raise EvaluationError(
            "table and summary are of different evaluations",
            file=folder / "images.csv",
            found=counted(len(images), "image") + (f", class {unknown[0]}" if unknown else ""),
            expected=f"{summary.images} images of {', '.join(list(summary.classes)[:8])}",
            remedy="Run `segcct evaluate` again",
        )
    return ClassResults(folder, summary, images)


def _read_image_results(file: Path) -> tuple[ImageResult, ...]:
    results = []
    for row in read_rows_of(
        file, [name for name in _COLUMNS if name != "correct"], error=EvaluationError, remedy=REMEDY
    ):
        try:
            confidence, p_true = float(row["confidence"]), float(row["p_class"])
        except ValueError as error:
            raise EvaluationError("a cell is not a number", file=file, found=str(error), remedy=REMEDY) from None
        if not (0 <= confidence <= 1 and 0 <= p_true <= 1):
            found = f"{confidence:g} and {p_true:g}"
            raise EvaluationError("a cell is not a probability", file=file, found=found, remedy=REMEDY)
        results.append(ImageResult(row["image"], row["class"], row["predicted"], confidence, p_true))
    return tuple(results)


def public_scores(folder: Path) -> str:
    """The scores in summary.json of an evaluation, in Markdown. Raises `EvaluationError` where it is damaged."""
    file = folder / "summary.json"
    return _markdown(ClassSummary.from_json(read_json(file), file, REMEDY)).strip()


def _write_classes(file: Path, summary: ClassSummary) -> None:
    """metrics.csv: a row per class, empty where a figure is not defined."""
    head = ["class", *(f"{name}{end}" for name in _METRICS for end in ("", "_low", "_high")), "specificity", "support"]
    rows = []
    for name, entry in summary.classes.items():
        metrics: list[MetricStats] = [getattr(entry, key) for key in _METRICS]
        values = [value for stats in metrics for value in (stats.mean, *(stats.ci95 or (None, None)))]
        cells = ["" if value is None else f"{value:.6g}" for value in (*values, entry.specificity)]
        rows.append([name, *cells, entry.support])
    write_csv(file, head, rows)


def _markdown(summary: ClassSummary) -> str:
    """The figures as Markdown, with their intervals."""
    lines = [f"{counted(summary.images, 'image', comma=True)}, {counted(len(summary.classes), 'class')}", ""]
    seen = seen_sentence(summary.seen, summary.images, "image")
    lines += [f"**{seen}**", ""] if seen else []
    lines += ["| figure | value | 95% interval |", "|---|---|---|"]
    overall = {name: summary.overall[name] for name in _OVERALL if name in summary.overall}
    lines += [f"| {name} | {_mean(stats)} | {_interval(stats)} |" for name, stats in overall.items()]
    lines += ["", f"| class | {' | '.join(_METRICS)} | images |", "|---" * (2 + len(_METRICS)) + "|"]
    for name, entry in summary.classes.items():
        metrics: list[MetricStats] = [getattr(entry, key) for key in _METRICS]
        cells = [f"{_mean(stats)} [{_interval(stats)}]" for stats in metrics]
        lines.append(f"| {for_markdown(name)} | {' | '.join(cells)} | {entry.support} |")
    return "\n".join(lines) + "\n"


def _mean(stats: MetricStats) -> str:
    return "-" if stats.mean is None else f"{stats.mean:.3f}"


def _interval(stats: MetricStats) -> str:
    low, high = stats.ci95 or (None, None)
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
