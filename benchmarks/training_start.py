"""Seconds from the call of `train` to the loss of the first batch, with 100 small synthetic cases in the cache.

    python benchmarks/training_start.py            # best and median of five starts
    python benchmarks/training_start.py --profile  # also prints where one start spends its time

Each start is measured in a new process, after the trainer was imported: the time of these imports does not count.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import program
from machine import environment

CASES = 100
ENVIRONMENT = {"SEGCCT_PRECISION": "fp32", "CUDA_VISIBLE_DEVICES": ""}


class StartedError(Exception):
    """The loss of the first batch is wanted."""


def start_s(folder: Path, name: str, *, profile: bool = False) -> float:
    """Seconds of one start, measured in this process."""
    from segcct.config import SegmentationConfig, settings
    from segcct.tasks import training_run
    from segcct.tasks.segmentation.segmentation_task import SegmentationTask

    def loss(*_: object) -> None:
        raise StartedError

    SegmentationTask.loss = loss  # type: ignore[assignment, method-assign]
    overrides = {
        "data.root": str(folder / "data"),
        "data.cache": str(folder / "cache"),
        "data.split.test": 0,
        "data.image_size": 64,
        "run.root": str(folder / "runs"),
        "run.name": name,
        "model.name": "cct_unet_t",
        "train.batch_size": 4,
    }
    config = settings.load(SegmentationConfig, Path(__file__).parents[1] / "configs" / "acdc_cct_unet.yaml", overrides)
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    began = time.perf_counter()
    try:
        training_run.train(config)
    except StartedError:
        seconds = time.perf_counter() - began
    profiler.disable()
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats("segcct|import", 70)
    return seconds


def main() -> None:
    """Write the cases, start once to fill the cache, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="number of starts (default %(default)s)")
    parser.add_argument("--profile", action="store_true", help="also profile one start")
    parser.add_argument("--start", nargs=2, metavar=("DIR", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        print(start_s(Path(arguments.start[0]), arguments.start[1], profile=arguments.profile))
        return
    with tempfile.TemporaryDirectory() as folder:
        phantoms = ["-m", "segcct.cli", "phantom", "acdc", f"{folder}/data", "--reduce", "8"]
        subprocess.run([sys.executable, *phantoms, "--cases", str(CASES)], check=True, stdout=subprocess.DEVNULL)
        times = [process_s(folder, f"start{number}") for number in range(arguments.rounds + 1)][1:]
        print(f"best {min(times):.3f} s, median {statistics.median(times):.3f} s of {len(times)} starts")
        if arguments.profile:
            process_s(folder, "profile", "--profile")


def process_s(folder: str, name: str, *more: str) -> float:
    """Seconds of a start in a new process; prints the lines that it prints before them."""
    command = [sys.executable, __file__, "--start", folder, name, *more]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment(**ENVIRONMENT))
    if done.returncode:
        sys.exit(done.stderr)
    *before, seconds = done.stdout.splitlines()
    print("\n".join(before), end="")
    return float(seconds)


if __name__ == "__main__":
    program.run(main)
