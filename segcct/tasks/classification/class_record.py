"""summary.json of a classification's evaluation as a typed record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from segcct.evaluation.summary_record import MetricStats, Record

Count = Annotated[int, Field(ge=0)]


class Bin(Record):
    """One bin of the reliability diagram; an empty one has neither confidence nor accuracy."""

    low: float
    high: float
    confidence: float | None = None
    accuracy: float | None = None
    count: Count

    @model_validator(mode="after")
    def _filled(self) -> Bin:
        if self.count and (self.confidence is None or self.accuracy is None):
            raise ValueError("a bin of pictures without their confidence or accuracy")
        return self


class ClassEntry(Record):
    """Figures of one class."""

    precision: MetricStats
    recall: MetricStats
    f1: MetricStats
    auroc: MetricStats
    specificity: float | None
    support: Count


class ClassOverall(Record):
    """Figures over all classes."""

    __pydantic_extra__: dict[str, MetricStats] = Field(init=False)
    accuracy: MetricStats

    def get(self, metric: str) -> MetricStats | None:
        """The figure of a metric; None where it is not scored."""
        return self.__pydantic_extra__.get(metric)


class ClassSummary(Record):
    """summary.json of classes."""

    definitions: dict[str, str] | None = None
    data: dict[str, object] | None = None
    seen: dict[str, list[str] | None] | None = None
    unmatched: dict[str, list[str] | None] | None = None
    provenance: dict[str, object] | None = None
    weights_sha256: str | None = None
    classes: dict[str, ClassEntry]
    overall: ClassOverall
    confusion: list[list[Count]]
    reliability: list[Bin]
    pictures: Annotated[int, Field(ge=1)]
    groups: int | None = None
    mean_confidence: float | None = None
    model: str | None = None
    architecture: object = None
    selected_on: object = None
    selection: object = None
