"""The images of one file, of any folder or archive, or of a dataset read by its layout."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from segcct.case_runner import CaseJob, CaseOutcome, run_cases
from segcct.config import ImagesSection
from segcct.errors import DataError
from segcct.progress import Report
from segcct.tasks.classification.decoding import decode, fitted, is_image, pixel_digest
from segcct.tasks.classification.image_files import contents, is_archive, names, read_file
from segcct.tasks.classification.image_layout import ClassLabels, Decoder, get_image_layout

Decoded = tuple[np.ndarray, np.ndarray]
"""An image as the network sees it, and the digest of its pixels."""


@dataclass(frozen=True)
class ImageSource:
    """Where images come from."""

    data: ImagesSection
    ids: tuple[str, ...]
    """Path below the root, as in a labeled dataset."""
    labels: ClassLabels | None = None
    """Where the layout's own files are read."""

    def decoded(self, ids: Collection[str], progress: Report | None = None) -> Iterator[CaseOutcome[Decoded]]:
        """The outcome of each of these images, in any order, decoded in threads."""

        def decode_and_fit(decoder: Decoder) -> Decoded:
            pixels, data = decoder(), self.data
            return fitted(pixels, channels=data.channels, size=data.image_size, fit=data.fit), pixel_digest(pixels)

        jobs = (CaseJob(name, decoder) for name, decoder in self.decoders(set(ids)))
        workers = min(8, os.cpu_count() or 1)
        return run_cases(jobs, decode_and_fit, total=len(ids), backend="threads", workers=workers, progress=progress)

    def decoders(self, ids: Collection[str]) -> Iterator[tuple[str, Decoder]]:
        """A decoder for each of these images, in any order."""
        root = self.data.root
        if self.labels is not None:
            decoders = get_image_layout(self.data.layout).pixels(self.data, self.labels)
            yield from ((name, decoder) for name, decoder in decoders if name in ids)
        elif root.is_file() and is_archive(root):
            for name, content in contents(root, ids):
                yield name, partial(decode, content, str(root / name))
        else:  # read by its decoder, so that a file that cannot be read fails alone
            files = [(name, root / name) for name in sorted(ids)] if root.is_dir() else [(root.name, root)]
            yield from ((name, partial(_decoded, file)) for name, file in files)


def find_source(data: ImagesSection) -> ImageSource:
    """The images at `data.root`. Raises `DataError` when it holds none."""
    root = data.root
    if root.is_file() and not is_archive(root):
        if not is_image(root.name):
            raise DataError("is not an image", file=root, expected="an image, a folder or an archive of images")
        return ImageSource(data, (root.name,))
    ids = tuple(name for name in names(root) if is_image(name))
    if ids:
        return ImageSource(data, ids)
    layout = get_image_layout(data.layout)
    if layout.packed:
        labels = layout.find(data)
        return ImageSource(data, labels.ids, labels)
    raise DataError("no image below this folder", file=root, expected="files such as .png or .jpg")


def _decoded(file: Path) -> np.ndarray:
    return decode(read_file(file), str(file))
