"""Layout `cifar`: the binary versions of CIFAR-10 and CIFAR-100 as their makers offer them.

    ROOT/data_batch_1.bin ... data_batch_5.bin, test_batch.bin, batches.meta.txt       10 classes, records of 3073 bytes
    ROOT/train.bin, test.bin, fine_label_names.txt                                     100 classes, 3074 bytes

A record is its labels (CIFAR-100: coarse, fine; the fine one counts), then 1024 red, green and blue values, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from segcct.config import PicturesSection
from segcct.errors import DataError
from segcct.tasks.classification.image_files import contents, names
from segcct.tasks.classification.image_layout import ImageLayout, Labels, Pixels

_PIXELS = 3 * 32 * 32
_TEN = {**{f"data_batch_{number}.bin": "train" for number in range(1, 6)}, "test_batch.bin": "test"}
_HUNDRED = {"train.bin": "train", "test.bin": "test"}
_META = {"batches.meta.txt": 10, "fine_label_names.txt": 100}


def find(data: PicturesSection) -> Labels:
    """Every record with its label. Raises `DataError` naming the file that is missing, doubled or damaged."""
    by_name = _by_name(data)
    table = _TEN if any(name in by_name for name in _TEN) else _HUNDRED
    present = [name for name in table if name in by_name]
    if not present:
        pickles = "data_batch_1" in by_name or {"train", "meta"} <= by_name.keys()
        raise DataError(
            "no CIFAR binaries here",
            file=data.root,
            found="the Python version, whose pickles are not opened" if pickles else f"{len(by_name)} other files",
            expected="data_batch_1.bin ... test_batch.bin, or train.bin and test.bin",
            remedy="Download the binary version",
        )
    _check_training_batches(data, table, present)
    count = 10 if table is _TEN else 100
    meta = [name for name, classes in _META.items() if classes == count and name in by_name]
    files = tuple(sorted(by_name[name] for name in (*present, *meta)))
    read = {name.rsplit("/", 1)[-1]: content for name, content in contents(data.root, files)}
    classes = _class_names(read[meta[0]], count, data, meta[0]) if meta else tuple(str(n) for n in range(count))
    ids, labels, sides = [], [], []
    for name in sorted(present):
        numbers = _records(read[name], count, data, name)[:, 0 if count == 10 else 1].astype(np.int64)
        if numbers.max(initial=0) >= count:
            raise DataError(
                "a label is out of range", file=data.root / name, found=numbers.max(), expected=f"0 to {count - 1}"
            )
        ids += [_id(name, number) for number in range(len(numbers))]
        labels.append(numbers)
        sides += [table[name]] * len(numbers)
    given = set(sides)
    return Labels(
        classes=classes,
        ids=tuple(ids),
        labels=np.concatenate(labels),
        sides=tuple(None if given == {"train"} else side for side in sides),
        files=files,
    )


def pixels(data: PicturesSection, labels: Labels) -> Iterator[tuple[str, Pixels]]:
    """A decoder per record."""
    count = 10 if any(name.endswith(tuple(_TEN)) for name in labels.files) else 100
    for path, content in contents(data.root, labels.files):
        name = path.rsplit("/", 1)[-1]
        if name.endswith(".bin"):
            for number, record in enumerate(_records(content, count, data, name)):
                yield _id(name, number), partial(_picture, record)


def _by_name(data: PicturesSection) -> dict[str, str]:
    """Last part of the name -> path below the root. Raises `DataError` where a file of the dataset is there twice."""
    found: dict[str, str] = {}
    for path in names(data.root):
        name = path.rsplit("/", 1)[-1]
        if name in found and name in (*_TEN, *_HUNDRED, *_META):
            raise DataError(
                f"two files are named {name}",
                file=data.root / path,
                found=found[name],
                remedy="Keep one of them in the dataset folder",
            )
        found[name] = path
    return found


def _check_training_batches(data: PicturesSection, table: Mapping[str, str], present: Sequence[str]) -> None:
    """All of them or, to test alone, none."""
    wanted = [name for name, side in table.items() if side == "train"]
    lacking = [name for name in wanted if name not in present]
    if 0 < len(lacking) < len(wanted):
        raise DataError(
            "training batches are missing",
            file=data.root,
            found=f"no {', '.join(lacking)}",
            expected=f"{wanted[0]} ... {wanted[-1]}",
            remedy="Copy or download them again",
        )


def _picture(record: np.ndarray) -> np.ndarray:
    return record[-_PIXELS:].reshape(3, 32, 32).transpose(1, 2, 0)  # (32, 32, 3)


def _id(file: str, number: int) -> str:
    return f"{file.removesuffix('.bin')}/{number:05d}"


def _records(content: bytes, count: int, data: PicturesSection, name: str) -> np.ndarray:
    """(N, 3073 or 3074) uint8."""
    size = _PIXELS + (1 if count == 10 else 2)
    if not content or len(content) % size:
        raise DataError(
            "is damaged",
            file=data.root / name,
            found=f"{len(content)} bytes",
            expected=f"a multiple of {size}",
            remedy="Copy or download it again",
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, size)


def _class_names(content: bytes, count: int, data: PicturesSection, name: str) -> tuple[str, ...]:
    found = tuple(line.strip() for line in content.decode("latin-1").splitlines() if line.strip())
    if len(found) != count:
        raise DataError("is damaged", file=data.root / name, found=f"{len(found)} names", expected=f"{count}")
    return found


LAYOUT = ImageLayout("cifar", find, pixels, packed=True)
