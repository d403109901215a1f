"""Layout `idx`: the files of MNIST and its followers (Fashion-MNIST, KMNIST, EMNIST), gzipped or not.

    ROOT/train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz

An idx file is 0, 0, type (8: bytes), number of dimensions, each dimension as 4 bytes, big-endian, then the values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from segcct.config import PicturesSection
from segcct.errors import DataError
from segcct.plurals import counted
from segcct.tasks.classification.image_files import contents, names, unzipped
from segcct.tasks.classification.image_layout import ImageLayout, Labels, Pixels

_NAME = re.compile(r"^(?:.*[-_])?(train|t10k|test)[-_](images|labels)[-.]idx[13][-_]ubyte(\.gz)?$", re.I)


def find(data: PicturesSection) -> Labels:
    """Every picture with its label. Raises `DataError` naming the file that is missing or damaged."""
    pairs = _pairs(data)
    read = dict(contents(data.root, [files["labels"] for files in pairs.values()]))
    ids, numbers, sides = [], [], []
    for side, files in pairs.items():
        values = _values(files["labels"], read[files["labels"]], 1, data)
        ids += [_id(side, number) for number in range(len(values))]
        numbers.append(values.astype(np.int64))
        sides += [side] * len(values)
    every = np.concatenate(numbers)
    present = np.unique(every)
    order = np.argsort(np.array(ids))
    return Labels(
        classes=_class_names(data, present),
        ids=tuple(ids[place] for place in order),
        labels=np.searchsorted(present, every)[order],
        sides=tuple(sides[place] if len(pairs) > 1 else None for place in order),
        files=tuple(sorted(name for files in pairs.values() for name in files.values())),
    )


def pixels(data: PicturesSection, labels: Labels) -> Iterator[tuple[str, Pixels]]:
    """A decoder per picture."""
    pairs = _pairs(data)
    side_of = {files["images"]: side for side, files in pairs.items()}
    for name, content in contents(data.root, list(side_of)):
        pictures = _values(name, content, 3, data)
        expected = sum(each.startswith(f"{side_of[name]}/") for each in labels.ids)
        if len(pictures) != expected:
            raise DataError(
                "pictures and labels differ in number",
                file=data.root / name,
                found=counted(len(pictures), "picture"),
                expected=f"{expected}, as {pairs[side_of[name]]['labels']} has",
            )
        for number, picture in enumerate(pictures):
            yield _id(side_of[name], number), partial(np.array, picture)


def _id(side: str, number: int) -> str:
    return f"{side}/{number:06d}"


def _pairs(data: PicturesSection) -> dict[str, dict[str, str]]:
    """Side -> `images` and `labels` -> file."""
    every = names(data.root)
    found: dict[str, dict[str, str]] = {}
    for name in every:
        match = _NAME.match(name.rsplit("/", 1)[-1])
        if match:
            files = found.setdefault("train" if match[1].lower() == "train" else "test", {})
            if match[2].lower() in files:
                raise DataError(
                    f"two files of {match[2].lower()}",
                    file=data.root / name,
                    found=files[match[2].lower()],
                    remedy="Keep one of them in the dataset folder",
                )
            files[match[2].lower()] = name
    lacking = [f"{side} {what}" for side, files in found.items() for what in ("images", "labels") if what not in files]
    if "train" not in found or lacking:
        raise DataError(
            "idx files are missing",
            file=data.root,
            found=f"no {', '.join(lacking or ['train images'])} among {counted(len(every), 'file')}",
            expected="train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz, and the same of t10k",
        )
    return dict(sorted(found.items()))


def _values(name: str, content: bytes, dimensions: int, data: PicturesSection) -> np.ndarray:
    """(N,) labels or (N, H, W) pictures, uint8."""
    content = unzipped(name, content, data.root)
    head = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < head:
        raise DataError(
            "is no idx file of bytes", file=data.root / name, found=content[:4].hex(), expected=f"0000080{dimensions}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    if len(content) - head != int(np.prod(shape)):
        raise DataError(
            "is damaged",
            file=data.root / name,
            found=f"{len(content) - head} values",
            expected=" x ".join(str(size) for size in shape),
            remedy="Copy or download it again",
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _class_names(data: PicturesSection, present: np.ndarray) -> tuple[str, ...]:
    if data.class_names is None:
        return tuple(str(number) for number in present)
    if len(data.class_names) != len(present):
        raise DataError(
            "data.class_names does not fit the labels",
            file=data.root,
            found=f"{len(data.class_names)} names",
            expected=f"{len(present)}, for labels {', '.join(str(number) for number in present[:12])}",
        )
    return tuple(data.class_names)


LAYOUT = ImageLayout("idx", find, pixels, packed=True, numbered=True)
