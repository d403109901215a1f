"""Dice on ten ACDC patients after equal time: cct_unet_s, swin_unet_tiny, unet, and U-Net-ResNet34 of a peer library.

    python benchmarks/acdc.py --root ../shared/data/acdc_h5 --budget 30min --models cct_unet_s --seeds 0 1

Every model gets the same data, recipe (learning rate apart, --lr) and wall-clock budget, from scratch, one after the
other. Weights are selected on a fold inside the 70 training patients; the ten of val.list are scored once, at the end.
Needs the `bench` extra for smp_unet_resnet34.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from torch import nn

from segcct.config import SegmentationConfig, settings
from segcct.evaluation.evaluate_folders import evaluate
from segcct.inference.folder_prediction import predict_folder, resolve
from segcct.inference.predictor import Inference, Predictor
from segcct.model_card import load_card
from segcct.models.options import ModelOptions
from segcct.models.zoo import MODELS, Entry, create_model
from segcct.run_folder import RunFolder
from segcct.tasks import training_run

CONFIG = Path(__file__).parents[1] / "configs" / "acdc_slices_cct_unet.yaml"
PEER = "smp_unet_resnet34"


def add_peer() -> None:
    """segmentation_models.pytorch's U-Net with a ResNet34 encoder, without pre-trained weights."""
    import segmentation_models_pytorch as smp

    def build(in_channels: int, num_classes: int, image_size: int, options: ModelOptions) -> nn.Module:
        return smp.Unet("resnet34", encoder_weights=None, in_channels=in_channels, classes=num_classes)

    MODELS[PEER] = Entry(PEER, "segmenter", build)


def train(name: str, seed: int, arguments: argparse.Namespace) -> RunFolder:
    """One training; a run that is there already is taken as it is."""
    run = RunFolder(arguments.output / f"{name}_seed{seed}")
    if run.summary.is_file():
        return run
    overrides = {
        "data.root": str(arguments.root),
        "data.split.train_list": str(arguments.root / "train.list"),
        "data.split.test_list": str(arguments.root / "val.list"),
        "run.root": str(arguments.output),
        "run.name": run.path.name,
        "run.seed": seed,
        "model.name": name,
        "train.budget": arguments.budget,
        "train.lr": arguments.lr,
    }
    overrides |= settings.parse_overrides(arguments.keys)
    return training_run.train(settings.load(SegmentationConfig, CONFIG, overrides))


def score(run: RunFolder, root: Path) -> dict:
    """Predict the test split and evaluate it; the content of summary.json."""
    predictor = Predictor.load(run.best, Inference())
    request = resolve(predictor.card, root, splits_files=[run.splits], split="test")
    predict_folder(predictor, request, run.path / "predictions", overwrite=True)
    return evaluate(run.path / "predictions", root, scheme="acdc", output=run.path / "evaluation")


def main() -> None:
    """Train, score, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the .h5 files")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_acdc"))
    parser.add_argument("--budget", default="30min")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--models", nargs="+", default=["cct_unet_s", "swin_unet_tiny", "unet", PEER])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    arguments, arguments.keys = parser.parse_known_args()
    if PEER in arguments.models:
        add_peer()
    print("| model | seed | parameters | epochs | Dice [95% interval] | RV | MYO | LV | minutes |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.models:
        for seed in arguments.seeds:
            began = time.monotonic()
            run = train(name, seed, arguments)
            minutes = (time.monotonic() - began) / 60
            summary = score(run, arguments.root)
            print(row(run, name, seed, summary, minutes), flush=True)


def row(run: RunFolder, name: str, seed: int, summary: dict, minutes: float) -> str:
    """One line of the table."""
    overall = summary["overall"]["dice"]
    classes = " | ".join(f"{summary['classes'][each]['dice']['mean']:.3f}" for each in ("RV", "MYO", "LV"))
    low, high = overall["ci95"]
    built = load_card(run.best).architecture
    network = create_model(name, built.in_channels, built.num_classes, built.image_size, built.options)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    epochs = len(run.read_metrics())
    return (
        f"| {name} | {seed} | {parameters / 1e6:.2f} M | {epochs} | {overall['mean']:.3f} [{low:.3f}, {high:.3f}] "
        f"| {classes} | {minutes:.0f} |"
    )


if __name__ == "__main__":
    main()
