"""Pictures to predict: one file, any folder or archive of pictures, or a dataset read by its layout."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial

from segcct.config import PicturesSection
from segcct.errors import DataError
from segcct.tasks.classification.class_folders import is_picture
from segcct.tasks.classification.decoding import decode
from segcct.tasks.classification.image_files import contents, is_archive, names
from segcct.tasks.classification.image_layout import Labels, Pixels, get_image_layout


@dataclass(frozen=True)
class Source:
    """Where pictures to predict come from."""

    data: PicturesSection
    ids: tuple[str, ...]
    """Path below the root, as in a labelled dataset."""
    labelled: Labels | None = None
    """Where no picture files are there and the layout's own files are read."""

    def pixels(self, wanted: Collection[str]) -> Iterator[tuple[str, Pixels]]:
        """A decoder for each wanted picture, in any order."""
        root = self.data.root
        if self.labelled is not None:
            every = get_image_layout(self.data.layout).pixels(self.data, self.labelled)
            yield from ((name, pixels) for name, pixels in every if name in wanted)
        elif root.is_file() and not is_archive(root):
            yield root.name, partial(decode, root.read_bytes(), str(root))
        else:
            for name, content in contents(root, wanted):
                yield name, partial(decode, content, str(root / name))


def find_source(data: PicturesSection) -> Source:
    """What stands at `data.root`. Raises `DataError` when it holds no picture."""
    root = data.root
    if root.is_file() and not is_archive(root):
        if not is_picture(root.name):
            raise DataError("is no picture", file=root, expected="a picture, a folder or an archive of pictures")
        return Source(data, (root.name,))
    pictures = tuple(name for name in names(root) if is_picture(name))
    if pictures:
        return Source(data, pictures)
    layout = get_image_layout(data.layout)
    if layout.packed:
        labelled = layout.find(data)
        return Source(data, labelled.ids, labelled)
    raise DataError("no picture below this folder", file=root, expected="files such as .png or .jpg")
