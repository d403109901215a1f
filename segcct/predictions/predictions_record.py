"""predictions.json as typed records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from segcct.errors import EvaluationError, SegcctError
from segcct.files.json_record import FileName, Record


def _inside(name: str) -> str:
    # A mask is in the folder itself: a path may lead to any other file.
    if not name or Path(name).name != name:
        raise ValueError("not the name of a mask in the folder")
    return name


class CaseEntry(Record):
    """One mask."""

    mask: Annotated[str, AfterValidator(_inside)]
    digest: str | None = None
    """Of the mask as it was predicted; one with another digest was edited or replaced."""
    seen: str | None = None
    """`train` or `val` if the model was trained or selected on the case."""
    synthetic: bool | None = None
    """The images say that they were generated."""
    channels: dict[str, list[FileName]] | None = None
    """Channel -> its files; in sources.json if ids are hashed."""


class StoredScheme(Record):
    """The label scheme of the masks."""

    name: str
    classes: dict[str, int]
    regions: dict[str, list[int]] | None = None


class PredictionsRecord(Record):
    """predictions.json of any task."""

    NOT_THIS: ClassVar[str] = "is not an index of predictions"
    task: str = "segmentation"
    data: dict[str, Any] | None = None
    """How the images were read: a config's `data` section."""
    selection: str | None = None
    """The split that was predicted; `some` if calls differ."""
    weights_sha256: str | None = None
    """Of an ensemble, a digest over those of its members."""
    members: Any = None
    """Digest, architecture and selection of each model of an ensemble."""
    selected_on: Any = None
    architecture: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None


class StoredPredictions(PredictionsRecord):
    """predictions.json of masks."""

    ERROR: ClassVar[type[SegcctError]] = EvaluationError
    cases: dict[str, CaseEntry]
    anonymized: bool | None = None
    """Masks are named by hashed ids, and no output may name a case otherwise."""
    scheme: StoredScheme | None = None
    synthetic_training: bool | None = None
    """The model was trained on generated images."""


class StoredTable(PredictionsRecord):
    """predictions.json of a table of class probabilities."""

    task: str = "classification"
    classes: list[FileName] | None = None
    seen: dict[str, list[FileName]] | None = None
    """`train` and `val` -> images that the model was trained or selected on."""
    failed: list[FileName] | None = None
    """Images that could not be read, and are not in the table."""
    digests: dict[FileName, str] | None = None
    """Image -> digest of its pixels, which copies share."""
    model: FileName | None = None
    """The model's folder."""
