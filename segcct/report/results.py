"""An evaluation folder read back: `summary.json` and `metrics.csv`, checked, with empty cells as None."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from segcct.datasets.label_schemes import Scheme
from segcct.errors import EvaluationError, LabelError, SegcctError
from segcct.evaluation.anonymous import FILES, restore
from segcct.evaluation.summary_record import STATUSES, CaseFiles, PairedSummary, SegmentationSummary
from segcct.files.json_file import read_object
from segcct.files.table_file import read_rows_of
from segcct.images.content_digest import content_digest
from segcct.metrics import CONVENTIONS
from segcct.predictions.predictions_index import INDEX, is_anonymized
from segcct.predictions.predictions_record import StoredPredictions

REMEDY = "Write the folder with `segcct evaluate --output DIR`"
_TEXT = ("case", "class", "status")
_AMOUNTS = ("volume_pred_ml", "volume_ref_ml", "voxels_pred", "voxels_ref")


@dataclass(frozen=True)
class Score:
    """One row of metrics.csv."""

    case: str
    name: str
    """Class or region."""
    status: str
    values: Mapping[str, float | None]
    """Every other column; None where the cell is empty."""


@dataclass(frozen=True)
class Results:
    """The content of an evaluation folder."""

    folder: Path
    summary: SegmentationSummary
    scores: tuple[Score, ...]
    others: Mapping[str, SegmentationSummary] = field(default_factory=dict)
    """Convention -> its summary, of every `summary.<convention>.json`."""
    paired: PairedSummary | None = None
    """Differences to other predictions of the same cases."""
    pixel_accuracy: Mapping[str, float | None] = field(default_factory=dict)
    """Case -> fraction of its voxels with the right label; empty where the evaluation does not say."""

    @property
    def names(self) -> list[str]:
        """Classes and regions in the summary's order."""
        return list(self.summary.classes)

    @property
    def classes(self) -> list[str]:
        """The exclusive classes; a region such as WT is a union of some of them."""
        return [name for name in self.names if name not in self.regions]

    @property
    def regions(self) -> list[str]:
        """Names that are unions of classes."""
        return [name for name in self.names if name in self.summary.regions]

    @property
    def scheme(self) -> Scheme:
        """Values of the classes."""
        return Scheme(self.summary.scheme, self.summary.labels)

    @property
    def anonymized(self) -> bool:
        """Cases are named by hashed ids."""
        return self.summary.anonymized

    @cached_property
    def index(self) -> StoredPredictions | None:
        """predictions.json as the folder of predictions holds it now; None where the masks came from elsewhere.

        Raises:
            EvaluationError: it is damaged.
        """
        folder = self.summary.provenance.get("predictions")
        path = Path(str(folder)) / INDEX
        if folder is None or not path.is_file():
            return None
        return StoredPredictions.from_json(read_json(path), path, "Write it again with `segcct predict`")

    @property
    def other_model(self) -> bool:
        """Whether the folder of predictions now holds those of another model."""
        scored = self.summary.weights_sha256
        return bool(scored and self.index and self.index.weights_sha256 != scored)

    @cached_property
    def changed_files(self) -> dict[str, str]:
        """Case id -> `mask` or `reference`, where that file has changed since the evaluation.

        Files that are gone are not among them.
        """
        changed = {}
        for case, digests in self.summary.digests.items():
            files = self.summary.files.get(case, CaseFiles())
            if _differs(files.prediction, digests.get("prediction")):
                changed[case] = "mask"
            elif _differs(files.reference, digests.get("reference")):
                changed[case] = "reference"
        return changed

    @property
    def cases(self) -> list[str]:
        """Case ids in the order of the table."""
        return list(self._by_case)

    @property
    def metrics(self) -> list[str]:
        """Metric columns that hold at least one number, the summary's first; volumes are not metrics."""
        columns = [name for name in (self.scores[0].values if self.scores else ()) if name not in _AMOUNTS]
        defined = [name for name in columns if any(score.values[name] is not None for score in self.scores)]
        main = list(self.summary.overall)
        return sorted(defined, key=lambda name: main.index(name) if name in main else len(main))

    def of_case(self, case: str) -> dict[str, Score]:
        """Class or region -> score of one case."""
        return self._by_case[case]

    @cached_property
    def _by_case(self) -> dict[str, dict[str, Score]]:
        table: dict[str, dict[str, Score]] = {}
        for score in self.scores:
            table.setdefault(score.case, {})[score.name] = score
        return table

    def of_structure(self, name: str) -> list[Score]:
        """The scores of a class or region, case by case."""
        return [scores[name] for scores in self._by_case.values() if name in scores]

    @cached_property
    def by_dice(self) -> list[tuple[float, str]]:
        """(mean Dice, case) of the cases that have one, the lowest first."""
        return sorted((dice, case) for case in self.cases if (dice := self.mean_dice(case)) is not None)

    def mean_dice(self, case: str) -> float | None:
        """Mean over the classes that are scored in this case, regions left out; None where none is."""
        return self.summary.case_dice.get(case)


def read_results(folder: Path) -> Results:
    """Read and check an evaluation folder.

    Raises:
        EvaluationError: it is missing, incomplete, damaged, or its table and its summary do not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError("no such evaluation folder", file=folder, remedy=REMEDY)
    summary = _read_summary(folder)
    scores = _read_scores(folder)
    _require_one_evaluation(folder, summary, scores)
    others = {
        name: SegmentationSummary.from_json(read_json(path), path, REMEDY)
        for name in sorted(CONVENTIONS)
        if (path := folder / f"summary.{name}.json").is_file()
    }
    paired = folder / "paired.json"
    cases = _rows(folder / "cases.csv", ("case", "pixel_accuracy"), optional=True)
    return Results(
        folder,
        summary,
        scores,
        others,
        paired=PairedSummary.from_json(read_json(paired), paired, REMEDY) if paired.is_file() else None,
        pixel_accuracy={row["case"]: values["pixel_accuracy"] for row, values in cases},
    )


def _require_one_evaluation(folder: Path, summary: SegmentationSummary, scores: Sequence[Score]) -> None:
    """Raises `EvaluationError` where the tables are not those of the summary, or its classes are no label scheme."""
    for name, digest in summary.tables.items():
        if (folder / name).is_file() and content_digest([folder / name]) != digest:
            raise EvaluationError(
                "does not belong to summary.json: it was edited or damaged, or is of another evaluation",
                file=folder / name,
                remedy="Run `segcct evaluate` again",
            )
    unknown = sorted({score.name for score in scores} - set(summary.classes))
    if unknown:
        raise EvaluationError(
            "the table names classes that the summary does not",
            file=folder / "metrics.csv",
            found=", ".join(unknown),
            expected=", ".join(summary.classes),
            remedy="Run `segcct evaluate` again: the two files are of different evaluations",
        )
    try:
        Scheme(summary.scheme, summary.labels)
    except LabelError as error:
        raise EvaluationError(error.what, file=folder / "summary.json", found=error.found, remedy=REMEDY) from None


def _read_summary(folder: Path) -> SegmentationSummary:
    """summary.json, with what files.json says where the cases are anonymized."""
    content = read_json(folder / "summary.json")
    summary = SegmentationSummary.from_json(content, folder / "summary.json", REMEDY)
    if is_anonymized(content) and (folder / FILES).is_file():
        return SegmentationSummary.from_json(restore(content, read_json(folder / FILES)), folder / FILES, REMEDY)
    return summary


def read_json(path: Path) -> dict[str, object]:
    """A JSON object. Raises `EvaluationError` when the file is missing or holds something else."""
    return read_object(path, "not valid JSON", error=EvaluationError, remedy=REMEDY)


def _read_scores(folder: Path) -> tuple[Score, ...]:
    """metrics.csv, with the further measures of details.csv where there is one."""
    file, scores = folder / "metrics.csv", []
    rows = list(_rows(file, ("case", "class", "dice", "status")))
    details = {(row["case"], row["class"]): values for row, values in _rows(folder / "details.csv", optional=True)}
    blank: dict[str, float | None] = dict.fromkeys(next(iter(details.values()), {}))
    for line, (row, values) in enumerate(rows, start=2):
        case, name, status = row["case"], row["class"], row["status"]
        if status not in STATUSES:
            expected = ", ".join(STATUSES)
            raise EvaluationError(f"line {line}: unknown status", file=file, found=repr(status), expected=expected)
        scores.append(Score(case, name, status, {**details.get((case, name), blank), **values}))
    if not scores:
        raise EvaluationError("the table holds no case", file=file, remedy=REMEDY)
    return tuple(scores)


def _rows(
    file: Path, columns: tuple[str, ...] = ("case", "class"), *, optional: bool = False
) -> Iterator[tuple[dict[str, str], dict[str, float | None]]]:
    """Every row of a table, and its numbers: None where a cell is empty or not finite. `optional`: a missing file is
    not an error."""
    if optional and not file.is_file():
        return
    for line, row in enumerate(read_rows_of(file, columns, error=EvaluationError, remedy=REMEDY), start=2):
        values: dict[str, float | None] = {}
        for name, cell in row.items():
            if name in _TEXT:
                continue
            try:
                value = float(cell) if cell.strip() else None
            except ValueError:
                raise EvaluationError(f"line {line}: {name} is not a number", file=file, found=repr(cell)) from None
            values[name] = value if value is not None and math.isfinite(value) else None
        yield row, values


def paths_of(files: str | list[str] | None) -> tuple[Path, ...]:
    """The files of a prediction, a reference or a channel."""
    return tuple(Path(file) for file in ([files] if isinstance(files, str) else files or ()))


def _differs(files: str | list[str] | None, digest: str | None) -> bool:
    """Whether the content of files has changed; False if they are missing or unreadable, which the page says."""
    paths = paths_of(files)
    try:
        return bool(paths and digest) and all(path.exists() for path in paths) and content_digest(paths) != digest
    except (SegcctError, OSError):
        return False
