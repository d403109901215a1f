"""Files made to fool their readers, by name: what strangers may send, for tests and for benchmarks/hostile.py.

`HOSTILE` lists them all. Each is written into a folder by itself and is either refused in one error of ours or read as
the array it says; `fault_of` tells which rule one breaks. Outside of the folder lies a file whose content must never
come out.
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
"""Content of the file outside, `canary.raw`: distinct bytes, so that any stretch of it is known again."""
SECONDS = 10.0
"""Longest time of a processor until a file is read or refused."""
SHAPE = (6, 5, 4)
VOXELS = (np.arange(120).reshape(SHAPE) * 3).astype(np.int16)
"""What a file that can be read holds, unless it says otherwise."""


@dataclass(frozen=True)
class Hostile:
    """One file: how it is written, and what it is read as."""

    name: str
    kind: str
    """nifti, nrrd, metaimage, hdf5, npz, image or dicom."""
    write: Callable[[Path], Path]
    """Writes into an empty folder beside which `canary.raw` lies, and returns the file to read."""
    expected: np.ndarray | None = None
    """The array it holds; None: it must be refused."""
    either: bool = False
    """May be refused too, or hold what nobody can say."""


def content(name: str, kind: str, data: bytes | Callable[[], bytes], suffix: str, **more: object) -> Hostile:
    """A file of known bytes, or of bytes that are made when they are asked for."""

    def write(folder: Path) -> Path:
        (folder / f"scan{suffix}").write_bytes(data() if callable(data) else data)
        return folder / f"scan{suffix}"

    return Hostile(name, kind, write, **more)  # type: ignore[arg-type]


def read(path: Path, kind: str) -> list[np.ndarray]:
    """What every reader of that kind makes of a file. Raises as they do; the first that refuses it decides."""
    from segcct.datasets.image_headers import read_header
    from segcct.datasets.layouts.images_2d import mask_values
    from segcct.images.arrays import array_shapes, read_array
    from segcct.images.content_digest import content_digest
    from segcct.images.volume import Volume
    from segcct.tasks.classification.decoding import decode

    if kind in ("hdf5", "npz"):
        array_shapes(path)
        array = read_array(path, "image")
        assert read_header(path, "image").array.size == array.size
        return [array]
    if kind == "image":
        arrays = [mask_values(path)]
        assert read_header(path).shape[:2] == arrays[0].shape[:2]
        return [*arrays, decode(path.read_bytes(), str(path))]
    volume = Volume.load(path)
    assert read_header(path).shape == volume.shape
    content_digest([path])
    return [volume.array]


@dataclass(frozen=True)
class Verdict:
    """What became of a hostile input."""

    kind: str
    """refused or read, which are right; traceback, slow, foreign or wrong, which are not."""
    what: str = ""
    """The message, or what is wrong."""

    @property
    def fault(self) -> str | None:
        """What is wrong; None when all is well."""
        return None if self.kind in ("refused", "read") else self.what


def fault_of(hostile: Hostile, folder: Path) -> str | None:
    """What is wrong with how a hostile file is met; None when all is well."""
    return verdict_of(hostile, folder).fault


def verdict_of(hostile: Hostile, folder: Path) -> Verdict:
    """How a hostile file is met, which is written into a folder by itself."""
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
    """Whether eight bytes of the canary in a row are among some contents."""
    windows = {CANARY[start : start + 8] for start in range(8)}
    return any(window in content for content in contents for window in windows)


def saved(write: Callable[[BytesIO], object]) -> bytes:
    """What a function writes to a stream."""
    stream = BytesIO()
    write(stream)
    return stream.getvalue()


def all_hostile() -> list[Hostile]:
    """Every hostile file, names distinct."""
    from tests.support import hostile_arrays, hostile_dicom, hostile_images, hostile_itk, hostile_nifti

    kinds = (hostile_nifti, hostile_itk, hostile_arrays, hostile_images, hostile_dicom)
    every = [file for kind in kinds for file in kind.FILES]
    names = [f"{one.kind}: {one.name}" for one in every]
    assert len(set(names)) == len(names), "two hostile files of one name"
    return every
