"""The one table of metrics: name, format, meaning and score of each.

Tables, summaries, comparisons, reports and docs iterate over it, so a metric is one row. From outside the package:

    from segcct.metrics import MaskPair, Metric, register_metric

    def volume_similarity(pair: MaskPair) -> float | None:
        counts = pair.counts
        total = counts.prediction + counts.reference
        return 1 - abs(counts.prediction - counts.reference) / total if total else None

    register_metric(Metric(key="volume_similarity", label="Volume similarity", score=volume_similarity,
                           definition="1 - | |P| - |R| | / (|P| + |R|) over voxels"))

An installed package names that module as an entry point of the group `segcct.metrics`.
"""

from __future__ import annotations

import math
import pickle
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from segcct.errors import MetricError, PluginError, is_foreseen
from segcct.metrics.defined_values import defined
from segcct.metrics.pair import MaskPair
from segcct.metrics.surface_distances import SurfaceDistances
from segcct.plugins import Registry

_KEY = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED = {
    *("case", "class", "status", "value", "volume_pred_ml", "volume_ref_ml", "voxels_pred", "voxels_ref"),
    *("counts", "scores", "ci95", "overall", "absent", "lesions", "pixel_accuracy", "background"),
}
"""Names of other columns and keys in the files and pages that hold metrics."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Quantity:
    """Name, format and meaning of a column of numbers."""

    key: str
    """Name in files."""
    label: str
    """Name for people."""
    definition: str = ""
    unit: str = ""
    """Empty where it has none."""
    digits: int = 3
    bounds: tuple[float, float] = (0.0, 1.0)
    """Range of its values, which intervals are clipped to."""
    higher_is_better: bool | None = True
    """None: the nearer to 0 the better."""

    @property
    def title(self) -> str:
        """Label with unit, as in table heads."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def is_fraction(self) -> bool:
        """Between 0 and 1."""
        return self.bounds == (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Metric(Quantity):
    """A row of the table: a quantity of a structure's two masks."""

    score: Callable[[MaskPair], float | None]
    """None or NaN where it is not defined: not scored, and in no mean."""
    one_sided: Callable[[MaskPair], float | None] | None = None
    """Replaces `score` for a structure in only one of the masks."""
    by_convention: bool = False
    """Each convention scores it by its own rule or leaves it out; other metrics are the same under every convention."""
    in_details: bool = False
    """Only in details.csv and the report's list of cases: without statistics or comparison."""
    when_scored: bool = False
    """Listed only if some structure has a score."""
    compared: bool = True
    """Also in the comparison of table.md, where each metric takes three columns."""

    def __call__(self, pair: MaskPair) -> float | None:
        """The score of a pair; None where it is not defined. Raises `MetricError` if it is infinite or outside
        `bounds`, or if the function of another package fails."""
        value = self._value(pair)
        if value is not None and math.isinf(value):
            raise MetricError(
                f"metric '{self.key}' gives an infinite score",
                found=f"{value} for a structure of status {pair.status}",
                expected="a number, or None where it is not defined",
            )
        low, high = self.bounds
        if value is not None and not low - _ROUNDING <= value <= high + _ROUNDING:
            raise MetricError(
                f"metric '{self.key}' gives a score outside its bounds",
                found=f"{value:g} for a structure of status {pair.status}",
                expected=f"{low:g} to {high:g}",
                remedy="Register the metric with its true bounds, such as bounds=(0.0, math.inf)",
            )
        return value

    def _value(self, pair: MaskPair) -> float | None:
        rule = self.one_sided if pair.status in ("missed", "spurious") else None
        try:
            return defined((rule or self.score)(pair))
        except Exception as error:  # other people's code fails in any way
            if self.key in _ROWS or is_foreseen(error):
                raise
            calls = traceback.extract_tb(error.__traceback__)  # the first is in this file, the next in the metric's
            last = [call for call in calls if call.filename == calls[:2][-1].filename][-1]
            raise MetricError(
                f"metric '{self.key}' fails for a structure of status {pair.status}",
                found=f"{type(error).__name__}: {error}, in line {last.lineno} of {last.filename}",
                expected="a number, or None where it is not defined",
            ) from error


def register_metric(metric: Metric) -> None:
    """Add a row to the table. Raises `PluginError` if its key is taken or cannot be the name of a column."""
    if not _KEY.fullmatch(metric.key):
        raise PluginError(
            "not a key for a metric", found=repr(metric.key), expected="lower-case letters, digits and underscores"
        )
    if metric.key in _RESERVED:
        raise PluginError(f"there is a column '{metric.key}' already", remedy="Register yours under another key")
    _TABLE.register(metric.key, metric)


def learn_metrics(metrics: Sequence[Metric]) -> None:
    """Add the rows of another process. Known keys keep their row: the copy that was sent may not compare as equal."""
    for metric in metrics:
        if metric.key not in all_metrics():
            register_metric(metric)


def check_sendable(metrics: Sequence[Metric]) -> None:
    """Raises `MetricError` for the first metric that cannot be sent to another process."""
    for metric in metrics:
        try:
            pickle.dumps(metric)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise MetricError(
                f"metric '{metric.key}' cannot be sent to another process",
                found=error,
                expected="a function at the top level of a module",
                remedy="Move the function there, or use --workers 1",
            ) from None


def all_metrics() -> dict[str, Metric]:
    """Key -> row, in the order of tables."""
    return dict(_TABLE)


def registered_metrics() -> tuple[Metric, ...]:
    """Rows that `register_metric` added in this process, which another process does not know."""
    return _TABLE.added_here()


def main_metrics() -> list[Metric]:
    """The metrics of metrics.csv, summary.json and the tables."""
    return [metric for metric in all_metrics().values() if not metric.in_details]


def detail_metrics() -> list[Metric]:
    """The metrics of details.csv."""
    return [metric for metric in all_metrics().values() if metric.in_details]


def quantity(key: str, tolerance_mm: float | None = None) -> Quantity:
    """The quantity of a column, NSD with its tolerance; an unknown column is labeled by its key."""
    row: Quantity | None = LABEL_MAP_QUANTITIES.get(key) or all_metrics().get(key)
    if row is None:
        return Quantity(key=key, label=key.replace("_", " ").capitalize(), bounds=(-math.inf, math.inf))
    return replace(row, unit=f"{tolerance_mm:g} mm") if key == "nsd" and tolerance_mm is not None else row


def _hausdorff(distances: SurfaceDistances | None, percentile: float) -> float | None:
    return None if distances is None else distances.hausdorff(percentile)


_HD95 = "larger of the two directed 95th percentiles of the distances between border voxels (linear interpolation), in "
_Distance = partial(Metric, digits=2, bounds=(0.0, math.inf), higher_is_better=False)
_ROWS = {
    metric.key: metric
    for metric in (
        Metric(
            "dice",
            "Dice",
            "2 |P and R| / (|P| + |R|) over voxels",
            score=attrgetter("counts.dice"),
            by_convention=True,
        ),
        Metric(
            "iou",
            "IoU",
            "|P and R| / |P or R| over voxels",
            score=attrgetter("counts.iou"),
            by_convention=True,
            compared=False,
        ),
        _Distance(
            "hd95_mm",
            "HD95",
            _HD95 + "mm",
            unit="mm",
            score=lambda pair: _hausdorff(pair.distances_mm, 95),
            one_sided=attrgetter("diagonal_mm"),
            by_convention=True,
        ),
        _Distance(
            "hd95_vox",
            "HD95",
            _HD95 + "voxels, for images without a voxel size",
            unit="voxels",
            score=lambda pair: _hausdorff(pair.distances_vox if pair.spacing_mm is None else None, 95),
            one_sided=lambda pair: pair.diagonal_vox if pair.spacing_mm is None else None,
            by_convention=True,
            when_scored=True,
        ),
        Metric(
            "nsd",
            "NSD",
            "fraction of the border voxels of both masks that lie within the tolerance of the other border",
            score=lambda pair: pair.distances_mm.surface_dice(pair.tolerance_mm) if pair.distances_mm else None,
            one_sided=lambda pair: None if pair.spacing_mm is None else 0.0,
            by_convention=True,
            compared=False,
        ),
        Metric(
            "sensitivity",
            "Sensitivity",
            "fraction of the reference that is predicted",
            score=attrgetter("counts.sensitivity"),
            in_details=True,
        ),
        Metric(
            "specificity",
            "Specificity",
            "fraction of the image outside the reference that is not predicted",
            digits=4,
            score=attrgetter("counts.specificity"),
            in_details=True,
        ),
        Metric(
            "precision",
            "Precision",
            "fraction of the prediction that lies in the reference",
            score=attrgetter("counts.precision"),
            in_details=True,
        ),
        Metric(
            "accuracy",
            "Voxel accuracy",
            "fraction of all voxels, background included, on which both masks agree",
            digits=4,
            score=attrgetter("counts.accuracy"),
            in_details=True,
        ),
        Metric(
            "volume_difference",
            "Relative volume difference",
            "(|P| - |R|) / |R|",
            bounds=(-1.0, math.inf),
            higher_is_better=None,
            score=attrgetter("counts.volume_difference"),
            in_details=True,
        ),
        _Distance(
            "hd_mm",
            "HD",
            "Hausdorff distance: the largest distance of a border voxel to the other border",
            unit="mm",
            score=lambda pair: _hausdorff(pair.distances_mm, 100),
            in_details=True,
        ),
        _Distance(
            "asd_mm",
            "Mean surface distance",
            "mean over the border voxels of both masks of the distance to the other border",
            unit="mm",
            score=lambda pair: pair.distances_mm.average() if pair.distances_mm else None,
            in_details=True,
        ),
    )
}
_TABLE = Registry("metric", "segcct.metrics", _ROWS)
LABEL_MAP_QUANTITIES = {
    each.key: each
    for each in (
        Quantity(
            "pixel_accuracy",
            "Pixel accuracy",
            "fraction of all voxels of the image that hold the same label in prediction and reference: all "
            "classes at once, background included, regions left out; most voxels are background, so an empty mask "
            "scores high too",
            digits=4,
        ),
        Quantity(
            "background",
            "Accuracy of an empty mask",
            "fraction of all voxels of the image that are background in the reference: the accuracy of an empty mask",
            digits=4,
        ),
    )
}
"""Quantities of a case's label maps as a whole, not of one structure: columns of cases.csv."""
