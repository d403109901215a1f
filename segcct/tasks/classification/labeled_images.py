"""A dataset of labeled images, decoded once into a memory-mapped array that is found again by the files' content."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
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
from segcct.progress import Report, say
from segcct.tasks.classification import image_files
from segcct.tasks.classification.decoding import DIGEST_BYTES
from segcct.tasks.classification.image_layout import ClassLabels, get_image_layout
from segcct.tasks.classification.image_source import ImageSource

DECODING_VERSION = 4
"""Part of every cache key: raised when the code of this package gives other pixels or digests, or another order."""


@dataclass(frozen=True)
class LabeledImages:
    """The images of a dataset in the order of their ids; travel to loader processes as a path."""

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray
    """(N,) class numbers."""
    groups: tuple[str, ...]
    """Images that belong together: those of one patient, and copies; named by the first of them."""
    splits: tuple[str | None, ...]
    """Split that the dataset itself puts each image into, or None."""
    fingerprint: str
    """Digest of the files' names and contents."""
    stored: StoredArrays
    others: tuple[str, ...] = ()
    """Other files in class folders, which are not read."""

    @property
    def pixels(self) -> np.ndarray:
        """(N, S, S, C) uint8, memory-mapped."""
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
    digests = [digest.tobytes() for digest in np.asarray(stored["content"])]
    patients = None if data.patient is None else [_required_patient(name, data.patient) for name in labels.ids]
    groups = _joined(labels.ids, digests, patients)
    return LabeledImages(
        labels.classes, labels.ids, labels.labels, groups, labels.splits, fingerprint, stored, labels.others
    )


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
                images[row], digests[row] = outcome.value[0], np.frombuffer(outcome.value[1], dtype=np.uint8)
            reasons += failures([outcome])
        if reasons:
            problem = f"{counted(len(reasons), 'image')} cannot be used:{items(reasons, most=10)}"
            raise DataError(problem, file=data.root)
        return cache.put(key, {"image": images, "content": digests}, {})


def groups_of(
    data: ImagesSection,
    labels: ClassLabels,
    ids: Sequence[str],
    digests: Mapping[str, str],
    *,
    progress: Report | None = None,
) -> tuple[str, ...]:
    """The group of each of some images, to evaluate them; nothing is written.

    An image that cannot be read is a copy of no other. One in whose path `data.patient` finds no patient, as in another
    dataset than the one trained on, is a patient of its own.

    Args:
        data: the data section.
        labels: what the layout found.
        ids: the images.
        digests: image -> digest of its pixels in hexadecimal, where it is known; other images are decoded.
        progress: called with (done, total) images to decode.
    """
    known: dict[str, object] = {name: digests[name] for name in ids if name in digests}
    if unknown := [name for name in ids if name not in known]:
        for outcome in ImageSource(data, labels.ids, labels).digests(unknown, progress):
            known[outcome.name] = outcome.value.hex() if isinstance(outcome, Done) else (outcome.name,)
    patients = None
    if data.patient is not None:
        found = [_patient(name, data.patient) for name in ids]
        if without := found.count(None):
            images = counted(without, "image")
            say(f"data.patient ({data.patient}) finds no patient in the path of {images}; each counts as a patient")
        patients = [(name,) if patient is None else patient for name, patient in zip(ids, found, strict=True)]
    return _joined(ids, [known[name] for name in ids], patients)


def _joined(ids: Sequence[str], digests: Iterable[object], patients: Iterable[object] | None) -> tuple[str, ...]:
    """The first id of every group: images joined by an equal digest or an equal patient, in chains too."""
    leader = list(range(len(ids)))

    def lead(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    for keys in (digests, patients or ()):
        first: dict[object, int] = {}
        for row, key in enumerate(keys):
            a, b = lead(first.setdefault(key, row)), lead(row)
            leader[max(a, b)] = min(a, b)
    return tuple(ids[lead(row)] for row in range(len(ids)))


def _patient(name: str, expression: str) -> str | None:
    match = search_patient(expression, name)
    return None if match is None else match[1] or None


def _required_patient(name: str, expression: str) -> str:
    patient = _patient(name, expression)
    if patient is None:
        raise DataError("data.patient finds no patient in an image's path", found=name, expected=expression)
    return patient
