"""A dataset of labeled images, decoded once: one memory-mapped array, found again by the content of the files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.case_runner import Done, Failed
from segcct.config import ImagesSection
from segcct.config.expressions import search_patient
from segcct.datasets.inventory import memo_of
from segcct.errors import DataError, items
from segcct.files.file_memo import key_of
from segcct.plurals import counted
from segcct.preparation.cache import Cache, StoredArrays, found_of
from segcct.progress import Report
from segcct.tasks.classification import image_files
from segcct.tasks.classification.decoding import DIGEST_BYTES, digest_of
from segcct.tasks.classification.image_layout import ClassLabels, get_image_layout
from segcct.tasks.classification.image_source import ImageSource

DECODING_VERSION = 2
"""Part of every cache key: raised when the code of this package gives other pixels or digests."""


@dataclass(frozen=True)
class LabeledImages:
    """Class, group and pixels of every image, in the order of their ids; travels to loader processes as a path."""

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray
    """(N,) class numbers."""
    splits: tuple[str | None, ...]
    """Split that the dataset itself puts each image into, or None."""
    groups: tuple[str, ...]
    """Images that belong together: those of one patient, and copies; named by the first of them."""
    fingerprint: str
    """Digest of the files' names and contents."""
    stored: StoredArrays | None
    """The decoded images; None where some cannot be read."""

    @property
    def pixels(self) -> np.ndarray:
        """(N, S, S, C) uint8, memory-mapped."""
        assert self.stored is not None, "some images cannot be read"
        return self.stored["image"]

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Positions of some ids. Raises `DataError` where one is not in the dataset."""
        place = {name: row for row, name in enumerate(self.ids)}
        missing = [name for name in ids if name not in place]
        if missing:
            raise not_in_dataset(missing, ids)
        return np.array([place[name] for name in ids], dtype=np.int64)


def not_in_dataset(missing: Sequence[str], ids: Sequence[str], root: Path | None = None) -> DataError:
    """The error of ids that a dataset lacks."""
    problem = f"{len(missing)} of {counted(len(ids), 'image')} not found in the dataset"
    return DataError(problem, file=root, found=f"no {missing[0]}")


def load_labeled_images(
    data: ImagesSection,
    labels: ClassLabels | None = None,
    *,
    allow_unreadable: bool = False,
    progress: Report | None = None,
) -> LabeledImages:
    """The dataset of a configuration, decoded now or before.

    Args:
        data: the data section.
        labels: what the layout finds, where it was asked before.
        allow_unreadable: return classes and groups where some images cannot be read, without pixels. Such an image is
            no copy of another.
        progress: called with (done, total) images to decode.

    Raises:
        DataError: the folders are not as the layout says, or one message that names the images that cannot be read.
    """
    if labels is None:
        labels = get_image_layout(data.layout).find(data)
    memo = memo_of(data.cache_folder, data.root)
    fingerprint = image_files.digest(data.root, labels.files, memo)
    key = key_of("classes", DECODING_VERSION, data.layout, data.channels, data.image_size, data.fit, fingerprint)
    cache = Cache(data.cache_folder, memo)
    entry = cache.get(key)
    stored: StoredArrays | None = None
    failures: list[str] = []
    if entry is not None:
        stored = entry[0]
        digests = np.asarray(stored["content"])
    else:
        try:
            cache.folder.mkdir(parents=True, exist_ok=True)
            cache.sweep()
            stored, digests, failures = _decode(data, labels, cache, key, progress)
        except OSError as error:
            raise DataError(
                "the cache of decoded images cannot be written",
                file=cache.folder,
                found=found_of(error, cache.folder),
                remedy="Free some space, or set data.cache to a folder with room",
            ) from None
    if stored is not None:
        memo.save()
    elif not allow_unreadable:
        problem = f"{counted(len(failures), 'image')} cannot be used:{items(failures, most=10)}"
        raise DataError(problem, file=data.root)
    groups = _groups(labels.ids, digests, data.patient)
    return LabeledImages(labels.classes, labels.ids, labels.labels, labels.splits, groups, fingerprint, stored)


def _decode(
    data: ImagesSection, labels: ClassLabels, cache: Cache, key: str, progress: Report | None
) -> tuple[StoredArrays | None, np.ndarray, list[str]]:
    """What is stored (None where some failed), (N, 16) digests of the pixels (of an image that failed: of its name),
    and why some failed."""
    row_of = {name: row for row, name in enumerate(labels.ids)}
    digests = np.zeros((len(row_of), DIGEST_BYTES), dtype=np.uint8)
    failures: list[str] = []
    # On disk from the first image on, so that memory does not grow with the dataset.
    with tempfile.TemporaryDirectory(dir=cache.folder, prefix=".", suffix=".tmp") as folder:
        file = Path(folder) / "image.npy"
        shape = (len(row_of), data.image_size, data.image_size, data.num_channels)
        images = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
        # On a full disk, writing through memory would end the process: the space is taken now, or `OSError` raised.
        if hasattr(os, "posix_fallocate"):
            with file.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        for outcome in ImageSource(data, labels.ids, labels).decoded(labels.ids, progress):
            row = row_of[outcome.name]
            if isinstance(outcome, Done):
                images[row], digests[row] = outcome.value
            elif isinstance(outcome, Failed):
                failures += outcome.reasons
                digests[row] = digest_of(outcome.name.encode())
        stored = None if failures else cache.put(key, {"image": images, "content": digests}, {})
    return stored, digests, failures


def _groups(ids: Sequence[str], digests: np.ndarray, patient: str | None) -> tuple[str, ...]:
    """The first id of every group: images joined by equal pixels or an equal patient, in chains too."""
    leader = list(range(len(ids)))

    def lead(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    first: dict[object, int] = {}
    for row, name in enumerate(ids):
        for key in (digests[row].tobytes(), *([] if patient is None else [_patient(name, patient)])):
            a, b = lead(first.setdefault(key, row)), lead(row)
            leader[max(a, b)] = min(a, b)
    return tuple(ids[lead(row)] for row in range(len(ids)))


def _patient(name: str, expression: str) -> str:
    match = search_patient(expression, name)
    if match is None or match[1] is None:
        raise DataError("data.patient finds no patient in an image's path", found=name, expected=expression)
    return match[1]
