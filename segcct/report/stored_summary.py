"""What summary.json and its companions must hold, and of which types, before a page is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from segcct.errors import EvaluationError


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 4096:
        raise ValueError("not the name of a file")
    return value


Interval = Annotated[list[float | None], Field(min_length=2, max_length=2)]
FileName = Annotated[Any, AfterValidator(_file_name)]
"""A text of at most 4,096 characters; pydantic's own refuses bytes of a name that are not UTF-8."""
_STRICT = ConfigDict(strict=True, extra="allow")


class _Stats(BaseModel):
    """Statistics of one metric; what is not defined is null."""

    model_config = _STRICT
    mean: float | None = None
    sd: float | None = None
    median: float | None = None
    ci95: Interval | None = None
    n: int = 0


class _Entry(BaseModel):
    """Metric -> statistics, and how often a class was missed, spurious or absent."""

    model_config = _STRICT
    __pydantic_extra__: dict[str, _Stats] = Field(init=False)
    counts: dict[str, int] | None = None


class _Files(BaseModel):
    """Image files of one case."""

    model_config = _STRICT
    prediction: FileName | None = None
    reference: FileName | list[FileName] | None = None
    channels: dict[str, FileName | list[FileName]] | None = None


class _Sources(BaseModel):
    """What the evaluations of masks and of classes have in common."""

    model_config = _STRICT
    definitions: dict[str, str] | None = None
    data: dict[str, Any] | None = None
    seen: dict[str, list[str] | None] | None = None
    unmatched: dict[str, list[str] | None] | None = None
    provenance: dict[str, Any] | None = None


class _LabelMap(BaseModel):
    """Agreement of whole label maps."""

    model_config = _STRICT
    pixel_accuracy: _Stats
    background: _Stats
    definitions: dict[str, str] | None = None


class _Model(BaseModel):
    """What predictions.json said of the model and of how it predicted."""

    model_config = _STRICT
    provenance: dict[str, Any] | None = None


class MaskSummary(_Sources):
    """summary.json of masks; where they are anonymized, with what files.json says."""

    convention: str
    classes: dict[str, _Entry]
    overall: dict[str, _Stats]
    scheme: str | None = None
    labels: dict[str, Annotated[int, Field(ge=1, le=65535)]] | None = None
    regions: dict[str, list[int]] | None = None
    tolerance_mm: float | None = None
    cases: int | None = None
    patients: int | None = None
    synthetic: list[str] | bool | None = None
    files: dict[str, _Files] | None = None
    digests: dict[str, dict[str, str]] | None = None
    tables: dict[str, str] | None = None
    label_map: _LabelMap | None = None
    model: _Model | None = None
    weights_sha256: str | None = None
    anonymized: bool | None = None


class _Bin(BaseModel):
    """One bin of the reliability diagram; an empty one has neither confidence nor accuracy."""

    model_config = _STRICT
    low: float
    high: float
    confidence: float | None = None
    accuracy: float | None = None
    count: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _filled(self) -> _Bin:
        if self.count and (self.confidence is None or self.accuracy is None):
            raise ValueError("a bin of pictures without their confidence or accuracy")
        return self


class _ClassEntry(BaseModel):
    """Figures of one class."""

    model_config = _STRICT
    precision: _Stats
    recall: _Stats
    f1: _Stats
    auroc: _Stats
    specificity: float | None
    support: Annotated[int, Field(ge=0)]


class _ClassOverall(BaseModel):
    """Figures over all classes."""

    model_config = _STRICT
    __pydantic_extra__: dict[str, _Stats] = Field(init=False)
    accuracy: _Stats


class ClassSummary(_Sources):
    """summary.json of classes."""

    classes: dict[str, _ClassEntry]
    overall: _ClassOverall
    confusion: list[list[Annotated[int, Field(ge=0)]]]
    reliability: list[_Bin]
    pictures: Annotated[int, Field(ge=1)]
    groups: int | None = None
    mean_confidence: float | None = None
    model: str | None = None
    weights_sha256: str | None = None


class _Comparison(BaseModel):
    """One paired difference."""

    model_config = _STRICT
    difference: float | None = None
    ci95: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    n: int = 0
    wins: int = 0
    losses: int = 0
    ties: int = 0


class PairedSummary(BaseModel):
    """paired.json."""

    model_config = _STRICT
    overall: dict[str, _Comparison]
    classes: dict[str, dict[str, _Comparison]]
    definition: str | None = None


class IndexSources(BaseModel):
    """What a page reads of predictions.json."""

    model_config = _STRICT
    data: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None


def check_stored(kind: type[BaseModel], content: Mapping[str, Any], file: Path, remedy: str) -> None:
    """Raises `EvaluationError` naming the first value that is missing or of another type."""
    try:
        kind.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:120]
        raise EvaluationError(
            "holds something else than an evaluation",
            file=file,
            found=f"{place}: {' '.join(first['msg'].split())[:160]}",
            remedy=remedy,
        ) from None
