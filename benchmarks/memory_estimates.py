"""The memory that segcct estimates before it predicts a case, compared with what the prediction takes.

    python benchmarks/memory_estimates.py [--times 3]

Table: a row per kind of case (tests/support/predicted_peak.py). The peak of the same prediction varies by a tenth, so
the measured memory is the largest peak of `--times` processes. Exit code 1 if an estimate is not between 0.75 and 1.3
times the measured memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import program

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.predicted_peak import CASES, peaks_of


def main() -> int:
    """Print the table; 1 if an estimate is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="processes per case (default %(default)s)")
    times, wrong = parser.parse_args().times, 0
    print("| case | estimated, MB | measured, MB | ratio |\n|---|---|---|---|")
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = [peaks_of(name, Path(folder) / name) for _ in range(times)]
        measured, estimated = max(each["measured"] for each in found), found[0]["estimated"]
        wrong += not 0.75 < estimated / measured < 1.3
        print(f"| {name} | {estimated / 1e6:.0f} | {measured / 1e6:.0f} | {estimated / measured:.2f} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    program.run(main)
