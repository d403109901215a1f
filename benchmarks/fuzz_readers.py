"""Fuzzing of the readers: randomly changed files must be read or refused, without crashes, other errors or long waits.

    python benchmarks/fuzz_readers.py --minutes 10 [--kind nrrd] [--start 0]

Files are numbered, and read in batches, each in a process of its own, so that a crash of a library ends one batch only.
A fault is printed with the kind and number of its file, from which tests/support/mutations.py makes the file again.
Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import program

BATCH = 500
PATIENCE_SECONDS = 300


def batch(kind: str, start: int, count: int = BATCH) -> list[str]:
    """Faults of `count` mutants, read in this process."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.support.mutations import fault_of_mutant

    faults = []
    for number in range(start, start + count):
        with tempfile.TemporaryDirectory() as folder:
            faults.append(fault_of_mutant(kind, number, Path(folder) / "case"))
    return [fault for fault in faults if fault]


def batch_apart(kind: str, start: int) -> list[str]:
    """Faults of a batch, read in another process, whose own crash or timeout is a fault too."""
    command = [sys.executable, __file__, "--batch", "--kind", kind, "--start", str(start)]
    where = f"{kind} mutants {start} to {start + BATCH - 1}"
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return [f"{where}: not done after {PATIENCE_SECONDS} s"]
    faults = [line for line in done.stdout.splitlines() if line]
    if done.returncode != int(bool(faults)):  # a process that an exception ends returns 1, too
        return [f"{where}: ended with {done.returncode}: {done.stderr[-200:]}"]
    return faults


def main() -> int:
    """Fuzz each kind for the time; 1 if there is a fault."""
    kinds = ("nifti", "nrrd", "metaimage", "hdf5", "npz", "image", "dicom")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="minutes for each kind (default %(default)s)")
    parser.add_argument("--kind", choices=kinds, help="only this kind of files")
    parser.add_argument("--start", type=int, default=0, help="number of the first mutant (default %(default)s)")
    parser.add_argument("--batch", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.batch:
        faults = batch(arguments.kind, arguments.start)
        print("\n".join(faults))
        return int(bool(faults))
    total = 0
    for kind in (arguments.kind,) if arguments.kind else kinds:
        end, number = time.monotonic() + 60 * arguments.minutes, arguments.start
        found = 0
        while time.monotonic() < end:
            for fault in batch_apart(kind, number):
                found += 1
                print(fault, flush=True)
            number += BATCH
        print(f"{kind}: {number - arguments.start} mutants, {found} faults", flush=True)
        total += found
    return int(total > 0)


if __name__ == "__main__":
    program.run(main)
