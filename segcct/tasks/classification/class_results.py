"""The evaluation of a classification read back: `summary.json` and `pictures.csv`, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segcct.errors import EvaluationError
from segcct.files.table_file import read_rows_of
from segcct.plurals import counted
from segcct.report.results import REMEDY, read_json
from segcct.tasks.classification.class_record import ClassSummary

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
    summary: ClassSummary
    verdicts: tuple[Verdict, ...]

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the summary."""
        return list(self.summary.classes)


def read_class_results(folder: Path) -> ClassResults:
    """Read and check an evaluation folder.

    Raises:
        EvaluationError: it is missing, incomplete or damaged, or its table and its summary do not fit.
    """
    file = folder / "summary.json"
    content = read_json(file)
    for key in _KEYS:
        if key not in content:
            raise EvaluationError(f"the summary has no '{key}'", file=file, remedy=REMEDY)
    summary = ClassSummary.from_json(content, file, REMEDY)
    verdicts = _read_verdicts(folder / "pictures.csv")
    named = {name for one in verdicts for name in (one.true, one.predicted)}
    unknown = sorted(named - set(summary.classes))
    if unknown or len(verdicts) != summary.pictures:
        raise EvaluationError(
            "table and summary are of different evaluations",
            file=folder / "pictures.csv",
            found=f"{counted(len(verdicts), 'picture')}" + (f", class {unknown[0]}" if unknown else ""),
            expected=f"{summary.pictures} pictures of {', '.join(list(summary.classes)[:8])}",
            remedy="Run `segcct evaluate` again",
        )
    return ClassResults(folder, summary, verdicts)


def _read_verdicts(file: Path) -> tuple[Verdict, ...]:
    rows = read_rows_of(file, _COLUMNS, error=EvaluationError, remedy=REMEDY)
    verdicts = []
    for row in rows:
        try:
            confidence, p_true = float(row["confidence"]), float(row["p_class"])
        except ValueError as error:
            raise EvaluationError("a cell is not a number", file=file, found=str(error), remedy=REMEDY) from None
        if not (0 <= confidence <= 1 and 0 <= p_true <= 1):
            raise EvaluationError(
                "a cell is no probability", file=file, found=f"{confidence:g} and {p_true:g}", remedy=REMEDY
            )
        verdicts.append(Verdict(row["picture"], row["class"], row["predicted"], confidence, p_true))
    return tuple(verdicts)
