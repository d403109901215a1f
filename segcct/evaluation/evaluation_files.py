"""The files of an evaluation: the folder they go to, and what is written there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segcct.errors import EvaluationError
from segcct.evaluation.anonymous import FILES
from segcct.evaluation.scoring import LabelMapScores, Row
from segcct.evaluation.summary_record import SegmentationSummary
from segcct.evaluation.tables import markdown, write_cases, write_details, write_metrics
from segcct.files.atomic_file import OTHER_OUTPUT, atomic_path
from segcct.files.json_file import write_json
from segcct.files.lock import exclusive
from segcct.images.content_digest import content_digest
from segcct.metrics import CONVENTIONS
from segcct.run_folder import FOLDS, RunFolder

OUTPUTS = (
    *("summary.json", "metrics.csv", "details.csv", "cases.csv", "table.md", "paired.json", FILES),
    *(file for name in CONVENTIONS for file in (f"metrics.{name}.csv", f"summary.{name}.json")),
)
"""Names of all files; the first is written last and removed first: if it is there, the others are complete."""


@contextmanager
def output_folder(output: str | Path | None) -> Iterator[None]:
    """Lock a folder for one evaluation: two at the same time would leave a mixture of their tables. None does nothing.

    Raises `EvaluationError` for a run folder, whose metrics.csv and summary.json have the same names.
    """
    if output is None:
        yield
        return
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise EvaluationError("is not a folder", file=output)
    training = next((file.name for file in (RunFolder(folder).config, folder / FOLDS) if file.is_file()), None)
    if training is not None:
        raise EvaluationError(
            "is the folder of a training run, and an evaluation would replace its metrics.csv and summary.json",
            file=output,
            found=f"{training} in it",
            remedy=OTHER_OUTPUT,
        )
    what, remedy = "another evaluation is being written to this folder", "Wait for it, or choose another --output"
    with exclusive(folder / ".evaluate.lock", what, remedy=remedy):
        yield


def remove_earlier(folder: Path, names: Sequence[str]) -> None:
    """Remove the files of an earlier evaluation, once this one is computed: if a write fails, none of them must pass
    for one of this evaluation."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def write_evaluation(
    output: Path,
    rows: Sequence[Row],
    label_maps: Sequence[LabelMapScores],
    summaries: Sequence[SegmentationSummary],
    hidden: Mapping[str, Any] | None,
) -> None:
    """Replace the tables and summaries of an earlier evaluation; `hidden` is the content of files.json if cases are
    named by hashed ids."""
    remove_earlier(output, OUTPUTS)
    private = hidden is None  # files that name patients are readable only by their owner
    first = summaries[0]
    write_metrics(output / "metrics.csv", rows, first.convention, private=private)
    for summary in summaries:
        if len(summaries) > 1 or summary.convention != "default":
            write_metrics(output / f"metrics.{summary.convention}.csv", rows, summary.convention, private=private)
            write_json(output / f"summary.{summary.convention}.json", summary.to_json(), private=private)
    if first.paired is not None:
        write_json(output / "paired.json", first.paired.to_json(), private=private)
    write_cases(output / "cases.csv", label_maps, private=private)
    if hidden is not None:
        write_json(output / FILES, hidden, private=True)
    write_details(output / "details.csv", rows, private=private)
    first.tables = {name: content_digest([output / name]) for name in ("metrics.csv", "details.csv")}
    table = output / "table.md"
    with atomic_path(table, private=private) as temporary:
        temporary.write_text(markdown(summaries), encoding="utf-8", errors="backslashreplace")
    # The last file to appear: a folder with summary.json has a complete evaluation.
    write_json(output / "summary.json", first.to_json(), private=private)
