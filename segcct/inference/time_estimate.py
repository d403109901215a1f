"""How long a prediction would take: three of its cases are predicted into a folder that is removed again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from segcct.case_runner import values
from segcct.datasets.case import Case
from segcct.errors import DataError
from segcct.inference.folder_prediction import Predictions
from segcct.inference.prediction_request import Request
from segcct.plurals import counted
from segcct.progress import duration

_TIMED = 3


def time_estimate(
    request: Request, output: Path, predict: Callable[[Request, Path], Predictions], *, workers: int
) -> str:
    """Cases, gigabytes and hours in a sentence.

    Args:
        request: the cases.
        output: where their masks would go; the folder of the timed ones is made near it, so that workers see it.
        predict: (some of the cases, folder) -> their masks, as the whole prediction would be run.
        workers: cases that are predicted at a time.

    Raises `DataError` where one of the timed cases fails.
    """
    sizes = {case.id: _bytes(case) for case in request.cases}
    cases = sorted(request.cases, key=lambda case: sizes[case.id])
    places = {(2 * part + 1) * len(cases) // (2 * _TIMED) for part in range(_TIMED)}  # small, medium, large
    timed = replace(request, cases=tuple(cases[place] for place in sorted(places)))
    parent = next(folder for folder in output.absolute().parents if folder.is_dir())
    with tempfile.TemporaryDirectory(prefix=".segcct-dry-run-", dir=parent) as folder:
        predictions = predict(timed, Path(folder))
    if predictions.problem:
        raise DataError(predictions.problem)
    seconds = [case.seconds for case in values(predictions.outcomes)]
    total = sum(sizes.values())
    work_seconds = sum(seconds) / max(1, sum(sizes[case.id] for case in timed.cases)) * total
    taken = ", ".join(f"{each:.2f} s" for each in seconds)
    return (
        f"{counted(len(cases), 'case')} of {total / 1e9:.3g} GB; {len(seconds)} of them took {taken}: "
        f"all take about {duration(work_seconds / workers)} on {counted(workers, 'worker')}"
    )


def _bytes(case: Case) -> int:
    """Of the files that a prediction reads; those that cannot be read count for nothing."""
    files = {file for paths in (*case.channels.values(), case.mask or ()) for file in paths}
    return sum(file.stat().st_size for file in files if file.exists())
