"""summary.json of a classification's evaluation as a typed record, for its writer and its readers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from segcct.evaluation.summary_record import EvaluationRecord, MetricStats

Count = Annotated[int, Field(ge=0)]


class ClassEntry(EvaluationRecord):
    """Figures of one class against all others."""

    precision: MetricStats
    recall: MetricStats
    specificity: float | None
    f1: MetricStats
    auroc: MetricStats
    support: Count
    """Pictures of the class."""


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
            raise ValueError("a bin of pictures without their confidence or accuracy")
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
    """`predictions` and `references` -> pictures without a counterpart."""
    seen: dict[str, list[str] | None] | None = None
    """`train` and `val` -> pictures that the model was trained or selected on."""
    data: dict[str, object] | None = None
    """How the pictures are read."""
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
