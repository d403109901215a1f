"""Layout `idx`: the files of MNIST and its followers (Fashion-MNIST, KMNIST, EMNIST), gzipped or not.

    ROOT/train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz

An IDX file is 0, 0, type (8: bytes), number of dimensions, each dimension as 4 bytes, big-endian, then the values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from segcct.config import ImagesSection
from segcct.errors import DataError
from segcct.plurals import counted
from segcct.tasks.classification.image_files import contents, damaged, names, refuse_second, unzipped
from segcct.tasks.classification.image_layout import ClassLabels, Decoder, ImageLayout

_NAME = re.compile(r"^(?:.*[-_])?(train|t10k|test)[-_](images|labels)[-.]idx[13][-_]ubyte(\.gz)?$", re.I)


def find(data: ImagesSection) -> ClassLabels:
    """Every image with its label. Raises `DataError` naming the file that is missing or damaged."""
    pairs = _pairs(data)
    content = dict(contents(data.root, [files["labels"] for files in pairs.values()]))
    numbers = {split: _values(files["labels"], content[files["labels"]], 1, data) for split, files in pairs.items()}
    values = np.concatenate(list(numbers.values())).astype(np.int64)
    present = np.unique(values)
    ids = [_id(split, number) for split in pairs for number in range(len(numbers[split]))]
    splits = [split for split in pairs for _ in numbers[split]]
    order = np.argsort(np.array(ids))
    return ClassLabels(
        classes=_class_names(data, present),
        ids=tuple(ids[place] for place in order),
        labels=np.searchsorted(present, values)[order],
        splits=ClassLabels.known_splits([splits[place] for place in order]),
        files=tuple(sorted(name for files in pairs.values() for name in files.values())),
    )


def pixels(data: ImagesSection, labels: ClassLabels) -> Iterator[tuple[str, Decoder]]:
    """A decoder per image."""
    pairs = _pairs(data)
    split_of = {files["images"]: split for split, files in pairs.items()}
    for name, content in contents(data.root, list(split_of)):
        split = split_of[name]
        images = _values(name, content, 3, data)
        expected = sum(each.startswith(f"{split}/") for each in labels.ids)
        if len(images) != expected:
            raise DataError(
                "images and labels differ in number",
                file=data.root / name,
                found=counted(len(images), "image"),
                expected=f"{expected}, as {pairs[split]['labels']} has",
            )
        for number, image in enumerate(images):
            yield _id(split, number), partial(np.array, image)


def _id(split: str, number: int) -> str:
    return f"{split}/{number:06d}"


def _pairs(data: ImagesSection) -> dict[str, dict[str, str]]:
    """Split -> `images` and `labels` -> file."""
    paths = names(data.root)
    pairs: dict[str, dict[str, str]] = {}
    for path in paths:
        if match := _match(path):
            files = pairs.setdefault("train" if match[1].lower() == "train" else "test", {})
            kind = match[2].lower()
            refuse_second(files.get(kind), data.root / path, f"two files of {kind}")
            files[kind] = path
    missing = [
        f"{split} {kind}" for split, files in pairs.items() for kind in ("images", "labels") if kind not in files
    ]
    if "train" not in pairs or missing:
        raise DataError(
            "IDX files are missing",
            file=data.root,
            found=f"no {', '.join(missing or ['train images'])} among {counted(len(paths), 'file')}",
            expected="train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz, and the same of t10k",
        )
    return dict(sorted(pairs.items()))


def _match(path: str) -> re.Match[str] | None:
    """The parts of the name of an IDX file; None of others."""
    return _NAME.match(path.rsplit("/", 1)[-1])


def _values(name: str, content: bytes, dimensions: int, data: ImagesSection) -> np.ndarray:
    """(N,) labels or (N, H, W) images, uint8."""
    content = unzipped(name, content, data.root)
    head = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < head:
        expected = f"0000080{dimensions}"
        raise DataError(
            "is not an IDX file of bytes", file=data.root / name, found=content[:4].hex(), expected=expected
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    if len(content) - head != math.prod(shape):
        raise damaged(data.root / name, f"{len(content) - head} values", " x ".join(str(size) for size in shape))
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _class_names(data: ImagesSection, present: np.ndarray) -> tuple[str, ...]:
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


LAYOUT = ImageLayout("idx", find, pixels, packs=lambda path: _match(path) is not None, numbered=True)
