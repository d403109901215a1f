"""How long a prediction would take: some of its cases are predicted into a folder that is removed again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from segcct.case_runner import Done, Failed
from segcct.datasets.case import Case
from segcct.errors import DataError, items
from segcct.files.atomic_file import temporary_folder
from segcct.files.file_memo import FileMemo
from segcct.files.remote_file import is_uri, size_of
from segcct.images.content_digest import files_of
from segcct.plurals import counted, sized
from segcct.predictions.mask_folder import Predictions
from segcct.predictions.prediction_request import Request
from segcct.predictions.sources_file import read_sources
from segcct.predictions.tracked_case import Span
from segcct.progress import duration

_TIMED = 3
_SIZES_AT_A_TIME = 16
"""How many are asked for at a time: a remote file system answers in some tenths of a second."""


def time_estimate(
    request: Request,
    output: Path,
    predict: Callable[[Request, Path], Predictions],
    *,
    untried: Sequence[Case] = (),
    workers: Callable[[], int],
    at_a_time: int,
) -> str:
    """Cases, bytes and hours in a sentence.

    Args:
        request: the cases that are left.
        output: where their masks would go; the folder of the timed ones is made there or near it, so that workers see
            it.
        predict: (some of the cases, folder) -> their masks, as the whole prediction would be run.
        untried: those of the cases that may be timed; default: all, also those that failed before. Incomplete ones are
            not.
        workers: the number of processes that predict, now: a cluster grows while it works.
        at_a_time: cases that each of them has at a time, which share batches.

    Raises `DataError` where all of the timed cases fail.
    """
    if not request.cases:
        return "no case is left to predict"
    sizes = _sizes(request.cases)
    known = [size for size in sizes.values() if size is not None]
    usual = sum(known) / len(known) if any(known) else 1.0
    weights = {name: usual if size is None else float(size) for name, size in sizes.items()}
    complete = [case for case in untried or request.cases if case.error is None]
    by_size = sorted(complete or request.cases, key=lambda case: weights[case.id])
    timed = _spread(by_size, max(_TIMED, workers() * at_a_time))
    place = output.absolute()
    parent = next(folder for folder in (place, *place.parents) if folder.is_dir())
    with temporary_folder(parent, "segcct-dry-run") as folder:
        predict(replace(request, cases=timed[: workers()]), folder / "first")  # slower within a process
        predictions = predict(replace(request, cases=timed), folder / "timed")
        ids = {name: source["id"] for name, source in read_sources(folder / "timed").items()}  # of hashed names
    done = [outcome for outcome in predictions.outcomes if isinstance(outcome, Done) and outcome.value.span]
    if not done:
        raise DataError(_without_names(predictions) if request.anonymize else predictions.problem)
    seconds = busy_seconds(outcome.value.span for outcome in done if outcome.value.span)
    rate = seconds / max(1.0, sum(weights[ids.get(outcome.name, outcome.name)] for outcome in done))
    failed = len(timed) - len(done)
    unknown = len(sizes) - len(known)
    return (
        f"{counted(len(sizes), 'case')} of {sized(sum(known))}"
        + (f", not counting {unknown} of unknown size" if unknown else "")
        + f"; {len(done)} of them took {seconds:.2f} s"
        + (f", and {failed} failed" if failed else "")
        + f": all take about {_on_workers(list(weights.values()), rate, workers())}"
    )


def _on_workers(weights: Sequence[float], rate: float, available: int) -> str:
    """How long all cases take on the workers of now, and on more of them. A case is done by one worker, so no number of
    workers is faster than the largest case."""

    def takes(count: int) -> str:
        return duration(rate * max(sum(weights) / count, max(weights)))

    counts = (2 * available, 4 * available, 8 * available)
    more = [f"{takes(count)} on {count}" for count in counts if count <= len(weights)]
    alike = "this" if available == 1 else "these"
    return f"{takes(available)} on {counted(available, 'worker')}" + (
        f"; with more workers like {alike}, {', '.join(more)}" if more else ""
    )


def _sizes(cases: Sequence[Case]) -> dict[str, int | None]:
    """Case id -> bytes of its files; see `_bytes`."""
    with ThreadPoolExecutor(_SIZES_AT_A_TIME) as pool:
        return {case.id: size for case, size in zip(cases, pool.map(_bytes, cases), strict=True)}


def _without_names(predictions: Predictions) -> str:
    """Why cases failed, in words that name none: their hashed names go with the folder that is removed."""
    kinds = dict.fromkeys(outcome.kind for outcome in predictions.outcomes if isinstance(outcome, Failed))
    failed = f"{len(predictions.outcomes)} of {counted(len(predictions.outcomes), 'case')} failed:{items([*kinds])}"
    return f"{failed}\nWithout --dry-run, sources.json says which cases fail"


def busy_seconds(spans: Iterable[Span]) -> float:
    """Seconds in which processes worked on at least one case each, added over the processes."""
    total = 0.0
    until: dict[str, float] = {}
    for process, began, ended in sorted(spans):
        last = until.get(process, began)
        total += max(0.0, ended - max(began, last))
        until[process] = max(last, ended)
    return total


def _spread(cases: list[Case], count: int) -> tuple[Case, ...]:
    """About `count` of the cases, evenly spaced."""
    return tuple(
        cases[place] for place in sorted({(2 * part + 1) * len(cases) // (2 * count) for part in range(count)})
    )


def _bytes(case: Case) -> int | None:
    """Of the files that a prediction reads; those that cannot be read count for nothing. None where a remote file
    system does not say."""
    files = {file for paths in (*case.channels.values(), case.mask or ()) for file in paths}
    remote = [size_of(file) for file in files if is_uri(file)]
    here = [part for file in files if not is_uri(file) for part in files_of(file, FileMemo())]
    if None in remote:
        return None
    return sum(filter(None, remote)) + sum(part.stat().st_size for part in here if part.is_file())
