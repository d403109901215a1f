"""A dataset of labelled pictures, decoded once: one memory-mapped array, found again by the content of the files."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from segcct.config import PicturesSection
from segcct.data.cache import Cache, StoredArrays, key_of
from segcct.data.classes import cifar, files, folder, idx
from segcct.data.classes.layout import Labels, Layout, Pixels
from segcct.data.classes.picture import fitted
from segcct.data.prepare import DEFAULT_CACHE
from segcct.errors import DataError, SegcctError
from segcct.progress import Report

DECODING_VERSION = 1
"""Part of every cache key: raised when the code of this package gives other pixels."""
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (folder.LAYOUT, cifar.LAYOUT, idx.LAYOUT)}
_AT_ONCE = 256
_SHOWN = 10


@dataclass(frozen=True)
class Collection:
    """Labelled pictures in the order of their ids; travels to loader processes as a path."""

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray
    """(N,) class numbers."""
    sides: tuple[str | None, ...]
    """Side that the dataset itself puts each picture on, or None."""
    groups: tuple[str, ...]
    """Pictures that belong together: those of one patient, and copies; named by the first of them."""
    stored: StoredArrays
    fingerprint: str
    """Digest of the files' names and contents."""

    @property
    def images(self) -> np.ndarray:
        """(N, S, S, C) uint8, memory-mapped; opened anew at each access."""
        return self.stored["image"]

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Positions of some ids. Raises `DataError` where one is not in the dataset."""
        place = {name: row for row, name in enumerate(self.ids)}
        gone = [name for name in ids if name not in place]
        if gone:
            raise DataError(f"{len(gone)} of {len(ids)} pictures are not in the dataset", found=f"no {gone[0]}")
        return np.array([place[name] for name in ids], dtype=np.int64)


def load_collection(data: PicturesSection, *, progress: Report | None = None) -> Collection:
    """The dataset of a configuration, decoded now or before.

    Raises:
        DataError: the folders are not as the layout says, or one message that names the pictures that cannot be read.
    """
    layout = LAYOUTS[data.layout]
    found = layout.find(data)
    fingerprint = files.digest(data.root, found.files)
    key = key_of(
        "classes", DECODING_VERSION, data.layout, data.channels, data.image_size, data.fit, fingerprint
    )  # fmt: skip
    cache = Cache(DEFAULT_CACHE if data.cache is None else data.cache)
    entry = cache.get(key)
    stored = _stored(layout, data, found, cache, key, progress) if entry is None else entry[0]
    return Collection(
        found.classes,
        found.ids,
        found.labels,
        found.sides,
        _groups(found.ids, np.asarray(stored["content"]), data.patient),
        stored,
        fingerprint,
    )


def _stored(
    layout: Layout, data: PicturesSection, found: Labels, cache: Cache, key: str, progress: Report | None
) -> StoredArrays:
    row_of = {name: row for row, name in enumerate(found.ids)}
    shape = (len(found.ids), data.image_size, data.image_size, data.num_channels)
    content = np.zeros((len(found.ids), 16), dtype=np.uint8)
    failures: list[str] = []
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
        # On disk from the first picture on, so that memory does not grow with the dataset.
        with tempfile.TemporaryDirectory(dir=cache.folder, prefix=".", suffix=".tmp") as beside:
            images = np.lib.format.open_memmap(Path(beside) / "image.npy", "w+", np.uint8, shape)
            for done, (name, outcome) in enumerate(decoded(layout.pixels(data, found), data), start=1):
                if isinstance(outcome, SegcctError):
                    failures.append(str(outcome))
                else:
                    images[row_of[name]], content[row_of[name]] = outcome
                if progress:
                    progress(done, len(found.ids))
            if failures:
                shown = "".join(f"\n  - {failure}" for failure in failures[:_SHOWN])
                more = f"\n  - and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
                raise DataError(f"{len(failures)} pictures cannot be used:{shown}{more}", file=data.root)
            return cache.put(key, {"image": images, "content": content}, {})
    except OSError as error:
        raise DataError(
            "the cache of decoded pictures cannot be written",
            file=cache.folder,
            found=error.strerror or str(error),
            remedy="Free some space, or set data.cache to a folder with room",
        ) from None


Outcome = tuple[np.ndarray, np.ndarray] | SegcctError
"""A picture as the network sees it with the digest of its pixels, or why it cannot be read."""


def decoded(sources: Iterator[tuple[str, Pixels]], data: PicturesSection) -> Iterator[tuple[str, Outcome]]:
    """Name and outcome of every source, in order, decoded in threads."""

    def one(source: tuple[str, Pixels]) -> tuple[str, Outcome]:
        name, decode = source
        try:
            pixels = decode()
        except SegcctError as error:
            return name, error
        square = fitted(pixels, channels=data.channels, size=data.image_size, fit=data.fit)
        return name, (square, _digest(pixels))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while batch := list(islice(sources, _AT_ONCE)):
            yield from pool.map(one, batch)


def _digest(pixels: np.ndarray) -> np.ndarray:
    """(16,) uint8 of the picture as it was stored, before any resizing: copies share it whatever their file's name."""
    told = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    told.update(np.ascontiguousarray(pixels).tobytes())
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
    match = re.search(expression, name)
    if match is None or match[1] is None:
        raise DataError("data.patient finds no patient in a picture's path", found=name, expected=expression)
    return match[1]
