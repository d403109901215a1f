"""Class probabilities of images: a file, a folder or a dataset -> predictions.csv and predictions.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Tensor

from segcct.case_runner import Done, Failed, failures
from segcct.datasets.folder_tree import unread_places
from segcct.datasets.split_record import Splits
from segcct.errors import DataError, RunError, items
from segcct.files.atomic_file import OTHER_OR_OVERWRITE, refuse_existing
from segcct.files.file_names import absolute, composed
from segcct.files.json_file import write_json
from segcct.files.lock import exclusive
from segcct.plurals import counted
from segcct.predictions.predictions_index import INDEX
from segcct.predictions.predictions_record import StoredTable
from segcct.predictions.split_selection import ids_of_split, read_splits
from segcct.progress import Report, say
from segcct.provenance import provenance
from segcct.tasks.classification.classifier import Classifier, normalized
from segcct.tasks.classification.image_layout import reading, section_of
from segcct.tasks.classification.image_source import ImageSource, find_source
from segcct.tasks.classification.probability_table import TABLE, write_table

_AT_ONCE = 512


@dataclass(frozen=True)
class ImageRequest:
    """What is to be predicted."""

    source: ImageSource
    ids: tuple[str, ...]
    selection: str | None = None
    seen: dict[str, list[str]] = field(default_factory=dict)
    """`train` and `val` -> those of the images that are in that split of the model's run."""
    unread: tuple[str, ...] = ()
    """Errors of the folders that could not be read, so that their images are not known."""


def find_images(
    classifier: Classifier, root: Path, *, splits_files: Sequence[Path] = (), split: str | None = None
) -> ImageRequest:
    """The images at `root`, read as the model's layout says.

    Args:
        classifier: the model.
        root: an image, a folder or archive of images, or a dataset of the model's layout.
        splits_files: splits.json of the run of each model, which says what images it has seen; it may be missing.
        split: train, val or test: only these images of that split.

    Raises:
        DataError: `root` does not exist or holds no image.
        SplitError: the split is empty, or its images are not below `root`.
    """
    if not root.exists():
        raise DataError("no such file or folder", file=root)
    source = find_source(section_of(classifier.card.data, root))
    unread = tuple(map(str, source.unread))
    if unread:
        say(unread_places(unread, named=False))
    splits = read_splits(splits_files, split)
    if split is None:
        return ImageRequest(source, source.ids, None, _seen(source.ids, list(splits.values())), unread)
    ids = ids_of_split(splits, split, set(source.ids), source=root, noun="image")
    return ImageRequest(source, ids, split, _seen(ids, list(splits.values())))


def _seen(ids: Sequence[str], splits: Sequence[Splits]) -> dict[str, list[str]]:
    """The images that a model was trained on (`train`), and those that only served to select one (`val`)."""
    if not splits:
        return {}
    train, val = ({composed(name) for each in splits for name in getattr(each, split)} for split in ("train", "val"))
    seen = {"train": train, "val": val - train}
    return {split: [name for name in ids if composed(name) in names] for split, names in seen.items()}


def predict_images(
    classifier: Classifier,
    request: ImageRequest,
    output: Path,
    *,
    model: Path | None,
    overwrite: bool = False,
    progress: Report | None = None,
) -> Path:
    """Write predictions.csv (a row per image: its class and all probabilities) and predictions.json.

    An image that cannot be read has no row; if none can be read, nothing is written.

    Args:
        classifier: the model.
        request: the images.
        output: the folder.
        model: the model's folder, named in predictions.json so that a report can load it again; None for an ensemble.
        overwrite: replace an earlier table.
        progress: called with (done, total).

    Returns:
        predictions.csv.

    Raises:
        RunError: there is a table already and `overwrite` is off.
        DataError: at the end, naming every image without a row, and why, and the folders that could not be read.
    """
    if output.exists() and not output.is_dir():
        raise RunError("is not a folder", file=output)
    with exclusive(output / ".predict.lock", "another prediction is being written to this folder"):
        # Old tables are removed before the work, so that none is left to pass for a new one.
        for file in (output / TABLE, output / INDEX):
            if not overwrite:
                refuse_existing(file, OTHER_OR_OVERWRITE)
            file.unlink(missing_ok=True)
        table: dict[str, np.ndarray] = {}
        digests: dict[str, str] = {}
        failed: list[Failed] = []
        outcomes = request.source.decoded(request.ids, progress)
        while part := list(islice(outcomes, _AT_ONCE)):
            failed += [outcome for outcome in part if isinstance(outcome, Failed)]
            done = [outcome for outcome in part if isinstance(outcome, Done)]
            digests |= {outcome.name: outcome.value[1].hex() for outcome in done}
            images = {outcome.name: outcome.value[0] for outcome in done}
            if images:
                table |= dict(zip(images, classifier.probabilities(np.stack(list(images.values()))), strict=True))
        if table:
            output.mkdir(parents=True, exist_ok=True)
            # The table last: a folder that holds it says how its images were read, also after a kill.
            index = _index(classifier, request, model, sorted(each.name for each in failed), digests)
            write_json(output / INDEX, index.to_json(), private=True)
            write_table(output / TABLE, table, classifier.classes)
    problems = [unread_places(request.unread)]
    if failed:
        problem = f"{len(failed)} of {counted(len(request.ids), 'image')} failed and got no row"
        problems.insert(0, f"{problem}:{items(failures(failed), most=20)}")
    if any(problems):
        raise DataError("\n".join(filter(None, problems)))
    return output / TABLE


def _index(
    classifier: Classifier, request: ImageRequest, model: Path | None, failed: list[str], digests: dict[str, str]
) -> StoredTable:
    card, data = classifier.card, request.source.data
    return StoredTable(
        task=card.task,
        classes=list(classifier.classes),
        data={**reading(data), "root": absolute(data.root)},
        selection=request.selection,
        seen=request.seen,
        failed=failed,
        digests=digests,
        model=None if model is None else absolute(model),
        weights_sha256=card.weights_sha256,
        selected_on=card.selected_on,
        architecture=card.architecture.model_dump(mode="json"),
        provenance=provenance(card.data_fingerprint),
    )


def network_images(classifier: Classifier, request: ImageRequest, count: int) -> Tensor:
    """At most `count` images as the network sees them, (N, C, S, S). Raises `DataError` where none can be read."""
    ids = request.ids[:: max(1, len(request.ids) // count)][:count]
    outcomes = request.source.decoded(ids, None)
    images = [outcome.value[0] for outcome in outcomes if isinstance(outcome, Done)]
    if not images:
        raise DataError("none of the images can be read", file=request.source.data.root)
    return normalized(np.stack(images), classifier.normalization)
