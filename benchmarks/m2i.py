"""What a generator adds to painting each class in its mean, and whether a segmenter finds the mask again.

    python benchmarks/m2i.py --acdc ../shared/data/acdc_h5 --brats ../shared/data/brats2015_flair_t1c --budget 10min

Trains a segmenter and one generator per style on the same cases, then measures both from that one generator:
the foreground RMSE against the baseline, and the Dice of M -> I -> M'.
ACDC: 70 patients train (fold 0 of 5 selects), the ten of val.list are measured. BraTS 2015: one of four patients is
left out and measured; nothing is selected, the weights are those at the end. The baseline paints every class of a case
in that case's own mean; `by slice` is against the harder one that uses the mean of each slice. Dice and distances are
taken on the networks' slices. Trainings that are there are used where they are of the same settings, else refused;
those of another machine or precision are in a folder of their own.
--acdc-segmenter takes a segmenter as it is, such as one that benchmarks/accuracy.py left, instead of training one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import folder_here
from trained import ONLY_AT_THE_END, trained

from segcct.config import DataSection, ReconstructionConfig, SegmentationConfig, settings
from segcct.datasets.layouts import find_cases, scheme_of
from segcct.datasets.split_record import Splits
from segcct.errors import SplitError
from segcct.inference.cycle import CycleCase, Cycles
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.inference.reconstructor import Reconstructor
from segcct.metrics import class_dice
from segcct.metrics.image import BORDER, FOREGROUND, class_mean_baseline, error_reduction, image_distances
from segcct.preparation.cached_cases import prepare_cases
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
"""What one generator should reach: lower foreground RMSE than the class means, M -> I -> M' of the segmenter's Dice."""
Figures = Mapping[str, float | None]


def acdc_data(root: Path) -> dict[str, Any]:
    """The data section of the slices config on `root`, as it was for the published results."""
    data = settings.read_yaml(CONFIGS / "acdc_slices_m2i.yaml")["data"] | {"fit": "resize", "image_size": 224}
    split = {**data["split"], "train_list": str(root / "train.list"), "test_list": str(root / "val.list")}
    return {**data, "root": str(root), "split": split}


def brats_data(root: Path, fold: int) -> dict[str, Any]:
    """Fold `fold` of four: one patient validates."""
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
    """Mean of each figure over the cases that define it; None where none does."""
    rows = [row for case in cases if (row := figures(cycles, case)) is not None]
    return {name: mean([row[name] for row in rows]) for name in FIGURES}


def figures(cycles: Cycles, prepared: PreparedCase) -> dict[str, Any] | None:
    """All figures of one case; None without foreground."""
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
        "slice_gain": error_reduction(inside, harder),
        "ssim": inside.ssim,
        "baseline_ssim": baseline.ssim,
        "border_gain": error_reduction(made.distances[BORDER], made.baseline[BORDER]),
        "own_dice": mean(class_dice(predicted, made.label, made.classes).values()),
        "cycle_dice": mean(class_dice(cycles.recover(case, made), made.label, made.classes).values()),
    }


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def measured_cases(runs: Sequence[RunFolder], data: Mapping[str, Any], split: str) -> list[PreparedCase]:
    """The prepared cases of one split of the runs. Raises `SplitError` if their splits differ."""
    section = DataSection.model_validate(data)
    first, *others = [set(getattr(Splits.load(run.splits), split)) for run in runs]
    if any(other != first for other in others):
        raise SplitError(f"the runs have other {split} cases", file=runs[0].splits, expected="one split for all")
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
    """Train and measure; one line of the table per style, and style -> its figures."""
    found: dict[str, Figures] = {}
    how = InferenceSettings()
    own = segmenter(f"{name}_i2m", data, arguments, more) if given is None else RunFolder(given)
    for style in arguments.styles:
        run = generator(f"{name}_m2i_{style}", data, arguments, {**more, "model.options.style": style})
        cases = measured_cases([own, run], data, split)
        cycles = Cycles(Predictor.load(own.best, how), Reconstructor.load(run.best, how))
        found[style] = measure(cycles, cases)
        print(row(name, style, len(cases), found[style]), flush=True)
    return found


def fraction_of(found: Figures) -> float | None:
    """M -> I -> M' Dice over the segmenter's own."""
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
    """Style -> the mean of each figure."""
    return {style: {name: mean([fold[style][name] for fold in folds]) for name in FIGURES} for style in folds[0]}


def verdict(name: str, found: dict[str, Figures]) -> str:
    """What each style reaches of both targets."""
    parts = []
    for style, own in found.items():
        lower, fraction = own["gain"], fraction_of(own)
        met = lower is not None and fraction is not None and lower >= LEAST_GAIN and fraction >= LEAST_FRACTION
        parts.append(
            f"{style} {cell(lower, '.1%')} and {cell(fraction, '.2f')} ({'both met' if met else 'not both met'})"
        )
    return f"{name}, at least {LEAST_GAIN:.0%} lower and {LEAST_FRACTION} of the Dice: {', '.join(parts)}."


def cell(value: float | None, form: str) -> str:
    """A number, or n/a where it is not defined."""
    return "n/a" if value is None else format(value, form)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acdc", type=Path, help="folder of the .h5 files")
    parser.add_argument("--brats", type=Path, help="folder of the BraTS 2015 cases")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_m2i"))
    parser.add_argument("--budget", default="10min", help="of each training (default %(default)s)")
    parser.add_argument("--model", default="cct_unet_s", help="the segmenter (default %(default)s)")
    parser.add_argument("--acdc-segmenter", type=Path, metavar="RUN", help="its run folder, instead of training one")
    parser.add_argument("--size", type=int, help="height and width of the slices; default: that of the config")
    parser.add_argument("--styles", nargs="+", default=["moments", "learned", "none"])
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3], help="BraTS patients to leave out")
    arguments = parser.parse_args()
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
    main()
