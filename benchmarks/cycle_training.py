"""Does the cycle help where labels are few? ACDC with 7 of the 70 patients labelled, the others without labels.

    python benchmarks/cycle_training.py --root ../shared/data/acdc_h5 --weights 0 0.1 0.5 --seeds 0 1 2

The generator learns from the seven labelled patients alone, then each segmenter learns from the same seven with the
cycle on the others (weight 0: without), as they are and, in rows of their own, shifted. All take equally many steps, so
a cycle costs about twice the time. Nothing is selected: the weights are those at the end. Measured on the ten patients
of val.list, as they are and shifted: gamma, a smooth bias field and noise (shifted.py), which no standardising undoes.
Mean Dice over cases of each case's mean over classes; the difference to weight 0 is paired over patients, each case's
Dice averaged over the seeds. Trainings that are there are used where they are of the same settings, else refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from shifted import write_shifted
from trained import ONLY_AT_THE_END, minutes, trained

from segcct.config import DataSection, M2IConfig, SegmentationConfig, settings
from segcct.datasets.layouts import find_cases, scheme_of
from segcct.datasets.split_drawing import make_splits, patients_in_order
from segcct.datasets.split_record import Splits
from segcct.inference.batched_inference import Inference
from segcct.inference.inferers import SliceInferer
from segcct.inference.predictor import Predictor
from segcct.metrics import class_dice, paired
from segcct.model_card import load_card
from segcct.preparation.prepared_case import PreparedCase, prepare_cases
from segcct.run_folder import RunFolder

CONFIGS = Path(__file__).parents[1] / "configs"
AS_THEY_ARE, SHIFTED = "as they are", "shifted"
Scores = dict[str, float]
"""Case -> its mean Dice over classes."""


def data_of(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The data section, its training list cut to the labelled patients, and the same with all other patients shifted.

    Lists and shifted files are written beside the runs.
    """
    data = settings.read_yaml(CONFIGS / "acdc_slices_cct_unet.yaml")["data"]
    root, lists = arguments.root, arguments.output / f"lists_{arguments.labelled}_{arguments.draw}"
    lists.mkdir(parents=True, exist_ok=True)
    split = {"kind": "lists", "train_list": str(root / "train.list"), "val_list": str(root / "val.list")}
    whole = {**data, "root": str(root), "image_size": arguments.size, "split": split}
    section = DataSection.model_validate(whole)
    cases = find_cases(section)
    splits = make_splits(cases, section)
    order = patients_in_order((splits.patients[name] for name in splits.train), arguments.draw)
    for name, patients in (("labelled", order[: arguments.labelled]), ("unlabelled", order[arguments.labelled :])):
        (lists / name).write_text("\n".join(patients) + "\n", encoding="utf-8")
    moved = write_shifted(cases, order[: arguments.labelled], arguments.output)
    cut = {**whole, "split": {**split, "train_list": str(lists / "labelled")}}
    return {AS_THEY_ARE: cut, SHIFTED: {**cut, "root": str(moved)}}


def generator(data: Mapping[str, Any], arguments: argparse.Namespace) -> RunFolder:
    """The generator of the labelled patients."""
    base = settings.read_yaml(CONFIGS / "acdc_slices_m2i.yaml")
    content = {"data": data, "augment": base["augment"], "model": base["model"], "train": base["train"]}
    overrides = schedule("m2i", 0, arguments) | {"augment.intensity": 0.3}  # it will meet slices changed like that
    return trained(settings.build(M2IConfig, content, overrides, source="benchmark"))


def segmenter(
    data: Mapping[str, Any], weight: float, seed: int, cycle: RunFolder, arguments: argparse.Namespace
) -> RunFolder:
    """The segmenter of the labelled patients, with the cycle on the others where it has a weight."""
    name = f"i2m_weight{weight:g}_seed{seed}"
    more: dict[str, Any] = {"train.pictures": 0, "model.name": arguments.model}
    if weight > 0:
        lists = Path(data["split"]["train_list"]).parent
        more |= {
            "train.cycle_weight": weight,
            "train.cycle_model": str(cycle.best),
            "data.split.unlabelled_list": str(lists / "unlabelled"),
        }
        name += f"_{Path(data['root']).name}_m2i_{load_card(cycle.best).weights_sha256[:8]}"
    base = settings.read_yaml(CONFIGS / "acdc_slices_cct_unet.yaml")
    content = {"data": data, "augment": base["augment"], "model": base["model"], "train": base["train"]}
    overrides = schedule(name, seed, arguments) | more
    return trained(settings.build(SegmentationConfig, content, overrides, source="benchmark"))


def schedule(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Equally many steps for every training, and one validation at the end."""
    return {
        "run.root": str(arguments.output),
        "run.name": name,
        "run.seed": seed,
        "train.budget": None,
        "train.epochs": arguments.epochs,
        "train.slices_per_epoch": arguments.slices,
        "train.validate_every": ONLY_AT_THE_END,
    }


def judged_cases(data: Mapping[str, Any], splits: Splits) -> list[PreparedCase]:
    """The cases of val.list."""
    section = DataSection.model_validate(data)
    return prepare_cases(splits.select(find_cases(section), "val"), section, scheme_of(section))


def scores_of(run: RunFolder, cases: Sequence[PreparedCase]) -> Scores:
    """Mean Dice over the classes of each case that holds one."""
    predictor = Predictor.load(run.best, Inference())
    size = predictor.preparation.image_size
    scores = {}
    for case in cases:
        found = SliceInferer()(predictor.network, case, predictor.how, size)
        dice = class_dice(found, np.asarray(case.full_label), predictor.scheme.classes)
        known = [value for value in dice.values() if value is not None]
        if known:
            scores[case.case_id] = float(np.mean(known))
    return scores


def over_seeds(scores: Sequence[Scores]) -> Scores:
    """Each case's mean."""
    return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}


def difference(scores: Scores, without: Scores, patients: Mapping[str, str]) -> str:
    """`+0.012 [+0.004, +0.020]` over patients."""
    names = sorted(scores)
    found = paired(
        [scores[name] for name in names], [without[name] for name in names], [patients[name] for name in names]
    )
    low, high = found["ci95"]
    ends = "n/a" if low is None or high is None else f"{low:+.3f}, {high:+.3f}"
    return f"{found['difference']:+.3f} [{ends}]"


def main() -> None:
    """Print the tables."""
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
    sections = data_of(arguments)
    cycle = generator(sections[AS_THEY_ARE], arguments)
    splits = Splits.load(cycle.splits)
    cases = {kind: judged_cases(data, splits) for kind, data in sections.items()}
    print("| cycle weight | unlabelled | seed | Dice | Dice, shifted | minutes |\n|---|---|---|---|---|---|")
    found: dict[tuple[float, str], dict[str, Scores]] = {}
    for weight in arguments.weights:
        for kind, data in sections.items() if weight > 0 else [("none", sections[AS_THEY_ARE])]:
            by_seed: dict[str, list[Scores]] = {each: [] for each in cases}
            for seed in arguments.seeds:
                run = segmenter(data, weight, seed, cycle, arguments)
                for each in cases:
                    by_seed[each].append(scores_of(run, cases[each]))
                plain, moved = (np.mean(list(by_seed[each][-1].values())) for each in (AS_THEY_ARE, SHIFTED))
                print(f"| {weight:g} | {kind} | {seed} | {plain:.3f} | {moved:.3f} | {minutes(run):.1f} |", flush=True)
            found[weight, kind] = {each: over_seeds(scores) for each, scores in by_seed.items()}
    print_differences(found, splits.patients)


def print_differences(found: Mapping[tuple[float, str], Mapping[str, Scores]], patients: Mapping[str, str]) -> None:
    """Every row against weight 0."""
    if (0.0, "none") not in found:
        print("\nNo difference to weight 0: it is not among --weights.")
        return
    without = found[0.0, "none"]
    print("\n| cycle weight | unlabelled | Dice, against weight 0 [95%] | Dice, shifted, against weight 0 [95%] |")
    print("|---|---|---|---|")
    for (weight, kind), scores in found.items():
        if weight > 0:
            plain, moved = (difference(scores[each], without[each], patients) for each in (AS_THEY_ARE, SHIFTED))
            print(f"| {weight:g} | {kind} | {plain} | {moved} |")


if __name__ == "__main__":
    main()
