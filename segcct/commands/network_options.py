"""--batch-size, --precision and --device: how the commands that run a network let users choose how it runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from segcct.commands.parser import at_least_one

if TYPE_CHECKING:
    from segcct.inference.batched_inference import Inference


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Register the three options."""
    parser.add_argument("--batch-size", type=at_least_one, default=16, help="slices per batch (default %(default)s)")
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="auto",
        help="arithmetic of the network; auto is bf16 where it is measured to be faster here (default %(default)s)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default %(default)s)")


def inference_of(arguments: argparse.Namespace, protocol: str = "soft") -> Inference:
    """How the network runs. Says the precision on stderr where it was chosen here.

    Raises `ModelError` for a device that is not there.
    """
    from segcct.hardware.devices import pick_device
    from segcct.inference.batched_inference import Inference
    from segcct.progress import say

    how = Inference(arguments.batch_size, arguments.precision, pick_device(arguments.device), protocol)
    if arguments.precision == "auto":
        say(str(how.choice))
    return how
