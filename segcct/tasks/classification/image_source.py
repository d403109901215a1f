"""The images of one file, of any folder or archive, or of a dataset read by its layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from segcct.case_runner import CaseJob, CaseOutcome, Value, run_cases
from segcct.config import ImagesSection
from segcct.errors import DataError
from segcct.progress import Report
from segcct.tasks.classification.decoding import fitted, is_image, pixel_digest
from segcct.tasks.classification.image_files import decode_file, decoders, is_archive, readable_names
from segcct.tasks.classification.image_layout import ClassLabels, Decoder, get_image_layout

Decoded = tuple[np.ndarray, bytes]
"""An image as the network sees it, and the digest of its pixels."""


@dataclass(frozen=True)
class ImageSource:
    """Where images come from."""

    data: ImagesSection
    ids: tuple[str, ...]
    """Path below the root, as in a labeled dataset."""
    labels: ClassLabels | None = None
    """What the layout found, where its packed files are read; None: every image is a file of its own."""
    unread: tuple[DataError, ...] = ()
    """An error for each folder that cannot be read, so that its images are not known."""

    def decoded(self, ids: Collection[str], progress: Report | None = None) -> Iterator[CaseOutcome[Decoded]]:
        """The outcome of each of these images, in any order."""

        def decode_and_fit(decoder: Decoder) -> Decoded:
            pixels, data = decoder(), self.data
            return fitted(pixels, channels=data.channels, size=data.image_size, fit=data.fit), pixel_digest(pixels)

        return self._outcomes(ids, decode_and_fit, progress)

    def digests(self, ids: Collection[str], progress: Report | None = None) -> Iterator[CaseOutcome[bytes]]:
        """As `decoded`, with nothing but the digest of each image."""
        return self._outcomes(ids, lambda decoder: pixel_digest(decoder()), progress)

    def decoders(self, ids: Collection[str]) -> Iterator[tuple[str, Decoder]]:
        """A decoder for each of these images, in any order."""
        root = self.data.root
        if self.labels is not None:
            every = get_image_layout(self.data.layout).pixels(self.data, self.labels)
            yield from ((name, decoder) for name, decoder in every if name in ids)
        elif root.is_file() and not is_archive(root):
            yield root.name, lambda: decode_file(root)
        else:
            yield from decoders(root, ids)

    def _outcomes(
        self, ids: Collection[str], work: Callable[[Decoder], Value], progress: Report | None
    ) -> Iterator[CaseOutcome[Value]]:
        """What `work` makes of the decoder of each of these images, in threads."""
        jobs = (CaseJob(name, decoder) for name, decoder in self.decoders(set(ids)))
        workers = min(8, os.cpu_count() or 1)
        return run_cases(jobs, work, total=len(ids), backend="threads", workers=workers, progress=progress)


def find_source(data: ImagesSection) -> ImageSource:
    """The images at `data.root`: those of the layout where its own packed files are there, else every image file.

    Raises:
        DataError: there is no image, or a packed dataset is incomplete or damaged.
    """
    root = data.root
    if root.is_file() and not is_archive(root):
        if not is_image(root.name):
            raise DataError("is not an image", file=root, expected="an image, a folder or an archive of images")
        return ImageSource(data, (root.name,))
    files, unread = readable_names(root)
    layout = get_image_layout(data.layout)
    ids = tuple(name for name in files if is_image(name))
    if layout.packs is not None and (not ids or any(map(layout.packs, files))):
        labels = layout.find(data)
        return ImageSource(data, labels.ids, labels)
    if ids:
        return ImageSource(data, ids, unread=tuple(unread))
    raise DataError("no image below this folder", file=root, expected="files such as .png or .jpg")
