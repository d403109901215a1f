"""Hostile inputs: each must be refused with one clear message, or read correctly.

    python benchmarks/hostile.py [--kind nifti] [--every 1] [--folders 12] [--values 30]

Inputs: hostile files of every format, given to their readers (tests/support/hostile_files.py); damaged files of runs,
models, predictions and evaluations, and configs, given to the commands that read them (tests/support/hostile_state.py),
where each JSON file is also changed `--values` times at random; and `--folders` files of every format next to a sound
one, in folders on which check, init, predict and evaluate run (hostile_commands.py).

No input may take more than 10 s of a core, make segcct read a file outside, or run code. Prints each fault with the
name of its input, and a table: a row per kind of input, a column per outcome. Exit code 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import program
from hostile_commands import COMMANDS, fault_in, tried

from tests.support.hostile_checkpoint import PAYLOAD_RAN
from tests.support.hostile_files import Hostile, Verdict, all_hostile, verdict_of
from tests.support.hostile_state import JSON_FILES, Mutation, mutations
from tests.support.hostile_world import Trial, World
from tests.support.json_changes import retyped

COLUMNS = {
    "refused": "refused in one line",
    "read": "read correctly",
    "traceback": "tracebacks",
    "slow": "over 10 s",
    "foreign": "foreign bytes",
    "wrong": "otherwise wrong",
}
_STUCK_SECONDS = 300
"""When an input takes longer, the process prints where it is and ends."""
_OF_PASSWORDS = "root:x:"
_OTHERS = {
    "seg.yaml": "configs",
    "config.yaml": "configs",
    "weights.safetensors": "weights",
    "last.ckpt": "checkpoints",
}


@dataclass(frozen=True)
class Input:
    """A hostile input, which is written when it is met."""

    kind: str
    """Row of the table."""
    name: str
    meet: Callable[[], Verdict]


def inputs(work: Path, folders: int, values: int) -> Iterator[Input]:
    """All inputs: `folders` files of each format are also met in a folder, each JSON file is changed `values` times."""
    every = all_hostile()
    for number, hostile in enumerate(every):
        yield Input(hostile.kind, hostile.name, partial(verdict_of, hostile, work / f"file{number}"))
    world = cache(lambda: World(work / "world"))  # takes a while, and only some inputs need it
    for mutation in (*mutations(every=True), *retypings(values)):
        yield Input(kind_of(mutation), mutation.name, partial(of_state, mutation, world))
    for command, kinds in COMMANDS.items():
        for kind in kinds:
            for hostile in drawn([one for one in every if one.kind == kind], folders):
                meet = partial(of_command, command, hostile, work / "folder", world)
                yield Input(f"segcct {command}", f"{kind}: {hostile.name}", meet)


def retypings(each: int) -> Iterator[Mutation]:
    """`each` random changes of values in every JSON file, which may be accepted where nothing reads the value."""
    for file, command in JSON_FILES:
        for seed in range(each):
            yield Mutation(f"{file}: values {seed}", file, retyped(seed), command, either=True)


def of_state(mutation: Mutation, world: Callable[[], World]) -> Verdict:
    """How the command that reads a damaged file ends."""
    return verdict_of_trial(mutation, world().tried(mutation))


def of_command(command: str, hostile: Hostile, folder: Path, world: Callable[[], World]) -> Verdict:
    """How a command ends on a folder that holds the file."""
    models = {"segmentation": world().at("seg/best"), "classification": world().at("cls/best")}
    return tried(command, hostile, folder, models)


def drawn(files: list[Hostile], most: int) -> list[Hostile]:
    """At most `most` of the files, evenly spaced."""
    return [files[number * len(files) // most] for number in range(most)] if len(files) > most else files


def kind_of(mutation: Mutation) -> str:
    """Row of the table: the name of a JSON file, or the kind of other files."""
    name = Path(mutation.file).name
    return _OTHERS.get(name) or ("tables" if name.endswith(".csv") else name)


def verdict_of_trial(mutation: Mutation, trial: Trial) -> Verdict:
    """The verdict on how a command met a damaged file."""
    foreign = PAYLOAD_RAN.exists() or _OF_PASSWORDS in trial.text
    if fault := fault_in(trial.status, trial.text, trial.seconds, foreign=foreign):
        return fault
    if trial.status == 0 and mutation.either:
        return Verdict("read", (trial.text.strip().splitlines() or [""])[-1])
    if trial.status != 1 or not trial.refusal or trial.wrote:
        return Verdict("wrong", f"status {trial.status}: {trial.text[-300:]}")
    return Verdict("refused", trial.refusal)


def table(found: list[tuple[str, Verdict]]) -> str:
    """A row per kind of input, and one of all."""
    counts = {kind: Counter(verdict.kind for one, verdict in found if one == kind) for kind, _ in found}
    counts["all"] = Counter(verdict.kind for _, verdict in found)
    lines = ["| input | inputs | " + " | ".join(COLUMNS.values()) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    for kind, row in counts.items():
        lines.append(f"| {kind} | {row.total()} | " + " | ".join(str(row[name]) for name in COLUMNS) + " |")
    return "\n".join(lines)


def main() -> int:
    """Meet all inputs and print the table; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", default=[], help="only this row, such as nifti; can be repeated")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth input (default %(default)s)")
    parser.add_argument(
        "--folders", type=int, default=12, metavar="N", help="files of each format in folders (default %(default)s)"
    )
    parser.add_argument(
        "--values", type=int, default=30, metavar="N", help="random changes of each JSON file (default %(default)s)"
    )
    arguments = parser.parse_args()
    found: list[tuple[str, Verdict]] = []
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory(prefix="segcct-hostile-") as work:
        every = list(inputs(Path(work), arguments.folders, arguments.values))
        kinds = dict.fromkeys(one.kind for one in every)
        if unknown := [kind for kind in arguments.kind if kind not in kinds]:
            parser.error(f"argument --kind: {unknown[0]} is not one of {', '.join(kinds)}")
        wanted = [one for one in every if one.kind in (arguments.kind or kinds)]
        for one in wanted[:: arguments.every]:
            faulthandler.dump_traceback_later(_STUCK_SECONDS, exit=True, file=sys.__stderr__)
            began = time.process_time()
            verdict = one.meet()
            slowest = max(slowest, (time.process_time() - began, f"{one.kind}: {one.name}"))
            found.append((one.kind, verdict))
            if verdict.fault:
                print(f"{one.kind}: {one.name}: {verdict.kind}: {verdict.fault}", flush=True)
        faulthandler.cancel_dump_traceback_later()
    print(table(found))
    print(f"\nslowest, including the time to write it: {slowest[0]:.1f} s, {slowest[1]}")
    return int(any(verdict.fault for _, verdict in found))


if __name__ == "__main__":
    program.run(main)
