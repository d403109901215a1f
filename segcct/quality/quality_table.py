"""quality.csv beside predicted masks: estimated Dice per case and class, with the doubtful ones flagged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segcct.case_runner import CaseOutcome, Failed, failures, values
from segcct.errors import items
from segcct.inference.folder_prediction import Predictions
from segcct.inference.index import index_lock
from segcct.inference.predictor import Predictor, Segmented
from segcct.inference.quality_rows import TABLE, read_rows, write_rows
from segcct.plurals import counted
from segcct.quality.observe import Signals, signals_of_case
from segcct.quality.quality_model import Estimate, QualityModel


@dataclass(frozen=True)
class SignalListener:
    """Listens to the prediction of a case; costs three more passes of the network."""

    predictor: Predictor

    def __call__(self, segmented: Segmented) -> Signals:
        """The signals of every class."""
        return signals_of_case(self.predictor, segmented)


@dataclass(frozen=True)
class Estimated:
    """What became of the estimates of a folder's masks."""

    doubtful: Mapping[str, bool]
    """Case -> it holds a doubtful or missed class."""
    heard: tuple[CaseOutcome[Signals], ...]

    @property
    def problem(self) -> str:
        """Names every mask without an estimate, and why; empty where all have theirs."""
        if not (reasons := failures(self.heard)):
            return ""
        failed = sum(isinstance(outcome, Failed) for outcome in self.heard)
        return f"{failed} of {counted(len(self.heard), 'mask')} got no row in {TABLE}:{items(reasons)}"


def write_quality(predictions: Predictions, quality: QualityModel, *, anonymize: bool = False) -> Estimated:
    """Write or extend `quality.csv` from what the one listener of a prediction, a `SignalListener`, made.

    Rows of other cases stay.
    """
    heard: list[CaseOutcome[Signals]] = []
    rows: list[dict[str, str]] = []
    for case in values(predictions.outcomes):
        (outcome,) = case.heard
        heard.append(outcome)
        for signals in values([outcome]):
            rows += [{**row, "mask": case.digest} for row in quality_rows(quality, outcome.name, signals)]
    doubtful: dict[str, bool] = {}
    for row in rows:
        doubtful[row["case"]] = doubtful.get(row["case"], False) or row["doubtful"] == "yes"
    table = predictions.output / TABLE
    with index_lock(predictions.output):
        kept = [row for row in read_rows(table) if row["case"] not in doubtful]
        write_rows(table, sorted([*kept, *rows], key=lambda row: row["case"]), private=not anonymize)
    return Estimated(doubtful, tuple(heard))


def quality_rows(quality: QualityModel, case: str, signals: Signals) -> list[dict[str, str]]:
    """One row per class; cells are empty where an estimate is not defined."""
    rows = []
    for name, own in signals.items():
        estimate = quality.estimate(name, own) if name in quality.slopes else None
        doubtful, note = _judged(quality, name, own, estimate)
        rows.append({
            "case": case,
            "class": name,
            "estimated_dice": f"{estimate.dice:.4f}" if estimate else "",
            "low": f"{estimate.low:.4f}" if estimate else "",
            "high": f"{estimate.high:.4f}" if estimate else "",
            "level": f"{quality.level:g}",
            "doubtful": doubtful,
            "doubtful_below": f"{quality.doubtful_below:g}",
            "note": note,
        })  # fmt: skip
    return rows


def _judged(
    quality: QualityModel, name: str, signals: Mapping[str, float | None] | None, estimate: Estimate | None
) -> tuple[str, str]:
    """The cells `doubtful` and `note` of a class."""
    if signals is None:
        return (
            ("yes", "not predicted: taken as missed")
            if quality.misses(name)
            else ("no", "not predicted: taken as absent")
        )
    if estimate is None:
        return "", "not in the calibration: no estimate"
    return "yes" if estimate.dice < quality.doubtful_below else "no", ""
