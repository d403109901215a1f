"""The evaluation of a classification: `summary.json` as a typed record, and `pictures.csv`, written and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from segcct.errors import EvaluationError
from segcct.evaluation.summary_record import EvaluationRecord, MetricStats
from segcct.files.table_file import read_rows_of, write_csv
from segcct.plurals import counted
from segcct.report.results import REMEDY, read_json

Count = Annotated[int, Field(ge=0)]
_COLUMNS = ("picture", "class", "predicted", "correct", "confidence", "p_class")


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
    pictures: Annotated[int, Field(ge=1)]
    groups: int | None = None
    overall: dict[str, MetricStats]
    classes: dict[str, ClassEntry]
    confusion: list[list[Count]]
    """Row: true class; column: predicted class."""
    reliability: list[Bin]
    mean_confidence: float | None = None
    definitions: dict[str, str] | None = None
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
    """One row of pictures.csv."""

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


def write_image_results(
    file: Path, ids: Sequence[str], probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> None:
    """pictures.csv: a row per image with its true class, the predicted one and the probabilities of both."""
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
    images = _read_image_results(folder / "pictures.csv")
    unknown = sorted({name for one in images for name in (one.true, one.predicted)} - set(summary.classes))
    if unknown or len(images) != summary.pictures:
        raise EvaluationError(
            "table and summary are of different evaluations",
            file=folder / "pictures.csv",
            found=counted(len(images), "image") + (f", class {unknown[0]}" if unknown else ""),
            expected=f"{summary.pictures} images of {', '.join(list(summary.classes)[:8])}",
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
        results.append(ImageResult(row["picture"], row["class"], row["predicted"], confidence, p_true))
    return tuple(results)
