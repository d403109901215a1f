"""quality.csv of a folder of masks: estimated Dice per case and class, low ones flagged for review."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segcct.case_runner import CaseOutcome, Failed, failures, values
from segcct.errors import items
from segcct.inference.folder_prediction import Predictions
from segcct.inference.predictions_index import index_lock
from segcct.inference.quality_rows import COLUMNS, TABLE, read_rows, write_rows
from segcct.plurals import counted
from segcct.quality.features import CaseFeatures
from segcct.quality.quality_model import QualityModel


@dataclass(frozen=True)
class WrittenEstimates:
    """The estimates of a folder's masks."""

    flagged: Mapping[str, bool]
    """Case -> whether a class of it is flagged."""
    outcomes: tuple[CaseOutcome[CaseFeatures], ...]

    @property
    def problem(self) -> str:
        """Names every mask without an estimate, and why; empty if all have theirs."""
        if not (reasons := failures(self.outcomes)):
            return ""
        failed = sum(isinstance(outcome, Failed) for outcome in self.outcomes)
        return f"{failed} of {counted(len(self.outcomes), 'mask')} got no row in {TABLE}:{items(reasons)}"


def write_quality(predictions: Predictions, quality: QualityModel, *, anonymize: bool = False) -> WrittenEstimates:
    """Write or extend `quality.csv` from the features of a prediction whose only listener is `features_of_case`.

    Rows of other cases stay.
    """
    outcomes: list[CaseOutcome[CaseFeatures]] = []
    rows: list[dict[str, str]] = []
    for case in values(predictions.outcomes):
        (outcome,) = case.heard
        outcomes.append(outcome)
        for features in values([outcome]):
            rows += [{**row, "mask": case.digest} for row in quality_rows(quality, outcome.name, features)]
    flagged: dict[str, bool] = {}
    for row in rows:
        flagged[row["case"]] = flagged.get(row["case"], False) or row["doubtful"] == "yes"
    table = predictions.output / TABLE
    with index_lock(predictions.output):
        others = [row for row in read_rows(table) if row["case"] not in flagged]
        write_rows(table, sorted([*others, *rows], key=lambda row: row["case"]), private=not anonymize)
    return WrittenEstimates(flagged, tuple(outcomes))


def quality_rows(quality: QualityModel, case: str, features: CaseFeatures) -> list[dict[str, str]]:
    """One row per class; cells are empty where an estimate is not defined."""
    rows = []
    for name, estimate in quality.estimates(features).items():
        row = dict.fromkeys(COLUMNS, "") | {"case": case, "class": name}
        row |= {"level": f"{quality.level:g}", "doubtful_below": f"{quality.flag_below:g}"}
        if estimate is not None:
            row |= {
                "estimated_dice": f"{estimate.dice:.4f}",
                "low": f"{estimate.low:.4f}",
                "high": f"{estimate.high:.4f}",
                "doubtful": "yes" if estimate.dice < quality.flag_below else "no",
            }
        elif features[name] is not None:
            row |= {"note": "not in the calibration: no estimate"}
        elif quality.misses(name):
            row |= {"doubtful": "yes", "note": "not predicted: taken as missed"}
        else:
            row |= {"doubtful": "no", "note": "not predicted: taken as absent"}
        rows.append(row)
    return rows
