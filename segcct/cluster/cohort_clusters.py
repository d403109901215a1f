"""Centers of a whole cohort, by map and reduce: workers reduce each case to something small, which is combined here.

For one channel of intensities a histogram is enough: one pass over the cases, and the iterations run on their sum. For
several channels every iteration is a pass that returns the sums of each case. Either way the centers are the same bits
however the cases are divided among workers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from segcct.case_runner import Backend, CaseJob, Done, Failed, failures, run_cases
from segcct.cluster.cluster_fits import fit_from, fit_histogram, thinned
from segcct.cluster.clusters import Clusters, Method
from segcct.cluster.fuzzy_kmeans import ClusterSums, added, cluster_sums
from segcct.cluster.histogram import Histogram, total
from segcct.cluster.points import Points, PointsOf, in_order
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.label_schemes import get_scheme
from segcct.errors import DataError
from segcct.plurals import counted
from segcct.predictions.prediction_request import Request, load_case
from segcct.predictions.tracked_case import local_case
from segcct.progress import Progress, say

Value = TypeVar("Value")
_MOST_OF_A_CASE = 2**11


@dataclass(frozen=True)
class CaseReader:
    """How the points of a case are read: what travels to every worker."""

    request: Request
    """Without its cases."""
    points_of: PointsOf

    def load(self, case: Case) -> LoadedCase:
        """The images of a case."""
        return load_case(self.request, case, get_scheme("binary"), with_label=False)

    def points(self, case: Case) -> Points:
        """Its points; files named by URIs are fetched for it."""
        with local_case(case, Path(tempfile.gettempdir())) as here:
            return self.points_of(self.load(here))


@dataclass(frozen=True)
class Cohort:
    """The cases, how they are read, and who works on them."""

    cases: Sequence[Case]
    reader: CaseReader
    backend: str | Backend
    workers: int
    max_failures: int | None = None
    readable: bool = False
    """All cases could be read in an earlier pass, so none may fail now: the centers would depend on when it did."""

    def each(self, label: str, work: Callable[[Case], Value]) -> Iterator[tuple[Case, Value]]:
        """Every case that can be read, in order, and what `work` makes of it; says how many cannot. Raises `DataError`
        where none can, or more than `max_failures` cannot."""
        jobs = [CaseJob(case.id, case) for case in self.cases]
        failed: list[Failed] = []
        outcomes = run_cases(
            jobs,
            work,
            backend=self.backend,
            workers=self.workers,
            max_failures=self.max_failures,
            progress=Progress(label),
        )
        ended = ""
        for case, outcome in zip(self.cases, outcomes, strict=True):
            if isinstance(outcome, Done):
                yield case, outcome.value
            elif isinstance(outcome, Failed):
                failed.append(outcome)
            else:
                ended = outcome.reason
                break
        anonymize = self.reader.request.anonymize
        reason = "; ".join([failed[0].kind] if anonymize else failures(failed[:1])) if failed else None
        if self.max_failures is not None and len(failed) > self.max_failures:
            ended = f"more than {counted(self.max_failures, 'case')} failed"
        if ended:
            why = "a case can no longer be read" if self.readable else ended
            raise DataError(f"no centers are fitted: {why}", found=reason)
        if len(failed) == len(jobs):
            raise DataError("none of the cases can be read", found=reason)
        if failed:
            say(f"the centers are fitted without {counted(len(failed), 'case')} that cannot be read")

    def histogram(self) -> Histogram:
        """The histogram of all voxels of one channel."""
        return total(histogram for _, histogram in self.each("counting intensities", partial(_histogram, self.reader)))

    def sample(self) -> tuple[Cohort, np.ndarray, np.ndarray | None]:
        """The cases that can be read, some points (n, C) of each, and their brightness (n,)."""
        cases, samples = zip(*self.each("reading cases", partial(_sample, self.reader)), strict=True)
        points, light = zip(*samples, strict=True)
        brightness = None if light[0] is None else thinned(np.concatenate(light))
        readable = replace(self, cases=cases, max_failures=0, readable=True)
        return readable, thinned(np.concatenate(points)), brightness

    def sums(self, centers: np.ndarray, fuzzifier: float) -> ClusterSums:
        """One iteration over all points. Raises as `each`."""
        return added(sums for _, sums in self.each("iterating", partial(_sums, self.reader, centers, fuzzifier)))


def fit_cohort(cohort: Cohort, method: Method, *, channels: int, tokens: bool) -> Clusters:
    """The centers of all cases; tokens of a network, which are slow to make, by a sample of every case.

    Raises:
        DataError: no case can be read, or there are fewer distinct intensities than clusters.
    """
    if channels == 1 and not tokens:
        return fit_histogram(cohort.histogram(), method)
    readable, sample, brightness = cohort.sample()
    sums = partial(cluster_sums, sample) if tokens else readable.sums
    clusters = fit_from(sample, None, method, partial(sums, fuzzifier=method.fuzzifier))
    return in_order(clusters, sample, brightness)


def _histogram(reader: CaseReader, case: Case) -> Histogram:
    return Histogram.of(reader.points(case).points)


def _sample(reader: CaseReader, case: Case) -> tuple[np.ndarray, np.ndarray | None]:
    points = reader.points(case)
    light = points.brightness
    return thinned(points.points, _MOST_OF_A_CASE), None if light is None else thinned(light, _MOST_OF_A_CASE)


def _sums(reader: CaseReader, centers: np.ndarray, fuzzifier: float, case: Case) -> ClusterSums:
    return cluster_sums(reader.points(case).points, centers, fuzzifier)
