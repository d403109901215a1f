"""Speed of networks on the CPU, compared with a reference: forward pass, training step, number of parameters.

    python benchmarks/speed_models.py                              # cct_unet_s and swin_unet_tiny, fp32, 2 threads
    python benchmarks/speed_models.py --models unet cct_unet_b cct_unet_s:encoder_depth=0 --precision bf16

Table: a row per network, with its parameters (share: relative to the reference), and the seconds of a forward pass
without gradients and of a training step (forward, cross-entropy, backward, AdamW); ratio says how many times as fast
as the reference it is.

Protocol: the networks take turns in one process, so that a disturbance of the machine affects all of them; the fastest
round counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import program
import torch
from torch import nn

from segcct.hardware.memory import keep_freed_memory
from segcct.models.zoo import create_model, model_names

CLASSES = 4


def parse() -> argparse.Namespace:
    """Options of this program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reference = "network that the others are compared with (default %(default)s)"
    parser.add_argument("--reference", default="swin_unet_tiny", choices=model_names("segmenter"), help=reference)
    models = "the others (default cct_unet_s)"
    metavar = "NAME[:OPTION=VALUE,...]"
    parser.add_argument("--models", nargs="+", default=["cct_unet_s"], type=network, metavar=metavar, help=models)
    parser.add_argument("--size", type=int, default=224, help="side of the image in pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="runs, of which the best counts (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    return parser.parse_args()


def network(text: str) -> str:
    """`NAME[:OPTION=VALUE,...]` as it is. Raises `argparse.ArgumentTypeError` if it is not written like that."""
    name, _, options = text.partition(":")
    if name not in model_names("segmenter"):
        raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(model_names('segmenter'))}")
    if options and not all("=" in option for option in options.split(",")):
        raise argparse.ArgumentTypeError(f"{text} is not written as NAME:OPTION=VALUE,...")
    return text


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Contestant:
    """A network with its optimizer, and its fastest times in seconds."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.name = name
        model, _, given = name.partition(":")
        options = dict(option.split("=", 1) for option in given.split(",") if option)
        self.model = create_model(model, arguments.channels, CLASSES, arguments.size, options)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.precision = arguments.precision
        self.forward_s = self.step_s = float("inf")

    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model(images).float()

    def forward(self, images: torch.Tensor) -> None:
        with torch.inference_mode():
            self.logits(images)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        loss = nn.functional.cross_entropy(self.logits(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def measure(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.model.eval()
        self.forward_s = min(self.forward_s, seconds(lambda: self.forward(images)))
        self.model.train()
        self.step_s = min(self.step_s, seconds(lambda: self.step(images, labels)))


def main() -> None:
    """Measure, and print the table."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as training does
    images = torch.randn(arguments.batch, arguments.channels, arguments.size, arguments.size)
    labels = torch.randint(CLASSES, (arguments.batch, arguments.size, arguments.size))
    contestants = [Contestant(name, arguments) for name in dict.fromkeys([arguments.reference, *arguments.models])]
    for _ in range(arguments.rounds + 1):  # the first round is a warm-up, whose times are the slowest
        for contestant in contestants:
            contestant.measure(images, labels)
    reference = contestants[0]
    print(
        f"{arguments.size} x {arguments.size}, batch {arguments.batch}, {arguments.precision}, "
        f"{arguments.threads} threads, best of {arguments.rounds} rounds, compared with {reference.name}"
    )
    width = max(len(one.name) for one in contestants) + 2
    print(f"{'network':<{width}}{'parameters':>13}{'share':>8}{'forward s':>11}{'ratio':>7}{'step s':>9}{'ratio':>7}")
    for one in contestants:
        share = one.parameters() / reference.parameters()
        forward, step = reference.forward_s / one.forward_s, reference.step_s / one.step_s
        print(
            f"{one.name:<{width}}{one.parameters():>13,}{share:>8.3f}{one.forward_s:>11.3f}{forward:>6.2f}x"
            f"{one.step_s:>9.3f}{step:>6.2f}x"
        )


if __name__ == "__main__":
    program.run(main)
