"""Does the cycle help where labels are few? ACDC with 7 of 70 patients labelled, the other 63 without labels.

    python benchmarks/cycle_training.py --root ../shared/data/acdc_h5 --weights 0 0.1 0.5 --seeds 0 1 2

The generator learns from the seven labelled patients alone, then each segmenter learns from the same seven with the
cycle on the others (weight 0: without). All take equally many steps, so a cycle costs about twice the time. Nothing is
selected: the weights are those at the end. Measured on the ten patients of val.list, as they are and with shifted
intensities (gamma 1.8, then contrast halved around the mean), mean Dice over cases of each case's mean over classes.
Trainings that are there already are used as they are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segcct import settings
from segcct.config import DataSection, M2IConfig, SegmentationConfig
from segcct.data.layouts import find_cases, scheme_of
from segcct.data.prepare import PreparedCase, prepare_cases
from segcct.data.splits import Splits, make_splits, patients_in_order
from segcct.inference.device import Inference
from segcct.inference.predictor import Predictor, segment
from segcct.metrics import class_dice
from segcct.runs import RunFolder
from segcct.training.reconstruction import train_reconstruction
from segcct.training.segmentation import summarise, train_segmentation

CONFIGS = Path(__file__).parents[1] / "configs"
GAMMA, CONTRAST = 1.8, 0.5
ONLY_AT_THE_END = 1_000_000


def data_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The data section, its training list cut to the labelled patients; the lists are written beside the runs."""
    data = settings.read_yaml(CONFIGS / "acdc_slices_cct_unet.yaml")["data"]
    root, lists = arguments.root, arguments.output / "lists"
    lists.mkdir(parents=True, exist_ok=True)
    split = {"kind": "lists", "train_list": str(root / "train.list"), "val_list": str(root / "val.list")}
    whole = {**data, "root": str(root), "image_size": arguments.size, "split": split}
    section = DataSection.model_validate(whole)
    splits = make_splits(find_cases(section), section)
    order = patients_in_order((splits.patients[name] for name in splits.train), arguments.draw)
    for name, patients in (("labelled", order[: arguments.labelled]), ("unlabelled", order[arguments.labelled :])):
        (lists / name).write_text("\n".join(patients) + "\n", encoding="utf-8")
    return {**whole, "split": {**split, "train_list": str(lists / "labelled")}}


def generator(data: Mapping[str, Any], arguments: argparse.Namespace) -> RunFolder:
    """The generator of the labelled patients."""
    run = RunFolder(arguments.output / "m2i")
    base = settings.read_yaml(CONFIGS / "acdc_slices_m2i.yaml")
    content = {"data": data, "augment": base["augment"], "model": base["model"], "train": base["train"]}
    overrides = schedule(run, 0, arguments) | {"augment.intensity": 0.3}  # it will meet slices changed like that
    return run if run.summary.is_file() else train_reconstruction(
        settings.build(M2IConfig, content, overrides, source="benchmark")
    )  # fmt: skip


def segmenter(
    data: Mapping[str, Any], weight: float, seed: int, cycle: RunFolder, arguments: argparse.Namespace
) -> RunFolder:
    """The segmenter of the labelled patients, with the cycle on the others where it has a weight."""
    run = RunFolder(arguments.output / f"i2m_weight{weight:g}_seed{seed}")
    base = settings.read_yaml(CONFIGS / "acdc_slices_cct_unet.yaml")
    content = {"data": data, "augment": base["augment"], "model": base["model"], "train": base["train"]}
    overrides = schedule(run, seed, arguments) | {"train.pictures": 0, "model.name": arguments.model}
    if weight > 0:
        overrides |= {
            "train.cycle_weight": weight,
            "train.cycle_model": str(cycle.best),
            "data.split.unlabelled_list": str(arguments.output / "lists" / "unlabelled"),
        }
    return run if run.summary.is_file() else train_segmentation(
        settings.build(SegmentationConfig, content, overrides, source="benchmark")
    )  # fmt: skip


def schedule(run: RunFolder, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Equally many steps for every training, and one validation at the end."""
    return {
        "run.root": str(run.path.parent),
        "run.name": run.path.name,
        "run.seed": seed,
        "train.budget": None,
        "train.epochs": arguments.epochs,
        "train.slices_per_epoch": arguments.slices,
        "train.validate_every": ONLY_AT_THE_END,
    }


def shifted(case: PreparedCase) -> PreparedCase:
    """The case with other intensities, standardised anew as a scan of its own would be."""
    image = np.asarray(case.image, dtype=np.float32) ** GAMMA
    mean = image.mean(axis=(0, 2, 3), keepdims=True)
    image = np.clip(mean + CONTRAST * (image - mean), 0, 1)
    moments = {"mean": image.mean(axis=(0, 2, 3)), "sd": image.std(axis=(0, 2, 3))}
    return replace(case, arrays={**case.arrays, "image": image.astype(np.float16)}, **moments)


def dice_of(run: RunFolder, cases: list[PreparedCase]) -> float:
    """Mean Dice over cases of each case's mean over classes."""
    predictor = Predictor.load(run.best, Inference(precision="bf16"))
    size = predictor.preparation.image_size
    scores = {
        case.case_id: class_dice(
            segment(predictor.network, case, predictor.how, size), np.asarray(case.full_label), predictor.scheme.classes
        )
        for case in cases
    }
    return summarise(scores, predictor.scheme)["val_dice"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the .h5 files")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_cycle"))
    parser.add_argument("--labelled", type=int, default=7, help="labelled patients (default %(default)s)")
    parser.add_argument("--draw", type=int, default=0, help="seed of their draw (default %(default)s)")
    parser.add_argument("--weights", nargs="+", type=float, default=[0.0, 0.1, 0.5])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--slices", type=int, default=512, help="slices per epoch (default %(default)s)")
    parser.add_argument("--size", type=int, default=160, help="side of the slices (default %(default)s)")
    parser.add_argument("--model", default="cct_unet_s")
    arguments = parser.parse_args()
    data = data_of(arguments)
    cycle = generator(data, arguments)
    section = DataSection.model_validate(data)
    judged = Splits.load(cycle.splits).select(find_cases(section), "val")
    cases = prepare_cases(judged, section, scheme_of(section))
    print("| cycle weight | seed | Dice | Dice, shifted intensities | minutes |\n|---|---|---|---|---|")
    for weight in arguments.weights:
        for seed in arguments.seeds:
            began = time.monotonic()
            run = segmenter(data, weight, seed, cycle, arguments)
            minutes = (time.monotonic() - began) / 60
            plain, moved = dice_of(run, cases), dice_of(run, [shifted(case) for case in cases])
            print(f"| {weight:g} | {seed} | {plain:.3f} | {moved:.3f} | {minutes:.1f} |", flush=True)


if __name__ == "__main__":
    main()
