"""A dataset of labelled pictures, decoded once: one memory-mapped array, found again by the content of the files."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.case_runner import CaseJob, CaseOutcome, Done, Failed, run_cases
from segcct.config import PicturesSection
from segcct.config.expressions import search_patient
from segcct.datasets.inventory import memo_of
from segcct.errors import DataError, items
from segcct.files.file_memo import key_of
from segcct.plurals import counted
from segcct.preparation.cache import Cache, StoredArrays, found_of
from segcct.progress import Report
from segcct.tasks.classification import image_files
from segcct.tasks.classification.decoding import fitted
from segcct.tasks.classification.image_layout import Labels, Pixels, get_image_layout

DECODING_VERSION = 2
"""Part of every cache key: raised when the code of this package gives other pixels or digests."""
_DIGEST_BYTES = 16
_SHOWN = 10


@dataclass(frozen=True)
class References:
    """True class and group of every picture, in the order of their ids."""

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray
    """(N,) class numbers."""
    sides: tuple[str | None, ...]
    """Side that the dataset itself puts each picture on, or None."""
    groups: tuple[str, ...]
    """Pictures that belong together: those of one patient, and copies; named by the first of them."""

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Positions of some ids. Raises `DataError` where one is not in the dataset."""
        place = {name: row for row, name in enumerate(self.ids)}
        gone = [name for name in ids if name not in place]
        if gone:
            raise DataError(
                f"{len(gone)} of {counted(len(ids), 'picture')} not found in the dataset", found=f"no {gone[0]}"
            )
        return np.array([place[name] for name in ids], dtype=np.int64)


@dataclass(frozen=True)
class Collection(References):
    """Labelled pictures, decoded; travels to loader processes as a path."""

    stored: StoredArrays
    fingerprint: str
    """Digest of the files' names and contents."""

    @property
    def images(self) -> np.ndarray:
        """(N, S, S, C) uint8, memory-mapped."""
        return self.stored["image"]


def find_labels(data: PicturesSection) -> Labels:
    """Names and classes of a dataset, without its pixels. Raises `DataError` where it is not as the layout says."""
    return get_image_layout(data.layout).find(data)


def load_collection(
    data: PicturesSection, *, found: Labels | None = None, progress: Report | None = None
) -> Collection:
    """The dataset of a configuration, decoded now or before.

    Args:
        data: the data section.
        found: what `find_labels` gives, where it was asked before.
        progress: called with (done, total) pictures to decode.

    Raises:
        DataError: the folders are not as the layout says, or one message that names the pictures that cannot be read.
    """
    found = find_labels(data) if found is None else found
    decoding = _decoded_or_kept(data, found, progress)
    if decoding.stored is None:
        failures = decoding.failures
        raise DataError(
            f"{counted(len(failures), 'picture')} cannot be used:{items(failures, most=_SHOWN)}", file=data.root
        )
    groups = _groups(found.ids, decoding.content, data.patient)
    return Collection(
        found.classes, found.ids, found.labels, found.sides, groups, decoding.stored, decoding.fingerprint
    )


def load_references(data: PicturesSection, *, progress: Report | None = None) -> References:
    """Classes and groups alone. A picture that cannot be read is no copy of another; nothing is kept then.

    Raises:
        DataError: the folders are not as the layout says.
    """
    found = find_labels(data)
    decoding = _decoded_or_kept(data, found, progress)
    groups = _groups(found.ids, decoding.content, data.patient)
    return References(found.classes, found.ids, found.labels, found.sides, groups)


@dataclass(frozen=True)
class _Decoding:
    """What became of the pictures of a dataset."""

    stored: StoredArrays | None
    """None where some failed."""
    content: np.ndarray
    """(N, 16) digests of the pixels; of a picture that failed, of its name."""
    fingerprint: str
    """Digest of the files' names and contents."""
    failures: Sequence[str] = ()


def _decoded_or_kept(data: PicturesSection, found: Labels, progress: Report | None) -> _Decoding:
    memo = memo_of(data.cache_folder, data.root)
    fingerprint = image_files.digest(data.root, found.files, memo)
    key = key_of("classes", DECODING_VERSION, data.layout, data.channels, data.image_size, data.fit, fingerprint)
    cache = Cache(data.cache_folder, memo)
    entry = cache.get(key)
    if entry is not None:
        memo.save()
        return _Decoding(entry[0], np.asarray(entry[0]["content"]), fingerprint)
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
        cache.sweep()
        stored, content, failures = _decode(data, found, cache, key, progress)
    except OSError as error:
        raise DataError(
            "the cache of decoded pictures cannot be written",
            file=cache.folder,
            found=found_of(error, cache.folder),
            remedy="Free some space, or set data.cache to a folder with room",
        ) from None
    if stored is not None:
        memo.save()
    return _Decoding(stored, content, fingerprint, failures)


def _decode(
    data: PicturesSection, found: Labels, cache: Cache, key: str, progress: Report | None
) -> tuple[StoredArrays | None, np.ndarray, list[str]]:
    """What is stored (None where some failed), digests of the pixels, and why some failed."""
    row_of = {name: row for row, name in enumerate(found.ids)}
    shape = (len(found.ids), data.image_size, data.image_size, data.num_channels)
    content = np.zeros((len(found.ids), _DIGEST_BYTES), dtype=np.uint8)
    failures: list[str] = []
    # On disk from the first picture on, so that memory does not grow with the dataset.
    with tempfile.TemporaryDirectory(dir=cache.folder, prefix=".", suffix=".tmp") as beside:
        images = np.lib.format.open_memmap(Path(beside) / "image.npy", "w+", np.uint8, shape)
        _reserve(Path(beside) / "image.npy")
        pixels = get_image_layout(data.layout).pixels(data, found)
        for outcome in decoded(pixels, data, total=len(found.ids), progress=progress):
            row = row_of[outcome.name]
            if isinstance(outcome, Done):
                images[row], content[row] = outcome.value
            elif isinstance(outcome, Failed):
                failures += outcome.reasons
                content[row] = _digest(outcome.name.encode())
        stored = None if failures else cache.put(key, {"image": images, "content": content}, {})
    return stored, content, failures


def _reserve(file: Path) -> None:
    """Take the space of a file that is written through memory now: on a full disk that would end the process later.

    Raises `OSError` where there is not enough.
    """
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)


Decoded = tuple[np.ndarray, np.ndarray]
"""A picture as the network sees it, and the digest of its pixels."""


def decoded(
    sources: Iterable[tuple[str, Pixels]], data: PicturesSection, *, total: int, progress: Report | None = None
) -> Iterator[CaseOutcome[Decoded]]:
    """What became of every source, in order, decoded in threads."""

    def one(decode: Pixels) -> Decoded:
        pixels = decode()
        square = fitted(pixels, channels=data.channels, size=data.image_size, fit=data.fit)
        return square, _digest_of(pixels)

    jobs = (CaseJob(name, decode) for name, decode in sources)
    workers = min(8, os.cpu_count() or 1)
    return run_cases(jobs, one, total=total, backend="threads", workers=workers, progress=progress)


def _digest_of(pixels: np.ndarray) -> np.ndarray:
    """Of a picture as it was stored, before any resizing: copies share it, whatever their file's name and whether grey
    is stored as one channel or as three equal ones."""
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    return _digest(str(pixels.shape).encode(), np.ascontiguousarray(pixels).tobytes())


def _digest(*parts: bytes) -> np.ndarray:
    """(16,) uint8."""
    told = hashlib.blake2b(b"".join(parts), digest_size=_DIGEST_BYTES)
    return np.frombuffer(told.digest(), dtype=np.uint8)


def _groups(ids: Sequence[str], content: np.ndarray, patient: str | None) -> tuple[str, ...]:
    """The first id of every group: pictures joined by equal pixels or an equal patient, in chains too."""
    leader = list(range(len(ids)))

    def lead(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    first: dict[object, int] = {}
    for row, name in enumerate(ids):
        for key in (content[row].tobytes(), *([] if patient is None else [_patient(name, patient)])):
            a, b = lead(first.setdefault(key, row)), lead(row)
            leader[max(a, b)] = min(a, b)
    return tuple(ids[lead(row)] for row in range(len(ids)))


def _patient(name: str, expression: str) -> str:
    match = search_patient(expression, name)
    if match is None or match[1] is None:
        raise DataError("data.patient finds no patient in a picture's path", found=name, expected=expression)
    return match[1]
