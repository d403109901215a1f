"""Accuracy of compact transformers on images, in four campaigns, each of which prints a Markdown table.

    python benchmarks/classification.py budget --root IMAGES --budget 30min
    python benchmarks/classification.py order --root IMAGES --epochs 60 --seeds 0 1 2
    python benchmarks/classification.py positional --root IMAGES --epochs 2
    python benchmarks/classification.py brain --root data/brain_tumor_classes --epochs 5

IMAGES is the training set of CIFAR-10 with a folder per class, or an archive of it.

budget: models trained for the same time on CIFAR-10 by configs/cifar10_cct_2_3x2_30min.yaml. 1,000 images select the
    weights, which are scored once, at the end, on 5,000 others. Needs an idle machine.
order: ViT-Lite, CVT and CCT trained by the same shortened recipe; meant for a GPU.
positional: CVT-7/4 and CCT-7/3x2 with learnable, sine and no positional embedding, by the same short recipe.
brain: 5-fold cross-validation of brain-tumor classes at two image sizes, from random weights and from CIFAR-10 weights,
    and the paired difference between the two. The validation images of a fold select its weights. The CIFAR-10 weights
    are those that `budget` (CCT-2/3x2) and `positional` (CCT-7/3x2) left in the same --output, or --pretrained
    MODEL=RUN/best. Above 64 pixels the tokenizer takes steps of 2: otherwise an epoch of CCT-7 would take about seven
    minutes on two processor cores.

Finished runs are not trained again; if their settings differ, the program stops. Every machine and precision has its
own folder of results. Other options are config keys, such as --train.lr 1e-3.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import program
import torch
from case_scores import interval_text
from machine import folder_here
from trained import minutes as minutes_of
from trained import trained

from segcct.config import ClassificationConfig, settings
from segcct.datasets.split_record import Splits
from segcct.files.json_file import write_json
from segcct.hardware.devices import pick_device
from segcct.inference.inference_settings import InferenceSettings
from segcct.metrics import paired
from segcct.models.compact_transformers import PRESETS, SIZES
from segcct.models.tokenizer import token_grid
from segcct.models.zoo import entry
from segcct.predictions.predictions_index import INDEX
from segcct.run_folder import RunFolder
from segcct.tasks.classification.class_evaluation import evaluate_classes
from segcct.tasks.classification.classifier import Classifier
from segcct.tasks.classification.image_prediction import find_images, predict_images
from segcct.tasks.classification.probability_table import TABLE, read_table, write_table

CONFIGS = Path(__file__).parents[1] / "configs"
CIFAR = CONFIGS / "cifar10_cct_2_3x2_30min.yaml"
BRAIN = CONFIGS / "brain_tumour_classes.yaml"
BUDGET_MODELS = ("cct_2_3x2_32", "cct_4_3x2_32", "cct_7_3x1_32")
BRAIN_STARTS = {"cct_2_3x2_32": "budget_cct_2_3x2_32_seed0", "cct_7_3x2_32": "positional_cct_7_3x2_32_learnable_seed0"}
"""Models of `brain` -> the runs on CIFAR-10 whose weights they can start from."""
NARROW_RATE, WIDE_RATE = 3e-3, 1e-3
"""Learning rates of compact transformers up to width 128, as in the recipe, and of all others: at 3e-3 the accuracy of
CCT-7/3x1 fell back to chance, and 1e-3 was better than 5e-4 on validation images (CCT-7/3x2, 22,000 images: 0.567 and
0.540)."""
LARGE = 64
"""Image size above which the tokenizer takes steps of 2."""
ORDER_MODELS = ("vit_7_4_32", "cvt_7_4_32", "cct_7_3x1_32")
PUBLISHED = {"cct_2_3x2_32": 89.75, "cct_4_3x2_32": 91.97, "cct_6_3x1_32": 95.70, "cct_7_3x2_32": 95.04,
             "cct_7_3x1_32": 96.53, "cvt_7_4_32": 94.01, "vit_7_4_32": 93.57}  # fmt: skip
"""Accuracy on CIFAR-10 in percent, after the 300 epochs of the paper (Hassani et al. 2021)."""
QUARTERS = (0.25, 0.5, 0.75, 1.0)


def train(config: Path, name: str, arguments: argparse.Namespace, keys: Mapping[str, Any]) -> tuple[RunFolder, float]:
    """A run, done now or earlier, and its minutes."""
    overrides = {
        "data.root": str(arguments.root),
        "data.layout": "classes",
        **keys,
        "run.root": str(arguments.output),
        "run.name": name,
        **settings.parse_overrides(arguments.keys),
    }
    run = trained(settings.load(ClassificationConfig, config, overrides))
    return run, minutes_of(run)


def epochs_of(model: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Config keys of a run of some epochs on CIFAR-10."""
    return {
        "model.name": model,
        "run.seed": seed,
        "train.lr": rate(model),
        "train.budget": None,
        "train.epochs": arguments.epochs,
    }


def predicted(run: RunFolder, root: Path) -> Path:
    """Predict the run's test split; returns the folder of predictions."""
    output = run.path / "predictions"
    classifier = Classifier.load(run.best, InferenceSettings(256, device=pick_device()))
    request = find_images(classifier, root, splits_files=[run.splits], split="test")
    predict_images(classifier, request, output, model=run.best, overwrite=True)
    return output


def rate(name: str) -> float:
    """The learning rate of `budget`, `order` and `positional` for a model."""
    narrow = name in PRESETS and SIZES[PRESETS[name].layers].dim <= 128
    return NARROW_RATE if narrow else WIDE_RATE


def tested(run: RunFolder, root: Path) -> dict[str, Any]:
    """Evaluate the run's test split; returns what summary.json holds."""
    return evaluate_classes(predicted(run, root), root, output=run.path / "evaluation").to_json()


def shown(summary: dict[str, Any], figure: str = "accuracy") -> str:
    """`75.30 [74.1, 76.5]`, in percent."""
    stats = summary["overall"][figure]
    return f"{100 * stats['mean']:.2f} {interval_text(stats['ci95'], '.1f', scale=100)}"


def passes(run: RunFolder, config: ClassificationConfig) -> float:
    """How often each training image was shown, on average."""
    steps = torch.load(run.last, weights_only=True)["global_step"] * config.train.accumulate
    splits = json.loads(run.splits.read_text(encoding="utf-8"))
    return steps * config.train.batch_size / sum(len(ids) for ids in splits["train"].values())


def curve(run: RunFolder) -> list[str]:
    """Last validation accuracy measured by each quarter of the run's time."""
    rows = run.read_metrics()
    end = float(rows[-1]["elapsed_s"])
    cells = []
    for quarter in QUARTERS:
        by_then = [row for row in rows if float(row["elapsed_s"]) <= quarter * end + 0.1 and row.get("val_accuracy")]
        cells.append(f"{100 * float(by_then[-1]['val_accuracy']):.1f}" if by_then else "-")
    return cells


def line(*cells: object) -> None:
    """One row of a Markdown table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*cells: str) -> None:
    """The head of a Markdown table."""
    line(*cells)
    print("|---" * len(cells) + "|", flush=True)


def parameters(run: RunFolder) -> str:
    """Number of parameters of the trained network."""
    network = Classifier.load(run.best, InferenceSettings()).network
    return f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.2f} M"


def budget(arguments: argparse.Namespace) -> None:
    """Accuracy after the same time."""
    quarters = [f"val at {100 * quarter:.0f}% of the time" for quarter in QUARTERS]
    head("model", "seed", "parameters", "passes", "minutes", "test accuracy % [95% interval]", *quarters, "paper")
    for name in arguments.models or BUDGET_MODELS:
        for seed in arguments.seeds:
            # With longer epochs, a slow model would not be validated before its time is over.
            shown_per_epoch = 11_000 if "_7_" in name else 22_000
            keys = {
                "model.name": name,
                "run.seed": seed,
                "train.lr": rate(name),
                "train.budget": arguments.budget,
                "train.images_per_epoch": shown_per_epoch,
            }
            run, minutes = train(CIFAR, f"budget_{name}_seed{seed}", arguments, keys)
            config = settings.load(ClassificationConfig, run.config)
            cells = [f"{passes(run, config):.1f}", f"{minutes:.1f}", shown(tested(run, arguments.root)), *curve(run)]
            line(name, seed, parameters(run), *cells, PUBLISHED.get(name, "-"))


def order(arguments: argparse.Namespace) -> None:
    """ViT-Lite, CVT and CCT under one recipe for the same number of epochs."""
    head("model", "seed", "epochs", "minutes", "test accuracy % [95% interval]", "paper, 300 epochs")
    for name in arguments.models or ORDER_MODELS:
        for seed in arguments.seeds:
            keys = {**epochs_of(name, seed, arguments), "model.options": {}}
            run, minutes = train(CIFAR, f"order_{name}_seed{seed}", arguments, keys)
            cells = [f"{minutes:.1f}", shown(tested(run, arguments.root))]
            line(name, seed, arguments.epochs, *cells, PUBLISHED.get(name, "-"))


def positional(arguments: argparse.Namespace) -> None:
    """Accuracy by positional embedding; all other options of the recipe that a model has stay as they are."""
    recipe = settings.read_yaml(CIFAR)["model"]["options"]
    head("model", "embedding", "seed", "epochs", "minutes", "test accuracy % [95% interval]")
    for name in arguments.models or ("cvt_7_4_32", "cct_7_3x2_32"):
        has = entry(name).options.model_fields
        options = {option: value for option, value in recipe.items() if option in has}
        for embedding in ("learnable", "sine", "none"):
            for seed in arguments.seeds:
                keys = {**epochs_of(name, seed, arguments), "model.options": {**options, "positional": embedding}}
                run, minutes = train(CIFAR, f"positional_{name}_{embedding}_seed{seed}", arguments, keys)
                line(name, embedding, seed, arguments.epochs, f"{minutes:.1f}", shown(tested(run, arguments.root)))


def brain(arguments: argparse.Namespace) -> None:
    """Five folds of the brain-tumor classes: every image is tested once, and copies are always in the same fold."""
    print("Patients are unknown: images of one patient may be in several folds.\n")
    figures = ("macro_f1", "auroc", "ece")
    head("model", "size", "tokens", "start", "epochs", "accuracy % [95% interval]", *figures, "minutes per fold")
    differences: list[str] = []
    given = dict(arguments.pretrained)
    for name in arguments.models or BRAIN_STARTS:
        weights = given.get(name, arguments.output / BRAIN_STARTS.get(name, name) / "best")
        starts = {"scratch": None} | ({"CIFAR-10": str(weights)} if weights.is_dir() else {})
        if len(starts) == 1:
            print(f"(no CIFAR-10 weights of {name} in {weights}: name them with --pretrained {name}=RUN/best)")
        for size in arguments.sizes:
            for start, pretrained in starts.items():
                summary, minutes, tokens = folds(arguments, name, size, start, pretrained)
                cells = [f"{summary['overall'][figure]['mean']:.3f}" for figure in figures]
                line(name, size, tokens, start, arguments.epochs, shown(summary), *cells, f"{minutes:.1f}")
            if len(starts) == 2:
                differences.append(f"{name} at {size} pixels: {difference(arguments.output, name, size, list(starts))}")
    print("", *differences, sep="\n")


def difference(output: Path, name: str, size: int, starts: Sequence[str]) -> str:
    """Paired difference in accuracy of the second start to the first; copies of an image are resampled together."""
    right = []
    for start in starts:
        with (output / together_of(name, size, start) / "evaluation" / "images.csv").open(encoding="utf-8") as stream:
            right.append({row["image"]: float(row["correct"] == "yes") for row in csv.DictReader(stream)})
    splits = Splits.load(RunFolder(output / f"{together_of(name, size, starts[0])}_fold0").splits)
    names = sorted(right[0])
    groups = [splits.patients.get(each, each) for each in names]
    found = paired([right[1][each] for each in names], [right[0][each] for each in names], groups)
    points = f"{100 * found['difference']:+.1f} points {interval_text(found['ci95'], '+.1f', scale=100)}"
    return f"{starts[1]} against {starts[0]} {points}"


def together_of(name: str, size: int, start: str) -> str:
    """Name of the folder of all folds' predictions, with which the names of their runs begin."""
    return f"brain_{name}_{size}_{start}"


def folds(
    arguments: argparse.Namespace, name: str, size: int, start: str, pretrained: str | None
) -> tuple[dict[str, Any], float, int]:
    """Train all folds of a model; returns the evaluation of all predictions, minutes per run, and tokens."""
    label = together_of(name, size, start)
    rows: dict[str, np.ndarray] = {}
    total = 0.0
    for fold in range(5):
        keys = {
            "model.name": name,
            "model.pretrained": pretrained,
            "model.options.tokenizer_stride": 2 if size > LARGE else 1,
            "data.image_size": size,
            "data.fold": fold,
            "train.epochs": arguments.epochs,
        }
        run, minutes = train(BRAIN, f"{label}_fold{fold}", arguments, keys)
        total += minutes
        table = read_table(predicted(run, arguments.root))
        rows |= zip(table.ids, table.probabilities, strict=True)
    together = arguments.output / label
    together.mkdir(parents=True, exist_ok=True)
    write_table(together / TABLE, rows, table.classes)
    write_json(together / INDEX, table.index.to_json())
    tokens = tokens_of(Classifier.load(run.best, InferenceSettings()).network, size)
    summary = evaluate_classes(together, arguments.root, output=together / "evaluation").to_json()
    return summary, total / 5, tokens


def tokens_of(network: torch.nn.Module, size: int) -> int:
    """Number of tokens of a square image."""
    rows, columns = token_grid(network.tokenizer, size, size)
    return rows * columns


def named(text: str) -> tuple[str, Path]:
    """`MODEL=RUN/best` in its parts. Raises `argparse.ArgumentTypeError` if it is not written like that."""
    model, equals, folder = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not written as MODEL=RUN/best")
    return model, Path(folder)


CAMPAIGNS = {"budget": budget, "order": order, "positional": positional, "brain": brain}


def main() -> None:
    """Run one campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=list(CAMPAIGNS), help="what to measure, as described above")
    parser.add_argument("--root", type=Path, required=True, help="the images: an archive, or a folder per class")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_classification"))
    parser.add_argument("--budget", default="30min", help="of each training (campaign budget)")
    parser.add_argument("--epochs", type=int, default=10, help="of each training (other campaigns)")
    parser.add_argument("--models", nargs="+", help="instead of those of the campaign")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128], help="image sizes (campaign brain)")
    weights = "CIFAR-10 weights (campaign brain)"
    parser.add_argument("--pretrained", nargs="+", type=named, default=[], metavar="MODEL=RUN/best", help=weights)
    arguments, arguments.keys = parser.parse_known_args()
    arguments.output = folder_here(arguments.output, arguments.keys)
    began = time.monotonic()
    CAMPAIGNS[arguments.campaign](arguments)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes on {torch.get_num_threads()} threads, {pick_device()}")


if __name__ == "__main__":
    program.run(main)
