"""What unlabeled patients add where labels are few: ACDC with 3 or 7 of the 70 patients labeled, the others without.

    python benchmarks/few_labels.py --root data/acdc_h5 --minutes 30

Rows are methods: `supervised` learns from the labeled patients alone, `teacher` and `cycle` from the others too; `mae`
and `m2d` pre-train on train.list without labels for `--pretrain-minutes` of the same minutes, and go on by AdamW with
the encoder's blocks, whatever the others train by. `scratch` has these blocks and AdamW too, and random weights for all
of the minutes: what a pre-training is to be compared with (`--methods scratch mae m2d --against scratch`). `scanner`,
`elastic` and `synthesize` are kinds of augmentation: as if from another scanner, more elastic deformation, and deformed
masks with the images that a generator makes of them. `mae+teacher` does both, and so on.
Three fixed draws of labeled patients (configs/splits/acdc_7_labeled_0.txt ...). All trainings have equally many
minutes, or, with --epochs, equally many steps; the generator of `cycle` and `synthesize` comes on top. The settings are
chosen beforehand, or by `--choosing` on the patients that are not labeled, and nothing is selected: the weights are
those at the end. Measured once, on the ten patients of val.list, as they are and shifted: gamma, a smooth bias field
and noise (shift.py), which no standardizing undoes. Dice is the mean over cases of each case's mean over classes,
averaged over draws; intervals and differences to `--against` are over patients; `--methods mae m2d --against mae`
compares these two. `--shift` shifts the unlabeled patients too. Trainings that are there are used where they are of the
same settings, else refused; those of another machine or precision are in a folder of their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import folder_here, machine
from shift import Scores, difference, write_shifted
from trained import ONLY_AT_THE_END, minutes, trained

from segcct.config import DataSection, PretrainingConfig, ReconstructionConfig, SegmentationConfig, settings
from segcct.datasets.layouts import find_cases, scheme_of
from segcct.datasets.split_drawing import make_splits
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.inferers import SliceInferer
from segcct.inference.postprocessing import postprocess
from segcct.inference.predictor import Predictor
from segcct.inference.views import VIEWS
from segcct.metrics import class_dice
from segcct.metrics.confidence_intervals import interval
from segcct.preparation.cached_cases import prepare_cases
from segcct.preparation.prepared_case import PreparedCase
from segcct.run_folder import RunFolder

CONFIGS = Path(__file__).parents[1] / "configs"
SUPERVISED, TEACHER, CYCLE = "supervised", "teacher", "cycle"
PRETRAINED = ("mae", "m2d", "m2d_all")
SCRATCH = "scratch"
FINE_TUNING = {"train.optimizer": "adamw", "train.lr": 7e-4, "train.warmup": 0.1}
"""Gentler than from random weights: a third of the learning rate, and no orthogonal updates."""
SYNTHESIZE = "synthesize"
AUGMENTED: dict[str, dict[str, Any]] = {
    "scanner": {"augment.scanner": 0.5},
    "elastic": {"augment.elastic": 0.5},
    SYNTHESIZE: {"augment.synthesize": 0.25},
}
METHODS = (SUPERVISED, TEACHER, CYCLE, *PRETRAINED, SCRATCH, *AUGMENTED)


def method_of(text: str) -> str:
    """One of `METHODS`, or several with `+` between them. Raises `argparse.ArgumentTypeError`."""
    parts = text.split("+")
    starts = {*parts} & {*PRETRAINED, SCRATCH}
    if not set(parts) <= {*METHODS} or {TEACHER, CYCLE} <= {*parts} or len(starts) > 1:
        raise argparse.ArgumentTypeError(f"{text}: methods that go together of {', '.join(METHODS)}")
    return text


def pretrained_by(method: str) -> list[str]:
    """The pre-training among its parts, if there is one."""
    return [part for part in method.split("+") if part in PRETRAINED]


def data_of(root: Path, labeled: int, draw: int) -> dict[str, Any]:
    """The data section with the labeled patients of one draw, evaluated on val.list, without unlabeled cases."""
    data: dict[str, Any] = settings.read_yaml(CONFIGS / "acdc_few_labels.yaml")["data"]
    listed = CONFIGS / "splits" / f"acdc_{labeled}_labeled_{draw}.txt"
    split = {"kind": "lists", "train_list": str(listed), "val_list": str(root / "val.list")}
    return {**data, "root": str(root), "split": split}


def shifted_root(data: Mapping[str, Any], output: Path) -> Path:
    """A copy of the dataset in which every patient but the labeled ones is shifted."""
    section = DataSection.model_validate(data)
    labeled = Path(data["split"]["train_list"]).read_text(encoding="utf-8").split()
    return write_shifted(find_cases(section), labeled, output)


def schedule(name: str, arguments: argparse.Namespace, part: float = 1.0) -> dict[str, Any]:
    """Equally many minutes or steps for every training, or a part of them, and one validation at the end."""
    length = {"train.epochs": max(1, round(part * (arguments.epochs or 0))), "train.budget": None}
    return {
        "run.root": str(arguments.output),
        "run.name": name,
        "run.seed": arguments.seed,
        "train.validate_every": ONLY_AT_THE_END,
        **(length if arguments.epochs else {"train.budget": f"{part * arguments.minutes}min"}),
    }


def generator(data: Mapping[str, Any], name: str, arguments: argparse.Namespace) -> RunFolder:
    """The generator of the labeled patients."""
    base = settings.read_yaml(CONFIGS / "acdc_slices_m2i.yaml")
    content = {"data": data, "augment": base["augment"], "model": base["model"], "train": base["train"]}
    overrides = schedule(name, arguments) | {"augment.intensity": 0.3}  # it will meet slices changed like that
    return trained(settings.build(ReconstructionConfig, content, overrides, source="benchmark"))


def encoder(method: str, arguments: argparse.Namespace) -> RunFolder:
    """The encoder that the patients of train.list trained without labels. Those of val.list train nothing and select
    nothing, but how well their blocks are filled is in metrics.csv."""
    content, root = settings.read_yaml(CONFIGS / "acdc_pretrain.yaml"), arguments.root
    split = {"kind": "lists", **{f"{each}_list": str(root / f"{each}.list") for each in ("train", "val")}}
    content["data"] = {**content["data"], "root": str(root), "split": split}
    tuning = settings.read_yaml(CONFIGS / "acdc_few_labels.yaml")["train"]
    steps = int(tuning["slices_per_epoch"]) // int(tuning["batch_size"])  # of an epoch
    part = arguments.pretrain_minutes / arguments.minutes
    overrides = schedule(f"{method}_{arguments.model}", arguments, part)
    overrides |= {"train.method": method, "train.pictures": 0, "model.name": arguments.model}
    overrides["train.slices_per_epoch"] = steps * int(content["train"]["batch_size"])
    return trained(settings.build(PretrainingConfig, content, overrides, source="benchmark"))


def segmenter(method: str, data: Mapping[str, Any], name: str, arguments: argparse.Namespace) -> RunFolder:
    """The segmenter of one draw, by one method; its run has the method's name and this one."""
    content = {**settings.read_yaml(CONFIGS / "acdc_few_labels.yaml"), "data": data}
    parts, part = method.split("+"), 1.0
    overrides: dict[str, Any] = {"train.pictures": 0, "model.name": arguments.model}
    if arguments.model != content["model"]["name"] or {*parts} & {*PRETRAINED, SCRATCH}:  # with the encoder's blocks
        overrides["model.options"] = {}
    if SCRATCH in parts:
        overrides["train.optimizer"] = FINE_TUNING["train.optimizer"]
    for pretraining in pretrained_by(method):
        best = encoder(pretraining, arguments).best
        overrides |= {"model.pretrained": str(best), **FINE_TUNING}
        part -= arguments.pretrain_minutes / arguments.minutes
    overrides |= schedule(f"{method}_{name}", arguments, part)
    for augmentation in filter(AUGMENTED.__contains__, parts):
        overrides |= AUGMENTED[augmentation]
    unlabeled = next(filter((TEACHER, CYCLE).__contains__, parts), None)
    if unlabeled is None:
        # Its batches are as large as those of the others, which are half unlabeled, and an epoch has as many.
        doubled = {name: 2 * int(content["train"][name]) for name in ("batch_size", "slices_per_epoch")}
        overrides |= {"train.unlabelled.method": "none"} | {f"train.{name}": value for name, value in doubled.items()}
    else:
        overrides |= {"data.split.unlabelled": "rest", "train.unlabelled.method": unlabeled}
    if SYNTHESIZE in parts:
        overrides["augment.generator"] = str(generator(data, f"m2i_{name}", arguments).best)
    if CYCLE in parts:
        painter = generator(data, f"m2i_{name}", arguments)
        overrides |= {"train.unlabelled.model": str(painter.best), "train.unlabelled.weight": arguments.cycle_weight}
        overrides["train.windows"] = {}  # which need labels or pseudo-labels
    return trained(settings.build(SegmentationConfig, content, overrides, source="benchmark"))


def evaluated_cases(data: Mapping[str, Any], choosing: bool) -> list[PreparedCase]:
    """The cases of val.list; where settings are chosen those of train.list that are not labeled, whose labels no
    training opens."""
    section = DataSection.model_validate(data)
    cases = find_cases(section)
    splits = make_splits(cases, section)
    chosen = splits.select(cases, "val")
    if choosing:
        apart = {case.patient for case in (*splits.select(cases, "train"), *chosen)}
        chosen = [case for case in cases if case.patient not in apart]
    return prepare_cases(chosen, section, scheme_of(section))


def scores_of(run: RunFolder, cases: Sequence[PreparedCase], arguments: argparse.Namespace) -> Scores:
    """Mean Dice over the classes of each case that holds one."""
    predictor = Predictor.load(run.best, InferenceSettings(tta=arguments.tta))
    size, steps = predictor.preparation.image_size, predictor.steps(keep_largest=arguments.keep_largest)
    scores = {}
    for case in cases:
        found = SliceInferer()(predictor.network, case, predictor.how, size)
        found = postprocess(found, steps, tuple(predictor.scheme.classes), None)
        dice = class_dice(found, np.asarray(case.full_label), predictor.scheme.classes)
        known = [value for value in dice.values() if value is not None]
        if known:
            scores[case.case_id] = float(np.mean(known))
    return scores


def over_draws(scores: Sequence[Scores]) -> Scores:
    """Each case's mean."""
    return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}


def mean(scores: Scores, patients: Mapping[str, str]) -> str:
    """`0.812 [0.790, 0.830]` over patients."""
    values = np.array(list(scores.values()))
    low, high = interval(values, [patients[name] for name in scores])
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Print the table of one number of labeled patients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the .h5 files")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_few_labels"))
    parser.add_argument("--labeled", type=int, choices=[3, 7], default=7, help="patients (default %(default)s)")
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2], help="which draws of them")
    some = f"of {', '.join(METHODS)}; or several with + between them (default {SUPERVISED} {TEACHER})"
    parser.add_argument("--methods", nargs="+", type=method_of, default=[SUPERVISED, TEACHER], help=some)
    against = "method that the others are compared with (default %(default)s)"
    parser.add_argument("--against", type=method_of, default=SUPERVISED, help=against)
    parser.add_argument("--cycle-weight", type=float, default=0.1)
    parser.add_argument("--shift", action="store_true", help="the unlabeled patients are shifted too")
    parser.add_argument("--minutes", type=float, default=30, help="of each training (default %(default)s)")
    parser.add_argument("--pretrain-minutes", type=float, default=20, help="of these (default %(default)s)")
    parser.add_argument("--epochs", type=int, help="length in epochs instead")
    choosing = "to choose settings: score the patients of train.list that are not labeled instead of val.list"
    parser.add_argument("--choosing", action="store_true", help=choosing)
    parser.add_argument("--tta", choices=list(VIEWS), default="none", help="as in predict")
    parser.add_argument("--keep-largest", action="store_true", help="as in predict")
    parser.add_argument("--model", default="cct_unet_s")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output = folder_here(arguments.output)
    if arguments.shift and any(map(pretrained_by, arguments.methods)):
        parser.error("--shift leaves the images of a pre-training as they are")
    precision = InferenceSettings().choice
    print(f"{machine()['processor']}, {precision.precision} ({precision.reason}); {arguments.model}, last weights; tta "
          f"{arguments.tta}{', largest components' if arguments.keep_largest else ''}\n")  # fmt: skip
    print(
        "| method | labeled patients | draw | Dice | Dice, shifted | minutes |\n|---|---|---|---|---|---|", flush=True
    )
    found: dict[str, tuple[Scores, Scores]] = {}
    patients: dict[str, str] = {}
    for method in arguments.methods:
        by_draw: list[tuple[Scores, Scores]] = []
        for draw in arguments.draws:
            data = data_of(arguments.root, arguments.labeled, draw)
            moved = {**data, "root": str(shifted_root(data, arguments.output))}
            name = f"{arguments.model}_{arguments.labeled}_draw{draw}" + ("_shift" if arguments.shift else "")
            run = segmenter(method, moved if arguments.shift else data, name, arguments)
            cases = evaluated_cases(data, arguments.choosing), evaluated_cases(moved, arguments.choosing)
            patients |= {case.case_id: case.patient for case in cases[0]}
            plain, other = (scores_of(run, each, arguments) for each in cases)
            by_draw.append((plain, other))
            means = " | ".join(f"{np.mean(list(scores.values())):.3f}" for scores in (plain, other))
            spent = minutes(run) + sum(minutes(encoder(each, arguments)) for each in pretrained_by(method))
            print(f"| {method} | {arguments.labeled} | {draw} | {means} | {spent:.1f} |", flush=True)
        found[method] = over_draws([each[0] for each in by_draw]), over_draws([each[1] for each in by_draw])
    print_summary(found, patients, arguments.against)


def print_summary(found: Mapping[str, tuple[Scores, Scores]], patients: Mapping[str, str], base: str) -> None:
    """Every method over all draws, and against `base`."""
    print(f"\n| method | Dice [95%] | against {base} | Dice, shifted [95%] | against {base} |")
    print("|---|---|---|---|---|")
    for method, scores in found.items():
        cells = []
        for kind, each in enumerate(scores):
            against = found.get(base)
            told = "" if against is None or method == base else difference(each, against[kind], patients)
            cells += [mean(each, patients), told]
        print(f"| {method} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
