"""Layout `classes`: a folder per class, in a folder or an archive.

    ROOT/glioma/1.jpg, ROOT/none/2.png ...
    ROOT/train/glioma/1.jpg, ROOT/test/glioma/7.jpg ...      train, val and test by any usual spelling

Folders inside a class folder belong to it. A single folder around everything is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from segcct.config import ImagesSection
from segcct.datasets.layouts.patterns import SPLIT_FOLDERS
from segcct.errors import DataError
from segcct.files.file_names import composed
from segcct.plurals import counted
from segcct.tasks.classification.decoding import is_image
from segcct.tasks.classification.image_files import ARCHIVES, decoders, names
from segcct.tasks.classification.image_layout import ClassLabels, Decoder, ImageLayout


def find(data: ImagesSection) -> ClassLabels:
    """Every image with its class. Raises `DataError` where the folders are not as the layout says."""
    files = names(data.root)
    ids = [name for name in files if is_image(name)]
    if not ids:
        raise _no_image(data, files)
    paths = _without_outer_folders([tuple(composed(name).split("/")) for name in ids])
    splits: list[str | None] = [None] * len(ids)
    if _has_split_folders(data, ids, paths):
        splits = [SPLIT_FOLDERS[path[0].lower()] for path in paths]
        paths = [path[1:] for path in paths]
    loose = [name for name, path in zip(ids, paths, strict=True) if len(path) < 2]
    if loose:
        raise DataError(
            f"{counted(len(loose), 'image')} outside the class folders",
            file=data.root / loose[0],
            expected=f"{data.root}/CLASS/image.png",
            remedy="Move them into a class folder, or out of the dataset",
        )
    classes = sorted({path[0] for path in paths})
    if len(classes) < 2:
        raise DataError("only one class", file=data.root, found=classes[0], expected="a folder for each of two or more")
    number = {name: index for index, name in enumerate(classes)}
    depth = ids[0].count("/") + 2 - len(paths[0])  # of the files of a class folder
    return ClassLabels(
        classes=tuple(classes),
        ids=tuple(ids),
        labels=np.array([number[path[0]] for path in paths], dtype=np.int64),
        splits=ClassLabels.known_splits(splits),
        files=tuple(ids),
        others=tuple(name for name in files if not is_image(name) and name.count("/") >= depth),
    )


def pixels(data: ImagesSection, labels: ClassLabels) -> Iterator[tuple[str, Decoder]]:
    """A decoder per image."""
    return decoders(data.root, labels.files)


def _without_outer_folders(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The paths without folders that hold everything, as archives have; the folder of a split stays."""
    while all(len(path) > 2 and path[0] == paths[0][0] for path in paths) and paths[0][0].lower() not in SPLIT_FOLDERS:
        paths = [path[1:] for path in paths]
    return paths


def _has_split_folders(data: ImagesSection, ids: Sequence[str], paths: Sequence[tuple[str, ...]]) -> bool:
    """Whether the top folders are splits. Raises `DataError` where several are and an image lies outside of them."""
    splits = {SPLIT_FOLDERS[path[0].lower()] for path in paths if len(path) > 1 and path[0].lower() in SPLIT_FOLDERS}
    outside = [
        name for name, path in zip(ids, paths, strict=True) if len(path) < 3 or path[0].lower() not in SPLIT_FOLDERS
    ]
    # One such name may be a class: trains next to cars and ships.
    if len(splits) > 1 and outside:
        raise DataError(
            f"{counted(len(outside), 'image')} outside the class folders of {', '.join(sorted(splits))}",
            file=data.root / outside[0],
            expected=f"{data.root}/train/CLASS/image.png, and the same for each other split",
            remedy="Move them into their class folder, or elsewhere; segcct predict takes images without a class",
        )
    return not outside


def _no_image(data: ImagesSection, files: Sequence[str]) -> DataError:
    """What should be there, and the archive to name where there is one."""
    archives = [name for name in files if name.lower().endswith(ARCHIVES)]
    return DataError(
        "no image below this folder",
        file=data.root,
        found=None if archives else f"{len(files)} other files",
        expected=f"{data.root}/CLASS/image.png, or {data.root}/train/CLASS/image.png",
        remedy=f"Set data.root to the archive, {data.root / archives[0]}" if archives else None,
    )


LAYOUT = ImageLayout("classes", find, pixels)
