"""Calibration: predictions of cases that no model behind them was trained on, measured, fitted, and told honestly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segcct.case_runner import CaseJob, CaseOutcome, run_cases
from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.layouts import find_cases, read_case
from segcct.datasets.splits import Splits
from segcct.errors import DataError, ModelError, RunError, SegcctError
from segcct.inference.predictor import Predictor
from segcct.model_card import ModelCard, load_card
from segcct.plurals import counted
from segcct.preparation.prepared_case import Preparation
from segcct.progress import Report, say
from segcct.quality.features import GROUPS
from segcct.quality.fitting import Calibration, Measured, cross_fit, fit
from segcct.quality.observe import measured, signals_of_case
from segcct.quality.performance import Performance, performance
from segcct.quality.quality_model import QualityModel

ALL_SIGNALS = "all signals"
SPLITS = "splits.json"
_MANY = 50
"""Patients from which a calibration is not called small."""


@dataclass(frozen=True)
class Fold:
    """One trained segmenter and the cases that it was not trained on."""

    folder: Path
    predictor: Predictor
    cases: tuple[Case, ...]
    data: DataSection


def fold_of(
    folder: Path,
    predictor: Predictor,
    root: Path,
    *,
    learnt_from: Sequence[Path] = (),
) -> Fold:
    """The validation side of a run, checked against what the models behind it were trained on.

    Args:
        folder: the segmenter's best/ folder, inside its run.
        root: the dataset.
        learnt_from: weights (`model.pretrained`, `train.cycle_model`) that the run began or learnt with; looked at
            where they lie in a run folder. A phantom's patients are nobody's.

    Raises:
        RunError: a run's splits.json is gone. SplitError: the dataset holds other cases.
        DataError: one of those was trained on these patients.
    """
    cases = _splits(folder).select(find_cases(predictor.card.data_section(root)), "val")
    for source in learnt_from:
        best = source if source.is_dir() else source.parent
        if not (best.parent / SPLITS).is_file():
            if (best / "model.json").is_file():  # a model of ours, not published weights
                say(f"{source}: no {SPLITS} beside it; whether it was trained on the calibration cases is not known")
        elif load_card(best).synthetic == predictor.card.synthetic:
            _refuse_seen(source, _splits(best), cases)
    return Fold(folder, predictor, tuple(cases), predictor.card.data_section(root))


def _refuse_seen(model: Path, sides: Splits, cases: Sequence[Case]) -> None:
    seen = sides.trained_on({case.id: case.patient for case in cases})
    if seen:
        raise DataError(
            "a model that this run learnt from was trained on the patients of "
            f"{len(seen)} of the {len(cases)} calibration cases",
            file=model,
            found=", ".join(seen[:4]),
            remedy="Train it on the same split as the segmenter (same data.split and data.fold), one per fold",
        )


def measure_fold(fold: Fold, *, progress: Report | None = None) -> list[CaseOutcome[list[Measured]]]:
    """Signals and Dice of every class of every case of a fold."""
    jobs = [CaseJob(case.id, case) for case in fold.cases]
    work = partial(measure_case, fold.predictor, data=fold.data)
    return list(run_cases(jobs, work, progress=progress))


def measure_case(predictor: Predictor, case: Case, data: DataSection) -> list[Measured]:
    """Signals and Dice of every class of one labelled case."""
    if case.label is None:
        raise DataError("a calibration case has no reference", file=case.files()[0], found=case.id)
    segmented = predictor.segment(read_case(case, data, predictor.scheme), keep_probabilities=True)
    return measured(segmented, signals_of_case(predictor, segmented))


def calibrate(rows: Sequence[Measured], classes: Sequence[str], *, sources: Sequence[str]) -> QualityModel:
    """Fit the estimate.

    Args:
        rows: of all folds; patients are kept together.
        classes: in the scheme's order.
        sources: digests of the weights of the runs whose validation sides these are, for the record.

    Raises:
        DataError: fewer than three patients.
    """
    everything = Calibration(rows, classes)
    model = fit(rows, classes)
    honest = _crossed(rows, classes)
    facts: dict[str, Any] = {
        "sources": list(sources),
        "patients": len(everything.patients),
        "cases": len({row.case for row in rows}),
        "masks": len(everything.rows),
        "not_predicted": {name: _missed(rows, name) for name in classes},
        "performance": None if honest is None else honest.to_json(),
        "leave_one_out": leave_one_out(everything),
    }
    return model.with_facts(**facts, summary=summary_text(facts, model))


def leave_one_out(calibration: Calibration, groups: Mapping[str, Sequence[str]] = GROUPS) -> list[dict[str, Any]]:
    """All signals, then without each group, then each group alone: Spearman, mean error and AUROC out of fold, by
    patient; `in_use` marks the row whose signals the estimate reads."""
    groups = {name: own for name, own in groups.items() if set(own) & set(calibration.signals)}
    every = calibration.signals
    table = [(ALL_SIGNALS, every)]
    table += [(f"without {name}", tuple(one for one in every if one not in own)) for name, own in groups.items()]
    table += [(f"{name} alone", tuple(one for one in every if one in own)) for name, own in groups.items()]
    return [
        {"name": name, **figures_of(calibration, signals), "in_use": name == ALL_SIGNALS}
        for name, signals in table
        if signals
    ]


def figures_of(calibration: Calibration, signals: Sequence[str]) -> dict[str, float | None]:
    """Spearman, mean error and AUROC of an estimate from some signals, out of fold."""
    kept = tuple(name for name in signals if name in calibration.signals)
    found = performance(calibration.rows, calibration.out_of_fold(kept)[0])
    return {"spearman": found.spearman, "mae": found.mae, "auroc": found.auroc}


def summary_text(facts: dict[str, Any], model: QualityModel) -> str:
    """What a reader must know of the calibration, in a few sentences."""
    small = " This is a small calibration: read the numbers as rough." if facts["patients"] < _MANY else ""
    runs = "run" if len(facts["sources"]) == 1 else f"{len(facts['sources'])} runs, each"
    text = (
        f"Fitted on {counted(facts['masks'], 'mask')} of {counted(facts['patients'], 'patient')}, predicted by the "
        f"{runs} on its own validation side, never on cases it was trained on; that side did select the weights.{small}"
    )
    found = facts["performance"]
    if found is not None and found["mae"] is not None:
        rank = "not defined" if found["spearman"] is None else f"{found['spearman']:.2f}"
        text += f" Out of fold, by patient: mean error {found['mae']:.3f}, Spearman {rank}."
        if found["coverage"] is not None:
            text += f" {100 * found['coverage']:.0f}% of the Dice lay in their {100 * model.level:.0f}% interval."
        elif all(width is not None for width in model.widths.values()):
            text += " Too few patients to measure how many lie in their interval."
    if any(width is None for width in model.widths.values()):
        text += " Too few patients for an interval: it is given as 0 to 1."
    return text


def _crossed(rows: Sequence[Measured], classes: Sequence[str]) -> Performance | None:
    """Of whole fits, intervals included; None where too few patients are left in a fold's complement."""
    try:
        found = cross_fit(rows, classes)
    except DataError:
        return None
    intervals = [estimate for _, estimate in found]
    return performance([row for row, _ in found], [one.dice for one in intervals], intervals)


def _missed(rows: Sequence[Measured], name: str) -> dict[str, int]:
    """Cases in which a class was not predicted, and in how many of them it was there."""
    empty = [row for row in rows if row.name == name and row.signals is None]
    return {"cases": len(empty), "held_it": sum(row.dice is not None for row in empty)}


def _splits(best: Path) -> Splits:
    file = best.parent / SPLITS
    if not file.is_file():
        raise RunError(
            "calibration needs the run's splits.json, to know which cases the model was not trained on",
            file=file,
            remedy="Keep best/ in its run folder",
        )
    return Splits.load(file)


def check_alike(folder: Path, card: ModelCard, folds: Sequence[Fold]) -> tuple[str, ...]:
    """The classes of the segmenter that gets the estimate.

    Args:
        folder: its best/ folder.
        card: its model.json.
        folds: the runs whose predictions are measured in its place.

    Raises `ModelError` where one of them is another experiment, of which its estimate would say nothing.
    """
    expected = _experiment(card)
    for fold in folds:
        found = _experiment(fold.predictor.card)
        other = [name for name, value in expected.items() if found[name] != value]
        if other:
            raise ModelError(
                f"is another experiment than {folder}: other {', '.join(other)}",
                file=fold.folder,
                found=found[other[0]],
                expected=expected[other[0]],
                remedy="Name k-fold runs of one configuration",
            )
    return tuple(card.classes)


def _experiment(card: ModelCard) -> dict[str, Any]:
    """What folds of one experiment share."""
    data = card.data_section(Path())
    return {
        "model": card.architecture.name,
        "model options": dict(card.architecture.options),
        "classes": dict(card.classes),
        "channels": list(data.channels),
        "preparation": Preparation.of(data).to_json(),
    }


def disjoint(folds: Sequence[Fold]) -> None:
    """Raises `SegcctError` where a case stands on the validation sides of two folds."""
    seen: dict[str, Path] = {}
    for fold in folds:
        for case in fold.cases:
            if case.id in seen:
                raise SegcctError(
                    f"case {case.id} is on the validation side of two runs",
                    file=fold.folder,
                    found=f"also in {seen[case.id]}",
                    expected="k-fold runs (data.split.kind kfold, data.fold 0 to k - 1)",
                )
            seen[case.id] = fold.folder
