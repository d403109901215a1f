"""Layout `cifar`: the binary versions of CIFAR-10 and CIFAR-100 as their makers offer them.

    ROOT/data_batch_1.bin ... data_batch_5.bin, test_batch.bin, batches.meta.txt       10 classes, records of 3073 bytes
    ROOT/train.bin, test.bin, fine_label_names.txt                                     100 classes, 3074 bytes

A record is its labels (CIFAR-100: coarse, fine; the fine one counts), then 1024 red, green and blue values, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from segcct.config import ImagesSection
from segcct.errors import DataError
from segcct.tasks.classification.image_files import contents, damaged, names, refuse_second
from segcct.tasks.classification.image_layout import ClassLabels, Decoder, ImageLayout

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Version:
    """One of the two datasets."""

    split_of: Mapping[str, str]
    """File of records -> split."""
    num_classes: int
    names_file: str
    label_bytes: int

    def records(self, content: bytes, file: Path) -> np.ndarray:
        """(N, 3073 or 3074) uint8."""
        size = _PIXELS + self.label_bytes
        if not content or len(content) % size:
            raise damaged(file, f"{len(content)} bytes", f"a multiple of {size}")
        return np.frombuffer(content, dtype=np.uint8).reshape(-1, size)

    def labels(self, content: bytes, file: Path) -> np.ndarray:
        """(N,) class numbers."""
        labels = self.records(content, file)[:, self.label_bytes - 1].astype(np.int64)
        if labels.max(initial=0) >= self.num_classes:
            expected = f"0 to {self.num_classes - 1}"
            raise DataError("a label is out of range", file=file, found=labels.max(), expected=expected)
        return labels

    def class_names(self, content: bytes | None, file: Path) -> tuple[str, ...]:
        """Those of the file; the numbers where it is missing."""
        if content is None:
            return tuple(str(number) for number in range(self.num_classes))
        lines = tuple(line.strip() for line in content.decode("latin-1").splitlines() if line.strip())
        if len(lines) != self.num_classes:
            raise damaged(file, f"{len(lines)} names", f"{self.num_classes}")
        return lines


_BATCHES = {f"data_batch_{number}.bin": "train" for number in range(1, 6)}
_CIFAR_10 = _Version({**_BATCHES, "test_batch.bin": "test"}, 10, "batches.meta.txt", 1)
_CIFAR_100 = _Version({"train.bin": "train", "test.bin": "test"}, 100, "fine_label_names.txt", 2)
_RECORDS = _CIFAR_10.split_of.keys() | _CIFAR_100.split_of.keys()


def find(data: ImagesSection) -> ClassLabels:
    """Every record with its label. Raises `DataError` naming the file that is missing, doubled or damaged."""
    paths = _paths(data)
    version = _version(paths)
    files = sorted(name for name in version.split_of if name in paths)
    others = sorted(name for name in _RECORDS if name in paths and name not in files)
    if others:
        raise DataError(
            "CIFAR-10 and CIFAR-100 are both here",
            file=data.root,
            found=f"{paths[files[0]]} and {paths[others[0]]}",
            remedy="Set data.root to the folder or archive of one of them",
        )
    if not files:
        pickles = "data_batch_1" in paths or {"train", "meta"} <= paths.keys()
        raise DataError(
            "no CIFAR binaries here",
            file=data.root,
            found="the Python version, whose pickles are not opened" if pickles else f"{len(paths)} other files",
            expected="data_batch_1.bin ... test_batch.bin, or train.bin and test.bin",
            remedy="Download the binary version",
        )
    training = [name for name, split in version.split_of.items() if split == "train"]
    missing = [name for name in training if name not in files]
    if 0 < len(missing) < len(training):  # without any of them, a dataset to test on
        raise DataError(
            "training batches are missing",
            file=data.root,
            found=f"no {', '.join(missing)}",
            expected=f"{training[0]} ... {training[-1]}",
            remedy="Copy or download them again",
        )
    sources = tuple(sorted(paths[name] for name in (*files, version.names_file) if name in paths))
    content = {_base(path): content for path, content in contents(data.root, sources)}
    labels = {name: version.labels(content[name], data.root / name) for name in files}
    return ClassLabels(
        classes=version.class_names(content.get(version.names_file), data.root / version.names_file),
        ids=tuple(_id(name, number) for name in files for number in range(len(labels[name]))),
        labels=np.concatenate(list(labels.values())),
        splits=ClassLabels.known_splits([version.split_of[name] for name in files for _ in labels[name]]),
        files=sources,
    )


def pixels(data: ImagesSection, labels: ClassLabels) -> Iterator[tuple[str, Decoder]]:
    """A decoder per record."""
    version = _version({_base(path): path for path in labels.files})
    for path, content in contents(data.root, labels.files):
        name = _base(path)
        if name.endswith(".bin"):
            for number, record in enumerate(version.records(content, data.root / name)):
                yield _id(name, number), partial(_image, record)


def _version(paths: Mapping[str, str]) -> _Version:
    return _CIFAR_10 if any(name in paths for name in _CIFAR_10.split_of) else _CIFAR_100


def _paths(data: ImagesSection) -> dict[str, str]:
    """Last part of the name -> path below the root. Raises `DataError` where a file of the dataset is there twice."""
    paths: dict[str, str] = {}
    for path in names(data.root):
        name = _base(path)
        if any(name in (*version.split_of, version.names_file) for version in (_CIFAR_10, _CIFAR_100)):
            refuse_second(paths.get(name), data.root / path, f"two files are named {name}")
        paths[name] = path
    return paths


def _base(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _image(record: np.ndarray) -> np.ndarray:
    return record[-_PIXELS:].reshape(3, 32, 32).transpose(1, 2, 0)  # (32, 32, 3)


def _id(file: str, number: int) -> str:
    return f"{file.removesuffix('.bin')}/{number:05d}"


LAYOUT = ImageLayout("cifar", find, pixels, packs=lambda path: _base(path) in _RECORDS)
