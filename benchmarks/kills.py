"""Kill commands at random moments, give the next command, and compare the outcome with an undisturbed run.

    python benchmarks/kills.py --kills 200 --seed 0

A kill is SIGKILL to the whole process group, at a moment drawn from 0 to what the command takes undisturbed. The next
command is the one a user would give: the same again, `--resume` where a last.ckpt is there, `--overwrite` for masks.
After it, weights, masks, tables and pages must be those of the undisturbed run, byte for byte where no time or command
is in them, and nothing may be left in $TMPDIR.
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

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.hostile_world import SCANS, write_pictures, write_quality, write_scans  # noqa: E402

Arguments = list[str]


_OF_A_RUN = ("provenance", "command", "seconds", "peak_memory_mb")
"""Keys whose values are never the same twice."""
TORCH_CACHE = "torchinductor"
"""PyTorch's own folder in $TMPDIR, which every process of the user shares."""


@dataclass(frozen=True)
class Step:
    """One command of the work that follows from the one before."""

    name: str
    first: Arguments
    outputs: tuple[str, ...]
    """Files and folders that it writes, below the working folder."""
    again: Callable[[Path], Arguments] | None = None
    """The next command after a kill; by default the same."""


@dataclass
class Undisturbed:
    """What a step takes and gives when nobody kills it."""

    seconds: float
    outcome: dict[str, str]
    before: Path
    """The working folder as it was."""


@dataclass
class Tally:
    """What came of the kills."""

    kills: int = 0
    finished_before: int = 0
    problems: list[str] = field(default_factory=list)


def training(name: str, command: str) -> Step:
    """A training, which goes on from its last epoch, or anew where none had ended."""
    run = f"runs/{name}"
    fresh = [command, "--config", f"{name}.yaml"]

    def again(folder: Path) -> Arguments:
        if (folder / run / "last.ckpt").is_file():
            return [command, "--resume", run]
        shutil.rmtree(folder / run, ignore_errors=True)
        return fresh

    return Step(f"{command} {name}", fresh, (run,), again)


def cross_validation() -> Step:
    """All folds, which go on as a whole once they are listed."""
    fresh = ["train-seg", "--config", "folds.yaml", "--folds", "all"]

    def again(folder: Path) -> Arguments:
        if (folder / "runs/folds/folds.json").is_file():
            return ["train-seg", "--resume", "runs/folds"]
        shutil.rmtree(folder / "runs/folds", ignore_errors=True)
        return fresh

    return Step("folds", fresh, ("runs/folds",), again)


def predicting(name: str, model: str, source: str, output: str) -> Step:
    """A prediction, which replaces what a kill left."""
    fresh = ["predict", "--model", model, "--input", source, "--output", output]
    return Step(name, fresh, (output,), lambda _: [*fresh, "--overwrite"])


def exporting() -> Step:
    """An export, which replaces a file that was finished before the kill."""
    fresh = ["export", "--model", "runs/seg/best", "--output", "exported/seg.onnx"]
    return Step("export", fresh, ("exported",), lambda _: [*fresh, "--overwrite"])


def clustering() -> Step:
    """Clusters with centers of the cohort, which are fitted before the first mask."""
    fresh = ["cluster-segment", "--input", "scans", "--output", "clusters", "--centers", "cohort"]
    return Step("cluster-segment", fresh, ("clusters",), lambda _: [*fresh, "--continue"])


def phantom() -> Step:
    """A phantom, whose folder is removed first, as the command says."""
    fresh = ["phantom", "acdc", "phantom", "--cases", "2", "--reduce", "8"]

    def again(folder: Path) -> Arguments:
        shutil.rmtree(folder / "phantom", ignore_errors=True)
        return fresh

    return Step("phantom", fresh, ("phantom",), again)


def comparison() -> Step:
    """A comparison, which is refused where it was finished."""
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
    """Scans with enough patients to calibrate on, pictures, and a config per training."""
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
    """A command as its own process group, with a temporary folder of its own."""
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")}
    environment["SEGCCT_PRECISION"] = "fp32"  # a measurement beside other work might choose differently each time
    command = [sys.executable, "-m", "segcct.cli", *arguments]
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )


def undisturbed(work: Path, steps: tuple[Step, ...]) -> dict[str, Undisturbed]:
    """Every step once, with the folder as it was before each."""
    found = {}
    for step in STEPS:
        before = work.with_name(f"before {step.name}")
        if step in steps:
            shutil.copytree(work, before)
        began = time.monotonic()
        log = work.with_name("log")
        if start(step.first, work, log).wait() != 0:
            raise SystemExit(f"{step.name} fails by itself:\n{log.read_text(errors='replace')}")
        if step.name == "calibrate" and not (work / "runs/seg/best/quality.json").is_file():
            write_quality(work / "runs/seg/best")
        if step in steps:
            found[step.name] = Undisturbed(time.monotonic() - began, outcome(work, step), before)
        print(f"{step.name}: {time.monotonic() - began:.1f} s undisturbed", flush=True)
    return found


def killed(step: Step, usual: Undisturbed, folder: Path, moment: float) -> tuple[bool, list[str]]:
    """Kill a step at a moment and give the next command. Whether it was killed in time, and what is wrong then."""
    shutil.copytree(usual.before, folder)
    log = folder.with_name("log")
    process = start(step.first, folder, log)
    try:
        process.wait(timeout=moment)
        return False, []
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    problems = [f"half a file: {file}" for file in _halves(folder, step)]
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
    """A digest of every file that a step writes, without times, commands and machine; logs are left out."""
    digests = {}
    for output in step.outputs:
        top = folder / output
        for file in [top] if top.is_file() else sorted(top.rglob("*")):
            name = str(file.relative_to(folder))
            if not file.is_file() or "tensorboard" in name or file.name.startswith("."):
                continue
            if file.name != "last.ckpt":  # holds the seconds that passed; the weights that come of it are compared
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


def _halves(folder: Path, step: Step) -> list[str]:
    """Files under their final names that no reader could read."""
    halves = []
    for file in (file for output in step.outputs for file in _files(folder / output)):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        content = b"" if hidden else file.read_bytes()
        if not hidden and file.suffix == ".json":
            try:
                json.loads(content)
            except ValueError:
                halves.append(str(file))
        if not hidden and file.suffix == ".html" and b"</html>" not in content[-200:]:
            halves.append(str(file))
    return halves


def _files(top: Path) -> list[Path]:
    return [top] if top.is_file() else [file for file in top.rglob("*") if file.is_file()] if top.is_dir() else []


def campaign(kills: int, seed: int, home: Path, names: list[str]) -> Tally:
    """So many kills, spread evenly over the steps."""
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
        tally.kills += 1
        tally.finished_before += not in_time
        tally.problems += [f"kill {number} of {step.name} at {moment:.2f} s: {problem}" for problem in problems]
        state = "ended before" if not in_time else "equal" if not problems else "; ".join(problems[:3])
        print(f"kill {number + 1}/{kills}: {step.name} at {moment:.2f} s: {state}", flush=True)
        shutil.rmtree(folder)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", action="append", default=[], help="only this step (may be given several times)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segcct-kills-") as home:
        tally = campaign(arguments.kills, arguments.seed, Path(home), arguments.step)
    equal = tally.kills - tally.finished_before - len({problem.split(":")[0] for problem in tally.problems})
    print(f"\n{tally.kills} kills ({tally.finished_before} came after the end): {equal} with equal results")
    print("\n".join(tally.problems))
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
