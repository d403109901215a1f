"""Cross-validation on ACDC: out-of-fold Dice, what ensembles and test-time augmentation add, and estimated Dice.

    python benchmarks/folds.py --root data/acdc_h5 --budget 10min --results docs/results/folds.md

Protocol: the patients of train.list are split into three folds, and each fold is trained for the budget. The models,
their ensemble and test-time augmentation are then compared on the ten patients of val.list, which no model has seen;
there, the Dice of the ensemble is also estimated without a reference, and compared with the actual Dice.

The page has a section for each. Dice is a volume's mean over the three classes; differences are paired by volume;
intervals are over patients.

An interrupted cross-validation is resumed; if its settings differ, the program stops. Every machine and precision has
its own folder of results.
"""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
import program
from case_scores import interval_text
from machine import folder_here, machine
from trained import check_settings

from segcct.case_runner import failures, values
from segcct.config import SegmentationConfig, settings
from segcct.datasets.split_record import Splits
from segcct.evaluation.evaluate_folders import evaluate
from segcct.files.table_file import read_rows_of
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.inference.unseen_cases import UnseenCases
from segcct.metrics import paired, summarize
from segcct.metrics.paired_statistics import Paired
from segcct.model_card import load_card
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from segcct.quality.calibration_run import leave_one_out, measure_cases
from segcct.quality.fitting import Calibration
from segcct.run_folder import FoldsFolder
from segcct.tasks.fold_training import of_fold, resume_folds, train_folds
from segcct.tasks.task import TASKS
from segcct.training.device_settings import resolve_precision

CONFIG = Path(__file__).parents[1] / "configs" / "acdc_slices_cct_unet.yaml"
CLASSES = ("RV", "MYO", "LV")
VIEWS = ("none", "flips", "rotations")
Scores = dict[str, dict[str, float]]
"""Case -> class -> Dice."""


@dataclass(frozen=True)
class Model:
    """One way to predict some patients."""

    name: str
    scores: Scores
    splits: Splits
    """They say whose each case is; two patients with the same images count as one (`data.patient`)."""

    def means(self) -> list[float]:
        """Mean Dice of each volume."""
        return [float(np.mean(list(own.values()))) for _, own in sorted(self.scores.items())]

    def of_patients(self) -> list[str]:
        """The patient of each volume."""
        return [self.splits.patient_of(case) for case in sorted(self.scores)]


def cross_validated(arguments: argparse.Namespace) -> tuple[FoldsFolder, SegmentationConfig]:
    """The folds, trained now or earlier, and their configuration. Raises `RunError` if their settings differ."""
    overrides = {
        "data.root": str(arguments.root),
        "data.split.train_list": str(arguments.root / "train.list"),
        "data.split.test_list": str(arguments.root / "val.list"),
        "data.split.folds": arguments.folds,
        "run.root": str(arguments.output),
        "run.name": "acdc_folds",
        "train.budget": arguments.budget,
    }
    config = settings.load(SegmentationConfig, CONFIG, overrides | settings.parse_overrides(arguments.keys))
    path = config.run.path
    if FoldsFolder.is_at(path):
        folder = FoldsFolder.open(path)
        for number in folder.folds:
            if folder.fold(number).config.is_file():
                check_settings(folder.fold(number), resolve_precision(of_fold(config, number)))
        return resume_folds(TASKS["segmentation"], path, {}), config
    return train_folds(config, range(arguments.folds)), config


def scored(models: list[Path], tta: str, splits: list[Path], root: Path, output: Path) -> Scores:
    """Predict the test split and evaluate the masks."""
    predictor = Predictor.load(models, InferenceSettings(tta=tta))
    request = resolve(predictor.card, root, splits_files=splits, split="test")
    predictions = predict_folder(predictor, request, output / "predictions", existing="replace")
    assert not predictions.problem, predictions.problem
    evaluate(output / "predictions", root, output=output / "evaluation")
    return scores_in(output / "evaluation")


def scores_in(evaluation: Path) -> Scores:
    """The Dice in metrics.csv."""
    scores: Scores = {}
    for row in read_rows_of(evaluation / "metrics.csv"):
        if row["class"] in CLASSES and row["dice"]:
            scores.setdefault(row["case"], {})[row["class"]] = float(row["dice"])
    return scores


def mean_of(models: list[Model], name: str) -> Model:
    """A model whose scores are the average of the scores of others."""
    cases = models[0].scores
    scores = {
        case: {each: float(np.mean([model.scores[case][each] for model in models])) for each in cases[case]}
        for case in cases
    }
    return Model(name, scores, models[0].splits)


def row_of(model: Model) -> str:
    """Row of a table: Dice with its interval, and the Dice of each class."""
    found = summarize(model.means(), model.of_patients(), bounds=(0, 1))
    classes = (np.mean([own[name] for own in model.scores.values() if name in own]) for name in CLASSES)
    return (
        f"| {model.name} | {found['mean']:.4f} {interval_text(found['ci95'], '.3f')} | "
        + " | ".join(f"{x:.4f}" for x in classes)
        + " |"
    )


def difference_of(name: str, first: Model, second: Model) -> str:
    """Row of a table: the first model minus the second."""
    found: Paired = paired(first.means(), second.means(), first.of_patients())
    difference = f"{found['difference']:+.4f} {interval_text(found['ci95'], '+.4f')}"
    return f"| {name} | {difference} | {found['wins']}, {found['losses']} | {found['p']:.3f} |"


def estimates_of(bests: list[Path], root: Path) -> str:
    """Markdown table of how well the ensemble's Dice is estimated, each patient by a fit to the others."""
    ensemble = UnseenCases.of_ensemble(bests, Predictor.load(bests, InferenceSettings()), root)
    outcomes = measure_cases(ensemble)
    assert not failures(outcomes), failures(outcomes)
    rows = [row for measured in values(outcomes) for row in measured]
    lines = ["| features | Spearman | mean error | AUROC (Dice < 0.7) | AURC |", "|---|---|---|---|---|"]
    for row in leave_one_out(Calibration(rows, CLASSES)):
        figures = ("n/a" if row[name] is None else f"{row[name]:.3f}" for name in ("spearman", "mae", "auroc", "aurc"))
        lines.append(f"| {row['name']} | {' | '.join(figures)} |")
    return "\n".join(lines)


def sections(arguments: argparse.Namespace) -> list[str]:
    """The page, part by part."""
    folder, config = cross_validated(arguments)
    runs = [folder.fold(number) for number in folder.folds]
    bests, splits = [run.best for run in runs], [run.splits for run in runs]
    record = Splits.load(splits[0])
    models: dict[tuple[str, str], Model] = {}
    for tta in VIEWS:
        after = "" if tta == "none" else f", {tta}"
        for run in runs:
            place = arguments.output / "scores" / f"{run.path.name}_{tta}"
            scores = scored([run.best], tta, [run.splits], arguments.root, place)
            models[run.path.name, tta] = Model(f"{run.path.name}{after}", scores, record)
        singles = [models[run.path.name, tta] for run in runs]
        models["single", tta] = mean_of(singles, f"mean of the {len(runs)} models{after}")
        scores = scored(bests, tta, splits, arguments.root, arguments.output / "scores" / f"ensemble_{tta}")
        models["ensemble", tta] = Model(f"ensemble of {len(runs)}{after}", scores, record)
    options = ["--root", "data/acdc_h5", "--folds", str(arguments.folds), "--budget", arguments.budget, *arguments.keys]
    command = "python benchmarks/folds.py " + shlex.join(options)
    epochs = ", ".join(str(len(run.read_metrics())) for run in runs)
    out_of_fold = Model("each case by its fold", scores_in(folder.out_of_fold / "evaluation"), record)
    head, rule = "| | Dice [95% interval] | RV | MYO | LV |", "|---|---|---|---|---|"
    plain, flips, turns = (models["single", tta] for tta in VIEWS)
    whole, whole_flips, whole_turns = (models["ensemble", tta] for tta in VIEWS)
    differences = [
        difference_of("ensemble minus single model", whole, plain),
        difference_of("flips minus none, single model", flips, plain),
        difference_of("rotations minus none, single model", turns, plain),
        difference_of("flips minus none, ensemble", whole_flips, whole),
        difference_of("rotations minus none, ensemble", whole_turns, whole),
        difference_of("ensemble with flips minus single model", whole_flips, plain),
    ]
    train, network = config.train, load_card(bests[0]).architecture.name
    trained_in = settings.load(SegmentationConfig, runs[0].config).train.precision
    patients, tested = len({*out_of_fold.of_patients()}), len({*whole.of_patients()})
    return [
        "# Folds, ensembles and test-time augmentation: ACDC",
        f"`{network}`, {len(runs)} folds of {patients} patients, {train.budget or 0:g} s each ({epochs} epochs); "
        f"trained in {trained_in}, predicted in {InferenceSettings().precision}, "
        f"on {machine(arguments.keys)['processor']}.",
        f"```sh\n{command}\n```",
        "## Out of fold",
        f"{len(out_of_fold.scores)} volumes of {patients} patients, each segmented by the model that was not trained "
        "on it. The same cases selected that model's weights.",
        "\n".join([head, rule, row_of(out_of_fold)]),
        f"## {tested} patients that no model has seen",
        f"{len(whole.scores)} volumes. The row of the mean says what a single model reaches on average.",
        "\n".join([head, rule, *(row_of(model) for model in models.values())]),
        "Differences in mean Dice per volume with 95% intervals over patients, numbers of volumes that get better and "
        "worse, and p of Wilcoxon's test over patients. *Single model* is the mean of the scores of the folds.",
        "\n".join(["| | difference [95% interval] | better, worse | p |", "|---|---|---|---|", *differences]),
        "## Quality of the ensemble's masks, estimated without a reference",
        "The same volumes, each class separately; every patient's Dice is estimated by a fit to the other patients. "
        "*Members* is the Dice between the masks of the members. AUROC is for finding masks with a Dice below 0.7. "
        "AURC is the mean of 1 - Dice of the masks that are kept, over all fractions kept, highest estimates first: "
        "lower is better.",
        estimates_of(bests, arguments.root),
    ]


def main() -> None:
    """Train, predict, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the .h5 files")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_folds"))
    parser.add_argument("--results", type=Path, help="write the page to this file too, such as docs/results/folds.md")
    parser.add_argument("--folds", type=int, default=3, help="number of folds (default %(default)s)")
    parser.add_argument("--budget", default="10min", help="of each fold (default %(default)s)")
    arguments, arguments.keys = parser.parse_known_args()
    arguments.output = folder_here(arguments.output, arguments.keys)
    parts = [part if "|" in part or "```" in part else fill(part, 120) for part in sections(arguments)]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if arguments.results is not None:
        arguments.results.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    program.run(main)
