"""The options of `segcct predict`, `evaluate` and `report`: one object for each command, whatever the task.

A row of `TASKS` lists the options that its functions use. An option that is not listed is refused on the command line,
so a function sees its default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

from segcct.errors import ConfigError, require_type
from segcct.predictions.mask_options import MaskOptions

if TYPE_CHECKING:
    from pathlib import Path

    from segcct.datasets.split_names import SplitName
    from segcct.inference.inference_settings import InferenceSettings
    from segcct.predictions.mask_folder import Existing
    from segcct.spark.spark_cases import SparkEngine


@dataclass(frozen=True, kw_only=True)
class CohortOptions:
    """How a large number of cases is predicted: which part of them, when to give up, and where."""

    shard: tuple[int, int] | None = None
    """(I, N): only part I of N of the cases, from 1; processes may each predict one into the same folder."""
    max_failures: int | None = None
    """Once more cases than this have failed, the others are left out."""
    engine: SparkEngine | None = None
    """Predict in tasks of Spark; None: in this process."""

    def __post_init__(self) -> None:
        if self.shard is not None and not _is_part(self.shard):
            raise ConfigError("no such part of the cases", found=f"shard {self.shard!r}", expected="such as (3, 16)")
        if self.max_failures is not None and not (isinstance(self.max_failures, Integral) and self.max_failures >= 0):
            found, expected = repr(self.max_failures), "a whole number of at least 0"
            raise ConfigError("max_failures is a number of cases", found=found, expected=expected)
        if self.engine is not None:
            from segcct.spark.spark_cases import SparkEngine

            require_type("engine", self.engine, SparkEngine)


def _is_part(shard: Any) -> bool:
    """Whether it is a part and the number of parts, such as (3, 16); numbers of NumPy will do."""
    whole = isinstance(shard, tuple) and len(shard) == 2 and all(isinstance(number, Integral) for number in shard)
    return whole and 1 <= shard[0] <= shard[1]


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of `segcct predict`."""

    settings: InferenceSettings | None = None
    """How the network runs; None: as `LoadedModel.load` chooses. The command always chooses."""
    masks: MaskOptions = field(default_factory=MaskOptions)
    quality: bool = True
    """Write quality.csv, if the model has an estimate for masks that are made in this way."""
    split: SplitName | None = None
    """Only these cases of the model's own split."""
    existing: Existing = "refuse"
    """What is done with earlier predictions in the output folder."""
    cohort: CohortOptions = field(default_factory=CohortOptions)
    only: Literal["status", "dry-run"] | None = None
    """Predict nothing, but say how far an earlier call is, or how long this one would take."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `segcct evaluate`; see `evaluate_folders.evaluate`."""

    scheme: str | None = None
    """Meaning of the label values: a name, or the config of an experiment; None: as predictions.json says."""
    conventions: tuple[str, ...] = ("default",)
    """Of the metrics; the first is that of metrics.csv and summary.json."""
    layout: str | None = None
    """Of the references; None: as predictions.json says."""
    against: Path | None = None
    """Other predictions to compare with, case by case."""
    tolerance_mm: float | None = None
    """Of the surface Dice; None: 2, for BraTS schemes 1."""
    allow_unmatched: bool = False
    """Leave out cases without a prediction or a reference."""
    workers: int = 1
    """Processes that score cases."""
    max_failures: int | None = None
    """Once more cases than this have failed, the others are left out."""
    engine: SparkEngine | None = None
    """Score in tasks of Spark; None: on this machine."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `segcct report`."""

    picture: Path | None = None
    """Also draw one case, as this file."""
    case: str | None = None
    """Which case to draw; None: the median one."""
    channel: str | None = None
    """Which channel to draw; None: the first."""
