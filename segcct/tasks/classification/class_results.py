"""The evaluation of a classification read back: `summary.json` and `pictures.csv`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcct.errors import EvaluationError
from segcct.files.table_file import read_rows_of
from segcct.plurals import counted
from segcct.report.results import read_json
from segcct.report.stored_summary import ClassSummary, check_stored

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
    check_stored(ClassSummary, summary, folder / "summary.json", _REMEDY)
    classes = len(summary["classes"])
    if [len(row) for row in summary["confusion"]] != [classes] * classes:
        raise EvaluationError("the confusion matrix has other classes", file=folder / "summary.json", remedy=_REMEDY)
    verdicts = _read_verdicts(folder / "pictures.csv")
    named = {name for one in verdicts for name in (one.true, one.predicted)}
    strangers = sorted(named - set(summary["classes"]))
    if strangers or len(verdicts) != summary["pictures"]:
        raise EvaluationError(
            "table and summary are of different evaluations",
            file=folder / "pictures.csv",
            found=f"{counted(len(verdicts), 'picture')}" + (f", class {strangers[0]}" if strangers else ""),
            expected=f"{summary['pictures']} pictures of {', '.join(list(summary['classes'])[:8])}",
            remedy="Run `segcct evaluate` again",
        )
    return ClassResults(folder, summary, verdicts)


def _read_verdicts(file: Path) -> tuple[Verdict, ...]:
    rows = read_rows_of(file, _COLUMNS, error=EvaluationError, remedy=_REMEDY)
    verdicts = []
    for row in rows:
        try:
            confidence, p_true = float(row["confidence"]), float(row["p_class"])
        except ValueError as error:
            raise EvaluationError("a cell is not a number", file=file, found=str(error), remedy=_REMEDY) from None
        if not (0 <= confidence <= 1 and 0 <= p_true <= 1):
            raise EvaluationError(
                "a cell is no probability", file=file, found=f"{confidence:g} and {p_true:g}", remedy=_REMEDY
            )
        verdicts.append(Verdict(row["picture"], row["class"], row["predicted"], confidence, p_true))
    return tuple(verdicts)
