"""Run every command with its output in a full, read-only or vanishing folder: it must end with one clear message.

    python benchmarks/full_disk.py --disks 50 --seed 0

A command must fail with exit code 1 and a message that names the folder, without a traceback. A vanishing folder is
removed again and again while the command runs; here the command may also succeed.

For root on Linux, the folder is a small file system in memory (tmpfs), full after some kilobytes or mounted read-only.
Elsewhere, a limit of the file size (RLIMIT_FSIZE) stands in for a full disk, and permissions make the folder read-only.
Prints a line per folder and the number of failures; exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import program
from kills import STEPS, start, write_inputs

KINDS = ("full", "read-only", "vanishing")
DISK = "disk"
_SECONDS = 300
_FILLED_KB = 4


def commands() -> dict[str, tuple[list[str], int]]:
    """Name -> arguments that write below `disk`, and a number of kilobytes that is too small for the output."""
    seg, m2i, cls = (f"runs/{name}/best" for name in ("seg", "m2i", "cls"))
    keys = ["--run.root", DISK, "--data.cache", f"{DISK}/cache"]
    masks = ["--prediction", "masks", "--reference", "scans"]
    classes = ["--prediction", "classes", "--reference", "pictures"]
    return {
        "phantom": (["phantom", "acdc", f"{DISK}/phantom", "--cases", "2", "--reduce", "8"], 60),
        "init": (["init", "scans", "--output", f"{DISK}/new.yaml"], 0),
        "train-seg": (["train-seg", "--config", "seg.yaml", *keys], 6000),
        "train-m2i": (["train-m2i", "--config", "m2i.yaml", *keys], 6000),
        "train-cls": (["train-cls", "--config", "cls.yaml", *keys], 3000),
        "train-seg of folds": (["train-seg", "--config", "folds.yaml", "--folds", "all", *keys], 6000),
        "pretrain": (["pretrain", "--config", "pre.yaml", *keys], 3000),
        "export": (["export", "--model", seg, "--output", f"{DISK}/seg.onnx"], 3000),
        "predict": (["predict", "--model", seg, "--input", "scans", "--output", f"{DISK}/out"], 24),
        "predict exported": (["predict", "--model", "exported/seg.onnx", "--input", "scans", "--output", f"{DISK}/out"],
                             24),
        "predict by folds": (["predict", "--model", "runs/folds", "--input", "scans", "--output", f"{DISK}/out"], 24),
        "cluster-segment": (["cluster-segment", "--input", "scans", "--output", f"{DISK}/out"], 24),
        "predict classes": (["predict", "--model", cls, "--input", "pictures", "--output", f"{DISK}/out"], 4),
        "evaluate": (["evaluate", *masks, "--output", f"{DISK}/out"], 16),
        "evaluate classes": (["evaluate", *classes, "--output", f"{DISK}/out"], 8),
        "report": (["report", "--evaluation", "scores", "--output", f"{DISK}/out"], 100),
        "report classes": (["report", "--evaluation", "class_scores", "--output", f"{DISK}/out"], 24),
        "compare": (["compare", "--i2m", seg, "--m2i", m2i, "--input", "scans", "--output", f"{DISK}/out"], 100),
    }  # fmt: skip


@contextmanager
def folder_of(kind: str, work: Path, kilobytes: int) -> Iterator[Path]:
    """A folder of that kind; an ordinary one if no file system can be mounted."""
    disk = work / DISK
    disk.mkdir()
    mounted = kind != "vanishing" and _mount(disk, kind, kilobytes)
    if kind == "read-only" and not mounted:
        disk.chmod(0o500)
    stop = threading.Event()
    remover = threading.Thread(target=_keep_removing, args=(disk, stop))
    try:
        if kind == "vanishing":
            remover.start()
        yield disk
    finally:
        stop.set()
        if kind == "vanishing":
            remover.join()
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)
        if disk.exists():
            disk.chmod(0o700)
        shutil.rmtree(disk, ignore_errors=True)


def _mount(disk: Path, kind: str, kilobytes: int) -> bool:
    if os.geteuid() != 0:
        return False
    options = f"size={kilobytes + _FILLED_KB}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=False).returncode != 0:
        return False
    (disk / "filled").write_bytes(bytes(_FILLED_KB * 1024))  # a tmpfs of size 0 has no limit
    if kind == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    return True


def _keep_removing(disk: Path, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        shutil.rmtree(disk, ignore_errors=True)


def tried(name: str, kind: str, fraction: float, work: Path) -> list[str]:
    """What is wrong with how a command ends that has a fraction of the kilobytes in `commands`."""
    arguments, kilobytes = commands()[name]
    room = int(kilobytes * fraction) // 4 * 4
    log = work.with_name("log")
    with folder_of(kind, work, room) as disk:
        limits = kind == "full" and not os.path.ismount(disk)
        usual = resource.getrlimit(resource.RLIMIT_FSIZE)
        if limits:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room * 1024, usual[1]))
        try:
            process = start(arguments, work, log)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        try:
            status: int | str = process.wait(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()  # or the folder could not be unmounted
            status = f"none after {_SECONDS} s"
    text = log.read_text(errors="replace")
    problems = [] if status == 1 or (kind == "vanishing" and status == 0) else [f"exit status {status}"]
    if "Traceback" in text:
        problems.append("a traceback")
    message = text[text.find(f"segcct {name.split()[0]}: ") :]
    if status == 1 and DISK not in message:
        problems.append("the folder is not named")
    if problems:
        print(text[-3000:], flush=True)
    return problems


def main() -> int:
    """Try commands and kinds of folders in random order; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disks", type=int, default=50, help="number of folders (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", choices=list(commands()), help="only this one; can be repeated")
    arguments = parser.parse_args()
    rng, failures = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory(prefix="segcct-disks-") as home:
        work = Path(home) / "work"
        work.mkdir()
        write_inputs(work)
        for step in STEPS:
            if step.name != "phantom" and start(step.first, work, work.with_name("log")).wait() != 0:
                log = work.with_name("log").read_text(errors="replace")
                raise SystemExit(f"{step.name} fails even with enough space:\n{log}")
        pairs = [(name, kind) for kind in KINDS for name in arguments.command or commands()]
        rng.shuffle(pairs)
        for number in range(arguments.disks):
            name, kind = pairs[number % len(pairs)]
            problems = tried(name, kind, rng.uniform(0.05, 1.0), work)
            failures += bool(problems)
            print(f"{number + 1}/{arguments.disks}: {name}, {kind}: {'; '.join(problems) or 'right'}", flush=True)
    print(f"\n{arguments.disks} folders, {failures} in which a command did not end as it should")
    return 1 if failures else 0


if __name__ == "__main__":
    program.run(main)
