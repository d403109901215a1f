"""Speed of every export backend and precision, and how well its masks agree with those of PyTorch in fp32.

    python benchmarks/export.py --model runs/NAME/best --input SCANS          # a trained model and typical scans
    python benchmarks/export.py --output runs/export_benchmark                # trains the demo's network first

Table: a row per backend and precision, with milliseconds per slice, speed relative to PyTorch in fp32, the fraction of
pixels of the same class, and the Dice of both masks.

Protocol: slices of the scans, prepared as for prediction, go through all networks in turns, so that a disturbance of
the machine affects all of them; the fastest round counts. int8 is calibrated with slices of the same scans. Use a
trained model: masks of an untrained one are noise, whose agreement means nothing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import program
import torch
from torch import Tensor, nn
from trained import trained

from segcct.config import SegmentationConfig, settings
from segcct.errors import CheckpointError
from segcct.export.backend_timing import PRECISIONS
from segcct.export.backends import backend_network
from segcct.export.model_file import read_exported
from segcct.export.verification import compare_outputs
from segcct.hardware.precision import autocast
from segcct.hardware.processor import instruction_sets, processor_name
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.phantom import write_phantom
from segcct.predictions.prediction_request import resolve
from segcct.tasks.model_export import export_model
from segcct.tasks.segmentation.network_inputs import network_slices

DEMO = Path(__file__).parents[1] / "segcct" / "demo" / "segmentation.yaml"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="best/ of a run; default: the demo's network, trained on phantoms")
    parser.add_argument("--input", type=Path, help="scans of the model's layout; default: the phantoms")
    parser.add_argument("--output", type=Path, default=Path("runs/export_benchmark"), help="folder for all files")
    parser.add_argument("--size", type=int, help="height and width of the slices in pixels; default: as trained")
    parser.add_argument("--slices", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.model is not None and arguments.input is None:
        parser.error("--model needs --input")
    return arguments


class InBf16(nn.Module):
    """A network in bf16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with autocast("cpu", "bf16"):
            return self.network(images).float()


def phantom_run(output: Path) -> tuple[Path, Path]:
    """The best/ folder of the demo's network, trained on phantoms, and the folder of the phantoms."""
    data = output / "phantom"
    if not data.exists():
        write_phantom("brats", data, 12, seed=0, reduce=2)
    changes = {"data.root": str(data), "run.root": str(output), "run.name": "demo"}
    return trained(settings.load(SegmentationConfig, DEMO, changes)).best, data


def contestants(model: Path, source: Path, output: Path, size: int | None) -> dict[str, nn.Module]:
    """Backend and precision -> network; PyTorch in fp32 first."""
    network = Predictor.load(model, InferenceSettings(precision="fp32", device="cpu")).network
    networks: dict[str, nn.Module] = {"torch fp32": network, "torch bf16": InBf16(network)}
    for kind in ("fp32", "int8"):
        file = output / f"{kind}.onnx"
        for line in export_model(model, file, size=size, int8=kind == "int8", source=source, overwrite=True):
            print(line)
        exported = read_exported(file)
        for backend in ("onnx", "openvino"):
            for precision in PRECISIONS[backend]:
                name = precision if kind == "fp32" else {"fp32": "int8", "bf16": "int8 and bf16"}[precision]
                try:
                    networks[f"{backend} {name}"] = backend_network(backend, exported, file, precision)
                except CheckpointError as error:  # such as bf16 on a processor without bf16 instructions
                    print(f"{backend} {name}: {error}")
    return networks


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    model, source = arguments.model, arguments.input
    if model is None:
        model, phantoms = phantom_run(arguments.output)
        source = source or phantoms
    networks = contestants(model, source, arguments.output, arguments.size)
    predictor = Predictor.load(model, InferenceSettings(precision="fp32", device="cpu"))
    size = read_exported(arguments.output / "fp32.onnx").size[0]
    inputs = network_slices(predictor, resolve(predictor.card, source), size, arguments.slices)
    best = dict.fromkeys(networks, float("inf"))
    with torch.inference_mode():
        for _ in range(arguments.rounds):
            for name, network in networks.items():
                began = time.perf_counter()
                for batch in inputs.split(arguments.batch):
                    network(batch)
                best[name] = min(best[name], time.perf_counter() - began)
    architecture = predictor.card.architecture
    print(f"{processor_name()} ({' '.join(instruction_sets())}), {arguments.threads} threads")
    print(f"{architecture.name}, {len(inputs)} slices of {size} x {size} pixels from {source}, batch {arguments.batch}")
    print("| backend | ms per slice | times as fast | same class | Dice |\n|---|---|---|---|---|")
    for name, network in networks.items():
        found = compare_outputs(networks["torch fp32"], network, inputs)
        dice = "-" if found.dice is None else f"{found.dice:.4f}"
        per_slice, faster = 1e3 * best[name] / len(inputs), best["torch fp32"] / best[name]
        print(f"| {name} | {per_slice:.1f} | {faster:.2f} | {found.agreement:.4%} | {dice} |")


if __name__ == "__main__":
    program.run(main)
