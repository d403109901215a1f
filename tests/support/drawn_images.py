"""Small images with classes for tests, in every layout: circles, stripes and plain fields with noise."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("circle", "plain", "stripes")


def drawn(kind: str, number: int, side: int = 16, *, color: bool = True) -> np.ndarray:
    """(side, side, 3) or (side, side) uint8, a function of its arguments."""
    rng = np.random.default_rng([CLASSES.index(kind), number, side])
    rows, columns = np.mgrid[:side, :side]
    if kind == "circle":
        middle = side / 2 + rng.uniform(-1, 1, 2)
        shape = np.hypot(rows - middle[0], columns - middle[1]) < side / 3
    elif kind == "stripes":
        shape = (rows + rng.integers(4)) % 4 < 2
    else:
        shape = np.zeros((side, side), dtype=bool)
    image = 60 + 120 * shape + rng.normal(0, 12, (side, side))
    gray = image.clip(0, 255).astype(np.uint8)
    return np.stack([gray, gray // 2, 255 - gray], axis=-1) if color else gray


def write_folder(root: Path, each: int = 12, *, side: int = 16, prefix: str = "") -> Path:
    """ROOT/[prefix/]CLASS/00.png ..."""
    for kind in CLASSES:
        folder = root / prefix / kind
        folder.mkdir(parents=True)
        for number in range(each):
            Image.fromarray(drawn(kind, number, side)).save(folder / f"{number:02d}.png")
    return root


def write_tar(archive: Path, folder: Path, *, inside: str = "pictures") -> Path:
    """Write the folder as .tar or .tar.gz, inside another folder and in unsorted order."""
    with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as stream:
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                stream.add(file, f"./{inside}/{file.relative_to(folder).as_posix()}")
    return archive


def write_idx(root: Path, train: int = 30, test: int = 9, *, zipped: bool = True, side: int = 14) -> Path:
    """Write the four files of MNIST, with labels 0, 1, 2, 0, ..."""
    root.mkdir(parents=True)
    for split, count, start in (("train", train, 0), ("t10k", test, 1000)):
        labels = np.arange(count, dtype=np.uint8) % 3
        images = np.stack([drawn(CLASSES[label], start + n, side, color=False) for n, label in enumerate(labels)])
        for what, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            content = head + array.tobytes()
            name = f"{split}-{what}-ubyte" + (".gz" if zipped else "")
            (root / name).write_bytes(gzip.compress(content) if zipped else content)
    return root


def write_cifar(root: Path, each: int = 6, *, hundred: bool = False) -> Path:
    """Write the batches of CIFAR-10, or the files of CIFAR-100, with few records."""
    root.mkdir(parents=True)
    names = (
        {"train.bin": 0, "test.bin": 500}
        if hundred
        else {**{f"data_batch_{number + 1}.bin": 100 * number for number in range(5)}, "test_batch.bin": 500}
    )
    classes = 100 if hundred else 10
    for name, start in names.items():
        records = []
        for number in range(each * classes):
            label = number % classes
            image = drawn(CLASSES[label % 3], start + number, 32)
            image[0, 0] = label  # so that no two classes look alike
            head = bytes([label % 20, label]) if hundred else bytes([label])
            records.append(head + image.transpose(2, 0, 1).tobytes())
        (root / name).write_bytes(b"".join(records))
    meta = "fine_label_names.txt" if hundred else "batches.meta.txt"
    (root / meta).write_text("\n".join(f"kind{number}" for number in range(classes)) + "\n\n")
    return root
