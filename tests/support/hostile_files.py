"""Hostile files, made to fool their readers, for tests and for benchmarks/hostile.py.

`all_hostile` lists them. Each is written into a folder of its own, and must be refused with a `SegcctError` or read as
the array it names; `fault_of` says which rule is broken. Outside of the folder lies a file whose content must never be
read.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from segcct.errors import SegcctError

CANARY = bytes(range(0xC1, 0xC9)) * 64
"""Content of the file outside, `canary.raw`: distinct bytes, so that any part of it is recognized."""
SECONDS = 10.0
"""Most processor time until a file is read or refused."""
SHAPE = (6, 5, 4)
VOXELS = (np.arange(120).reshape(SHAPE) * 3).astype(np.int16)
"""Content of readable files, unless they say otherwise."""


@dataclass(frozen=True)
class Hostile:
    """A file: how it is written, and as what it must be read."""

    name: str
    kind: str
    """nifti, nrrd, metaimage, hdf5, npz, image or dicom."""
    write: Callable[[Path], Path]
    """Writes into an empty folder next to `canary.raw`, and returns the file to read."""
    expected: np.ndarray | None = None
    """The array it holds; None: it must be refused."""
    either: bool = False
    """It may be refused or read as anything."""


def content(name: str, kind: str, data: bytes | Callable[[], bytes], suffix: str, **more: object) -> Hostile:
    """A file of these bytes, or of bytes that are made when it is written."""

    def write(folder: Path) -> Path:
        (folder / f"scan{suffix}").write_bytes(data() if callable(data) else data)
        return folder / f"scan{suffix}"

    return Hostile(name, kind, write, **more)  # type: ignore[arg-type]


def read(path: Path, kind: str) -> list[np.ndarray]:
    """A file as every reader of its kind reads it. Raises as the first reader that refuses it."""
    from segcct.images.arrays import array_shapes, read_arrays
    from segcct.images.content_digest import content_digest
    from segcct.images.raster import mask_values
    from segcct.images.volume import Volume, read_header
    from segcct.tasks.classification.decoding import decode

    if kind in ("hdf5", "npz"):
        array_shapes(path)
        array = read_arrays([path], "image")[0]
        assert read_header(path, "image").array.size == array.size
        return [array]
    if kind == "image":
        arrays = [mask_values(path)]
        assert read_header(path).shape == arrays[0].shape
        return [*arrays, decode(path.read_bytes(), str(path))]
    volume = Volume.load(path)
    assert read_header(path).shape == volume.shape
    content_digest([path])
    return [volume.array]


@dataclass(frozen=True)
class Verdict:
    """How a hostile input was met."""

    kind: str
    """refused or read, which are right; traceback, slow, foreign or wrong, which are not."""
    what: str = ""
    """The message, or what is wrong."""

    @property
    def fault(self) -> str | None:
        """What is wrong; None if nothing is."""
        return None if self.kind in ("refused", "read") else self.what


def fault_of(hostile: Hostile, folder: Path) -> str | None:
    """Which rule is broken when a hostile file is read; None if none is."""
    return verdict_of(hostile, folder).fault


def verdict_of(hostile: Hostile, folder: Path) -> Verdict:
    """Write a hostile file into a folder of its own and read it."""
    inside = folder / "inside"
    inside.mkdir(parents=True)
    (folder / "canary.raw").write_bytes(CANARY)
    path = hostile.write(inside)
    began, arrays, said = time.process_time(), [], ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            arrays = read(path, hostile.kind)
        except SegcctError as error:
            said = str(error)
        except Exception as error:
            return Verdict("traceback", f"{type(error).__name__}: {error}")
    seconds = time.process_time() - began
    if seconds > SECONDS:
        return Verdict("slow", f"took {seconds:.1f} s")
    if len(said) > 2000 or said.count("\n") > 2:
        return Verdict("wrong", f"a message of {len(said)} characters")
    if holds_canary(
        [*(np.ascontiguousarray(array.T).tobytes() for array in arrays), said.encode("latin-1", "replace")]
    ):
        return Verdict("foreign", "the file outside was read")
    wrong = None if hostile.either else _wrong(hostile, arrays, said)
    return Verdict("wrong", wrong) if wrong else Verdict("refused" if said else "read", said)


def _wrong(hostile: Hostile, arrays: list[np.ndarray], said: str) -> str | None:
    if hostile.expected is None:
        return None if said else f"read as {arrays[0].dtype} {arrays[0].shape}"
    if said:
        return f"refused: {said}"
    return None if np.array_equal(arrays[0], hostile.expected) else f"read as {arrays[0].ravel()[:8]}"


def holds_canary(contents: Iterable[bytes]) -> bool:
    """Whether eight consecutive bytes of the canary occur in the contents."""
    windows = {CANARY[start : start + 8] for start in range(8)}
    return any(window in content for content in contents for window in windows)


def saved(write: Callable[[BytesIO], object]) -> bytes:
    """What a function writes to a stream."""
    stream = BytesIO()
    write(stream)
    return stream.getvalue()


def all_hostile() -> list[Hostile]:
    """Every hostile file, with distinct names."""
    from tests.support import hostile_arrays, hostile_dicom, hostile_images, hostile_itk, hostile_nifti

    kinds = (hostile_nifti, hostile_itk, hostile_arrays, hostile_images, hostile_dicom)
    every = [file for kind in kinds for file in kind.FILES]
    names = [f"{one.kind}: {one.name}" for one in every]
    assert len(set(names)) == len(names), "two hostile files of one name"
    return every
