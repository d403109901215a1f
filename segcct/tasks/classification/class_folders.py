"""Layout `classes`: a folder per class, in a folder or an archive.

    ROOT/glioma/1.jpg, ROOT/none/2.png ...
    ROOT/train/glioma/1.jpg, ROOT/test/glioma/7.jpg ...      train, val and test by any usual spelling

Folders inside a class folder belong to it. A single folder around everything is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from segcct.config import PicturesSection
from segcct.datasets.layouts.patterns import SPLIT_FOLDERS
from segcct.errors import DataError
from segcct.plurals import counted
from segcct.tasks.classification.decoding import SUFFIXES, decode
from segcct.tasks.classification.image_files import ARCHIVES, contents, names
from segcct.tasks.classification.image_layout import ImageLayout, Labels, Pixels


def is_picture(name: str) -> bool:
    """Whether the name has a picture's ending."""
    return name.lower().endswith(SUFFIXES)


def find(data: PicturesSection) -> Labels:
    """Every picture with its class. Raises `DataError` where the folders are others."""
    every = names(data.root)
    ids = [name for name in every if is_picture(name)]
    if not ids:
        raise DataError("no picture below this folder", file=data.root, **_expected(data, every))
    paths = _without_shell([tuple(name.split("/")) for name in ids])
    sided = _sided(data, ids, paths)
    sides = [SPLIT_FOLDERS[path[0].lower()] if sided else None for path in paths]
    inner = [path[1:] if sided else path for path in paths]
    loose = [name for name, path in zip(ids, inner, strict=True) if len(path) < 2]
    if loose:
        raise DataError(
            f"{counted(len(loose), 'picture')} outside the class folders",
            file=data.root / loose[0],
            expected=f"{data.root}/CLASS/picture.png",
            remedy="Move them into a class folder, or away",
        )
    classes = sorted({path[0] for path in inner})
    if len(classes) < 2:
        raise DataError("only one class", file=data.root, found=classes[0], expected="a folder for each of two or more")
    number = {name: index for index, name in enumerate(classes)}
    given = set(sides)
    return Labels(
        classes=tuple(classes),
        ids=tuple(ids),
        labels=np.array([number[path[0]] for path in inner], dtype=np.int64),
        # A lone `train` folder says nothing about who is tested.
        sides=tuple(None if given <= {"train"} else side for side in sides),
        files=tuple(ids),
    )


def pixels(data: PicturesSection, labels: Labels) -> Iterator[tuple[str, Pixels]]:
    """A decoder per picture."""
    for name, content in contents(data.root, labels.files):
        yield name, partial(decode, content, str(data.root / name))


def _without_shell(paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The paths without folders that hold everything, as archives have; a side's folder is kept."""
    kept = list(paths)
    while all(len(path) > 2 and path[0] == kept[0][0] for path in kept) and kept[0][0].lower() not in SPLIT_FOLDERS:
        kept = [path[1:] for path in kept]
    return kept


def _sided(data: PicturesSection, ids: Sequence[str], paths: Sequence[tuple[str, ...]]) -> bool:
    """Whether the top folders are sides. Raises `DataError` where some are and a picture stands outside of them."""
    met = {SPLIT_FOLDERS[path[0].lower()] for path in paths if len(path) > 1 and path[0].lower() in SPLIT_FOLDERS}
    odd = [name for name, path in zip(ids, paths, strict=True) if len(path) < 3 or path[0].lower() not in SPLIT_FOLDERS]
    # One such name may be a class: trains beside cars and ships.
    if len(met) > 1 and odd:
        raise DataError(
            f"{counted(len(odd), 'picture')} outside the class folders of {', '.join(sorted(met))}",
            file=data.root / odd[0],
            expected=f"{data.root}/train/CLASS/picture.png, and the same for each other side",
            remedy="Move them into the folder of their class, or away: pictures without one are for segcct predict",
        )
    return not odd


def _expected(data: PicturesSection, every: Sequence[str]) -> dict[str, str]:
    """The rest of the message: what should be there, and the archive to name where there is one."""
    archives = [name for name in every if name.lower().endswith(ARCHIVES)]
    expected = f"{data.root}/CLASS/picture.png, or {data.root}/train/CLASS/picture.png"
    if archives:
        return {"expected": expected, "remedy": f"Set data.root to the archive, {data.root / archives[0]}"}
    return {"found": f"{len(every)} other files", "expected": expected}


LAYOUT = ImageLayout("classes", find, pixels)
