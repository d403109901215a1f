"""Sound files of each kind, changed at random: they must be refused with a `SegcctError`, or read."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from tests.support import hostile_arrays, hostile_dicom, hostile_images, hostile_itk, hostile_nifti
from tests.support.hostile_files import Hostile, content, fault_of

SEEDS: dict[str, list[tuple[bytes, str]]] = {
    "nifti": [
        (hostile_nifti.SOUND, ".nii"),
        (hostile_nifti.PACKED, ".nii.gz"),
        (hostile_nifti.nifti(two=True), ".nii"),
    ],
    "nrrd": [(data, ".nrrd") for data in hostile_itk.NRRD_READ.values()],
    "metaimage": [(data, ".mha") for data in hostile_itk.META_READ.values()],
    "hdf5": [(hostile_arrays.SOUND_HDF5, ".h5"), (hostile_arrays.PACKED_HDF5, ".h5")],
    "npz": [(data, ".npz") for data, _ in hostile_arrays.NPZ_READ.values()],
    "dicom": [(data, ".dcm") for data in hostile_dicom.sound()],
    "image": [
        *((data, end) for data, end, _ in hostile_images.READ.values()),
        (hostile_images.image(hostile_images.COLOR, "JPEG", progressive=True), ".jpg"),
        (hostile_images.image(hostile_images.GRAY, "GIF"), ".gif"),
        (hostile_images.image(hostile_images.GRAY, "TIFF", compression="tiff_lzw"), ".tif"),
        (hostile_images.image(hostile_images.GRAY, "TIFF", compression="tiff_deflate"), ".tif"),
    ],
}
_NUMBERS = (0, 1, -1, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**62)
_MAGIC = 8
_ODDS = (0.2, 0.3, 0.2, 0.06, 0.06, 0.12, 0.06)
"""Probability of each kind of change, in the order of `mutated`."""
_WORDS = (
    b"nan",
    b"-1",
    b"1e400",
    b"99999999999999999999",
    b"%s%n",
    b"../canary.raw",
    b"LIST",
    b"/dev/zero",
    b"\0",
    b"\n\n",
)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four random changes: flipped bits, extreme numbers, words, parts removed, repeated or overwritten.

    The first bytes, which identify the format, stay: without them a reader would not read on.
    """
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        # Most changes matter in the header, at the beginning.
        reach = len(changed) if rng.random() < 0.3 else min(len(changed), 400)
        at = int(rng.integers(_MAGIC, max(_MAGIC + 1, reach)))
        span = int(rng.integers(1, 40))
        kind = rng.choice(7, p=_ODDS)
        if kind == 0 and changed:
            changed[min(at, len(changed) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            size = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice(np.array(_NUMBERS, dtype=object))) & ((1 << 8 * size) - 1)
            changed[at : at + size] = number.to_bytes(size, str(rng.choice(["little", "big"])))
        elif kind == 2:
            word = _WORDS[rng.integers(len(_WORDS))]
            changed[at : at + len(word)] = word
        elif kind == 3:
            del changed[at : at + span]
        elif kind == 4:
            changed[at:at] = changed[at : at + span]
        elif kind == 5:
            changed[at : at + span] = rng.bytes(span)
        else:
            del changed[at:]
    return bytes(changed)


def mutant(kind: str, number: int) -> Hostile:
    """The mutant of that number; in half of the compressed files, the content is changed instead of the stream."""
    rng = np.random.default_rng([number, *kind.encode()])
    data, suffix = SEEDS[kind][rng.integers(len(SEEDS[kind]))]
    if suffix.endswith(".gz") and rng.random() < 0.5:
        data = gzip.compress(mutated(gzip.decompress(data), rng), mtime=0)
    elif data.startswith(b"\x89PNG") and rng.random() < 0.5:
        data = _with_checksums(mutated(data, rng))
    elif data[128:132] == b"DICM":
        data = data[:128] + mutated(data[128:], rng)  # nothing reads what stands before
    else:
        data = mutated(data, rng)
    return content(f"mutant {number}", kind, data, suffix, either=True)


def fault_of_mutant(kind: str, number: int, folder: Path) -> str | None:
    """Which rule is broken when a mutant is read, with its number; None if none is."""
    fault = fault_of(mutant(kind, number), folder)
    return None if fault is None else f"{kind} mutant {number}: {fault}"


def _with_checksums(png: bytes) -> bytes:
    """A PNG with the right checksums of its chunks, so that their content is read."""
    done, at = bytearray(png[:8]), 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            break
        done += png[at:end] + zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(done) + png[at:]
