"""segcct export."""

from __future__ import annotations

import argparse
from pathlib import Path

from segcct.commands.parser import Commands, add_command, add_model
from segcct.option_types import positive_int
from segcct.plurals import sized
from segcct.tasks.task import Outcome


def add_export(commands: Commands) -> None:
    """A trained model as one ONNX file."""
    parser = add_command(commands, "export", _export, "write a trained model as an ONNX file, verified against PyTorch")
    add_model(parser, "--model", help="a trained model's folder")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.onnx", help="the file")
    parser.add_argument(
        "--size",
        type=positive_int,
        help="height and width of the slices in pixels, fixed in the file; smaller slices are padded (default: that of "
        "the run)",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="quantize to 8-bit integers, which is faster on processors with instructions for them",
    )
    parser.add_argument(
        "--input",
        type=Path,
        help="scans or images to verify the file with, and to calibrate --int8; default: the training cases of the run",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists already")


def _export(arguments: argparse.Namespace) -> Outcome:
    from segcct.tasks.model_export import export_model

    output: Path = arguments.output
    lines = export_model(
        arguments.model,
        output,
        size=arguments.size,
        int8=arguments.int8,
        source=arguments.input,
        overwrite=arguments.overwrite,
    )
    for line in lines:
        print(line)
    wrote = f"wrote {output} ({sized(output.stat().st_size)})"
    return Outcome(wrote, ("predict", "--model", output, "--input", "SCAN", "--output", "masks"))
