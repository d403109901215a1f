"""How much Dice is lost on images of another scanner, and how much of it `predict --adapt` or augmentation recovers.

    python benchmarks/shift.py --root data/acdc_h5 --models runs/plain/best runs/scanner/best

The models are segmenters of ACDC slices, such as those of few_labels.py, or trained with `augment.scanner`. Neither
they nor the generator may have been trained on the patients of val.list.

Table: a row per model and adaptation, with the Dice of the cases of val.list (each case's mean over classes), as they
are and shifted, and the paired difference to the first row, with its 95% interval over patients. Shifted images have
another gamma, a smooth bias field and noise, which standardization does not undo.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import program
from case_scores import Scores, difference_text
from machine import machine

from segcct.config import DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.layouts import find_cases, read_case
from segcct.datasets.split_drawing import make_splits
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.metrics import class_dice

GAMMA, BIAS, NOISE = 1.8, 0.5, 0.04
"""Exponent; largest logarithm of the bias field; standard deviation of the noise, for images in [0, 1]."""


def shifted(image: np.ndarray, case: str, file: str) -> np.ndarray:
    """Slices (..., H, W) in [0, 1] with gamma, a smooth bias field and noise, which standardization does not undo.

    The field depends on the case id, the noise on the name of the file.
    """
    moved = np.asarray(image, dtype=np.float64) ** GAMMA * np.exp(bias_field(image.shape[-2:], _random(case)))
    return np.clip(moved + _random(file).normal(0, NOISE, image.shape), 0, 1)


def bias_field(size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(H, W) logarithm of a bias field: half a wave along a random direction, in [-BIAS, BIAS]."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, side) for side in size), indexing="ij")
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    return BIAS * np.sin(np.pi / 2 * (np.cos(angle) * rows + np.sin(angle) * columns) + phase)


def write_shifted(cases: Sequence[Case], as_they_are: Collection[str], root: Path) -> Path:
    """Copy the files of cases into a folder below `root`; images of all patients but those `as_they_are` are shifted.

    The folder's name is a digest of what it depends on; an existing folder is used as it is.
    """
    files = [(case.id, [str(file.absolute()) for file in next(iter(case.channels.values()))]) for case in cases]
    depends = repr((GAMMA, BIAS, NOISE, sorted(as_they_are), files))
    folder = root / f"shifted_{hashlib.sha256(depends.encode()).hexdigest()[:8]}"
    if folder.is_dir():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for case in cases:
        for file in next(iter(case.channels.values())):
            shutil.copyfile(file, part / file.name)
            if case.patient not in as_they_are:
                with h5py.File(part / file.name, "r+") as stored:
                    stored["image"][...] = shifted(stored["image"][()], case.id, file.name)
    part.rename(folder)
    return folder


def evaluated(data: DataSection) -> list[Case]:
    """The cases of val.list."""
    split = {"kind": "lists", "train_list": data.root / "train.list", "val_list": data.root / "val.list"}
    cases = find_cases(data)
    whole = DataSection.model_validate(data.model_dump() | {"split": split})
    return make_splits(cases, whole).select(cases, "val")


def scores_of(predictor: Predictor, cases: Sequence[LoadedCase]) -> Scores:
    """Case -> its mean Dice over classes; cases without any class are left out."""
    scores = {}
    for loaded in cases:
        assert loaded.label is not None
        found = predictor.segment(loaded).full
        wanted = predictor.scheme.to_index(loaded.label)
        known = [dice for dice in class_dice(found, wanted, predictor.scheme.classes).values() if dice is not None]
        if known:
            scores[loaded.case.id] = float(np.mean(known))
    return scores


def main() -> None:
    """Evaluate every model with every adaptation, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the .h5 files")
    models = "the first is what the others are compared with"
    parser.add_argument("--models", type=Path, nargs="+", required=True, metavar="RUN/best", help=models)
    parser.add_argument(
        "--adapt",
        nargs="+",
        default=["none", "statistics:0.2", "statistics:0.4", "image", "statistics:0.4,image", "model"],
        help="adaptations, as of segcct predict",
    )
    parser.add_argument("--generator", type=Path, metavar="RUN/best", help="adapt by `model` with this generator too")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_shift"), help="folder of the shifted files")
    arguments = parser.parse_args()
    how = InferenceSettings()
    print(f"{machine()['processor']}, {how.choice.precision} ({how.choice.reason})\n")
    print("| model | --adapt | Dice | Dice, shifted |\n|---|---|---|---|")
    first: list[Scores] = []
    rows: list[tuple[str, Path | None]] = [(adapt, None) for adapt in arguments.adapt]
    rows += [("model", arguments.generator)] if arguments.generator else []
    for model in arguments.models:
        for adapt, generator in rows:
            predictor = Predictor.load(model, replace(how, adapt=adapt, generator=generator))
            data = predictor.card.data_section(arguments.root)
            cases = evaluated(data)
            moved = data.model_copy(update={"root": write_shifted(cases, [], arguments.output)})
            there = {case.id: case for case in find_cases(moved)}
            scores = [
                scores_of(predictor, [read_case(case, each, predictor.scheme, with_label=True) for case in chosen])
                for each, chosen in ((data, cases), (moved, [there[case.id] for case in cases]))
            ]
            first = first or scores
            patients = {case.id: case.patient for case in cases}
            cells = " | ".join(
                f"{np.mean(list(each.values())):.3f}, {difference_text(each, base, patients)}"
                for each, base in zip(scores, first, strict=True)
            )
            name = f"{adapt}, generator" if generator else adapt
            print(f"| {model.parent.name} | {name} | {cells} |", flush=True)


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


if __name__ == "__main__":
    program.run(main)
