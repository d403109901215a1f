"""The evaluation of a classification read back: `summary.json` and `pictures.csv`, checked."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcct.errors import EvaluationError
from segcct.escape import from_row
from segcct.report.results import read_json

_REMEDY = "Write the folder by `segcct evaluate --output DIR`"
_KEYS = ("overall", "classes", "confusion", "reliability", "pictures")
_COLUMNS = ("picture", "class", "predicted", "confidence", "p_class")


@dataclass(frozen=True)
class Verdict:
    """One row of pictures.csv."""

    picture: str
    true: str
    predicted: str
    confidence: float
    """Probability of the predicted class."""
    p_true: float

    @property
    def correct(self) -> bool:
        """The true class came first."""
        return self.true == self.predicted


@dataclass(frozen=True)
class ClassResults:
    """What the folder says."""

    folder: Path
    summary: Mapping[str, Any]
    verdicts: tuple[Verdict, ...]

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the summary."""
        return list(self.summary["classes"])

    @property
    def confusion(self) -> list[list[int]]:
        """Row: true class; column: predicted class."""
        matrix: list[list[int]] = self.summary["confusion"]
        return matrix


def read_class_results(folder: Path) -> ClassResults:
    """Read and check an evaluation folder.

    Raises:
        EvaluationError: it is missing, incomplete or damaged, or its table and its summary do not fit.
    """
    summary = read_json(folder / "summary.json")
    for key in _KEYS:
        if key not in summary:
            raise EvaluationError(f"the summary has no '{key}'", file=folder / "summary.json", remedy=_REMEDY)
    verdicts = _read_verdicts(folder / "pictures.csv")
    named = {name for one in verdicts for name in (one.true, one.predicted)}
    strangers = sorted(named - set(summary["classes"]))
    if strangers or len(verdicts) != summary["pictures"]:
        raise EvaluationError(
            "table and summary are of different evaluations",
            file=folder / "pictures.csv",
            found=f"{len(verdicts)} pictures" + (f", class {strangers[0]}" if strangers else ""),
            expected=f"{summary['pictures']} pictures of {', '.join(list(summary['classes'])[:8])}",
            remedy="Run `segcct evaluate` again",
        )
    return ClassResults(folder, summary, verdicts)


def _read_verdicts(file: Path) -> tuple[Verdict, ...]:
    if not file.is_file():
        raise EvaluationError("no such file", file=file, remedy=_REMEDY)
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise EvaluationError("columns are missing", file=file, found=", ".join(missing), remedy=_REMEDY)
        try:
            return tuple(
                Verdict(row["picture"], row["class"], row["predicted"], float(row["confidence"]), float(row["p_class"]))
                for row in map(from_row, reader)
            )
        except (TypeError, ValueError) as error:
            raise EvaluationError("a cell is not a number", file=file, found=str(error), remedy=_REMEDY) from None
