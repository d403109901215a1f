"""quality.csv beside predicted masks: estimated Dice per case and class, with the doubtful ones flagged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segcct.errors import CASE_FAILURES, DataError, failure_of, hidden_failure_of, items
from segcct.files.json_file import read_object
from segcct.inference.cycle import Cycles
from segcct.inference.folder_prediction import Request, examination_of
from segcct.inference.index import INDEX, index_lock, names_in
from segcct.inference.predictor import Predictor
from segcct.inference.quality_rows import TABLE, read_rows, write_rows
from segcct.plurals import counted
from segcct.progress import Report
from segcct.quality.observe import Signals, observe, signals_of_case
from segcct.quality.quality_model import Estimate, QualityModel


def write_quality(
    predictor: Predictor,
    request: Request,
    output: Path,
    quality: QualityModel,
    *,
    cycles: Cycles | None = None,
    anonymize: bool = False,
    progress: Report | None = None,
) -> dict[str, bool]:
    """Write or extend `quality.csv` in a folder of predictions; returns case -> it holds a doubtful or missed class.

    Every case with a mask is looked at again: four passes of the network, two more with a generator. Rows of other
    cases stay. Raises `DataError` once the others have their rows, where a case has a mask and no estimate.
    """
    rows: list[dict[str, str]] = []
    failures: list[str] = []
    names = names_in(output, request.cases, anonymized=anonymize)
    index = read_object(output / INDEX, "is not an index of predictions")["cases"]
    cases = [case for case in request.cases if (output / index[names[case.id]]["mask"]).is_file()]
    cases = sorted(cases, key=lambda case: names[case.id])
    for done, case in enumerate(cases):
        if progress:
            progress(done, len(cases))
        try:
            examination = examination_of(request, case, predictor.scheme, with_label=False)
            signals = signals_of_case(predictor, observe(predictor, examination, cycles))
            estimates = quality_rows(quality, names[case.id], signals)
        except CASE_FAILURES as error:
            name = names[case.id]
            failures.append(hidden_failure_of(error, case.id, name) if anonymize else failure_of(error, case.id))
            continue
        digest = index[names[case.id]].get("digest", "")
        rows += [{**row, "mask": digest} for row in estimates]
    if progress:
        progress(len(cases), len(cases))
    doubtful: dict[str, bool] = {}
    for row in rows:
        doubtful[row["case"]] = doubtful.get(row["case"], False) or row["doubtful"] == "yes"
    with index_lock(output):
        kept = [row for row in read_rows(output / TABLE) if row["case"] not in doubtful]
        write_rows(output / TABLE, sorted([*kept, *rows], key=lambda row: row["case"]), private=not anonymize)
    if failures:
        raise DataError(f"{len(failures)} of {counted(len(cases), 'mask')} got no row in {TABLE}:" + items(failures))
    return doubtful


def quality_rows(quality: QualityModel, case: str, signals: Signals) -> list[dict[str, str]]:
    """One row per class; cells are empty where an estimate is not defined."""
    rows = []
    for name, own in signals.items():
        estimate = quality.estimate(name, own) if name in quality.slopes else None
        doubtful, note = _judged(quality, name, own, estimate)
        rows.append({
            "case": case,
            "class": name,
            "estimated_dice": f"{estimate.dice:.4f}" if estimate else "",
            "low": f"{estimate.low:.4f}" if estimate else "",
            "high": f"{estimate.high:.4f}" if estimate else "",
            "level": f"{quality.level:g}",
            "doubtful": doubtful,
            "doubtful_below": f"{quality.doubtful_below:g}",
            "note": note,
        })  # fmt: skip
    return rows


def _judged(
    quality: QualityModel, name: str, signals: Mapping[str, float | None] | None, estimate: Estimate | None
) -> tuple[str, str]:
    """The cells `doubtful` and `note` of a class."""
    if signals is None:
        return (
            ("yes", "not predicted: taken as missed")
            if quality.misses(name)
            else ("no", "not predicted: taken as absent")
        )
    if estimate is None:
        return "", "not in the calibration: no estimate"
    return "yes" if estimate.dice < quality.doubtful_below else "no", ""
