"""Prediction of synthetic cohorts: how time grows with cases and processes, and what kills at random moments leave.

    python benchmarks/cohort.py --images 100 300 1000 --processes 1 2 3
    python benchmarks/cohort.py --images 1000 --processes 1 --before ../segcct-0.1   # compared with an earlier checkout
    python benchmarks/cohort.py --volumes 200 --processes 1 2
    python benchmarks/cohort.py --images 1000 --processes 2 --engines shards spark
    python benchmarks/cohort.py --kills 50
    python benchmarks/cohort.py --kills 50 --of worker

Times: a row per engine (shards: one command per process, started together; or Spark), number of cases and number of
processes. Seconds are those of the whole commands, including the start of Python; two more columns say how long it
takes until the first mask is written, and from the last mask to the end. The model has random weights, which does not
change the time. Images have 256 x 256 pixels; `--image-size` is the size at which the network sees them.

Kills: a prediction of 40 images is killed by SIGKILL at a random moment of its work, then finished with `--continue`.
Afterwards, every mask must equal that of an undisturbed prediction byte by byte, masks finished before the kill must
not have been written again, and the folder must hold nothing but masks and tables. `--of worker` kills one of two Spark
workers with its executors instead; the command itself must then succeed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import program
from machine import environment
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.spark_cluster import cluster  # noqa: E402
from segcct.config import DataSection  # noqa: E402
from segcct.errors import RunError  # noqa: E402
from segcct.hardware.processor import processor_name  # noqa: E402
from segcct.images.volume import Volume  # noqa: E402
from segcct.predictions.case_journal import journals_in  # noqa: E402
from segcct.predictions.outcome_table import OUTCOMES  # noqa: E402
from tests.support.untrained import save_untrained  # noqa: E402

SIDE = 256
VOLUME_SHAPE = (96, 96, 24)
KILLED_IMAGES = 40
CLASSES = {"small": 1, "large": 2}
Arguments = list[str]
Kill = tuple[subprocess.Popen[bytes], Callable[[], None]]
Engine = Callable[[Arguments, int], list[Arguments]]


class Killed(NamedTuple):
    """The outcome of a kill."""

    finished: int
    """Cases that were finished before it."""
    problems: list[str]
    """What is wrong after the prediction was continued."""


def _shards(predict: Arguments, processes: int) -> list[Arguments]:
    if processes == 1:
        return [predict]
    return [[*predict, "--shard", f"{number}/{processes}"] for number in range(1, processes + 1)]


def _spark(predict: Arguments, processes: int) -> list[Arguments]:
    return [[*predict, "--engine", "spark", "--master", f"local[{processes}]"]]


ENGINES: dict[str, Engine] = {"shards": _shards, "spark": _spark}
"""Name -> (arguments of `segcct predict`, number of processes) -> the commands that are started together."""


def write_images(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Write images of two ellipses in noise, named `case_00000.png` and so on."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(_slice((SIDE, SIDE), np.random.default_rng([seed, number]))).save(
            folder / f"case_{number:05d}.png"
        )
    return folder


def write_volumes(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Write NIfTI volumes of such slices."""
    folder.mkdir(parents=True)
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        slices = [_slice(VOLUME_SHAPE[:2], generator) for _ in range(VOLUME_SHAPE[2])]
        voxels, affine = np.stack(slices, axis=-1).astype(np.int16), np.diag([1.0, 1.0, 4.0, 1.0])
        Volume(voxels, affine, (1.0, 1.0, 4.0), None, None).save(folder / f"case_{number:05d}.nii.gz")
    return folder


def _slice(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, 40.0)
    for intensity in (120, 200):
        center, radii = generator.uniform(0.25, 0.75, 2) * shape, generator.uniform(0.06, 0.24, 2) * shape
        image[((rows - center[0]) / radii[0]) ** 2 + ((columns - center[1]) / radii[1]) ** 2 < 1] = intensity
    return (image + generator.normal(0, 8, shape)).clip(0, 255).astype(np.uint8)


def write_model(folder: Path, name: str, image_size: int, *, volumes: bool = False) -> Path:
    """Write an untrained model of such images or volumes; returns its `best/`."""
    channels = {"gray": "*.nii.gz"} if volumes else {"gray": "images/{id}.png"}
    data = DataSection.model_validate({
        "layout": "paired" if volumes else "pictures", "root": "nowhere", "channels": channels,
        "label": "labels/{id}.nii.gz" if volumes else "masks/{id}.png", "scheme": "custom", "labels": CLASSES,
        "orientation": "native", "fit": "resize", "image_size": image_size,
        "intensity": {"rule": "clip", "low": 0, "high": 255},
    })  # fmt: skip
    return save_untrained(folder / "best", name, data)


def predicting(model: Path, source: Path, output: Path, *more: str) -> Arguments:
    """Arguments of `segcct` for a prediction."""
    return ["predict", "--model", str(model), "--input", str(source), "--output", str(output), "--no-quality", *more]


def started(arguments: Arguments, root: Path = ROOT) -> subprocess.Popen[bytes]:
    """Start a command of the checkout in `root`."""
    return subprocess.Popen(
        [sys.executable, "-m", "segcct.cli", *arguments],
        env=environment(PYTHONPATH=str(root)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def seconds_of(commands: list[Arguments], root: Path = ROOT) -> float:
    """Run commands at the same time; seconds until all have ended. Raises `RunError` if one fails."""
    began = time.monotonic()
    processes = [started(command, root) for command in commands]
    said = [process.communicate()[1] for process in processes]
    if any(process.returncode for process in processes):
        raise RunError(b"\n".join(said).decode())
    return time.monotonic() - began


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Print a row per number of cases, engine and number of processes."""
    print(f"{arguments.model}, network of {arguments.image_size} px, {processor_name()}, {os.cpu_count()} cores")
    columns = ("engine", "cases", "processes", "seconds", "to the first mask", "after the last mask", "cases/s")
    print("|", " | ".join([*columns, "ms per case more than shards"]), "|\n" + "|---" * (len(columns) + 1) + "|")
    kinds = [("images", count, write_images) for count in arguments.images]
    kinds += [("volumes", count, write_volumes) for count in arguments.volumes]
    for kind, count, write in kinds:
        model = write_model(folder / kind, arguments.model, arguments.image_size, volumes=kind == "volumes")
        source, output = write(folder / f"{kind}_{count}", count), folder / "masks"
        rows = [
            (name, processes, engine(predicting(model, source, output), processes), ROOT)
            for name, engine in ENGINES.items()
            if name in arguments.engines
            for processes in arguments.processes
        ]
        if arguments.before is not None:
            rows.insert(0, ("before", 1, [predicting(model, source, output)], arguments.before))
        by_hand: dict[int, float] = {}
        for name, processes, commands, root in rows:
            shutil.rmtree(output, ignore_errors=True)
            began = time.time()
            seconds = seconds_of(commands, root)
            written = [mask.stat().st_mtime - began for mask in output.glob("case_*")]
            if name == "shards":
                by_hand[processes] = seconds
            more = f"{1000 * (seconds - by_hand[processes]) / count:.1f}" if processes in by_hand else ""
            times = (seconds, min(written), seconds - max(written), count / seconds)
            cells = (name, f"{count} {kind}", str(processes), *(f"{value:.1f}" for value in times), more)
            print("|", " | ".join(cells), "|", flush=True)
        shutil.rmtree(source)


@contextmanager
def killed_command(predict: Arguments) -> Iterator[Kill]:
    """Start a prediction; yields it, and a function that kills it."""
    with ended(started(predict)) as process:

        def kill() -> None:
            _end(process)
            process.communicate()

        yield process, kill


@contextmanager
def killed_worker(predict: Arguments) -> Iterator[Kill]:
    """Start a prediction on a cluster of two workers; yields it, and a function that kills a worker and waits.

    The function raises `RunError` if the command fails.
    """
    with cluster(2) as running, ended(started([*predict, "--engine", "spark", "--master", running.url])) as process:

        def kill() -> None:
            os.killpg(running.workers[0].pid, signal.SIGKILL)
            said = process.communicate(timeout=300)[1]
            if process.returncode:
                raise RunError(said.decode())

        yield process, kill


KILLED = {"command": killed_command, "worker": killed_worker}


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, which is killed at the end of the block if it still runs."""
    with process:
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, and all that it started, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def wait_for_cases(process: subprocess.Popen[bytes], output: Path) -> None:
    """Wait until a prediction is ready to begin with its first case."""
    while not list(output.glob(".cases-*.json")) and process.poll() is None:
        time.sleep(0.005)


def kill_and_continue(of: str, predict: Arguments, output: Path, whole: dict[str, bytes], after_s: float) -> Killed:
    """Kill a prediction, continue it, and check the folder.

    Args:
        of: what is killed: a key of `KILLED`.
        predict: arguments of `segcct`.
        output: the folder of masks that they name, which does not exist yet.
        whole: name -> content of the masks of an undisturbed prediction.
        after_s: seconds from when the first case can begin to the kill.
    """
    with KILLED[of](predict) as (process, kill):
        wait_for_cases(process, output)
        with suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        finished = {name for journal in journals_in(output) for name in journal.rows()}
        if not journals_in(output):  # it ended before the kill
            finished = {Path(name).stem for name in whole}
        before = {name: (output / f"{name}.png").stat().st_ino for name in finished}
        kill()
    seconds_of([[*predict, "--continue"]])
    inodes = {name: (output / f"{name}.png").stat().st_ino for name in finished}
    problems = [f"{name} was written twice" for name in finished if inodes[name] != before[name]]
    there = {file.name: file.read_bytes() for file in output.iterdir() if file.name != OUTCOMES}
    index, table = json.loads(there.pop("predictions.json")), there.pop("volumes.csv").decode()
    problems += [f"{name} differs" for name in whole if there.get(name) != whole[name]]
    problems += [f"{name} is left behind" for name in there.keys() - whole.keys()]
    problems += [f"{name} is {entry['status']}" for name, entry in index["cases"].items() if entry["status"] != "done"]
    if len(table.splitlines()) != 1 + len(whole) * len(CLASSES):
        problems.append("volumes.csv lacks rows")
    return Killed(len(finished), problems)


def kill_often(of: str, kills: int, seed: int, folder: Path) -> list[str]:
    """Kill N predictions, print a line for each, and return all problems."""
    model, source = write_model(folder, "cct_unet_t", SIDE), write_images(folder / "images", KILLED_IMAGES)
    with KILLED[of](predicting(model, source, folder / "whole")) as (process, _):
        wait_for_cases(process, folder / "whole")
        began = time.monotonic()
        said = process.communicate()[1]
        seconds = time.monotonic() - began
        if process.returncode:
            raise RunError(said.decode())
    whole = {file.name: file.read_bytes() for file in (folder / "whole").glob("*.png")}
    moments, wrong = random.Random(seed), []
    for number in range(kills):
        after_s, output = moments.uniform(0, seconds), folder / f"killed_{number}"
        killed = kill_and_continue(of, predicting(model, source, output), output, whole, after_s)
        wrong += killed.problems
        print(
            f"kill {number + 1} after {after_s:.2f} of {seconds:.2f} s: {killed.finished} finished; "
            f"{killed.problems or 'as undisturbed'}",
            flush=True,
        )
        shutil.rmtree(output)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[], help="numbers of 2-D images")
    parser.add_argument("--volumes", type=int, nargs="*", default=[], help="numbers of volumes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1], help="numbers of processes")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES), help="default: all")
    parser.add_argument("--model", default="cct_unet_s")
    parser.add_argument("--image-size", type=int, default=SIDE, help="of the network (default %(default)s)")
    parser.add_argument("--before", type=Path, help="an earlier checkout, which is measured first")
    parser.add_argument("--kills", type=int, default=0, help="number of kills (default %(default)s)")
    parser.add_argument("--of", choices=list(KILLED), default="command", help="what is killed (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder) / "cohort")
        if arguments.kills:
            wrong = kill_often(arguments.of, arguments.kills, arguments.seed, Path(folder) / "kills")
            sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    program.run(main)
