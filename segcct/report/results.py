"""An evaluation folder read back: `summary.json` and `metrics.csv`, checked, with empty cells as None."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from segcct.datasets.label_schemes import SCHEMES, Scheme
from segcct.errors import EvaluationError, LabelError
from segcct.evaluation.anonymous import FILES, restore
from segcct.files.json_file import read_object
from segcct.files.table_file import read_rows_of
from segcct.inference.index import is_anonymized
from segcct.preparation.cache import content_digest
from segcct.report.stored_summary import MaskSummary, PairedSummary, check_stored

_REMEDY = "Write the folder by `segcct evaluate --output DIR`"
_COLUMNS = ("case", "class", "dice", "status")
_TEXT = ("case", "class", "status")
_AMOUNTS = ("volume_pred_ml", "volume_ref_ml", "voxels_pred", "voxels_ref")
_FIRST = ("dice", "iou", "hd95_mm", "hd95_vox", "nsd")
STATUSES = ("ok", "missed", "spurious", "absent")


@dataclass(frozen=True)
class Score:
    """One row of metrics.csv."""

    case: str
    name: str
    """Class or region."""
    status: str
    values: Mapping[str, float | None]
    """Every other column; None where the cell is empty."""

    @property
    def reference_volume(self) -> float | None:
        """In ml; in voxels where no voxel size is known."""
        known = self.values.get("volume_ref_ml")
        return self.values.get("voxels_ref") if known is None else known


@dataclass(frozen=True)
class Results:
    """What an evaluation folder says."""

    folder: Path
    summary: Mapping[str, Any]
    scores: tuple[Score, ...]
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Convention -> its summary, of every `summary.<convention>.json`."""
    paired: Mapping[str, Any] = field(default_factory=dict)
    """Differences to other predictions of the same cases; empty where there was no comparison."""
    pixel_accuracy: Mapping[str, float | None] = field(default_factory=dict)
    """Case -> share of its voxels with the right label; empty where the evaluation does not say."""

    @property
    def names(self) -> list[str]:
        """Classes and regions in the summary's order."""
        return list(self.summary["classes"])

    @property
    def classes(self) -> list[str]:
        """The exclusive classes; a region such as WT is a union of some of them."""
        return [name for name in self.names if name not in self.regions]

    @property
    def regions(self) -> list[str]:
        """Names that are unions of classes."""
        return [name for name in self.names if name in (self.summary.get("regions") or {})]

    @property
    def scheme(self) -> Scheme | None:
        """Values of the classes; None where the summary does not hold them."""
        labels = self.summary.get("labels")
        name = str(self.summary.get("scheme"))
        return Scheme(name, {key: int(value) for key, value in labels.items()}) if labels else SCHEMES.get(name)

    @property
    def cases(self) -> list[str]:
        """Case ids in the order of the table."""
        return list(self._by_case)

    @property
    def metrics(self) -> list[str]:
        """Metric columns that hold at least one number, in the table's order; volumes are not metrics."""
        columns = self.scores[0].values if self.scores else {}
        known = [name for name in columns if any(score.values[name] is not None for score in self.scores)]
        return sorted((name for name in known if name not in _AMOUNTS), key=_rank)

    def of_case(self, case: str) -> dict[str, Score]:
        """Class or region -> score of one case."""
        return self._by_case[case]

    @cached_property
    def _by_case(self) -> dict[str, dict[str, Score]]:
        table: dict[str, dict[str, Score]] = {}
        for score in self.scores:
            table.setdefault(score.case, {})[score.name] = score
        return table

    def mean_dice(self, case: str) -> float | None:
        """Mean over the classes that are scored in this case, regions left out; None where none is."""
        scores = self.of_case(case)
        values = [scores[name].values["dice"] for name in self.classes if name in scores]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None


def _rank(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def read_results(folder: Path) -> Results:
    """Read and check an evaluation folder.

    Raises:
        EvaluationError: it is missing, incomplete, damaged, or its table and its summary do not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError("no such evaluation folder", file=folder, remedy=_REMEDY)
    summary = read_json(folder / "summary.json")
    for key in ("classes", "overall", "convention"):
        if key not in summary:
            raise EvaluationError(f"the summary has no '{key}'", file=folder / "summary.json", remedy=_REMEDY)
    check_stored(MaskSummary, summary, folder / "summary.json", _REMEDY)
    if is_anonymized(summary) and (folder / FILES).is_file():
        summary = restore(summary, read_json(folder / FILES))
        check_stored(MaskSummary, summary, folder / FILES, _REMEDY)
    _refuse_other_tables(folder, summary)
    scores = _with_details(_read_scores(folder / "metrics.csv"), folder / "details.csv")
    strangers = sorted({score.name for score in scores} - set(summary["classes"]))
    if strangers:
        raise EvaluationError(
            "the table names classes that the summary does not",
            file=folder / "metrics.csv",
            found=", ".join(strangers),
            expected=", ".join(summary["classes"]),
            remedy="Run `segcct evaluate` again: the two files are of different evaluations",
        )
    others = {
        path.name.split(".", 1)[1].removesuffix(".json"): _checked(path, MaskSummary)
        for path in sorted(folder.glob("summary.*.json"))
        if path.name != "summary.json"
    }
    results = Results(
        folder, summary, tuple(scores), others, _paired(folder / "paired.json"), _pixel_accuracy(folder / "cases.csv")
    )
    try:
        _ = results.scheme
    except LabelError as error:
        raise EvaluationError(error.what, file=folder / "summary.json", found=error.found, remedy=_REMEDY) from None
    return results


def _paired(path: Path) -> Mapping[str, Any]:
    return _checked(path, PairedSummary) if path.is_file() else {}


def _checked(path: Path, kind: type[BaseModel]) -> dict[str, Any]:
    content = read_json(path)
    check_stored(kind, content, path, _REMEDY)
    return content


def _refuse_other_tables(folder: Path, summary: Mapping[str, Any]) -> None:
    """Raises `EvaluationError` where a table is not the one that the summary was made with."""
    for name, digest in (summary.get("tables") or {}).items():
        if (folder / name).is_file() and content_digest([folder / name]) != digest:
            raise EvaluationError(
                "is not the table that summary.json is of: edited, damaged or of another evaluation",
                file=folder / name,
                remedy="Run `segcct evaluate` again",
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `EvaluationError` when the file is missing or holds something else."""
    return read_object(path, "not valid JSON", error=EvaluationError, remedy=_REMEDY)


def _with_details(scores: list[Score], path: Path) -> list[Score]:
    """The scores with the further measures of details.csv, where there is one."""
    if not path.is_file():
        return scores
    rows = read_rows_of(path, ("case", "class"), error=EvaluationError, remedy=_REMEDY)
    further = {(row["case"], row["class"]): _numbers(path, number, row) for number, row in enumerate(rows, start=2)}
    columns = next(iter(further.values()), {})
    blank = dict.fromkeys(columns)
    return [
        Score(score.case, score.name, score.status, {**further.get((score.case, score.name), blank), **score.values})
        for score in scores
    ]


def _pixel_accuracy(path: Path) -> dict[str, float | None]:
    """What cases.csv says, where there is one."""
    if not path.is_file():
        return {}
    rows = read_rows_of(path, ("case", "pixel_accuracy"), error=EvaluationError, remedy=_REMEDY)
    return {row["case"]: _numbers(path, line, row)["pixel_accuracy"] for line, row in enumerate(rows, start=2)}


def _read_scores(path: Path) -> list[Score]:
    stored = read_rows_of(path, _COLUMNS, error=EvaluationError, remedy=_REMEDY)
    rows = [_score(path, number, row) for number, row in enumerate(stored, start=2)]
    if not rows:
        raise EvaluationError("the table holds no case", file=path, remedy=_REMEDY)
    return rows


def _score(path: Path, line: int, row: dict[str, str]) -> Score:
    values = _numbers(path, line, row)
    status = row["status"]
    if status not in STATUSES:
        raise EvaluationError(
            f"line {line}: unknown status", file=path, found=repr(status), expected=", ".join(STATUSES)
        )
    return Score(row["case"], row["class"], status, values)


def _numbers(path: Path, line: int, row: dict[str, str]) -> dict[str, float | None]:
    """Every cell that is not text; None where it is empty or not finite."""
    values: dict[str, float | None] = {}
    for name, cell in row.items():
        if name in _TEXT:
            continue
        try:
            value = float(cell) if cell.strip() else None
        except ValueError:
            raise EvaluationError(f"line {line}: {name} is not a number", file=path, found=repr(cell)) from None
        values[name] = value if value is not None and math.isfinite(value) else None
    return values
