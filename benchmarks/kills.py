"""Kill commands at random moments, run what a user would run next, and compare the result with an undisturbed run.

    python benchmarks/kills.py --kills 200 --seed 0

A kill is SIGKILL to the whole process group, at a random moment between the start and the time that the command takes
undisturbed. The next command is the same again, with `--resume` if there is a last.ckpt, with `--overwrite` for masks.
Afterwards, all files must equal those of the undisturbed run, except for times, commands and last.ckpt; the kill may
leave no half-written file, and nothing in $TMPDIR. Prints a line per kill; exit code 1 if there is a problem.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import program
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.hostile_world import SCANS, write_pictures, write_quality, write_scans  # noqa: E402

Arguments = list[str]
_OF_A_RUN = ("provenance", "command", "seconds", "peak_memory_mb")
"""Keys whose values differ in every run."""
TORCH_CACHE = "torchinductor"
"""PyTorch's own folder in $TMPDIR, which every process of the user shares."""


@dataclass(frozen=True)
class Step:
    """One command of a workflow, which reads what earlier steps wrote."""

    name: str
    first: Arguments
    outputs: tuple[str, ...]
    """Files and folders that it writes, below the working folder."""
    again: Callable[[Path], Arguments] | None = None
    """Working folder -> the command to run after a kill; by default the same again."""


@dataclass
class Undisturbed:
    """Time and result of a step that is not killed."""

    seconds: float
    outcome: dict[str, str]
    before: Path
    """A copy of the working folder before the step."""


@dataclass
class Tally:
    """Results of all kills."""

    finished_before: int = 0
    """Kills that came after the end of the command."""
    equal: int = 0
    problems: list[str] = field(default_factory=list)


def training(name: str, command: str) -> Step:
    """A training run, which is resumed, or repeated if no epoch had ended."""
    run = f"runs/{name}"
    fresh = [command, "--config", f"{name}.yaml"]

    def again(folder: Path) -> Arguments:
        if (folder / run / "last.ckpt").is_file():
            return [command, "--resume", run]
        shutil.rmtree(folder / run, ignore_errors=True)
        return fresh

    return Step(f"{command} {name}", fresh, (run,), again)


def cross_validation() -> Step:
    """A cross-validation, which is resumed, or repeated if folds.json was not written yet."""
    fresh = ["train-seg", "--config", "folds.yaml", "--folds", "all"]

    def again(folder: Path) -> Arguments:
        if (folder / "runs/folds/folds.json").is_file():
            return ["train-seg", "--resume", "runs/folds"]
        shutil.rmtree(folder / "runs/folds", ignore_errors=True)
        return fresh

    return Step("folds", fresh, ("runs/folds",), again)


def predicting(name: str, model: str, source: str, output: str) -> Step:
    """A prediction, which overwrites what a kill left."""
    fresh = ["predict", "--model", model, "--input", source, "--output", output]
    return Step(name, fresh, (output,), lambda _: [*fresh, "--overwrite"])


def exporting() -> Step:
    """An export, which overwrites a file that was finished before the kill."""
    fresh = ["export", "--model", "runs/seg/best", "--output", "exported/seg.onnx"]
    return Step("export", fresh, ("exported",), lambda _: [*fresh, "--overwrite"])


def clustering() -> Step:
    """Clusters of a cohort, which are continued; their centers are fitted before the first mask."""
    fresh = ["cluster-segment", "--input", "scans", "--output", "clusters", "--centers", "cohort"]
    return Step("cluster-segment", fresh, ("clusters",), lambda _: [*fresh, "--continue"])


def phantom() -> Step:
    """A phantom, whose folder is removed before the second attempt, as the command asks."""
    fresh = ["phantom", "acdc", "phantom", "--cases", "2", "--reduce", "8"]

    def again(folder: Path) -> Arguments:
        shutil.rmtree(folder / "phantom", ignore_errors=True)
        return fresh

    return Step("phantom", fresh, ("phantom",), again)


def comparison() -> Step:
    """A comparison, which is not repeated if it was finished before the kill."""
    fresh = ["compare", "--i2m", "runs/seg/best", "--m2i", "runs/m2i/best", "--input", "scans", "--output", "compared"]
    return Step(
        "compare", fresh, ("compared",), lambda folder: [] if (folder / "compared/report.html").exists() else fresh
    )


STEPS = (
    phantom(),
    training("seg", "train-seg"),
    training("m2i", "train-m2i"),
    training("cls", "train-cls"),
    training("pre", "pretrain"),
    cross_validation(),
    predicting("predict", "runs/seg/best", "scans", "masks"),
    Step("evaluate", ["evaluate", "--prediction", "masks", "--reference", "scans", "--output", "scores"], ("scores",)),
    Step("report", ["report", "--evaluation", "scores", "--output", "page"], ("page",)),
    comparison(),
    clustering(),
    Step("calibrate", ["calibrate", "--i2m", "runs/seg/best", "--input", "scans"], ("runs/seg/best/quality.json",)),
    exporting(),
    predicting("predict exported", "exported/seg.onnx", "scans", "exported_masks"),
    predicting("predict by folds", "runs/folds", "scans", "ensemble_masks"),
    predicting("predict classes", "runs/cls/best", "pictures", "classes"),
    Step("evaluate classes", ["evaluate", "--prediction", "classes", "--reference", "pictures", "--output",
                              "class_scores"], ("class_scores",)),
    Step("report classes", ["report", "--evaluation", "class_scores", "--output", "class_page"], ("class_page",)),
)  # fmt: skip


def write_inputs(folder: Path) -> None:
    """Write scans of enough patients for a calibration, 2-D images with classes, and a config per run."""
    write_scans(folder / "scans", cases=12)
    write_pictures(folder / "pictures")
    scans = {"layout": "folder", "root": "scans", **SCANS, "split": {"val": 0.4, "test": 0.1}}
    pictures = {"root": "pictures", "image_size": 16}
    folded = {**scans, "split": {"kind": "kfold", "folds": 2}}
    trainings = (
        ("seg", scans, "cct_unet_t"),
        ("folds", folded, "cct_unet_t"),
        ("m2i", scans, "m2i_s"),
        ("cls", pictures, "cct_2_3x2_32"),
        ("pre", scans, "cct_unet_t"),
    )
    for name, data, model in trainings:
        train = {"epochs": 3, "batch_size": 4, "precision": "fp32"}
        train |= {} if name == "cls" else {"slices_per_epoch": 8}
        config = {"run": {"name": name}, "data": data, "model": {"name": model}, "train": train}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def start(arguments: Arguments, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a command in its own process group, with its own temporary folder."""
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")}
    environment["SEGCCT_PRECISION"] = "fp32"  # a measurement might choose differently each time
    command = [sys.executable, "-m", "segcct.cli", *arguments]
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )


def undisturbed(work: Path, steps: tuple[Step, ...]) -> dict[str, Undisturbed]:
    """Run every step once; returns the time and result of those that will be killed."""
    found = {}
    for step in STEPS:
        before = work.with_name(f"before {step.name}")
        if step in steps:
            shutil.copytree(work, before)
        began = time.monotonic()
        log = work.with_name("log")
        if start(step.first, work, log).wait() != 0:
            raise SystemExit(f"{step.name} fails undisturbed:\n{log.read_text(errors='replace')}")
        if step.name == "calibrate" and not (work / "runs/seg/best/quality.json").is_file():
            write_quality(work / "runs/seg/best")
        if step in steps:
            found[step.name] = Undisturbed(time.monotonic() - began, outcome(work, step), before)
        print(f"{step.name}: {time.monotonic() - began:.1f} s undisturbed", flush=True)
    return found


def killed(step: Step, usual: Undisturbed, folder: Path, moment: float) -> tuple[bool, list[str]]:
    """Kill a step after `moment` seconds and run the next command; returns whether it still ran, and all problems."""
    shutil.copytree(usual.before, folder)
    log = folder.with_name("log")
    process = start(step.first, folder, log)
    try:
        status = process.wait(timeout=moment)
        return False, [f"ends by itself with exit status {status}"] if status else []
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    problems = [f"half a file: {file}" for file in _half_files(folder, step)]
    following = step.again(folder) if step.again else step.first
    if following and start(following, folder, log).wait() != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        return True, [*problems, f"{' '.join(following)} fails: {last}"]
    expected, found = usual.outcome, outcome(folder, step)
    problems += [f"{name} differs" for name in expected if found.get(name) != expected[name]]
    problems += [f"{name} is new" for name in found if name not in expected]
    left = [file.name for file in (folder / "tmp").iterdir() if not file.name.startswith(TORCH_CACHE)]
    problems += [f"left in the temporary folder: {name}" for name in left]
    return True, problems


def outcome(folder: Path, step: Step) -> dict[str, str]:
    """Digests of the files that a step writes, except logs and hidden files; times and commands are left out."""
    digests = {}
    for file in _files(folder, step):
        name = str(file.relative_to(folder))
        # last.ckpt holds the seconds that passed; the weights that come of it are compared.
        if "tensorboard" not in name and not file.name.startswith(".") and file.name != "last.ckpt":
            digests[name] = hashlib.sha256(_timeless(file, folder)).hexdigest()[:16]
    return digests


def _timeless(file: Path, folder: Path) -> bytes:
    home = re.escape(str(folder.parent.resolve()).encode())  # the folder, and that of the undisturbed run
    content = re.sub(home + rb"/(work|killed)", b"", file.read_bytes())
    if file.suffix == ".json":
        return json.dumps(_without(json.loads(content)), sort_keys=True).encode()
    if file.name == "metrics.csv":
        return re.sub(rb"(?m)^(\d+),[\d.]+,", rb"\1,", content)  # elapsed_s
    if file.suffix == ".html":
        content = re.sub(rb"\d{4}-\d\d-\d\dT[\d:+]+", b"", content)
        return re.sub(rb"<dt>[Cc]ommand</dt><dd>.*?</dd>|segcct\.cli.*?<|cli\.py.*?<", b"", content)
    return content


def _without(content: object) -> object:
    if isinstance(content, dict):
        return {name: _without(value) for name, value in content.items() if name not in _OF_A_RUN}
    return [_without(value) for value in content] if isinstance(content, list) else content


def _half_files(folder: Path, step: Step) -> list[str]:
    """JSON and HTML files under their final names that are not complete."""
    half = []
    for file in _files(folder, step):
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue
        if file.suffix == ".json":
            try:
                json.loads(file.read_bytes())
            except ValueError:
                half.append(str(file))
        if file.suffix == ".html" and b"</html>" not in file.read_bytes()[-200:]:
            half.append(str(file))
    return half


def _files(folder: Path, step: Step) -> list[Path]:
    """The files that a step has written."""
    tops = [folder / output for output in step.outputs]
    return [file for top in tops for file in sorted([top, *top.rglob("*")]) if file.is_file()]


def campaign(kills: int, seed: int, home: Path, names: list[str]) -> Tally:
    """Kill N times, spread evenly over the steps."""
    steps = tuple(step for step in STEPS if not names or step.name in names)
    work = home / "work"
    work.mkdir()
    write_inputs(work)
    usual = undisturbed(work, steps)
    rng, tally = random.Random(seed), Tally()
    for number in range(kills):
        step = steps[number % len(steps)]
        moment = rng.uniform(0, usual[step.name].seconds)
        folder = home / "killed"
        in_time, problems = killed(step, usual[step.name], folder, moment)
        tally.finished_before += not in_time
        tally.equal += in_time and not problems
        tally.problems += [f"kill {number} of {step.name} at {moment:.2f} s: {problem}" for problem in problems]
        state = "; ".join(problems[:3]) or ("equal" if in_time else "ended before")
        print(f"kill {number + 1}/{kills}: {step.name} at {moment:.2f} s: {state}", flush=True)
        shutil.rmtree(folder)
    return tally


def main() -> int:
    """Kill, and print the results; 1 if there is a problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of kills (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    names = [step.name for step in STEPS]
    parser.add_argument("--step", action="append", default=[], choices=names, help="only this one; can be repeated")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segcct-kills-") as home:
        tally = campaign(arguments.kills, arguments.seed, Path(home), arguments.step)
    print(f"\n{arguments.kills} kills ({tally.finished_before} after the end): {tally.equal} with equal results")
    print("\n".join(tally.problems))
    return 1 if tally.problems else 0


if __name__ == "__main__":
    program.run(main)
