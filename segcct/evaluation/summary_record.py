"""summary.json and paired.json of a segmentation evaluation as typed records.

    summary = SegmentationSummary.from_json(read_object(folder / "summary.json"), folder / "summary.json")
    summary.classes["LV"].scores["dice"].mean
    summary.to_json()                              # what summary.json holds: set fields, in the order below

Every type is checked on reading. Unknown keys are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_serializer, model_validator

from segcct.errors import EvaluationError, SegcctError
from segcct.files.json_record import FileName, Record
from segcct.plurals import counted

STATUSES = ("ok", "missed", "spurious", "absent")

Interval = Annotated[list[float | None], Field(min_length=2, max_length=2)]
"""[low, high]; both None if there is none."""


class EvaluationRecord(Record):
    """Part of a file that `segcct evaluate` writes."""

    NOT_THIS: ClassVar[str] = "is not an evaluation"
    ERROR: ClassVar[type[SegcctError]] = EvaluationError


class MetricStats(EvaluationRecord):
    """`segcct.metrics.Stats`: one metric over cases."""

    mean: float | None = None
    sd: float | None = None
    median: float | None = None
    q25: float | None = None
    q75: float | None = None
    ci95: Interval | None = None
    n: int = 0


class StructureSummary(EvaluationRecord):
    """One class or region: in the file, the metrics' statistics with `counts` as one more key."""

    scores: dict[str, MetricStats] = Field(default_factory=dict)
    """Metric -> statistics."""
    counts: dict[str, int]
    """Status -> number of cases."""

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or "scores" in content:
            return content
        scores = {name: value for name, value in content.items() if name != "counts"}
        return {"scores": scores, "counts": content.get("counts")}

    @model_serializer
    def _flatten(self) -> dict[str, Any]:
        return {**{name: stats.to_json() for name, stats in self.scores.items()}, "counts": self.counts}


class LabelMapSummary(EvaluationRecord):
    """Agreement of whole label maps: all classes and the background at once."""

    pixel_accuracy: MetricStats
    background: MetricStats
    """Pixel accuracy of an empty mask."""
    definitions: dict[str, str]
    unit: str


class CaseFiles(EvaluationRecord):
    """Image files of one case."""

    prediction: FileName | None = None
    reference: FileName | list[FileName] | None = None
    channels: dict[str, FileName | list[FileName]] | None = None


class ScoredModel(EvaluationRecord):
    """The model, as predictions.json describes it."""

    architecture: Any = None
    selected_on: Any = None
    provenance: dict[str, Any] | None = None


class PairedStats(EvaluationRecord):
    """`segcct.metrics.Paired` of one metric, with its p value corrected for the family of tests."""

    difference: float | None = None
    ci95: Interval | None = None
    p: float | None = None
    wins: int = 0
    losses: int = 0
    ties: int = 0
    n: int = 0
    p_holm: float | None = None


class PairedSummary(EvaluationRecord):
    """paired.json: these predictions minus others of the same cases."""

    against: FileName
    weights_sha256: str | None
    """Of the other model."""
    seen: dict[str, list[str]]
    """`train` and `val` -> cases that the other model was trained or selected on."""
    edited: list[str]
    """Cases whose mask of the other model is not the one that was predicted."""
    convention: str
    definition: str
    cases: int
    overall: dict[str, PairedStats]
    classes: dict[str, dict[str, PairedStats]]

    def seen_sentence(self) -> str:
        """A warning if the other model was trained or selected on compared cases; else empty."""
        return seen_sentence(self.seen, self.cases, "case", model="the other model")

    def edited_sentence(self) -> str:
        """A warning if other masks were edited or replaced after their prediction; else empty."""
        return edited_sentence(self.edited, self.cases, "other mask", model="the other model")


class SegmentationSummary(EvaluationRecord):
    """summary.json of masks, under one convention."""

    task: str
    convention: str
    scheme: str
    labels: dict[str, Annotated[int, Field(ge=1, le=65535)]]
    """Class -> label value."""
    regions: dict[str, list[int]]
    """Region -> label values of its classes."""
    units: dict[str, str]
    definitions: dict[str, str]
    tolerance_mm: float
    cases: int
    patients: int
    overall: dict[str, MetricStats]
    """Metric -> statistics of the cases' means over classes."""
    classes: dict[str, StructureSummary]
    """The classes, then the regions."""
    case_dice: dict[str, float | None]
    """Case -> its mean Dice over the scored classes."""
    unmatched: dict[str, list[str]]
    """`predictions` and `references` -> cases without a counterpart."""
    seen: dict[str, list[str]]
    """`train` and `val` -> cases that the model was trained or selected on."""
    synthetic: list[str]
    synthetic_training: bool
    edited: list[str]
    """Cases whose mask is not the one that was predicted."""
    digests: dict[str, dict[str, str]]
    """Case -> `prediction` and `reference` -> digest of the files."""
    weights_sha256: str | None
    model: ScoredModel
    data: dict[str, Any] | None
    """How the references are read: a config's `data` section."""
    files: dict[str, CaseFiles]
    provenance: dict[str, Any]
    anonymized: bool = False
    """Cases are named by hashed ids, and no value names a file."""
    paired: PairedSummary | None = None
    label_map: LabelMapSummary
    tables: dict[str, str] = Field(default_factory=dict)
    """metrics.csv and details.csv -> digest, once they are written."""

    @property
    def scored_metrics(self) -> list[str]:
        """Metrics that some class or region scores in some case, in order."""
        return [
            name
            for name in self.overall
            if any(name in entry.scores and entry.scores[name].n for entry in self.classes.values())
        ]

    @property
    def hd95(self) -> str:
        """The metric that holds HD95: in mm, and in voxels only where no structure is scored in mm."""
        scored = self.scored_metrics
        return "hd95_vox" if "hd95_vox" in scored and "hd95_mm" not in scored else "hd95_mm"

    def counts_over_classes(self) -> dict[str, int]:
        """Number of structures of each status, over the classes without the regions."""
        counts = [entry.counts for name, entry in self.classes.items() if name in self.labels]
        return {status: sum(each.get(status, 0) for each in counts) for status in STATUSES}

    def seen_sentence(self) -> str:
        """A warning if the model was trained or selected on scored cases; else empty."""
        return seen_sentence(self.seen, self.cases, "case")

    def edited_sentence(self) -> str:
        """A warning if masks were edited or replaced after their prediction; else empty."""
        return edited_sentence(self.edited, self.cases, "mask")

    def synthetic_sentence(self) -> str:
        """A warning if cases or the training data of the model are synthetic; else empty."""
        cases = len(self.synthetic)
        if cases:
            verb = "is" if cases == 1 else "are"
            return (
                f"{cases} of {counted(self.cases, 'case')} {verb} synthetic: these scores show that the program "
                "works, but not how well it performs on patients."
            )
        return "The model was trained on synthetic data." if self.synthetic_training else ""


def edited_sentence(edited: Sequence[str], total: int, noun: str, *, model: str = "the model") -> str:
    """A warning if some of `total` masks, called `noun`, were edited or replaced after their prediction; else empty."""
    if not edited:
        return ""
    verb = "was" if len(edited) == 1 else "were"
    return (
        f"{len(edited)} of {counted(total, noun)} {verb} edited or replaced after the prediction "
        f"({', '.join(edited[:4])}{', ...' if len(edited) > 4 else ''}). "
        f"These scores are those of the masks, not of {model}."
    )


def seen_sentence(
    seen: Mapping[str, Sequence[str] | None] | None, total: int, noun: str, *, model: str = "the model"
) -> str:
    """A warning if the model was trained or selected on some of `total` scored `noun`; else empty."""
    trained, selected = (len((seen or {}).get(split) or ()) for split in ("train", "val"))
    if not trained + selected:
        return ""
    return (
        f"Of the {counted(total, noun)}, {model} was trained on {trained} and selected on {selected}, matched by name: "
        f"these scores do not show how well it performs on new {noun}s. Score {noun}s that it has not seen "
        "(--split test, if the run has a test split)."
    )
