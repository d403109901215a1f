"""Fuzzy k-means as a job of Hadoop Streaming: two commands that read lines and write lines.

    python -m segcct.cluster.streaming map < files.txt | sort | python -m segcct.cluster.streaming reduce --clusters 3

A line for `map` names a file, a folder of DICOM slices, or a file by a URI such as `hdfs:///scans/a.nii.gz`; what is
before a tab is ignored, as Hadoop puts the offset there. It writes `intensity <tab> count` for what it has read.
`reduce` adds the counts of each intensity: with `--clusters` it writes centers.json for `segcct cluster-segment
--centers`, and takes all lines in one process; without, it writes the sums in the form that it reads, as a combiner or
one of several reducers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from segcct.cluster import FUZZIFIER, MAX_ITERATIONS, TOLERANCE
from segcct.cluster.cluster_fits import fit_histogram
from segcct.cluster.cluster_input import read_as
from segcct.cluster.cluster_options import background, number_of_clusters
from segcct.cluster.clusters import Method
from segcct.cluster.histogram import Histogram
from segcct.cluster.intensity_points import Background, IntensityPoints
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import get_scheme
from segcct.errors import DataError, SegcctError
from segcct.files.file_names import case_name
from segcct.files.remote_file import fetch, is_uri, path_of
from segcct.option_types import number_above, positive_int
from segcct.predictions.prediction_request import Request, load_case


def mapped(lines: Iterable[str], background: Background) -> Iterator[str]:
    """The counts of every file that a line names. Raises `DataError` for one that cannot be read."""
    for line in lines:
        if name := line.rstrip("\r\n").rpartition("\t")[2]:  # lists written on Windows end lines by both
            if is_uri(name):
                with tempfile.TemporaryDirectory() as folder:
                    histogram = _histogram(fetch(path_of(name), Path(folder)), background)
            else:
                histogram = _histogram(Path(name), background)
            yield from written(histogram)


def reduced(lines: Iterable[str]) -> Histogram:
    """The sum of the counts, in whatever order they come. Raises `DataError` for a malformed line."""
    counts: Counter[float] = Counter()
    for line in lines:
        value, _, count = line.partition("\t")
        try:
            counts[float(value)] += int(count)
        except ValueError:
            found, expected = repr(line.rstrip("\n")), "an intensity, a tab and a count"
            raise DataError("is not a line that map writes", found=found, expected=expected) from None
    values = np.array(sorted(counts))
    return Histogram(values, np.array([counts[value] for value in values.tolist()], dtype=np.int64))


def written(histogram: Histogram) -> Iterator[str]:
    """Lines that `reduced` reads back exactly."""
    for value, count in zip(histogram.values.tolist(), histogram.counts.tolist(), strict=True):
        yield f"{value:.17g}\t{count}"


def main(words: Sequence[str] | None = None) -> int:
    """Run one of the two commands; returns 1, with a line on stderr, for what cannot be read."""
    arguments = _parser().parse_args(words)
    try:
        if arguments.step == "map":
            _print(mapped(sys.stdin, arguments.background))
            return 0
        histogram = reduced(sys.stdin)
        if arguments.clusters is None:
            _print(written(histogram))
        else:
            settings = (arguments.clusters, arguments.fuzzifier, arguments.tolerance, arguments.max_iterations)
            print(json.dumps(fit_histogram(histogram, Method("fuzzy-kmeans", *settings)).to_json()))
    except SegcctError as error:
        print(f"segcct.cluster.streaming: {error}", file=sys.stderr)
        return 1
    return 0


def _histogram(source: Path, background: Background) -> Histogram:
    data = read_as(source, None, (), None)
    if len(data.channels) > 1:
        raise DataError("is not of one channel", file=source, found=", ".join(data.channels))
    case = Case(case_name(source), case_name(source), dict.fromkeys(data.channels, (source,)))
    request = Request((case,), data, single=data.layout == "folder")
    loaded = load_case(request, case, get_scheme("binary"), with_label=False)
    return Histogram.of(IntensityPoints.of(loaded, background, standardize=False).points)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m segcct.cluster.streaming", allow_abbrev=False)
    steps = parser.add_subparsers(dest="step", required=True)
    count = steps.add_parser("map", help="count the intensities of files")
    count.add_argument("--background", type=background, default="auto")
    add = steps.add_parser("reduce", help="add the counts, and fit centers")
    add.add_argument("--clusters", type=number_of_clusters)
    add.add_argument("--fuzzifier", type=number_above(1), default=FUZZIFIER)
    add.add_argument("--tolerance", type=number_above(0), default=TOLERANCE)
    add.add_argument("--max-iterations", type=positive_int, default=MAX_ITERATIONS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
