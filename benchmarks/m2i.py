"""How well a generator reconstructs images from masks, and whether a segmenter finds the mask in its image again.

    python benchmarks/m2i.py --acdc data/acdc_h5 --brats data/brats2015 --budget 10min

Protocol: a segmenter and a generator per style are trained on the same cases. On ACDC, the 70 patients of train.list
train (fold 0 of 5 selects the weights), and the ten of val.list are the test. On BraTS 2015, each of four patients is
left out once and tested; nothing is selected: the weights are those at the end. `--acdc-segmenter` names a trained
segmenter, such as one of benchmarks/accuracy.py, instead of training one.

Table: a row per dataset (fold) and style. The baseline is the class-mean fill: every class of a case is filled with its
mean in that case. Columns are the RMSE in the foreground of baseline and generator; `lower by`, the relative error
reduction; `by slice`, the same against a fill with the means of each slice; `at borders`, the same at the borders of
structures; SSIM of baseline -> generator; the Dice of the segmenter; the Dice of M -> I -> M', where the segmenter
segments the image generated from the reference mask; and the second Dice as a fraction of the first. Everything is
computed on the slices of the networks.

Finished runs are not repeated; if their settings differ, the program stops. Every machine and precision has its
own folder of results.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import program
from machine import folder_here
from trained import ONLY_AT_THE_END, trained

from segcct.config import DataSection, ReconstructionConfig, SegmentationConfig, settings
from segcct.datasets.layouts import find_cases, scheme_of
from segcct.datasets.split_record import Splits
from segcct.errors import ModelError, SplitError
from segcct.inference.cycle import CycleCase, Cycles
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.inference.reconstructor import Reconstructor
from segcct.metrics import class_dice
from segcct.metrics.image import BORDER, FOREGROUND, class_mean_baseline, image_distances, rmse_reduction
from segcct.preparation.cached_cases import prepare_cases
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import PreparedCase
from segcct.provenance import provenance
from segcct.run_folder import RunFolder

CONFIGS = Path(__file__).parents[1] / "configs"
BRATS2015 = {
    "layout": "folder",
    "channels": {"flair": "Flair_*.nii.gz", "t1c": "T1c_*.nii.gz"},
    "label": "OTMultiClass.nii.gz",
    "scheme": "brats2015",
    "crop": "foreground",
    "fit": "pad",
    "image_size": 160,
    "intensity": {"rule": "zscore_mask", "mask": "brainmask.nii.gz"},
}
FIGURES = (
    "rmse",
    "baseline_rmse",
    "gain",
    "slice_gain",
    "ssim",
    "baseline_ssim",
    "border_gain",
    "own_dice",
    "cycle_dice",
)
LEAST_GAIN, LEAST_FRACTION = 0.2, 0.85
"""Targets of a generator: relative error reduction to the class-mean fill, and fraction of the segmenter's Dice."""
Figures = Mapping[str, float | None]


def acdc_data(root: Path) -> dict[str, Any]:
    """The data section of configs/acdc_slices_m2i.yaml for `root`, with the slices of the published results."""
    data = settings.read_yaml(CONFIGS / "acdc_slices_m2i.yaml")["data"] | {"fit": "resize", "image_size": 224}
    split = {**data["split"], "train_list": str(root / "train.list"), "test_list": str(root / "val.list")}
    return {**data, "root": str(root), "split": split}


def brats_data(root: Path, fold: int) -> dict[str, Any]:
    """The data section of one fold of four, which one patient validates."""
    return {**BRATS2015, "root": str(root), "fold": fold, "split": {"kind": "kfold", "folds": 4, "test": 0.0}}


def segmenter(name: str, data: Mapping[str, Any], arguments: argparse.Namespace, more: Mapping[str, Any]) -> RunFolder:
    """A segmenter of these cases, trained now or earlier."""
    base = settings.read_yaml(CONFIGS / "acdc_slices_cct_unet.yaml")
    content = {"data": data, "augment": base["augment"], "model": base["model"], "train": base["train"]}
    overrides = {**more, "run.root": str(arguments.output), "run.name": name, "train.budget": arguments.budget}
    overrides |= {"train.pictures": 0, "model.name": arguments.model, "model.options": {}, "train.optimizer": "adamw"}
    overrides |= {"train.windows": {}, "train.batch_size": 16, "train.validation_time": None}
    return trained(settings.build(SegmentationConfig, content, overrides, source="benchmark"))


def generator(name: str, data: Mapping[str, Any], arguments: argparse.Namespace, more: Mapping[str, Any]) -> RunFolder:
    """A generator of these cases, trained now or earlier."""
    base = settings.read_yaml(CONFIGS / "acdc_slices_m2i.yaml")
    content = {"data": data, "augment": base["augment"], "model": base["model"], "train": base["train"]}
    overrides = {**more, "run.root": str(arguments.output), "run.name": name, "train.budget": arguments.budget}
    return trained(settings.build(ReconstructionConfig, content, overrides, source="benchmark"))


def measure(cycles: Cycles, cases: list[PreparedCase]) -> Figures:
    """Mean of each figure over the cases in which it is defined; None if there are none."""
    rows = [row for case in cases if (row := figures(cycles, case)) is not None]
    return {name: mean([row[name] for row in rows]) for name in FIGURES}


def figures(cycles: Cycles, prepared: PreparedCase) -> dict[str, Any] | None:
    """All figures of one case; None if it has no foreground."""
    case = CycleCase(prepared, prepared)
    made = cycles.image_cycle(case)
    if made.gain is None:
        return None
    predicted = cycles.probabilities(case).argmax(axis=1)
    by_slice = class_mean_baseline(made.original, made.label, each_slice=True)
    harder = image_distances(made.original, by_slice, made.label, made.classes)[FOREGROUND]
    inside, baseline = made.distances[FOREGROUND], made.baseline[FOREGROUND]
    return {
        "rmse": inside.rmse,
        "baseline_rmse": baseline.rmse,
        "gain": made.gain,
        "slice_gain": rmse_reduction(inside.rmse, harder.rmse),
        "ssim": inside.ssim,
        "baseline_ssim": baseline.ssim,
        "border_gain": rmse_reduction(made.distances[BORDER].rmse, made.baseline[BORDER].rmse),
        "own_dice": mean(class_dice(predicted, made.label, made.classes).values()),
        "cycle_dice": mean(class_dice(cycles.recover(case, made), made.label, made.classes).values()),
    }


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the defined values; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def measured_cases(runs: Sequence[RunFolder], data: Mapping[str, Any], split: str) -> list[PreparedCase]:
    """The prepared cases of a split. Raises `SplitError` if the splits of the runs differ."""
    section = DataSection.model_validate(data)
    first, *others = [set(getattr(Splits.load(run.splits), split)) for run in runs]
    if any(other != first for other in others):
        raise SplitError(f"the runs have different {split} cases", file=runs[0].splits, expected="one split for all")
    cases = Splits.load(runs[0].splits).select(find_cases(section), split)
    return prepare_cases(cases, section, scheme_of(section))


def experiment(
    name: str,
    data: dict[str, Any],
    split: str,
    arguments: argparse.Namespace,
    more: dict[str, Any],
    given: Path | None = None,
) -> dict[str, Figures]:
    """Train and measure; prints a row per style. Returns style -> figures.

    Raises `ModelError` if the `given` segmenter prepares slices differently from `data`.
    """
    found: dict[str, Figures] = {}
    how = InferenceSettings()
    own = segmenter(f"{name}_i2m", data, arguments, more) if given is None else RunFolder(given)
    predictor = Predictor.load(own.best, how)
    wanted = Preparation.of(DataSection.model_validate(data))
    if predictor.preparation != wanted:
        raise ModelError(
            "the segmenter was trained on slices that are prepared differently",
            file=own.path,
            found=predictor.preparation.to_json(),
            expected=wanted.to_json(),
        )
    for style in arguments.styles:
        run = generator(f"{name}_m2i_{style}", data, arguments, {**more, "model.options.style": style})
        cases = measured_cases([own, run], data, split)
        cycles = Cycles(predictor, Reconstructor.load(run.best, how))
        found[style] = measure(cycles, cases)
        print(row(name, style, len(cases), found[style]), flush=True)
    return found


def fraction_of(found: Figures) -> float | None:
    """Dice of M -> I -> M' as a fraction of the segmenter's Dice."""
    own, again = found["own_dice"], found["cycle_dice"]
    return again / own if own and again is not None else None


def row(name: str, style: str, cases: int, found: Figures) -> str:
    """One line of the table."""
    own, again, fraction = found["own_dice"], found["cycle_dice"], fraction_of(found)
    return (
        f"| {name} | {style} | {cases} | {cell(found['baseline_rmse'], '.4f')} | {cell(found['rmse'], '.4f')} "
        f"| **{cell(found['gain'], '.1%')}** | {cell(found['slice_gain'], '.1%')} "
        f"| {cell(found['border_gain'], '.1%')} "
        f"| {cell(found['baseline_ssim'], '.3f')} -> {cell(found['ssim'], '.3f')} | {cell(own, '.3f')} "
        f"| {cell(again, '.3f')} | **{cell(fraction, '.2f')}** |"
    )


def over_folds(folds: Sequence[dict[str, Figures]]) -> dict[str, Figures]:
    """Style -> mean of each figure over the folds."""
    return {style: {name: mean([fold[style][name] for fold in folds]) for name in FIGURES} for style in folds[0]}


def verdict(name: str, found: dict[str, Figures]) -> str:
    """One sentence: which targets each style meets."""
    parts = []
    for style, own in found.items():
        lower, fraction = own["gain"], fraction_of(own)
        met = lower is not None and fraction is not None and lower >= LEAST_GAIN and fraction >= LEAST_FRACTION
        parts.append(
            f"{style} {cell(lower, '.1%')} and {cell(fraction, '.2f')} ({'both met' if met else 'not both met'})"
        )
    return f"{name}, targets {LEAST_GAIN:.0%} lower and {LEAST_FRACTION} of the Dice: {', '.join(parts)}."


def cell(value: float | None, form: str) -> str:
    """A number, or n/a if it is not defined."""
    return "n/a" if value is None else format(value, form)


def main() -> None:
    """Train, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acdc", type=Path, help="folder of the .h5 files")
    parser.add_argument("--brats", type=Path, help="folder of the BraTS 2015 cases")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_m2i"))
    parser.add_argument("--budget", default="10min", help="of each training (default %(default)s)")
    parser.add_argument("--model", default="cct_unet_s", help="network of the segmenter (default %(default)s)")
    parser.add_argument("--acdc-segmenter", type=Path, metavar="RUN", help="a trained segmenter of ACDC")
    parser.add_argument("--size", type=int, help="height and width of the slices (default 224 on ACDC, 160 on BraTS)")
    styles = "values of model.options.style to compare (default all)"
    parser.add_argument("--styles", nargs="+", default=["moments", "learned", "none"], help=styles)
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3], help="folds of BraTS")
    arguments = parser.parse_args()
    if arguments.acdc is None and arguments.brats is None:
        parser.error("give --acdc, --brats or both")
    arguments.output = folder_here(arguments.output)
    print(
        "| cases | style | n | class-mean RMSE | generator RMSE | lower by | by slice | at borders | SSIM "
        "| Dice of the segmenter | M -> I -> M' Dice | fraction |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    verdicts: list[str] = []
    size = {} if arguments.size is None else {"image_size": arguments.size}
    if arguments.acdc is not None:
        data = {**acdc_data(arguments.acdc), **size}
        verdicts.append(verdict("ACDC", experiment("acdc", data, "test", arguments, {}, arguments.acdc_segmenter)))
    if arguments.brats is not None:
        folds = []
        for fold in arguments.folds:
            data = {**brats_data(arguments.brats, fold), **size}
            last = {"train.validate_every": ONLY_AT_THE_END}
            folds.append(experiment(f"brats2015_{fold}", data, "val", arguments, last))
        together = over_folds(folds)
        for style, found in together.items():
            print(row("brats2015, mean", style, len(folds), found), flush=True)
        verdicts.append(verdict("BraTS 2015", together))
    print("", *verdicts, f"segcct at commit {provenance()['commit']}.", sep="\n")


if __name__ == "__main__":
    program.run(main)
