"""Prepared cases from the cache; missing ones are prepared in parallel and stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from segcct.case_runner import ProcessPool
from segcct.config import DataSection
from segcct.datasets import layouts
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import Scheme
from segcct.errors import CacheError, DataError, SegcctError, failure_of, items, of_case
from segcct.files.file_memo import FileMemo
from segcct.plurals import counted
from segcct.preparation.cache import Cache
from segcct.preparation.cache_key import cache_key
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from segcct.preparation.slice_grid import SliceGrid
from segcct.progress import Report
from segcct.spark.spark_executor import SparkExecutor
from segcct.spark.spark_start import spark_context


def prepare_cases(
    cases: Sequence[Case],
    data: DataSection,
    scheme: Scheme,
    *,
    memo: FileMemo | None = None,
    progress: Report | None = None,
) -> list[PreparedCase]:
    """The prepared cases, in order; those that are not in the cache are read, prepared and stored there.

    Missing cases are prepared by `data.workers` processes where that is two or more, or on `data.spark`.

    Args:
        cases: the cases.
        data: how they are read and prepared, and where the cache is.
        scheme: the meaning of their labels.
        memo: digests of files that have not changed; every file is read without it.
        progress: called with (done, total) after each case.

    Raises:
        SegcctError: a case fails, raised once the others are prepared and stored; names all cases that fail.
    """
    memo = memo or FileMemo()
    cache = Cache(data.cache_folder, memo)
    outcomes: dict[int, PreparedCase | Exception] = {}
    for place, outcome in _outcomes(cases, data, scheme, cache):
        outcomes[place] = outcome
        if progress is not None:
            progress(len(outcomes), len(cases))
    memo.save()  # also where a case fails: the digests of the others' files took as long
    prepared = [outcome for _, outcome in sorted(outcomes.items()) if isinstance(outcome, PreparedCase)]
    failures = {place: outcome for place, outcome in outcomes.items() if isinstance(outcome, Exception)}
    if len(failures) == 1 and isinstance(failure := next(iter(failures.values())), SegcctError):
        raise failure
    if failures:
        reasons = [of_case(cases[place].id, failure_of(error)) for place, error in failures.items()]
        all_cases = counted(len(cases), "case")
        raise DataError(f"{len(failures)} of {all_cases} cannot be prepared:{items(reasons, most=20)}")
    cache.sweep()  # not before: what has just been asked for is in use
    return prepared


def _outcomes(
    cases: Sequence[Case], data: DataSection, scheme: Scheme, cache: Cache
) -> Iterator[tuple[int, PreparedCase | Exception]]:
    """Place and prepared case, or why it cannot be prepared: first the cases in the cache, then the others as they
    get ready, in this process or in several."""
    missing = {}
    for place, case in enumerate(cases):
        try:
            key = cache_key(case, data, scheme, cache.memo)
        except DataError as error:  # one of its files cannot be read
            yield place, error
            continue
        entry = cache.get(key)
        if entry is None:
            missing[place] = (case, data, scheme, cache, key)
        else:
            yield place, _restored(case, *entry)
    if data.spark is None and (data.workers < 2 or len(missing) < 2):
        for place, job in missing.items():
            yield place, _outcome(partial(_make, *job))
        return
    with _pool(data, len(missing)) as pool:
        try:
            places = {pool.submit(_make, *job): place for place, job in missing.items()}
            for ready in as_completed(places):
                yield places[ready], _outcome(ready.result)
        except BrokenProcessPool:
            raise DataError(
                "a process that prepares cases was ended from outside",
                found="most often: out of memory",
                remedy=f"Use fewer processes than --data.workers {data.workers}",
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _pool(data: DataSection, cases: int) -> Iterator[Executor]:
    """The executor that prepares cases in parallel."""
    if data.spark is None:
        processes = min(data.workers, cases)
        yield ProcessPool(processes)
        return
    with spark_context(data.spark) as context:
        yield SparkExecutor(context)


def _outcome(prepare: Callable[[], PreparedCase]) -> PreparedCase | Exception:
    try:
        return prepare()
    except (CacheError, BrokenProcessPool):  # the other cases would fail too
        raise
    except Exception as error:
        return error


def _make(case: Case, data: DataSection, scheme: Scheme, cache: Cache, key: str) -> PreparedCase:
    with cache.claim(key):
        entry = cache.get(key)  # another process may have prepared it while this one waited
        return _restored(case, *(entry or _stored(case, data, scheme, cache, key)))


def _stored(
    case: Case, data: DataSection, scheme: Scheme, cache: Cache, key: str
) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts of a case, prepared and put into the cache."""
    made = prepare_case(layouts.read_case(case, data, scheme), Preparation.of(data), scheme)
    facts = {
        "case": made.case_id,
        "mean": made.mean.tolist(),
        "std": made.std.tolist(),
        "grid": made.grid.to_json(),
        "spacing_mm": made.spacing_mm,
        "affine": made.affine.tolist(),
        "present": None if made.present is None else made.present.tolist(),
    }
    return cache.put(key, made.arrays, facts), facts


def _restored(case: Case, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> PreparedCase:
    spacing, present = facts["spacing_mm"], facts["present"]
    return PreparedCase(
        case_id=case.id,
        patient=case.patient,
        arrays=arrays,
        mean=np.asarray(facts["mean"], dtype=np.float32),
        std=np.asarray(facts["std"], dtype=np.float32),
        grid=SliceGrid.from_json(facts["grid"]),
        spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        affine=np.asarray(facts["affine"], dtype=np.float64),
        present=None if present is None else np.asarray(present, dtype=bool),
    )
