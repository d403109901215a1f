"""quality.csv of a folder of masks: estimated Dice per case and class, low ones flagged for review."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from segcct.case_runner import CaseOutcome, Failed, failures, values
from segcct.errors import items
from segcct.inference.predictor import Predictor, Segmented
from segcct.plurals import counted
from segcct.predictions.case_tables import QUALITY, CaseTable, Rows
from segcct.predictions.mask_folder import Predictions
from segcct.predictions.quality_rows import COLUMNS, read_rows
from segcct.quality import case_features
from segcct.quality.features import GROUPS, CaseFeatures
from segcct.quality.quality_model import QualityModel


@dataclass(frozen=True)
class WrittenEstimates:
    """The estimates of a folder's masks."""

    is_flagged: Mapping[str, bool]
    """Case -> whether a class of it is flagged."""
    outcomes: tuple[CaseOutcome[Rows], ...]

    @property
    def problem(self) -> str:
        """Names every mask without an estimate, and why; empty if all have theirs."""
        if not (reasons := failures(self.outcomes)):
            return ""
        failed = sum(isinstance(outcome, Failed) for outcome in self.outcomes)
        return f"{failed} of {counted(len(self.outcomes), 'mask')} got no row in {QUALITY}:{items(reasons)}"


def quality_table(predictor: Predictor, quality: QualityModel) -> CaseTable:
    """The table, for `predict_folder`; it takes three more passes of the network per case."""
    rows_of = partial(_rows_of, predictor, quality)
    members = any(name in GROUPS["members"] for name in quality.features)
    return CaseTable(QUALITY, rows_of, needs_probabilities=True, needs_agreement=members, calibration=quality.digest)


def written_estimates(predictions: Predictions) -> WrittenEstimates:
    """What quality.csv says about the cases of one call."""
    outcomes = [case.tables[QUALITY] for case in values(predictions.outcomes) if QUALITY in case.tables]
    names = {outcome.name for outcome in predictions.outcomes}
    flagged: dict[str, bool] = {}
    for row in read_rows(predictions.output / QUALITY):
        if row["case"] in names:
            flagged[row["case"]] = flagged.get(row["case"], False) or row["flagged"] == "yes"
    return WrittenEstimates(flagged, tuple(outcomes))


def _rows_of(predictor: Predictor, quality: QualityModel, segmented: Segmented) -> Rows:
    return quality_rows(quality, case_features.features_of_case(predictor, segmented))


def quality_rows(quality: QualityModel, features: CaseFeatures) -> Rows:
    """One row per class, without its case; cells are empty where an estimate is not defined."""
    rows = []
    for name, estimate in quality.estimates(features).items():
        row = dict.fromkeys(COLUMNS[1:], "") | {"class": name}
        row |= {"level": f"{quality.level:g}", "flag_below": f"{quality.flag_below:g}"}
        if estimate is not None:
            row |= {
                "estimated_dice": f"{estimate.dice:.4f}",
                "low": f"{estimate.low:.4f}",
                "high": f"{estimate.high:.4f}",
                "flagged": "yes" if estimate.dice < quality.flag_below else "no",
            }
        elif features[name] is not None:
            row |= {"note": "not in the calibration: no estimate"}
        elif quality.misses(name):
            row |= {"flagged": "yes", "note": "not predicted: taken as missed"}
        else:
            row |= {"flagged": "no", "note": "not predicted: taken as absent"}
        rows.append(row)
    return rows
