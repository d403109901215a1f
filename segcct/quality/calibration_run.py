"""Calibration: features and Dice of cases that no model behind their masks was trained on, and the estimate fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segcct.case_runner import CaseJob, CaseOutcome, run_cases
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.layouts import find_cases, read_case
from segcct.datasets.split_record import Splits
from segcct.errors import DataError, ModelError, RunError, SegcctError
from segcct.inference.predictor import Predictor
from segcct.model_card import ModelCard, load_card
from segcct.plurals import counted
from segcct.preparation.preparation_settings import Preparation
from segcct.progress import Report, say
from segcct.quality.case_features import calibration_rows, features_of_case
from segcct.quality.features import GROUPS
from segcct.quality.fitting import Calibration, CalibrationRow, cross_fit, fit
from segcct.quality.performance import Performance, performance
from segcct.quality.quality_model import QualityModel

ALL_FEATURES = "all features"
SPLITS = "splits.json"
_MANY = 50
"""Patients from which a calibration is not called small."""


@dataclass(frozen=True)
class Fold:
    """A trained segmenter, or an ensemble, and the cases that it was not trained on."""

    folder: Path
    """Its best/ folder; of an ensemble, that of its first member."""
    predictor: Predictor
    cases: tuple[Case, ...]
    data: DataSection
    selected: int = 0
    """Of an ensemble: how many of the cases selected the weights of a member."""


def fold_of(folder: Path, predictor: Predictor, root: Path, *, trained_with: Sequence[Path] = ()) -> Fold:
    """The validation split of a run, checked against what the models behind it were trained on.

    Args:
        folder: the segmenter's best/ folder, inside its run.
        predictor: the segmenter.
        root: the dataset.
        trained_with: weights (`model.pretrained`, `train.unlabelled.model`) that the run was initialized from or
            trained with; checked if they are in a run folder. The patients of a phantom are nobody's.

    Raises:
        RunError: the run's splits.json is gone. SplitError: the dataset has other cases.
        DataError: one of those models was trained on these patients.
    """
    data = predictor.card.data_section(root)
    cases = _splits_of(folder).select(find_cases(data), "val")
    _check_sources(trained_with, cases, predictor.card)
    return Fold(folder, predictor, tuple(cases), data)


def fold_of_ensemble(
    members: Sequence[Path], predictor: Predictor, root: Path, *, trained_with: Sequence[Path] = ()
) -> Fold:
    """The labeled cases of a dataset that no member of an ensemble was trained on.

    What a fold held out is no such case: the other members were trained on it.

    Args:
        members: the best/ folders, each inside its run.
        predictor: the ensemble.
        root: the dataset.
        trained_with: as `fold_of`, of all runs.

    Raises:
        RunError: splits.json of a run is gone.
        DataError: there are no such cases, or a model of `trained_with` was trained on their patients.
    """
    data = predictor.card.data_section(root)
    labeled = [case for case in find_cases(data) if case.label is not None]
    splits = [_splits_of(member) for member in members]
    patients = {case.id: case.patient for case in labeled}
    trained = {name for each in splits for name in each.trained_on(patients)}
    cases = [case for case in labeled if case.id not in trained]
    if not cases:
        raise DataError(
            "an ensemble is calibrated on cases that none of its members was trained on, and there is none",
            file=root,
            found=f"{counted(len(labeled), 'labeled case')}, {len(trained)} of them in the training of a member",
            expected="a test split that all members share (data.split.kind kfold has one), or other cases",
            remedy="Give a dataset of other patients with --input, or calibrate one fold: --i2m FOLD/best --folds ...",
        )
    _check_sources(trained_with, cases, predictor.card)
    selected = sum(any(each.split_of(case.id) == "val" for each in splits) for case in cases)
    return Fold(members[0], predictor, tuple(cases), data, selected)


def _splits_of(folder: Path) -> Splits:
    splits = folder.parent / SPLITS
    if not splits.is_file():
        raise RunError(
            "calibration needs the run's splits.json, to know which cases the model was not trained on",
            file=splits,
            remedy="Keep best/ in its run folder",
        )
    return Splits.load(splits)


def _check_sources(sources: Sequence[Path], cases: Sequence[Case], card: ModelCard) -> None:
    """Raises `DataError` where a model that the runs were initialized from or trained with has seen the patients."""
    for source in sources:
        best = source if source.is_dir() else source.parent
        if not (best.parent / SPLITS).is_file():
            if (best / "model.json").is_file():  # a model of ours, not published weights
                say(f"{source}: no {SPLITS} next to it; whether it was trained on the calibration cases is not known")
        elif load_card(best).synthetic == card.synthetic:
            seen = Splits.load(best.parent / SPLITS).trained_on({case.id: case.patient for case in cases})
            if seen:
                raise DataError(
                    "a model that this run was initialized from or trained with has seen the patients of "
                    f"{len(seen)} of the {len(cases)} calibration cases",
                    file=source,
                    found=", ".join(seen[:4]),
                    remedy="Train it on the same split as the segmenter (same data.split and data.fold), one per fold",
                )


def check_folds(folder: Path, card: ModelCard, folds: Sequence[Fold]) -> tuple[str, ...]:
    """The classes of the segmenter that gets the estimate.

    Args:
        folder: its best/ folder.
        card: its model.json.
        folds: the runs whose predictions are measured in its place.

    Raises:
        ModelError: a run is of another experiment, whose estimate would not apply.
        SegcctError: a case is in the validation splits of two runs.
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
                raise SegcctError(
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


def measure_fold(fold: Fold, *, progress: Report | None = None) -> list[CaseOutcome[list[CalibrationRow]]]:
    """Features and Dice of every class of every case of a fold."""
    jobs = [CaseJob(case.id, case) for case in fold.cases]
    return list(run_cases(jobs, partial(measure_case, fold.predictor, data=fold.data), progress=progress))


def measure_case(predictor: Predictor, case: Case, data: DataSection) -> list[CalibrationRow]:
    """Features and Dice of every class of one labeled case."""
    if case.label is None:
        raise DataError("a calibration case has no reference", file=case.files()[0], found=case.id)
    loaded = read_case(case, data, predictor.scheme)
    segmented = predictor.segment(loaded, keep_probabilities=True, count_agreement=True)
    return calibration_rows(segmented, features_of_case(predictor, segmented))


def calibrate(
    rows: Sequence[CalibrationRow], classes: Sequence[str], *, sources: Sequence[str], ensemble: Fold | None = None
) -> QualityModel:
    """Fit the estimate.

    Args:
        rows: of all folds; folds of the fit keep patients together.
        classes: in the scheme's order.
        sources: digests of the weights of the models that predicted them, for the record.
        ensemble: the one that predicted all of them; None where runs predicted their own validation splits.

    Raises:
        DataError: fewer than three patients.
    """
    calibration = Calibration(rows, classes)
    model = fit(rows, classes)
    crossed = _cross_fitted(rows, classes)
    unpredicted = {name: [row for row in rows if row.name == name and row.features is None] for name in classes}
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
    """All features, then without each group, then each group alone: Spearman, mean error, AUROC and AURC out of fold,
    by patient; `in_use` marks the row whose features the estimate reads."""
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


def _summary(facts: Mapping[str, Any], model: QualityModel, ensemble: Fold | None) -> str:
    """What a reader must know of the calibration, in a few sentences."""
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
