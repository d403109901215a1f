"""Calibration: features and Dice of cases that the models which predict them were not trained on, and the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from segcct.case_runner import CaseJob, CaseOutcome, run_cases
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.layouts import read_case
from segcct.errors import DataError, ModelError, SplitError
from segcct.inference.predictor import Predictor
from segcct.inference.unseen_cases import UnseenCases
from segcct.model_card import ModelCard
from segcct.plurals import counted
from segcct.preparation.preparation_settings import Preparation
from segcct.progress import Report
from segcct.quality.case_features import calibration_rows, features_of_case
from segcct.quality.features import GROUPS
from segcct.quality.fitting import Calibration, CalibrationRow, cross_fit, fit
from segcct.quality.performance import Performance, performance
from segcct.quality.quality_model import QualityModel

ALL_FEATURES = "all features"
_MANY = 50
"""A calibration with fewer patients is called small."""


def check_folds(folder: Path, card: ModelCard, folds: Sequence[UnseenCases]) -> tuple[str, ...]:
    """The classes of the segmenter that gets the estimate.

    Args:
        folder: its best/ folder.
        card: its model.json.
        folds: the runs whose predictions are measured instead of its own, with their validation cases.

    Raises:
        ModelError: a run is of another experiment, so that its estimate would not apply.
        SplitError: a case is in the validation splits of two runs.
    """
    expected, seen = _experiment(card), dict[str, Path]()
    for fold in folds:
        found = _experiment(fold.predictor.card)
        other = [name for name, value in expected.items() if found[name] != value]
        if other:
            raise ModelError(
                f"is a different experiment from {folder}: other {', '.join(other)}",
                file=fold.folder,
                found=found[other[0]],
                expected=expected[other[0]],
                remedy="Name k-fold runs of one configuration",
            )
        for case in fold.cases:
            if case.id in seen:
                raise SplitError(
                    f"case {case.id} is in the validation split of two runs",
                    file=fold.folder,
                    found=f"also in {seen[case.id]}",
                    expected="k-fold runs (data.split.kind kfold, data.fold 0 to k - 1)",
                )
            seen[case.id] = fold.folder
    return tuple(card.classes)


def _experiment(card: ModelCard) -> dict[str, Any]:
    """What folds of one experiment have in common."""
    data = card.data_section(Path())
    return {
        "model": card.architecture.name,
        "model options": dict(card.architecture.options),
        "classes": dict(card.classes),
        "channels": list(data.channels),
        "preparation": Preparation.of(data).to_json(),
        "postprocessing": [str(step) for step in card.postprocessing],
    }


def measure_cases(unseen: UnseenCases, *, progress: Report | None = None) -> list[CaseOutcome[list[CalibrationRow]]]:
    """Features and Dice of every class of every case, for the masks that the model predicts."""
    jobs = [CaseJob(case.id, case) for case in unseen.cases]
    return list(run_cases(jobs, partial(measure_case, unseen.predictor, data=unseen.data), progress=progress))


def measure_case(predictor: Predictor, case: Case, data: DataSection) -> list[CalibrationRow]:
    """Features and Dice of every class of one labeled case."""
    if case.label is None:
        raise DataError("a calibration case has no reference", file=case.files()[0], found=case.id)
    loaded = read_case(case, data, predictor.scheme)
    segmented = predictor.segment(loaded, keep_probabilities=True, count_agreement=True)
    return calibration_rows(segmented, features_of_case(predictor, segmented))


def calibrate(
    rows: Sequence[CalibrationRow],
    classes: Sequence[str],
    *,
    sources: Sequence[str],
    ensemble: UnseenCases | None = None,
) -> QualityModel:
    """Fit the estimate.

    Args:
        rows: of all folds; the fit assigns patients, not cases, to its own folds.
        classes: in the scheme's order.
        sources: digests of the weights of the models that predicted them, for the record.
        ensemble: the ensemble that predicted all of them; None if runs predicted their own validation splits.

    Raises:
        DataError: fewer than three patients.
    """
    calibration = Calibration(rows, classes)
    model = fit(rows, classes)
    crossed = _cross_fitted(rows, classes)
    unpredicted = {name: [row for row in rows if row.class_name == name and row.features is None] for name in classes}
    facts: dict[str, Any] = {
        "sources": list(sources),
        "patients": len(calibration.patients),
        "cases": len({row.case for row in rows}),
        "masks": len(calibration.rows),
        "not_predicted": {
            name: {"cases": len(empty), "held_it": sum(row.dice is not None for row in empty)}
            for name, empty in unpredicted.items()
        },
        "performance": None if crossed is None else asdict(crossed),
        "leave_one_out": leave_one_out(calibration),
    }
    return model.with_facts(**facts, summary=_summary(facts, model, ensemble))


def leave_one_out(calibration: Calibration, groups: Mapping[str, Sequence[str]] = GROUPS) -> list[dict[str, Any]]:
    """Spearman, mean error, AUROC and AURC out of fold, by patient: of all features, without each group, and of each
    group alone. `in_use` marks the row of the features that the estimate reads."""
    groups = {name: group for name, group in groups.items() if set(group) & set(calibration.features)}
    table = [(ALL_FEATURES, calibration.features)]
    for verb, wanted in (("without {}", False), ("{} alone", True)):
        for name, group in groups.items():
            table.append((verb.format(name), tuple(each for each in calibration.features if (each in group) == wanted)))
    return [
        {"name": name, **figures_of(calibration, features), "in_use": name == ALL_FEATURES}
        for name, features in table
        if features
    ]


def figures_of(calibration: Calibration, features: Sequence[str]) -> dict[str, float | None]:
    """Spearman, mean error, AUROC and AURC of an estimate from some features, out of fold."""
    usable = tuple(name for name in features if name in calibration.features)
    result = performance(calibration.rows, calibration.out_of_fold(usable)[0])
    return {"spearman": result.spearman, "mae": result.mae, "auroc": result.auroc, "aurc": result.aurc}


def _cross_fitted(rows: Sequence[CalibrationRow], classes: Sequence[str]) -> Performance | None:
    """Performance of whole fits, intervals included; None if too few patients are left outside a fold."""
    try:
        estimated = cross_fit(rows, classes)
    except DataError:
        return None
    intervals = [estimate for _, estimate in estimated]
    return performance([row for row, _ in estimated], [one.dice for one in intervals], intervals)


def _summary(facts: Mapping[str, Any], model: QualityModel, ensemble: UnseenCases | None) -> str:
    """What a reader must know about the calibration, in a few sentences."""
    small = " This is a small calibration: read the numbers as rough." if facts["patients"] < _MANY else ""
    runs = "run" if len(facts["sources"]) == 1 else f"{len(facts['sources'])} runs, each"
    origin = f"{runs} on its own validation split, never on cases it was trained on; that split did select the weights"
    if ensemble is not None:
        origin = "ensemble on cases that none of its members was trained on"
        if ensemble.selected:
            origin += f"; {ensemble.selected} of the {len(ensemble.cases)} did select weights"
    text = (
        f"Fitted on {counted(facts['masks'], 'mask')} of {counted(facts['patients'], 'patient')}, predicted by the "
        f"{origin}.{small}"
    )
    wide = any(quantile is None for quantile in model.quantiles.values())
    figures = facts["performance"]
    if figures is not None and figures["mae"] is not None:
        rank = "not defined" if figures["spearman"] is None else f"{figures['spearman']:.2f}"
        text += f" Out of fold, by patient: mean error {figures['mae']:.3f}, Spearman {rank}."
        if figures["coverage"] is not None:
            text += f" {100 * figures['coverage']:.0f}% of the Dice lay in their {100 * model.level:.0f}% interval."
        elif not wide:
            text += " Too few patients to measure how many lie in their interval."
    if wide:
        text += " Too few patients for an interval: it is given as 0 to 1."
    return text
