"""Images that occur more than once, found by the digest of their voxels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segcct.check.problem import Problem
from segcct.datasets.case import Case
from segcct.datasets.split_record import Splits


class Image(NamedTuple):
    """Where an image is, and the digest of its voxels."""

    digest: bytes
    case: str
    patient: str
    channel: str
    file: Path


def digests(case: Case, channel: str, files: Sequence[Path], voxels: np.ndarray) -> list[Image]:
    """One per file of a channel (X, Y, Z): the volume, or each slice. Blank slices are equal by nature and left out."""
    found = []
    for file, image in zip(files, [voxels] if len(files) == 1 else np.moveaxis(voxels, 2, 0), strict=True):
        if image.min() != image.max():
            digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
            digest.update(np.ascontiguousarray(image).data)
            found.append(Image(digest.digest(), case.id, case.patient, channel, file))
    return found


def find_copies(images: Iterable[Image], splits: Splits | None) -> list[Problem]:
    """One problem per group of cases that share images. The bands of a gray image are one file, not copies."""
    same: dict[bytes, list[Image]] = {}
    for image in images:
        same.setdefault(image.digest, []).append(image)
    groups: dict[tuple[str, ...], list[list[Image]]] = {}
    for places in same.values():
        if len({(place.case, place.file) for place in places}) > 1:
            groups.setdefault(tuple(dict.fromkeys(place.case for place in places)), []).append(places)
    return [_problem(cases, places, splits) for cases, places in groups.items()]


def _problem(cases: Sequence[str], images: Sequence[Sequence[Image]], splits: Splits | None) -> Problem:
    file, found = str(images[0][0].file), _found(cases, images)
    split_of = {case: split for case in cases if splits and (split := splits.split_of(case))}
    if len(set(split_of.values())) > 1:
        return Problem(
            file,
            "one image is in two splits",
            found=f"{found} ({', '.join(f'{case} in {split}' for case, split in list(split_of.items())[:4])})",
            expected="training, validation and test images that differ",
            remedy="Remove the copy, or make both one patient by data.patient",
        )
    if len({place.patient for place in images[0]}) > 1:
        return Problem(
            file,
            "one image belongs to several patients",
            found=found,
            expected="one case per study",
            remedy="Remove the copy, or make both one patient by data.patient: a seed may separate them",
        )
    what = "one image occurs in several cases of a patient"
    if len(cases) == 1:
        what = f"two {'channels' if len({place.channel for place in images[0]}) > 1 else 'slices'} hold the same image"
    return Problem.notice(
        file,
        what,
        found=found,
        remedy="Check the files, or ignore this if it is meant",
    )


def _found(cases: Sequence[str], images: Sequence[Sequence[Image]]) -> str:
    others = list(dict.fromkeys(str(place.file) for place in images[0][1:]))
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    times = f", and {len(images) - 1} more such images of {' and '.join(cases[:3])}" if len(images) > 1 else ""
    return f"the same voxels as {', '.join(others[:3])}{more}{times}"
