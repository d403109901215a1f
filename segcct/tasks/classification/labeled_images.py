"""A dataset of labeled images: classes and groups, and the images, decoded once into a memory-mapped array that is
found again by the files' content."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.case_runner import Done, failures
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

DECODING_VERSION = 3
"""Part of every cache key: raised when the code of this package gives other pixels or digests."""


@dataclass(frozen=True)
class GroupedLabels:
    """Class and group of every image, in the order of their ids."""

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray
    """(N,) class numbers."""
    groups: tuple[str, ...]
    """Images that belong together: those of one patient, and copies; named by the first of them."""

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Positions of some ids. Raises `DataError` where one is not in the dataset."""
        place = {name: row for row, name in enumerate(self.ids)}
        missing = [name for name in ids if name not in place]
        if missing:
            raise not_in_dataset(missing, ids)
        return np.array([place[name] for name in ids], dtype=np.int64)


@dataclass(frozen=True)
class LabeledImages(GroupedLabels):
    """Also the pixels of every image; travels to loader processes as a path."""

    splits: tuple[str | None, ...]
    """Split that the dataset itself puts each image into, or None."""
    fingerprint: str
    """Digest of the files' names and contents."""
    stored: StoredArrays

    @property
    def pixels(self) -> np.ndarray:
        """(N, S, S, C) uint8, memory-mapped."""
        return self.stored["image"]


def not_in_dataset(missing: Sequence[str], ids: Sequence[str], root: Path | None = None) -> DataError:
    """The error of ids that a dataset lacks."""
    problem = f"{len(missing)} of {counted(len(ids), 'image')} not found in the dataset"
    return DataError(problem, file=root, found=f"no {missing[0]}")


def load_grouped_labels(data: ImagesSection, *, progress: Report | None = None) -> GroupedLabels:
    """Classes and groups alone: nothing is written, and an image that cannot be read counts as a copy of no other.

    Args:
        data: the data section.
        progress: called with (done, total) images to decode.

    Raises:
        DataError: the folders are not as the layout says.
    """
    labels = get_image_layout(data.layout).find(data)
    row_of = {name: row for row, name in enumerate(labels.ids)}
    digests = np.zeros((len(row_of), DIGEST_BYTES), dtype=np.uint8)
    for outcome in ImageSource(data, labels.ids, labels).digests(labels.ids, progress):
        digest = outcome.value if isinstance(outcome, Done) else digest_of(outcome.name.encode())
        digests[row_of[outcome.name]] = digest
    return GroupedLabels(labels.classes, labels.ids, labels.labels, _groups(labels.ids, digests, data.patient))


def load_labeled_images(
    data: ImagesSection, labels: ClassLabels | None = None, *, progress: Report | None = None
) -> LabeledImages:
    """The dataset of a configuration; images that were decoded before come from the cache.

    Args:
        data: the data section.
        labels: what the layout found, if it was asked before.
        progress: called with (done, total) images to decode.

    Raises:
        DataError: the folders are not as the layout says, or images cannot be read: one message names them.
    """
    if labels is None:
        labels = get_image_layout(data.layout).find(data)
    memo = memo_of(data.cache_folder, data.root)
    fingerprint = image_files.digest(data.root, labels.files, memo)
    key = key_of("classes", DECODING_VERSION, data.layout, data.channels, data.image_size, data.fit, fingerprint)
    cache = Cache(data.cache_folder, memo)
    entry = cache.get(key)
    if entry is not None:
        stored = entry[0]
    else:
        try:
            cache.folder.mkdir(parents=True, exist_ok=True)
            cache.sweep()
            stored = _decode(data, labels, cache, key, progress)
        except OSError as error:
            raise DataError(
                "the cache of decoded images cannot be written",
                file=cache.folder,
                found=found_of(error, cache.folder),
                remedy="Free some space, or set data.cache to a folder with room",
            ) from None
    memo.save()
    groups = _groups(labels.ids, np.asarray(stored["content"]), data.patient)
    return LabeledImages(labels.classes, labels.ids, labels.labels, groups, labels.splits, fingerprint, stored)


def _decode(data: ImagesSection, labels: ClassLabels, cache: Cache, key: str, progress: Report | None) -> StoredArrays:
    """The images, (N, S, S, C), and the digests of their pixels, (N, 16), both uint8, put into the cache."""
    row_of = {name: row for row, name in enumerate(labels.ids)}
    digests = np.zeros((len(row_of), DIGEST_BYTES), dtype=np.uint8)
    reasons: list[str] = []
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
            if isinstance(outcome, Done):
                row = row_of[outcome.name]
                images[row], digests[row] = outcome.value
            reasons += failures([outcome])
        if reasons:
            problem = f"{counted(len(reasons), 'image')} cannot be used:{items(reasons, most=10)}"
            raise DataError(problem, file=data.root)
        return cache.put(key, {"image": images, "content": digests}, {})


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
