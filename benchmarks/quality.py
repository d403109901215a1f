"""How well the Dice of a mask can be estimated without its reference: cross-fitting over the 70 ACDC training patients.

    python benchmarks/quality.py --root data/acdc_h5 --budget 5min --m2i-budget 4min

Protocol, in each of five folds: a segmenter is trained for the budget (final stage) and for fractions of it (earlier
stages, each a run of its own with a complete schedule), and a generator on the same patients. The patients of the
fold select nothing, since the weights are those at the end. The networks then predict them, as they are and with
synthetic corruptions. Estimates are cross-fitted: neither the networks nor the regression was trained on the patient.
Patients 074 and 076 have the same images and count as one (data.patient).

Results: a section for each set of masks, with a table of all methods (Spearman, MAE, AUROC, AURC, coverage and width of
the intervals) and a paired comparison of the method in use with simpler ones. The sets are natural predictions of the
final stage, of earlier stages, and of both; predictions of corrupted images; and all together. The last section leaves
out one group of features at a time. The page is printed section by section, and written to quality.md.

Finished runs are not repeated; if their settings differ, the program stops (whether the dataset has changed is not
checked). Measurements are repeated only if weights, code or options have changed. Every machine and precision has its
own folder of results.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import corruptions
import m2i_features
import program
from corruptions import corrupted
from m2i_features import M2I_FEATURES, with_m2i
from machine import folder_here
from quality_tables import CORRUPTED, EARLIER, FINAL, Rows, write
from trained import ONLY_AT_THE_END, trained

import segcct
from segcct.config import ReconstructionConfig, SegmentationConfig, parse_duration, settings
from segcct.datasets.layouts import find_cases, read_case
from segcct.datasets.split_record import Splits
from segcct.files.json_file import write_json
from segcct.hardware.devices import pick_device
from segcct.inference.cycle import Cycles
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.inference.reconstructor import Reconstructor
from segcct.progress import Progress
from segcct.quality import FEATURES, CalibrationRow
from segcct.quality.case_features import calibration_rows, features_of_case
from segcct.run_folder import RunFolder

CONFIGS = Path(__file__).parents[1] / "configs"
PACKAGE = Path(segcct.__file__).parent


def main() -> None:
    """Train, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the .h5 files")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_quality"))
    parser.add_argument("--budget", default="5min", help="of each final segmenter (default %(default)s)")
    parser.add_argument("--m2i-budget", default="4min", help="of each generator (default %(default)s)")
    parser.add_argument("--stages", type=float, nargs="*", default=[0.4, 0.15, 0.06], help="fractions of --budget")
    parser.add_argument("--image-size", type=int, default=128, help="of all networks (default %(default)s)")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="of the measurements")
    parser.add_argument("--folds", type=int, default=5, help="number of folds (default %(default)s)")
    parser.add_argument("--only-folds", type=int, nargs="+", help="only these folds, for a trial")
    parser.add_argument("--patients", type=int, help="measure only this number of patients per fold, for a trial")
    parser.add_argument("--draws", type=int, default=2, help="corrupted versions of each case (default %(default)s)")
    arguments, arguments.keys = parser.parse_known_args()
    arguments.output = folder_here(arguments.output, arguments.keys)
    rows: Rows = {FINAL: [], EARLIER: [], CORRUPTED: []}
    for fold in arguments.only_folds or range(arguments.folds):
        for name, found in measure_fold(fold, arguments).items():
            rows[name if name in rows else EARLIER] += found
    write(rows, arguments.output / "quality.md")


# Training runs


def seconds(budget: str) -> float:
    """`5min` -> 300."""
    parsed = parse_duration(budget)
    assert isinstance(parsed, float)
    return parsed


def overrides(arguments: argparse.Namespace, fold: int, name: str, budget_s: float) -> dict[str, object]:
    """Config keys of both runs of a fold, whose patients select nothing."""
    return {
        "data.root": str(arguments.root),
        "data.split.train_list": str(arguments.root / "train.list"),
        "data.split.test_list": None,
        "data.split.folds": arguments.folds,
        "data.fold": fold,
        "data.fit": "resize",
        "data.image_size": arguments.image_size,
        "data.cache": str(arguments.output / "cache"),
        "run.root": str(arguments.output),
        "run.name": name,
        "run.seed": fold,
        "train.budget": budget_s,
        "train.validate_every": ONLY_AT_THE_END,
        "train.slices_per_epoch": 512,
        **settings.parse_overrides(arguments.keys),
    }


def segmenter(fold: int, fraction: float, arguments: argparse.Namespace) -> RunFolder:
    """The segmenter of a fold, trained for a fraction of the budget."""
    budget = seconds(arguments.budget) * fraction
    recipe = {"train.pictures": 0, "train.batch_size": 16, "train.windows": {}}  # as published
    recipe |= {"train.optimizer": "adamw", "model.options": {}}
    changes = recipe | overrides(arguments, fold, f"fold{fold}_stage{fraction:g}", budget)
    return trained(settings.load(SegmentationConfig, CONFIGS / "acdc_slices_cct_unet.yaml", changes))


def generator(fold: int, arguments: argparse.Namespace) -> RunFolder:
    """The generator of a fold, trained on the same split."""
    changes = overrides(arguments, fold, f"fold{fold}_m2i", seconds(arguments.m2i_budget))
    return trained(settings.load(ReconstructionConfig, CONFIGS / "acdc_slices_m2i.yaml", changes))


# Measurements


def measure_fold(fold: int, arguments: argparse.Namespace) -> Rows:
    """Set of masks (`final`, each earlier stage, `corrupted`) -> rows of the patients of the fold."""
    how = InferenceSettings(16, arguments.precision, pick_device())
    fractions = {FINAL: 1.0} | {f"stage {fraction:g}": fraction for fraction in arguments.stages}
    made = Reconstructor.load(generator(fold, arguments).best, how)
    rows: Rows = {}
    for name, fraction in fractions.items():
        run = segmenter(fold, fraction, arguments)
        cycles = Cycles(Predictor.load(run.best, how), made)
        rows[name] = measure(run, cycles, arguments, corrupt=False)
        if name == FINAL:
            rows[CORRUPTED] = measure(run, cycles, arguments, corrupt=True)
    return rows


def measure(run: RunFolder, cycles: Cycles, arguments: argparse.Namespace, *, corrupt: bool) -> list[CalibrationRow]:
    """Rows of the run's validation patients; stored in its folder, and read from there if nothing has changed."""
    file = run.path / f"quality_rows{'_corrupted' if corrupt else ''}.json"
    depends = dependencies(cycles, arguments, corrupt=corrupt)
    if file.is_file():
        stored = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(stored, dict) and stored["depends"] == depends:
            return [CalibrationRow(**row) for row in stored["rows"]]
    data = cycles.predictor.card.data_section(arguments.root)
    cases = Splits.load(run.splits).select(find_cases(data), "val")
    if arguments.patients:
        kept = sorted({case.patient for case in cases})[: arguments.patients]
        cases = [case for case in cases if case.patient in kept]
    rows: list[CalibrationRow] = []
    progress = Progress(f"{run.path.name}{', corrupted' if corrupt else ''}")
    for done, case in enumerate(cases):
        progress(done, len(cases))
        loaded = read_case(case, data, cycles.predictor.scheme)
        versions = [corrupted(loaded, draw) for draw in range(arguments.draws)] if corrupt else [loaded]
        for version in versions:
            seen = cycles.of_scan(version)
            features = with_m2i(features_of_case(cycles.predictor, seen.segmented), seen)
            rows += calibration_rows(seen.segmented, features)
    progress(len(cases), len(cases))
    write_json(file, {"depends": depends, "rows": [asdict(row) for row in rows]})
    return rows


def dependencies(cycles: Cycles, arguments: argparse.Namespace, *, corrupt: bool) -> dict[str, Any]:
    """What measured rows depend on."""
    files = [
        file
        for package in ("datasets", "images", "inference", "metrics", "models", "preparation", "quality")
        for file in sorted((PACKAGE / package).rglob("*.py"))
    ]
    files += [PACKAGE / "runtime.py", Path(m2i_features.__file__)]
    files += [Path(corruptions.__file__)] if corrupt else []
    return {
        "segmenter": cycles.predictor.card.weights_sha256,
        "generator": cycles.reconstructor.card.weights_sha256,
        "features": [*FEATURES, *M2I_FEATURES],
        "code": hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest(),
        "precision": arguments.precision,
        "patients": arguments.patients,
        "draws": arguments.draws if corrupt else None,
    }


if __name__ == "__main__":
    program.run(main)
