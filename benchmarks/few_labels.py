"""What unlabeled patients add when labels are few: ACDC with 3 or 7 of the 70 training patients labeled.

    python benchmarks/few_labels.py --root data/acdc_h5 --minutes 30
    python benchmarks/few_labels.py --root data/acdc_h5 --methods scratch mae m2d --against scratch

Methods, which can be combined with `+` (`mae+teacher`):
    supervised  learns from the labeled patients alone
    teacher     learns from the unlabeled patients too, by pseudo-labels of a teacher
    cycle       learns from the unlabeled patients too, by reconstructing their images from the masks
    mae, m2d    pre-trains on the patients of train.list without labels for `--pretrain-minutes` of the minutes, then
                trains with AdamW, with the encoder's blocks
    scratch     trains with AdamW, with the encoder's blocks, from random weights: the reference of mae and m2d
    scanner     augments images as if they came from other scanners
    elastic     augments by elastic deformation
    synthesize  augments by deformed masks, and images that a generator synthesizes from them

Protocol: three fixed draws of labeled patients (configs/splits/acdc_7_labeled_0.txt ...). All methods train for the
same minutes or, with `--epochs`, the same number of steps; the generator of `cycle` and `synthesize` is extra. Nothing
is selected: the weights are those at the end. They are evaluated on the images of the ten patients of val.list as they
are, and shifted by gamma, a smooth bias field and noise (shift.py). `--choosing` evaluates on the unlabeled training
patients instead, to choose settings. `--shift` shifts the unlabeled patients during training too.

Tables: a row per method and draw, then a row per method. Dice is the mean over cases of each case's mean over classes,
averaged over draws; intervals and paired differences to `--against` are over patients.

Finished runs are not repeated; if their settings differ, the program stops. Every machine and precision has its
own folder of results.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import program
from case_scores import Scores, averaged, difference_text, mean_text
from machine import folder_here, machine
from shift import write_shifted
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
from segcct.preparation.cached_cases import prepare_cases
from segcct.preparation.prepared_case import PreparedCase
from segcct.run_folder import RunFolder

CONFIGS = Path(__file__).parents[1] / "configs"
SUPERVISED, TEACHER, CYCLE = "supervised", "teacher", "cycle"
PRETRAINED = ("mae", "m2d", "m2d_all")
SCRATCH = "scratch"
FINE_TUNING = {"train.optimizer": "adamw", "train.lr": 7e-4, "train.warmup": 0.1}
"""Smaller steps than from random weights: a third of the learning rate, and AdamW instead of Muon."""
SYNTHESIZE = "synthesize"
AUGMENTED: dict[str, dict[str, Any]] = {
    "scanner": {"augment.scanner": 0.5},
    "elastic": {"augment.elastic": 0.5},
    SYNTHESIZE: {"augment.synthesize": 0.25},
}
METHODS = (SUPERVISED, TEACHER, CYCLE, *PRETRAINED, SCRATCH, *AUGMENTED)


def method_of(text: str) -> str:
    """One of `METHODS`, or several joined by `+`. Raises `argparse.ArgumentTypeError`."""
    parts = text.split("+")
    starts = {*parts} & {*PRETRAINED, SCRATCH}
    if not set(parts) <= {*METHODS} or {TEACHER, CYCLE} <= {*parts} or len(starts) > 1:
        raise argparse.ArgumentTypeError(f"{text} is not a valid combination of {', '.join(METHODS)}")
    return text


def pretrained_by(method: str) -> list[str]:
    """The pre-training among the parts of a method; empty if there is none."""
    return [part for part in method.split("+") if part in PRETRAINED]


def data_of(root: Path, labeled: int, draw: int) -> dict[str, Any]:
    """The data section: the labeled patients of one draw train, those of val.list validate, no unlabeled cases."""
    data: dict[str, Any] = settings.read_yaml(CONFIGS / "acdc_few_labels.yaml")["data"]
    listed = CONFIGS / "splits" / f"acdc_{labeled}_labeled_{draw}.txt"
    split = {"kind": "lists", "train_list": str(listed), "val_list": str(root / "val.list")}
    return {**data, "root": str(root), "split": split}


def shifted_root(data: Mapping[str, Any], output: Path) -> Path:
    """A copy of the dataset in which all patients except the labeled ones are shifted."""
    section = DataSection.model_validate(data)
    labeled = Path(data["split"]["train_list"]).read_text(encoding="utf-8").split()
    return write_shifted(find_cases(section), labeled, output)


def schedule(name: str, arguments: argparse.Namespace, part: float = 1.0) -> dict[str, Any]:
    """Config keys of a run: its name, `part` of the minutes or epochs, and one validation at the end."""
    length = {"train.epochs": max(1, round(part * (arguments.epochs or 0))), "train.budget": None}
    return {
        "run.root": str(arguments.output),
        "run.name": name,
        "run.seed": arguments.seed,
        "train.validate_every": ONLY_AT_THE_END,
        **(length if arguments.epochs else {"train.budget": f"{part * arguments.minutes}min"}),
    }


def generator(data: Mapping[str, Any], name: str, arguments: argparse.Namespace) -> RunFolder:
    """The generator, trained on the labeled patients."""
    base = settings.read_yaml(CONFIGS / "acdc_slices_m2i.yaml")
    content = {"data": data, "augment": base["augment"], "model": base["model"], "train": base["train"]}
    overrides = schedule(name, arguments) | {"augment.intensity": 0.3}  # as the slices that it will see
    return trained(settings.build(ReconstructionConfig, content, overrides, source="benchmark"))


def encoder(method: str, arguments: argparse.Namespace) -> RunFolder:
    """The encoder, pre-trained on the patients of train.list without labels.

    Those of val.list validate it, for metrics.csv; they select nothing.
    """
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
    """The segmenter of one draw, trained by one method, in the run METHOD_NAME."""
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
        # Batches of the other methods are half unlabeled: the same batch size, and as many batches per epoch.
        doubled = {name: 2 * int(content["train"][name]) for name in ("batch_size", "slices_per_epoch")}
        overrides |= {"train.unlabelled.method": "none"} | {f"train.{name}": value for name, value in doubled.items()}
    else:
        overrides |= {"data.split.unlabelled": "rest", "train.unlabelled.method": unlabeled}
    if SYNTHESIZE in parts:
        overrides["augment.generator"] = str(generator(data, f"m2i_{name}", arguments).best)
    if CYCLE in parts:
        best = generator(data, f"m2i_{name}", arguments).best
        overrides |= {"train.unlabelled.model": str(best), "train.unlabelled.weight": arguments.cycle_weight}
        overrides["train.windows"] = {}  # windows need labels or pseudo-labels
    return trained(settings.build(SegmentationConfig, content, overrides, source="benchmark"))


def evaluated_cases(data: Mapping[str, Any], *, choosing: bool) -> list[PreparedCase]:
    """The cases of val.list; with `choosing`, the unlabeled ones of train.list, whose labels no run reads."""
    section = DataSection.model_validate(data)
    cases = find_cases(section)
    splits = make_splits(cases, section)
    chosen = splits.select(cases, "val")
    if choosing:
        apart = {case.patient for case in (*splits.select(cases, "train"), *chosen)}
        chosen = [case for case in cases if case.patient not in apart]
    return prepare_cases(chosen, section, scheme_of(section))


def scores_of(run: RunFolder, cases: Sequence[PreparedCase], arguments: argparse.Namespace) -> Scores:
    """Case -> its mean Dice over classes; cases without any class are left out."""
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


def options() -> argparse.ArgumentParser:
    """Options of this program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the .h5 files")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_few_labels"))
    parser.add_argument("--labeled", type=int, choices=[3, 7], default=7, help="labeled patients (default %(default)s)")
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2], help="draws of labeled patients")
    some = f"of {', '.join(METHODS)}; or several joined by + (default {SUPERVISED} {TEACHER})"
    parser.add_argument("--methods", nargs="+", type=method_of, default=[SUPERVISED, TEACHER], help=some)
    against = "method that the others are compared with (default %(default)s)"
    parser.add_argument("--against", type=method_of, default=SUPERVISED, help=against)
    parser.add_argument("--cycle-weight", type=float, default=0.1, help="weight of the loss of cycle")
    parser.add_argument("--shift", action="store_true", help="shift the unlabeled patients during training too")
    parser.add_argument("--minutes", type=float, default=30, help="of each method (default %(default)s)")
    part = "of these, for the pre-training of mae and m2d (default %(default)s)"
    parser.add_argument("--pretrain-minutes", type=float, default=20, help=part)
    parser.add_argument("--epochs", type=int, help="of each method, instead of minutes")
    choosing = "evaluate on the unlabeled patients of train.list instead of val.list, to choose settings"
    parser.add_argument("--choosing", action="store_true", help=choosing)
    parser.add_argument("--tta", choices=list(VIEWS), default="none", help="as of segcct predict")
    parser.add_argument("--keep-largest", action="store_true", help="as of segcct predict")
    parser.add_argument("--model", default="cct_unet_s", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    """Train, evaluate, and print both tables."""
    parser = options()
    arguments = parser.parse_args()
    if any(map(pretrained_by, arguments.methods)):
        if arguments.shift:
            parser.error("--shift cannot be combined with mae, m2d and m2d_all, which read the images unshifted")
        if arguments.pretrain_minutes >= arguments.minutes:
            parser.error(f"--pretrain-minutes must be less than --minutes ({arguments.minutes:g})")
    arguments.output = folder_here(arguments.output)
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
            cases = [evaluated_cases(each, choosing=arguments.choosing) for each in (data, moved)]
            patients |= {case.case_id: case.patient for case in cases[0]}
            plain, other = (scores_of(run, each, arguments) for each in cases)
            by_draw.append((plain, other))
            means = " | ".join(f"{np.mean(list(scores.values())):.3f}" for scores in (plain, other))
            spent = minutes(run) + sum(minutes(encoder(each, arguments)) for each in pretrained_by(method))
            print(f"| {method} | {arguments.labeled} | {draw} | {means} | {spent:.1f} |", flush=True)
        found[method] = averaged([each[0] for each in by_draw]), averaged([each[1] for each in by_draw])
    print_summary(found, patients, arguments.against)


def print_summary(found: Mapping[str, tuple[Scores, Scores]], patients: Mapping[str, str], base: str) -> None:
    """Print every method over all draws, compared with `base`."""
    print(f"\n| method | Dice [95%] | against {base} | Dice, shifted [95%] | against {base} |")
    print("|---|---|---|---|---|")
    for method, scores in found.items():
        cells = []
        for kind, each in enumerate(scores):
            compared = base in found and method != base
            cells += [mean_text(each, patients), difference_text(each, found[base][kind], patients) if compared else ""]
        print(f"| {method} | {' | '.join(cells)} |")


if __name__ == "__main__":
    program.run(main)
