"""Class probabilities of pictures: a file, a folder or a dataset -> predictions.csv and predictions.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from segcct.case_runner import Done, Failed
from segcct.datasets.splits import Splits, known_splits
from segcct.errors import DataError, RunError, SplitError, items
from segcct.files.file_names import absolute
from segcct.files.json_file import write_json
from segcct.files.lock import exclusive
from segcct.inference.index import INDEX
from segcct.inference.predictions_record import StoredTable
from segcct.plurals import counted
from segcct.progress import Report
from segcct.provenance import provenance
from segcct.tasks.classification.classifier import Classifier
from segcct.tasks.classification.image_reading import section_of
from segcct.tasks.classification.labeled_images import decoded
from segcct.tasks.classification.new_images import Source, find_source
from segcct.tasks.classification.probability_table import TABLE, write_table

_AT_ONCE = 512


@dataclass(frozen=True)
class PictureRequest:
    """What is to be predicted."""

    source: Source
    ids: tuple[str, ...]
    selection: str | None = None
    seen: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """`train` and `val` -> those of the pictures that stand on that side of the model's split."""


def find_pictures(
    classifier: Classifier, root: Path, *, split: Path | None = None, side: str | None = None
) -> PictureRequest:
    """The pictures at `root`, read as the model's layout says.

    Args:
        classifier: the model.
        root: a picture, a folder or archive of pictures, or a dataset of the model's layout.
        split: splits.json of the model's run: which pictures the model has seen, where the file is there.
        side: train, val or test: only these pictures of that split.

    Raises:
        DataError: nothing there to predict.
        SplitError: the side is empty, or its pictures are not below `root`.
    """
    if not root.exists():
        raise DataError("no such file or folder", file=root)
    source = find_source(section_of(classifier.card.data, root))
    splits = None if split is None else known_splits(split, needed=side is not None)
    if side is None:
        return PictureRequest(source, source.ids, seen=_seen(source.ids, splits))
    if splits is None:
        raise RunError(
            f"side {side} is not known without the run's splits.json",
            file=split,
            remedy="Keep best/ in its run folder, or leave --split out",
        )
    wanted: tuple[str, ...] = getattr(splits, side)
    if not wanted:
        raise SplitError(f"side {side} is empty", file=split)
    known = set(source.ids)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise SplitError(
            f"{counted(len(missing), 'picture')} of side {side} cannot be found",
            file=root,
            found=f"no {', '.join(missing[:5])}",
        )
    return PictureRequest(source, wanted, side, _seen(wanted, splits))


def _seen(ids: Sequence[str], splits: Splits | None) -> dict[str, list[str]]:
    sides: dict[str, set[str]] = {} if splits is None else {"train": set(splits.train), "val": set(splits.val)}
    return {side: [name for name in ids if name in held] for side, held in sides.items()}


@dataclass(frozen=True)
class PredictedTable:
    """What was written."""

    file: Path
    """predictions.csv, which is there unless every picture failed."""
    problem: str
    """Names every picture without a row, and why; empty where all have theirs."""


def predict_pictures(
    classifier: Classifier,
    request: PictureRequest,
    output: Path,
    *,
    model: Path,
    overwrite: bool = False,
    progress: Report | None = None,
) -> PredictedTable:
    """Write predictions.csv (a row per picture: its class and all probabilities) and predictions.json.

    A picture that cannot be read has no row; where none can, nothing is written.

    Args:
        classifier: the model.
        request: the pictures.
        output: the folder.
        model: the model's folder, named in predictions.json so that a report can ask it again.
        overwrite: replace an earlier table.
        progress: called with (done, total).

    Raises:
        RunError: a table stands there already and `overwrite` is off.
    """
    if output.exists() and not output.is_dir():
        raise RunError("is not a folder", file=output)
    with exclusive(output / ".predict.lock", "another prediction is being written to this folder"):
        _clear(output, overwrite=overwrite)
        table: dict[str, np.ndarray] = {}
        failed: dict[str, str] = {}
        pixels = request.source.pixels(set(request.ids))
        outcomes = decoded(pixels, request.source.data, total=len(request.ids), progress=progress)
        while part := list(islice(outcomes, _AT_ONCE)):
            failed |= {outcome.name: outcome.reasons[0] for outcome in part if isinstance(outcome, Failed)}
            read = {outcome.name: outcome.value[0] for outcome in part if isinstance(outcome, Done)}
            if read:
                table |= dict(zip(read, classifier.probabilities(np.stack(list(read.values()))), strict=True))
        if table:
            output.mkdir(parents=True, exist_ok=True)
            # The table last: a folder that holds it says how its pictures were read, also after a kill.
            write_json(output / INDEX, _index(classifier, request, model, sorted(failed)).to_json(), private=True)
            write_table(output / TABLE, table, classifier.classes)
        if not failed:
            return PredictedTable(output / TABLE, "")
        pictures = counted(len(request.ids), "picture")
        listed = items(list(failed.values()), most=20)
        return PredictedTable(output / TABLE, f"{len(failed)} of {pictures} failed and got no row:{listed}")


def _clear(output: Path, *, overwrite: bool) -> None:
    """Old tables are refused, or removed before the work, so that none is left to pass for a new one."""
    old = [file for file in (output / TABLE, output / INDEX) if file.exists()]
    if old and not overwrite:
        raise RunError("exists already", file=old[0], remedy="Choose another --output, or add --overwrite")
    for file in old:
        file.unlink()


def _index(classifier: Classifier, request: PictureRequest, model: Path, failed: list[str]) -> StoredTable:
    card = classifier.card
    return StoredTable(
        task=card.task,
        classes=list(classifier.classes),
        data={**request.source.data.model_dump(mode="json"), "root": absolute(request.source.data.root)},
        selection=request.selection,
        seen={side: list(ids) for side, ids in request.seen.items()},
        failed=failed,
        model=absolute(model),
        weights_sha256=card.weights_sha256,
        selected_on=card.selected_on,
        architecture=card.architecture.model_dump(mode="json"),
        provenance=provenance(card.data_fingerprint),
    )
