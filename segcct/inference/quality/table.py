"""quality.csv beside predicted masks: estimated Dice per case and class, with the doubtful ones flagged."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segcct.errors import SegcctError
from segcct.inference.cycle import Cycles
from segcct.inference.folder import Request, examination_of, hashed
from segcct.inference.predictor import Predictor
from segcct.inference.quality.model import QualityModel
from segcct.inference.quality.observe import Signals, observe, signals_of_case
from segcct.progress import Report
from segcct.volume import atomic_path

TABLE = "quality.csv"
COLUMNS = ("case", "class", "estimated_dice", "low", "high", "level", "doubtful", "doubtful_below", "note")


def write_quality(
    predictor: Predictor,
    request: Request,
    output: Path,
    quality: QualityModel,
    *,
    cycles: Cycles | None = None,
    anonymise: bool = False,
    progress: Report | None = None,
) -> list[str]:
    """Write or extend `quality.csv` in a folder of predictions; returns the cases with a doubtful mask.

    Every case is looked at again: four passes of the network, two more with a generator. Rows of other cases stay. A
    case that cannot be read has no row; its failure was told when its mask failed.
    """
    rows: list[dict[str, str]] = []
    for done, case in enumerate(request.cases):
        if progress:
            progress(done, len(request.cases))
        try:
            examination = examination_of(request, case, predictor.scheme, with_label=False)
            signals = signals_of_case(predictor, observe(predictor, examination, cycles))
        except SegcctError:
            continue
        rows += quality_rows(quality, hashed(case.id) if anonymise else case.id, signals)
    if progress:
        progress(len(request.cases), len(request.cases))
    kept = [row for row in read_rows(output / TABLE) if row["case"] not in {row["case"] for row in rows}]
    _write(output / TABLE, sorted([*kept, *rows], key=lambda row: row["case"]))
    return sorted({row["case"] for row in rows if row["doubtful"] != "no"})


def drop_rows(output: Path, cases: Iterable[str]) -> None:
    """Take cases out of quality.csv, whose masks were made anew without an estimate."""
    gone = set(cases)
    if (output / TABLE).is_file():
        _write(output / TABLE, [row for row in read_rows(output / TABLE) if row["case"] not in gone])


def quality_rows(quality: QualityModel, case: str, signals: Signals) -> list[dict[str, str]]:
    """One row per class; cells are empty where an estimate is not defined."""
    rows = []
    for name, own in signals.items():
        known = name in quality.slopes
        estimate = quality.estimate(name, own) if known else None
        note = "" if estimate else "not predicted: no estimate" if known else "not in the calibration: no estimate"
        rows.append({
            "case": case,
            "class": name,
            "estimated_dice": f"{estimate.dice:.4f}" if estimate else "",
            "low": f"{estimate.low:.4f}" if estimate else "",
            "high": f"{estimate.high:.4f}" if estimate else "",
            "level": f"{quality.level:g}",
            "doubtful": "" if estimate is None else "yes" if estimate.dice < quality.doubtful_below else "no",
            "doubtful_below": f"{quality.doubtful_below:g}",
            "note": note,
        })  # fmt: skip
    return rows


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a quality.csv; none where there is no such file."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with atomic_path(file) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
